//! `ferrite-container create`: one process per container, which owns it from its creation to its last byte of output.
//!
//! *Responsible for*: the container's root (overlayfs, in the shim's own mount namespace, so that it vanishes
//! with the shim), its creation through libcontainer, its output streams and log, its exit status, its cgroup.
//! *Never does*: decide whether anything is started again, read the network, start a thread. libcontainer
//! clones and goes on in the child, which only a single-threaded process survives.
//!
//! The agent gives it a listening socket as standard input and a folder as its working directory:
//!
//! | file | written by | meaning |
//! |---|---|---|
//! | `request.json` | agent, before the shim | [`shim::Request`] |
//! | `shim.sock` | agent, before the shim | listening socket; held by the shim alone, so it answers as long as the shim lives |
//! | `outcome.json` | shim, at its end | [`shim::Outcome`] |
//! | `shim.err` | shim's standard error | what a crash left |
//! | `bundle/`, `state/` | shim | for libcontainer |

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ferrite_files::durable;
use ferrite_schema::shim::{self, Outcome};
use ferrite_schema::unit::{Resources, Ulimit};
use ferrite_shim::log;
use ferrite_sys::cgroup::Cgroup;

use crate::container::ContainerProblem;
use crate::heard::Heard;
use crate::{container, handover, isolation, privilege};

/// Bound of the wait for what an earlier container has left to be gone.
const EMPTY_WITHIN: Duration = Duration::from_secs(10);

/// Runs a shim in the current working directory. Once the container runs this process image is another,
/// `ferrite-shim`; this one comes back only where there is no container.
///
/// # Errors
/// The outcome could not be recorded: the agent will find the container lost.
pub fn run() -> anyhow::Result<()> {
    let folder = std::env::current_dir()?;
    let heard = Heard::begin()?;
    let reason = match request(&folder) {
        Ok(request) => match own(&request, &folder) {
            Ok(never) => match never {},
            Err(error) => reason(&error, &heard, &request),
        },
        Err(error) => ferrite_schema::chain(error.as_ref()),
    };
    let outcome = Outcome::StartFailed { reason };
    durable::write(&folder.join(shim::OUTCOME), &serde_json::to_vec(&outcome)?)?;
    Ok(())
}

fn request(folder: &Path) -> anyhow::Result<shim::Request> {
    Ok(serde_json::from_slice(&std::fs::read(folder.join(shim::REQUEST))?)?)
}

/// Why there is no container. Where libcontainer failed, its error has no causes, and none at all where the process that
/// it made was ended by a bound of the unit's: so both are named.
fn reason(error: &anyhow::Error, heard: &Heard, request: &shim::Request) -> String {
    let reason = ferrite_schema::chain(error.as_ref());
    let problem = error.downcast_ref::<ContainerProblem>();
    if !problem.is_some_and(ContainerProblem::is_libcontainers) {
        return reason;
    }
    let cause = heard.cause().map(|cause| format!("; libcontainer: {cause}")).unwrap_or_default();
    let bounds = bounds(&request.resources, &request.ulimits);
    let bounds = if bounds.is_empty() {
        String::new()
    } else {
        format!("; it was made within the unit's bounds: {}", bounds.join(", "))
    };
    format!("{reason}{cause}{bounds}")
}

/// What a unit says about how much its processes may have.
fn bounds(resources: &Resources, ulimits: &BTreeMap<String, Ulimit>) -> Vec<String> {
    let memory = resources.memory.map(|memory| format!("resources.memory = {memory}"));
    let pids = resources.pids_max.map(|pids| format!("resources.pids_max = {pids}"));
    let limits = ulimits.keys().map(|name| format!("ulimits.{name}"));
    memory.into_iter().chain(pids).chain(limits).collect()
}

/// Makes the container and becomes its keeper.
fn own(request: &shim::Request, folder: &Path) -> anyhow::Result<Infallible> {
    privilege::separate()?;
    // Its agent has put it there as well. Here it lives on when the agent's own is killed.
    Cgroup::new(PathBuf::from(&request.shim_cgroup)).hold(0)?;
    let cgroup = Cgroup::below_root(&request.cgroup);
    cgroup.clear(EMPTY_WITHIN)?;
    // Its keeper writes it; where that would not work, nothing is started.
    drop(log::Log::open(Path::new(&request.log_dir), log::LIMITS)?);
    let isolated = isolation::prepare(request, folder)
        .inspect_err(|_error| drop(cgroup.clear(EMPTY_WITHIN)))?;
    let running = container::create_and_start(request, &isolated.spec, folder)
        .inspect_err(|_error| drop(cgroup.clear(EMPTY_WITHIN)))?;
    drop(isolated.owners);
    let cgroup_folder = cgroup.path().to_string_lossy().into_owned();
    let error = handover::become_keeper(&running, request, &cgroup_folder);
    drop(cgroup.clear(EMPTY_WITHIN));
    Err(error.into())
}

#[cfg(test)]
mod tests {
    use libcontainer::error::LibcontainerError;

    use super::*;

    fn bounded() -> shim::Request {
        let text = r#"{"unit":"u","layers":[],"scratch":"/s","read_only_root":false,"args":["/p"],"env":{},"cwd":"/",
            "user":"","hostname":"u","tty":false,"stdin":false,"privileged":false,"ids":null,"capabilities":[],
            "devices":[],"mounts":[],"resources":{"memory":"1MiB","pids_max":3},"sysctls":{},
            "ulimits":{"nofile":{"soft":3,"hard":3}},"network":"none","cgroup":"/u","shim_cgroup":"/s","log_dir":"/l",
            "stop_signal":15}"#;
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn what_libcontainer_leaves_out_is_said() {
        let (heard, subscriber) = Heard::apart().unwrap();
        let request = bounded();
        let broken = || LibcontainerError::Other("the channel broke".to_owned());
        let problem = anyhow::Error::from(ContainerProblem::Create(broken()));
        let bounds = "resources.memory = 1MiB, resources.pids_max = 3, ulimits.nofile";
        let text = reason(&problem, &heard, &request);
        assert!(text.ends_with(&format!("within the unit's bounds: {bounds}")), "{text}");
        tracing::subscriber::with_default(subscriber, || {
            tracing::error!("failed to change the folder");
            tracing::error!("failed to make the container");
        });
        let text = reason(&problem, &heard, &request);
        assert!(text.contains("; libcontainer: failed to change the folder; "), "{text}");
        // What is our own says all there is.
        let own = ContainerProblem::Program { reason: "start /p: no".to_owned() };
        assert_eq!(reason(&own.into(), &heard, &request), "start /p: no");
    }
}
