//! The network of another container: this process enters it before it makes its own, whose process then begins there.
//!
//! A network belongs to the user namespace that it was made in, and nobody else may do anything with it, not even look at it in
//! `/sys`. So a container that shares a network shares that user namespace, too, unless it has the node's.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use ferrite_schema::shim::SharedNetwork;
use rustix::thread::ThreadNameSpaceType;

use super::exec::enter;

/// Another container's network could not be entered.
#[derive(Debug, thiserror::Error)]
#[error("share the network of {unit}: {act}")]
pub(super) struct JoinProblem {
    unit: String,
    act: &'static str,
    source: io::Error,
}

/// Enters the network of a container that runs; answers with its user namespace.
///
/// Only for a single-threaded process, whose network namespace is the thread's.
pub(super) fn join(shared: &SharedNetwork) -> Result<File, JoinProblem> {
    let failed =
        |act| move |source: io::Error| JoinProblem { unit: shared.unit.clone(), act, source };
    let found = enter::container(Path::new(&shared.folder), &shared.cgroup);
    let (pid, pidfd) = found.map_err(failed("find its container: it does not run"))?;
    let users = File::open(format!("/proc/{}/ns/user", pid.as_raw_nonzero()))
        .map_err(failed("open its user namespace"))?;
    // Entered by the descriptor, which a process that is gone does not answer to: so the other one was its, too.
    rustix::thread::move_into_thread_name_spaces(pidfd.as_fd(), ThreadNameSpaceType::NETWORK)
        .map_err(|errno| failed("enter it")(errno.into()))?;
    Ok(users)
}

#[cfg(test)]
mod as_root;
