//! From the process image that makes containers to the one that waits for one: same process, same child, a
//! hundredth of the memory.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

use ferrite_schema::names;
use ferrite_schema::shim::Request;
use ferrite_schema::shim::{CUSTODY, Custody};
use rustix::io::FdFlags;

use super::container::Running;

/// The container could not be handed over.
#[derive(Debug, thiserror::Error)]
pub(super) enum HandOver {
    #[error("keep open what the container's keeper needs")]
    Inherit(#[source] io::Error),
    #[error("describe the container to its keeper")]
    Describe(#[from] serde_json::Error),
    #[error("become {}", program.display())]
    Become { program: PathBuf, source: io::Error },
}

/// Becomes the container's keeper. Comes back only where that does not work.
pub(super) fn become_keeper(running: &Running, request: &Request, cgroup: &str) -> HandOver {
    let streams = &running.streams;
    let inherit = |fd: BorrowedFd<'_>| {
        rustix::io::fcntl_setfd(fd, FdFlags::empty())
            .map(|()| fd.as_raw_fd())
            .map_err(|errno| HandOver::Inherit(errno.into()))
    };
    let describe = || -> Result<String, HandOver> {
        let optional = |fd: &Option<_>| {
            fd.as_ref().map(|fd: &std::os::fd::OwnedFd| inherit(fd.as_fd())).transpose()
        };
        let custody = Custody {
            pid: running.pid.as_raw_nonzero().get(),
            pidfd: inherit(running.pidfd.as_fd())?,
            stdout: inherit(streams.stdout.as_fd())?,
            stderr: optional(&streams.stderr)?,
            stdin: optional(&streams.stdin)?,
            tty: request.tty,
            cgroup: cgroup.to_owned(),
            log_dir: request.log_dir.clone(),
            beside: request.beside,
        };
        Ok(serde_json::to_string(&custody)?)
    };
    let custody = match describe() {
        Ok(custody) => custody,
        Err(error) => return error,
    };
    let program = program();
    let source = Command::new(&program).arg(&request.unit).env_clear().env(CUSTODY, custody).exec();
    HandOver::Become { program, source }
}

/// The keeper beside this program, as where both were built; the node's otherwise.
pub(crate) fn program() -> PathBuf {
    let beside = std::env::current_exe().map(|own| own.with_file_name("ferrite-shim"));
    beside.ok().filter(|path| path.exists()).unwrap_or_else(|| names::SHIM.into())
}
