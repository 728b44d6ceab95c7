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

use std::convert::Infallible;
use std::path::Path;

use ferrite_files::durable;
use ferrite_schema::shim::{self, Outcome};
use ferrite_shim::log;

use crate::{cgroup, container, handover, isolation, privilege};

/// Runs a shim in the current working directory. Once the container runs this process image is another,
/// `ferrite-shim`; this one comes back only where there is no container.
///
/// # Errors
/// The outcome could not be recorded: the agent will find the container lost.
pub fn run() -> anyhow::Result<()> {
    let folder = std::env::current_dir()?;
    let error = match own(&folder) {
        Ok(never) => match never {},
        Err(error) => error,
    };
    let outcome = Outcome::StartFailed { reason: ferrite_schema::chain(error.as_ref()) };
    durable::write(&folder.join(shim::OUTCOME), &serde_json::to_vec(&outcome)?)?;
    Ok(())
}

/// Makes the container and becomes its keeper.
fn own(folder: &Path) -> anyhow::Result<Infallible> {
    let request: shim::Request =
        serde_json::from_slice(&std::fs::read(folder.join(shim::REQUEST))?)?;
    privilege::separate()?;
    cgroup::join(Path::new(&request.shim_cgroup))?;
    let cgroup = cgroup::of_unit(&request.cgroup);
    cgroup.clear()?;
    // Its keeper writes it; where that would not work, nothing is started.
    drop(log::Log::open(Path::new(&request.log_dir), log::LIMITS)?);
    let isolated =
        isolation::prepare(&request, folder).inspect_err(|_error| drop(cgroup.clear()))?;
    let running = container::create_and_start(&request, &isolated.spec, folder)
        .inspect_err(|_error| drop(cgroup.clear()))?;
    drop(isolated.owners);
    let cgroup_folder = cgroup.path().to_string_lossy().into_owned();
    let error = handover::become_keeper(&running, &request, &cgroup_folder);
    drop(cgroup.clear());
    Err(error.into())
}
