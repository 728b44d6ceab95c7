//! Starting a process cut off from its parent: own session, own control group, own place in the order in
//! which the kernel kills when memory runs out.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::fs::{Mode, OFlags};

/// How far a child is set apart. The standard library gives it the default action for `SIGPIPE`, and PID 1
/// changes no other; the empty signal mask is ours to give.
#[derive(Debug)]
pub struct Apart {
    /// Its control group's `cgroup.procs`, open for writing; where absent, it stays in its parent's.
    pub cgroup: Option<OwnedFd>,
    /// Its `oom_score_adj`, as text: −1000 (never killed) to 1000.
    pub oom_score_adj: &'static str,
}

/// Makes `command` start its process as `apart` says.
pub fn set_apart(command: &mut Command, apart: Apart) {
    let in_child = move || -> io::Result<()> {
        rustix::process::setsid()?;
        nix::sys::signal::SigSet::empty().thread_set_mask()?;
        if let Some(cgroup) = &apart.cgroup {
            // "0" is whoever writes.
            rustix::io::write(cgroup, b"0")?;
        }
        let file = rustix::fs::open(
            c"/proc/self/oom_score_adj",
            OFlags::WRONLY | OFlags::CLOEXEC,
            Mode::empty(),
        )?;
        rustix::io::write(file.as_fd(), apart.oom_score_adj.as_bytes())?;
        Ok(())
    };
    // SAFETY: between fork and exec the closure only makes system calls on values made before the fork; it
    // neither allocates nor takes a lock, so it is sound even if another thread existed.
    unsafe { command.pre_exec(in_child) };
}

/// From now on the calling thread does not hear `SIGTERM`: a process whose only thread this is ends when it is done, or by
/// `SIGKILL`.
///
/// # Errors
/// The kernel does not know the signal.
pub fn outlive_termination() -> io::Result<()> {
    let mut signals = nix::sys::signal::SigSet::empty();
    signals.add(nix::sys::signal::Signal::SIGTERM);
    Ok(signals.thread_block()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_child_leads_its_own_session_with_nothing_blocked() {
        let mut blocked = nix::sys::signal::SigSet::empty();
        blocked.add(nix::sys::signal::Signal::SIGCHLD);
        blocked.thread_block().unwrap();
        let mut command = Command::new("/usr/bin/cat");
        command.args(["/proc/self/stat", "/proc/self/oom_score_adj", "/proc/self/status"]);
        set_apart(&mut command, Apart { cgroup: None, oom_score_adj: "500" });
        let output = command.output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let mut lines = text.lines();
        let stat: Vec<&str> = lines.next().unwrap().split(' ').collect();
        assert_eq!(stat[0], stat[5], "process is not the leader of its session: {stat:?}");
        assert_eq!(lines.next(), Some("500"));
        assert!(text.contains("SigBlk:\t0000000000000000"), "{text}");
        // Rust programs ignore SIGPIPE themselves; a child must not start with that.
        let ignored = text.lines().find_map(|line| line.strip_prefix("SigIgn:\t")).unwrap();
        assert_eq!(u64::from_str_radix(ignored, 16).unwrap() & (1 << 12), 0, "{text}");
    }

    #[test]
    fn a_child_that_cannot_be_placed_is_not_started() {
        let mut command = Command::new("/usr/bin/cat");
        // Open for reading, so the write in the child fails.
        let cgroup = std::fs::File::open("/dev/null").unwrap().into();
        set_apart(&mut command, Apart { cgroup: Some(cgroup), oom_score_adj: "0" });
        assert!(command.output().is_err());
    }

    #[test]
    fn termination_is_not_heard() {
        let worker = std::thread::spawn(|| {
            outlive_termination().unwrap();
            let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
            let blocked = status.lines().find_map(|line| line.strip_prefix("SigBlk:\t")).unwrap();
            u64::from_str_radix(blocked, 16).unwrap() & (1 << 14)
        });
        assert_ne!(worker.join().unwrap(), 0);
    }
}
