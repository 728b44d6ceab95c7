//! A QEMU process by its identity: process ID and start time, so that an ID that was given to somebody else
//! in the meantime is never touched.

use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::deadline::{Deadline, wait_readable};

/// Field of `/proc/PID/stat` that holds the start time, counted from 1. See `proc_pid_stat(5)`.
const START_TIME_FIELD: usize = 22;
/// First field after the command name, which may itself contain blanks and brackets.
const FIELD_AFTER_NAME: usize = 3;

/// A process and when it started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// Process ID.
    pub pid: i32,
    /// Start, in clock ticks since the host's boot.
    pub start_ticks: u64,
}

impl Identity {
    /// Text of a pid file.
    #[must_use]
    pub fn to_text(self) -> String {
        format!("{} {}\n", self.pid, self.start_ticks)
    }

    /// Reads the text of a pid file.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (pid, start_ticks) = text.trim_end().split_once(' ')?;
        let pid = pid.parse().ok().filter(|pid| *pid > 0)?;
        Some(Self { pid, start_ticks: start_ticks.parse().ok()? })
    }

    /// Identity of the process that has `pid` now.
    ///
    /// # Errors
    /// There is none.
    pub fn of(pid: i32) -> io::Result<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        let start_ticks = parse_start_ticks(&stat).ok_or(io::ErrorKind::InvalidData)?;
        Ok(Self { pid, start_ticks })
    }
}

/// A process that is held: the ID in it cannot come to mean another one.
#[derive(Debug)]
pub struct Process {
    identity: Identity,
    pidfd: OwnedFd,
}

impl Process {
    /// Takes hold of the process; `None` where it does not exist any more.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn open(identity: Identity) -> io::Result<Option<Self>> {
        let Some(pid) = Pid::from_raw(identity.pid) else { return Ok(None) };
        let pidfd = match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(pidfd) => pidfd,
            Err(rustix::io::Errno::SRCH) => return Ok(None),
            Err(errno) => return Err(errno.into()),
        };
        // Read after the hold is taken: what /proc says now is about the held process.
        match Identity::of(identity.pid) {
            Ok(found) if found == identity => Ok(Some(Self { identity, pidfd })),
            Ok(_) | Err(_) => Ok(None),
        }
    }

    /// Takes hold of the process that a pid file names; `None` where it is absent, unreadable as a pid
    /// file, or names a process that is gone.
    ///
    /// # Errors
    /// The file cannot be read, or the kernel refuses.
    pub fn open_file(path: &Path) -> io::Result<Option<Self>> {
        match fs::read_to_string(path) {
            Ok(text) => Identity::parse(&text).map_or(Ok(None), Self::open),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Who it is.
    #[must_use]
    pub fn identity(&self) -> Identity {
        self.identity
    }

    /// Kills it at once. One that has ended already is fine.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn kill(&self) -> io::Result<()> {
        match pidfd_send_signal(&self.pidfd, Signal::KILL) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Waits for its end; false when the deadline passes first.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn wait(&self, deadline: Deadline) -> io::Result<bool> {
        Ok(wait_readable(&[self.pidfd.as_fd()], deadline)?.is_some())
    }
}

impl AsFd for Process {
    /// Readable once the process has ended.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }
}

fn parse_start_ticks(stat: &str) -> Option<u64> {
    let (_, after_name) = stat.rsplit_once(')')?;
    after_name.split_ascii_whitespace().nth(START_TIME_FIELD - FIELD_AFTER_NAME)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};
    use std::time::Duration;

    use super::*;

    #[test]
    fn pid_files_round_trip_and_rubbish_is_refused() {
        let identity = Identity { pid: 4711, start_ticks: 123_456 };
        assert_eq!(Identity::parse(&identity.to_text()), Some(identity));
        for rubbish in ["", "1", "0 5", "-1 5", "a 5", "5 a", "5  6", "\n"] {
            assert_eq!(Identity::parse(rubbish), None, "{rubbish:?}");
        }
    }

    #[test]
    fn a_name_with_brackets_does_not_shift_the_fields() {
        let fields = (3..=30).map(|field| (field * 10).to_string()).collect::<Vec<_>>().join(" ");
        assert_eq!(parse_start_ticks(&format!("7 (a) b) c) {fields}")), Some(220));
        assert_eq!(parse_start_ticks("7 (a"), None);
        assert_eq!(parse_start_ticks("7 (a) 1 2"), None);
    }

    #[test]
    fn another_process_with_the_same_id_is_not_taken() {
        let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
        let identity = Identity::of(i32::try_from(child.id()).unwrap()).unwrap();
        let other = Identity { start_ticks: identity.start_ticks + 1, ..identity };
        assert!(Process::open(other).unwrap().is_none());

        let process = Process::open(identity).unwrap().unwrap();
        assert!(!process.wait(Deadline::after(Duration::ZERO)).unwrap());
        process.kill().unwrap();
        assert!(process.wait(Deadline::after(Duration::from_secs(10))).unwrap());
        child.wait().unwrap();
        process.kill().unwrap();
        assert!(Process::open(identity).unwrap().is_none());
    }
}
