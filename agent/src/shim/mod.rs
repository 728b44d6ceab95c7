//! `ferrite-agent shim`: one process per container, which owns it from its creation to its last byte of output.
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
//! | `request.json` | agent, before the shim | [`protocol::Request`] |
//! | `shim.sock` | agent, before the shim | listening socket; held by the shim alone, so it answers as long as the shim lives |
//! | `outcome.json` | shim, at its end | [`protocol::Outcome`] |
//! | `shim.err` | shim's standard error | what a crash left |
//! | `bundle/`, `state/` | shim | for libcontainer |

pub mod protocol;

mod cgroup;
mod container;
mod log;
mod loopback;
mod privilege;
mod rootfs;
mod seccomp;
mod spec;
mod user;
mod watch;

use std::path::Path;

use protocol::Outcome;
use watch::Finished;

use crate::durable;

/// Runs a shim in the current working directory.
///
/// # Errors
/// The outcome could not be recorded: the agent will find the container lost.
pub fn run() -> anyhow::Result<()> {
    let folder = std::env::current_dir()?;
    let finished = own(&folder).unwrap_or_else(|error| Finished {
        outcome: Outcome::StartFailed { reason: crate::chain(error.as_ref()) },
        connections: Vec::new(),
    });
    durable::write(&folder.join(protocol::OUTCOME), &serde_json::to_vec(&finished.outcome)?)?;
    // Only now: the agent takes the end of a connection for the sign to read the outcome.
    drop(finished.connections);
    Ok(())
}

/// The container's whole life.
fn own(folder: &Path) -> anyhow::Result<Finished> {
    let request: protocol::Request =
        serde_json::from_slice(&std::fs::read(folder.join(protocol::REQUEST))?)?;
    privilege::separate()?;
    cgroup::join(Path::new(&request.shim_cgroup))?;
    let cgroup = cgroup::Cgroup::of_unit(&request.cgroup);
    cgroup.clear()?;
    let rootfs = rootfs::mount(&request, folder)?;
    let log = log::Log::open(Path::new(&request.log_dir), log::LIMITS)?;
    let spec = spec::build(&request, &rootfs)?;
    let running = container::create_and_start(&request, &spec, folder)
        .inspect_err(|_error| drop(cgroup.clear()))?;
    privilege::drop_capabilities()?;
    let finished = watch::watch(running, log, &cgroup)?;
    // The container is gone; its files go with the next start, an empty cgroup costs nothing.
    drop(std::fs::remove_dir_all(folder.join("state")));
    Ok(finished)
}
