//! Starts the agent, signals it, and reaps whatever ends.

use std::fs::OpenOptions;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::process::{Command, Stdio};

use ferrite_schema::names;
use ferrite_sys::child::{Apart, set_apart};
use rustix::io::Errno;
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitOptions, kill_process, pidfd_open, pidfd_send_signal, wait,
};

use super::cgroups;
use super::supervisor::Ended;

/// The agent goes almost last when memory runs out: units can be started again, by the agent.
/// Its own children inherit this, so the agent sets theirs.
const AGENT_OOM_SCORE_ADJ: &str = "-900";
/// There is no shell and nothing to search for; some libraries insist on a value.
const PATH: &str = "/usr/bin:/usr/sbin";

/// The agent could not be started.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum StartAgent {
    #[error("open the control group of the agent")]
    OpenCgroup { source: io::Error },
    #[error("start {}", names::AGENT)]
    Spawn { source: io::Error },
    #[error("keep hold of the agent's process")]
    OpenPidfd { source: Errno },
}

/// A process of ours. Its number cannot be reused while we have not reaped it, and its descriptor never
/// means another process.
#[derive(Debug)]
pub struct Process {
    pid: Pid,
    pidfd: OwnedFd,
}

impl Process {
    /// Process ID.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.pid.as_raw_nonzero().get()
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// The process has ended.
    pub fn signal(&self, signal: Signal) -> Result<(), Errno> {
        pidfd_send_signal(&self.pidfd, signal)
    }
}

impl AsFd for Process {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }
}

/// Starts the agent with its output going to `output`.
///
/// # Errors
/// Says what could not be done; nothing is left running.
pub fn start_agent(output: BorrowedFd<'_>) -> Result<Process, StartAgent> {
    let path = Path::new(cgroups::AGENT).join("cgroup.procs");
    let cgroup = match OpenOptions::new().write(true).open(path) {
        Ok(file) => Some(file.into()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(source) => return Err(StartAgent::OpenCgroup { source }),
    };
    let copy = || output.try_clone_to_owned().map_err(|source| StartAgent::Spawn { source });
    let mut command = Command::new(names::AGENT);
    command
        .env_clear()
        .env("PATH", PATH)
        .env("HOME", "/")
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(copy()?)
        .stderr(copy()?);
    set_apart(&mut command, Apart { cgroup, oom_score_adj: AGENT_OOM_SCORE_ADJ });
    let child = command.spawn().map_err(|source| StartAgent::Spawn { source })?;
    let pid = Pid::from_child(&child);
    let pidfd =
        pidfd_open(pid, PidfdFlags::empty()).map_err(|source| StartAgent::OpenPidfd { source })?;
    Ok(Process { pid, pidfd })
}

/// What reaping found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reaped {
    /// A process ended.
    Ended {
        /// Process ID.
        pid: i32,
        /// How.
        how: Ended,
    },
    /// Children are left, none of them has ended.
    NoneEnded,
    /// No children are left.
    Alone,
}

/// Takes one process that has ended. `SIGCHLD` coalesces, so call it until nothing is left.
#[must_use]
pub fn reap() -> Reaped {
    loop {
        match wait(WaitOptions::NOHANG) {
            Ok(Some((pid, status))) => {
                let how = match (status.exit_status(), status.terminating_signal()) {
                    (Some(status), _) => Ended::Status(status),
                    (None, Some(signal)) => Ended::Signal(signal),
                    // Stops and continues are not asked for.
                    (None, None) => continue,
                };
                return Reaped::Ended { pid: pid.as_raw_nonzero().get(), how };
            }
            Ok(None) => return Reaped::NoneEnded,
            Err(Errno::INTR) => {}
            // ECHILD; the call has no other way to fail.
            Err(_) => return Reaped::Alone,
        }
    }
}

/// Sends `signal` to every process but PID 1. As anything else than PID 1 it does nothing.
pub fn signal_everyone(signal: Signal) {
    if rustix::process::getpid() == Pid::INIT {
        // A pid of −1 means everyone; rustix has no name for it, nix has.
        let everyone = nix::unistd::Pid::from_raw(-1);
        let signal = nix::sys::signal::Signal::try_from(signal.as_raw());
        if let Ok(signal) = signal {
            nix::sys::signal::kill(everyone, signal).ok();
        }
    }
}

/// Ends the process with that number, which must be a child of ours that was not reaped.
pub fn kill(pid: i32) {
    if let Some(pid) = Pid::from_raw(pid) {
        kill_process(pid, Signal::KILL).ok();
    }
}
