//! Waits until the machines of a cluster have found one another, and says how far they are.

use std::collections::BTreeSet;
use std::os::fd::AsFd;
use std::time::Duration;

use ferrite_schema::api::{ClusterMachine, MachineState};
use ferrite_vm::deadline::{Deadline, wait_readable};

use super::problem::ClusterError;
use super::start::Interrupt;
use crate::client::{Client, ClientError};
use crate::context::Context;
use crate::failure::Failure;
use crate::output::printable;
use crate::session::Session;

/// How often a member is asked.
const ASK_EVERY: Duration = Duration::from_millis(500);

/// What is waited for.
#[derive(Debug)]
pub(super) struct Gather<'a> {
    /// The cluster, as it is reached.
    pub(super) context: &'a Context,
    /// Its machines.
    pub(super) nodes: &'a [String],
    /// Longest wait.
    pub(super) within: Duration,
    /// Ends the wait; the machines run on.
    pub(super) interrupt: &'a Interrupt,
}

/// Waits until a member of the cluster knows all nodes to be there.
pub(super) fn gather(gather: &Gather<'_>, session: &mut Session<'_>) -> Result<(), Failure> {
    let client = Client::new(gather.context)?;
    let deadline = Deadline::after(gather.within);
    let mut said = String::new();
    loop {
        let known = session.wait_for(async { Ok(client.machines().await) })?;
        let missing = missing(gather.nodes, &known);
        if missing.as_ref().is_some_and(BTreeSet::is_empty) {
            return Ok(());
        }
        let now = progress(&gather.context.name, gather.nodes.len(), missing.as_ref());
        if now != said {
            // Nobody is left to hear that standard error is gone.
            drop(writeln!(session.err, "{}", printable(&now)));
            said = now;
        }
        if deadline.passed() {
            let why = match (known, missing) {
                (Err(error), _) => ferrite_schema::chain(&error),
                (Ok(_), missing) => missing.into_iter().flatten().collect::<Vec<_>>().join(", "),
            };
            let (name, within) = (gather.context.name.clone(), gather.within);
            return Err(ClusterError::Apart { name, within, why }.into());
        }
        if interrupted(gather.interrupt) {
            return Err(ClusterError::Left { name: gather.context.name.clone() }.into());
        }
    }
}

/// Nodes that are not known to be there; nothing is known where no member answers.
fn missing(
    nodes: &[String],
    known: &Result<Vec<ClusterMachine>, ClientError>,
) -> Option<BTreeSet<String>> {
    let known = known.as_ref().ok()?;
    let there = |node: &&String| {
        known.iter().any(|one| one.name == **node && one.state == MachineState::Alive)
    };
    Some(nodes.iter().filter(|node| !there(node)).cloned().collect())
}

fn progress(cluster: &str, nodes: usize, missing: Option<&BTreeSet<String>>) -> String {
    match missing {
        None => format!("starting {cluster}: the machines look for one another"),
        Some(missing) => {
            let there = nodes.saturating_sub(missing.len());
            format!("starting {cluster}: {there} of {nodes} machines have found one another")
        }
    }
}

/// Waits a moment, less where somebody wants to go.
fn interrupted(interrupt: &Interrupt) -> bool {
    wait_readable(&[interrupt.as_fd()], Deadline::after(ASK_EVERY))
        .is_ok_and(|ready| ready.is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(name: &str, state: MachineState) -> ClusterMachine {
        let text = serde_json::json!({
            "id": "a".repeat(32), "name": name, "addresses": [], "state": state, "cordoned": false, "leader": false,
            "eligible": true, "units": 0, "level": 1, "metadata": {}, "overrides": {}, "cpus_milli": 1, "memory_bytes": 1,
        });
        serde_json::from_value(text).unwrap()
    }

    #[test]
    fn a_machine_counts_once_it_is_there() {
        let nodes = ["dev-1".to_owned(), "dev-2".to_owned()];
        let known = Ok(vec![
            machine("dev-1", MachineState::Alive),
            machine("dev-2", MachineState::Lost),
            machine("other", MachineState::Alive),
        ]);
        let left = missing(&nodes, &known).unwrap();
        assert_eq!(left, BTreeSet::from(["dev-2".to_owned()]));
        let said = progress("dev", 2, Some(&left));
        assert_eq!(said, "starting dev: 1 of 2 machines have found one another");
    }
}
