//! The container's cgroup: cleared before the start, killed and removed at the end.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rustix::event::{PollFd, PollFlags, Timespec};

/// Bound of the wait for killed processes to be gone. They cannot refuse; only a kernel or disk that hangs keeps them.
const EMPTY_TIMEOUT: Timespec = Timespec { tv_sec: 10, tv_nsec: 0 };

/// A cgroup could not be used.
#[derive(Debug, thiserror::Error)]
pub enum CgroupProblem {
    /// What runs in it could not be killed.
    #[error("kill what runs in cgroup {}", path.display())]
    Kill {
        /// Its folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It could not be removed.
    #[error("remove cgroup {}", path.display())]
    Remove {
        /// Its folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Killed processes stay.
    #[error("wait until cgroup {} is empty: its processes do not end", path.display())]
    NotEmpty {
        /// Its folder.
        path: PathBuf,
    },
}

/// The container's cgroup.
#[derive(Debug)]
pub struct Cgroup {
    path: PathBuf,
}

impl Cgroup {
    /// Names it by its folder. Makes nothing.
    #[must_use]
    pub fn new(path: PathBuf) -> Self {
        Self { path }
    }

    /// Its folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Kills all processes in it and below.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn kill(&self) -> Result<(), CgroupProblem> {
        match fs::write(self.path.join("cgroup.kill"), "1") {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                Err(CgroupProblem::Kill { path: self.path.clone(), source })
            }
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// The kernel has killed something in it for want of memory since it was made.
    #[must_use]
    pub fn oom_killed(&self) -> bool {
        fs::read_to_string(self.path.join("memory.events")).is_ok_and(|text| counts_oom_kill(&text))
    }

    /// Kills what is in it, waits until it is gone, removes it.
    ///
    /// # Errors
    /// It is still there.
    pub fn clear(&self) -> Result<(), CgroupProblem> {
        if !self.path.exists() {
            return Ok(());
        }
        self.kill()?;
        self.wait_empty()?;
        self.remove(&self.path)
    }

    fn remove(&self, folder: &Path) -> Result<(), CgroupProblem> {
        let failed = |source| CgroupProblem::Remove { path: folder.to_owned(), source };
        for entry in fs::read_dir(folder).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            if entry.file_type().map_err(failed)?.is_dir() {
                self.remove(&entry.path())?;
            }
        }
        fs::remove_dir(folder).map_err(failed)
    }

    fn wait_empty(&self) -> Result<(), CgroupProblem> {
        let path = self.path.join("cgroup.events");
        let unreadable = |source| CgroupProblem::Kill { path: self.path.clone(), source };
        loop {
            // The kernel wakes pollers of a file that was read before the change, so: open, read, poll.
            let mut file = fs::File::open(&path).map_err(unreadable)?;
            let mut text = String::new();
            io::Read::read_to_string(&mut file, &mut text).map_err(unreadable)?;
            if text.lines().any(|line| line == "populated 0") {
                return Ok(());
            }
            let mut fds = [PollFd::new(&file, PollFlags::PRI)];
            match rustix::event::poll(&mut fds, Some(&EMPTY_TIMEOUT)) {
                Ok(0) => return Err(CgroupProblem::NotEmpty { path: self.path.clone() }),
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(errno) => return Err(unreadable(errno.into())),
            }
        }
    }
}

fn counts_oom_kill(events: &str) -> bool {
    let counted = events.lines().find_map(|line| line.strip_prefix("oom_kill "));
    counted.is_some_and(|count| count.trim() != "0")
}

#[cfg(test)]
mod tests {
    use super::counts_oom_kill;

    #[test]
    fn an_oom_kill_is_told_from_a_mere_limit() {
        let events = |kills: u32| {
            format!("low 0\nhigh 0\nmax 71\noom 1\noom_kill {kills}\noom_group_kill 0\n")
        };
        assert!(!counts_oom_kill(&events(0)));
        assert!(counts_oom_kill(&events(1)));
        assert!(!counts_oom_kill(""));
    }
}
