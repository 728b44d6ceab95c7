//! Waiting for a unit of the cluster: it is looked at again and again, and what has changed is said.

use std::time::Duration;

use ferrite_schema::api::{ClusterInstance, ClusterUnit, UnitState, UnitTarget};

use super::tables::{progress, state_words};
use crate::cli::Until;
use crate::client::Client;
use crate::failure::Failure;
use crate::output::printable;
use crate::session::Session;

/// How often a unit is looked at: a look is one read of the cluster's store.
const POLL: Duration = Duration::from_millis(500);

/// Waits until all instances of a unit that was started are as far as `until` says.
pub(super) fn until(
    cluster: &Client,
    unit: &ClusterUnit,
    until: Until,
    within: Duration,
    session: &mut Session<'_>,
) -> Result<ClusterUnit, Failure> {
    if until == Until::Accepted {
        return Ok(unit.clone());
    }
    look(cluster, unit, within, session, |unit| is_as_far(unit, until))
}

/// All instances are as far as they were to come, or somebody has stopped the unit meanwhile.
fn is_as_far(unit: &ClusterUnit, until: Until) -> bool {
    let mut states = unit.instances.iter().map(state);
    let far = states.all(|state| state.is_some_and(|state| reached(state, until)));
    !is_to_run(unit) || (far && !unit.instances.is_empty())
}

fn is_to_run(unit: &ClusterUnit) -> bool {
    unit.target == Some(UnitTarget::Launched)
}

/// Waits until nothing of a unit that is inactive runs.
pub(super) fn until_nothing_runs(
    cluster: &Client,
    unit: &ClusterUnit,
    within: Duration,
    session: &mut Session<'_>,
) -> Result<ClusterUnit, Failure> {
    let stopped = |unit: &ClusterUnit| {
        unit.target != Some(UnitTarget::Inactive) || unit.instances.iter().all(is_away)
    };
    look(cluster, unit, within, session, stopped)
}

/// Waits until the cluster knows the unit no more, which it was told to forget.
pub(super) fn until_gone(
    cluster: &Client,
    name: &str,
    within: Duration,
    session: &mut Session<'_>,
) -> Result<(), Failure> {
    let asked = session.wait_for(async { Ok(cluster.cluster_unit(name).await) })?;
    let unit = match asked {
        Ok(unit) => unit,
        Err(error) if error.is_unknown() => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    match look(cluster, &unit, within, session, is_decided) {
        Err(Failure::Client(error)) if error.is_unknown() => Ok(()),
        Ok(unit) if unit.target.is_some() => Err(Failure::Unit {
            name: unit.name,
            what: "was submitted again meanwhile, and stays".to_owned(),
        }),
        other => other.map(drop),
    }
}

/// Nothing of a unit that is to be forgotten runs any more, or it is not to be forgotten after all.
fn is_decided(unit: &ClusterUnit) -> bool {
    unit.target.is_some() || unit.instances.iter().all(is_away)
}

/// Nobody can say when what a lost machine ran has ended there.
fn is_away(instance: &ClusterInstance) -> bool {
    matches!(instance.state.as_str(), "lost" | "unplaced")
}

fn look(
    cluster: &Client,
    unit: &ClusterUnit,
    within: Duration,
    session: &mut Session<'_>,
    enough: impl Fn(&ClusterUnit) -> bool,
) -> Result<ClusterUnit, Failure> {
    let mut seen = unit.clone();
    let (mut said, err) = (String::new(), &mut *session.err);
    let looks = async {
        loop {
            let now = progress(&seen);
            if now != said {
                // Nobody is left to hear that standard error is gone.
                drop(writeln!(err, "{}", printable(&now)));
                said = now;
            }
            if enough(&seen) {
                return Ok(());
            }
            tokio::time::sleep(POLL).await;
            seen = cluster.cluster_unit(&unit.name).await?;
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|source| Failure::Runtime { source })?;
    match runtime.block_on(async { tokio::time::timeout(within, looks).await }) {
        Ok(looked) => looked.map(|()| seen),
        Err(_elapsed) => {
            let all = seen.instances.iter();
            let states = all.map(|one| format!("{} is {}", one.name, state_words(one))).collect();
            Err(Failure::InstancesDeadline { name: seen.name, states, within })
        }
    }
}

/// What the instance is doing, in the words of a machine; none where it has none that says so, or where that is about the
/// version before.
fn state(instance: &ClusterInstance) -> Option<UnitState> {
    if instance.outdated {
        return None;
    }
    serde_json::from_value(serde_json::Value::String(instance.state.clone())).ok()
}

const fn reached(state: UnitState, until: Until) -> bool {
    match (until, state) {
        (Until::Accepted, _) | (_, UnitState::Exited | UnitState::Failed) => true,
        (Until::Running, UnitState::Running | UnitState::BackingOff | UnitState::Scheduled) => true,
        (Until::Running | Until::Ended, _) => false,
    }
}

/// What is wrong with an instance that was to run, for a person.
pub(super) fn trouble(unit: &ClusterUnit) -> Option<(String, String)> {
    if !is_to_run(unit) {
        return Some((unit.name.clone(), "was stopped meanwhile".to_owned()));
    }
    let down = |one: &&ClusterInstance| {
        matches!(state(one), Some(UnitState::Failed | UnitState::BackingOff))
    };
    let one = unit.instances.iter().find(down)?;
    let on = one.machine_name.as_deref().unwrap_or("no machine");
    Some((one.name.clone(), format!("is {} on {on}", state_words(one))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unit(target: Option<UnitTarget>, states: &[&str]) -> ClusterUnit {
        let instance = |state: &&str| ClusterInstance {
            name: "web@1".to_owned(),
            machine: None,
            machine_name: None,
            state: (*state).to_owned(),
            ready: false,
            addresses: Vec::new(),
            ports: Vec::new(),
            exit: None,
            outdated: false,
            why: String::new(),
        };
        ClusterUnit {
            name: "web".to_owned(),
            target,
            replicas: None,
            spec: None,
            image_digest: None,
            definition: None,
            revision: 7,
            instances: states.iter().map(instance).collect(),
            notes: Vec::new(),
            problem: None,
        }
    }

    /// Somebody else asks for the opposite while it is waited for.
    #[test]
    fn what_was_overtaken_is_not_waited_for() {
        let launched = |states: &[&str]| unit(Some(UnitTarget::Launched), states);
        assert!(is_as_far(&launched(&["running", "running"]), Until::Running));
        assert!(!is_as_far(&launched(&["running", "pulling"]), Until::Running));
        assert!(!is_as_far(&launched(&[]), Until::Running));
        assert_eq!(trouble(&launched(&["running"])), None);
        for target in [None, Some(UnitTarget::Inactive), Some(UnitTarget::Loaded)] {
            let stopped = unit(target, &["stopping"]);
            assert!(is_as_far(&stopped, Until::Running), "{target:?}");
            assert_eq!(trouble(&stopped).unwrap().1, "was stopped meanwhile");
        }
        assert!(is_decided(&unit(None, &["lost", "unplaced"])) && is_decided(&unit(None, &[])));
        assert!(!is_decided(&unit(None, &["running"])));
        assert!(is_decided(&launched(&["running"])));
    }
}
