//! Taking over a container from the process image that made it.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;

use ferrite_schema::shim::{CUSTODY, Custody};
use rustix::io::Errno;
use rustix::process::Pid;
use rustix::thread::{CapabilitySet, CapabilitySets};

/// A container could not be taken over.
#[derive(Debug, thiserror::Error)]
pub enum TakeOver {
    /// This program was not started by the agent's shim.
    #[error("read which container is held: this program is started by ferrite-container only")]
    NotHeld,
    /// The document is none.
    #[error("read what is held")]
    Read(#[from] serde_json::Error),
    /// A number is no open file.
    #[error("take over open file {number}")]
    Take {
        /// The number.
        number: i32,
        /// Why.
        source: Errno,
    },
    /// Its process cannot have that number.
    #[error("take over process {pid}")]
    Process {
        /// The number.
        pid: i32,
    },
    /// The socket is none.
    #[error("take over the socket")]
    Socket(#[source] io::Error),
    /// Capabilities stayed.
    #[error("drop capabilities")]
    DropCapabilities(#[source] Errno),
}

/// A container that is held.
#[derive(Debug)]
pub struct Held {
    /// Its first process, a child of this one.
    pub pid: Pid,
    /// Its pidfd.
    pub pidfd: OwnedFd,
    /// Its standard output, or its terminal's master.
    pub stdout: OwnedFd,
    /// Its standard error.
    pub stderr: Option<OwnedFd>,
    /// Its standard input; the terminal's master stands for it where it has one.
    pub stdin: Option<OwnedFd>,
    /// `stdout` is a terminal's master.
    pub tty: bool,
    /// Where the agent connects.
    pub listener: UnixListener,
    /// Folder of its cgroup.
    pub cgroup: String,
    /// Folder for its log.
    pub log_dir: String,
    /// It is a command before or after the unit's program.
    pub beside: bool,
}

/// Takes what the environment names, and keeps only the capability to send signals: this process lives as long
/// as its container and reads what that writes.
///
/// # Errors
/// Nothing is held.
pub fn take() -> Result<Held, TakeOver> {
    let text = std::env::var(CUSTODY).map_err(|_absent| TakeOver::NotHeld)?;
    let custody: Custody = serde_json::from_str(&text)?;
    let take = |number: i32| {
        ferrite_sys::inherited::take(number).map_err(|source| TakeOver::Take { number, source })
    };
    let optional = |number: Option<i32>| number.map(take).transpose();
    let pid = Pid::from_raw(custody.pid).ok_or(TakeOver::Process { pid: custody.pid })?;
    let listener = rustix::io::fcntl_dupfd_cloexec(io::stdin(), 3)
        .map_err(|errno| TakeOver::Socket(errno.into()))?;
    let held = Held {
        pid,
        pidfd: take(custody.pidfd)?,
        stdout: take(custody.stdout)?,
        stderr: optional(custody.stderr)?,
        stdin: optional(custody.stdin)?,
        tty: custody.tty,
        listener: UnixListener::from(listener),
        cgroup: custody.cgroup,
        log_dir: custody.log_dir,
        beside: custody.beside,
    };
    held.listener.set_nonblocking(true).map_err(TakeOver::Socket)?;
    drop_capabilities().map_err(TakeOver::DropCapabilities)?;
    Ok(held)
}

/// Keeps the capability to send signals, where it is there.
pub(crate) fn drop_capabilities() -> Result<(), Errno> {
    let kept = rustix::thread::capabilities(None)?.permitted & CapabilitySet::KILL;
    let sets =
        CapabilitySets { effective: kept, permitted: kept, inheritable: CapabilitySet::empty() };
    rustix::thread::set_capabilities(None, sets)
}
