//! Cgroups: who is in them, killed with all that is below, and removed.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec};

/// Where cgroup v2 is mounted.
pub const ROOT: &str = "/sys/fs/cgroup";

/// A cgroup could not be used.
#[derive(Debug, thiserror::Error)]
pub enum CgroupProblem {
    /// It could not be made, or nobody moved to it.
    #[error("move process {pid} to cgroup {}", path.display())]
    Hold {
        /// Its folder.
        path: PathBuf,
        /// Who.
        pid: u32,
        /// Why.
        source: io::Error,
    },
    /// Who is in it cannot be read.
    #[error("read who is in cgroup {}", path.display())]
    Count {
        /// Its folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
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

/// A cgroup. It need not be there: then nobody is in it.
#[derive(Debug, Clone)]
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

    /// Cgroup `relative`, which begins with `/`, below the root of all.
    #[must_use]
    pub fn below_root(relative: &str) -> Self {
        Self::new(Path::new(ROOT).join(relative.trim_start_matches('/')))
    }

    /// Makes it where it is not there, and moves a process to it; 0 is the one that calls.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn hold(&self, pid: u32) -> Result<(), CgroupProblem> {
        fs::create_dir_all(&self.path)
            .and_then(|()| fs::write(self.path.join("cgroup.procs"), pid.to_string()))
            .map_err(|source| CgroupProblem::Hold { path: self.path.clone(), pid, source })
    }

    /// How many processes are in it, without those below.
    ///
    /// # Errors
    /// The kernel does not say.
    pub fn count(&self) -> Result<usize, CgroupProblem> {
        match fs::read_to_string(self.path.join("cgroup.procs")) {
            Ok(text) => Ok(text.lines().count()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
            Err(source) => Err(CgroupProblem::Count { path: self.path.clone(), source }),
        }
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

    /// Kills what is in it, waits until it is gone, `within` at most, and removes it. Killed processes cannot refuse; only a
    /// kernel or disk that hangs keeps them.
    ///
    /// # Errors
    /// It is still there.
    pub fn clear(&self, within: Duration) -> Result<(), CgroupProblem> {
        if !self.path.exists() {
            return Ok(());
        }
        self.kill()?;
        self.wait_empty(within)?;
        remove(&self.path)
    }

    fn wait_empty(&self, within: Duration) -> Result<(), CgroupProblem> {
        let within = Timespec::try_from(within).ok();
        let path = self.path.join("cgroup.events");
        let unreadable = |source| CgroupProblem::Kill { path: self.path.clone(), source };
        loop {
            // The kernel wakes pollers of a file that was read before the change, so: open, read, poll.
            let mut file = match fs::File::open(&path) {
                // Somebody else has removed it.
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
                opened => opened.map_err(unreadable)?,
            };
            let mut text = String::new();
            io::Read::read_to_string(&mut file, &mut text).map_err(unreadable)?;
            if text.lines().any(|line| line == "populated 0") {
                return Ok(());
            }
            let mut fds = [PollFd::new(&file, PollFlags::PRI)];
            match rustix::event::poll(&mut fds, within.as_ref()) {
                Ok(0) => return Err(CgroupProblem::NotEmpty { path: self.path.clone() }),
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(errno) => return Err(unreadable(errno.into())),
            }
        }
    }
}

fn remove(folder: &Path) -> Result<(), CgroupProblem> {
    let failed = |source| CgroupProblem::Remove { path: folder.to_owned(), source };
    let gone = |error: &io::Error| error.kind() == io::ErrorKind::NotFound;
    let entries = match fs::read_dir(folder) {
        Err(error) if gone(&error) => return Ok(()),
        entries => entries.map_err(failed)?,
    };
    for entry in entries {
        let entry = entry.map_err(failed)?;
        if entry.file_type().map_err(failed)?.is_dir() {
            remove(&entry.path())?;
        }
    }
    match fs::remove_dir(folder) {
        Err(error) if !gone(&error) => Err(failed(error)),
        Ok(()) | Err(_) => Ok(()),
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

#[cfg(test)]
mod as_root {
    use std::os::unix::process::ExitStatusExt;
    use std::process::{Child, Command, Stdio};

    use super::*;

    const SOON: Duration = Duration::from_secs(10);

    /// A process that ends with its test, however that ends.
    struct Kept(Child);

    impl Drop for Kept {
        fn drop(&mut self) {
            drop(self.0.kill().and_then(|()| self.0.wait()));
        }
    }

    fn sleeper() -> Kept {
        Kept(Command::new("/bin/sleep").arg("1000").stdin(Stdio::null()).spawn().unwrap())
    }

    /// Where cgroup v2 is, also on a host that has the older one at its place.
    fn mounted() -> PathBuf {
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
        let fields: Vec<Vec<&str>> = mounts.lines().map(|line| line.split(' ').collect()).collect();
        fields.iter().find(|fields| fields[2] == "cgroup2").unwrap()[1].into()
    }

    /// A cgroup that a lost shim has left, with one below it, and a process that does not end by itself.
    #[test]
    fn what_is_left_of_a_container_is_killed_and_removed() {
        let path = mounted().join(format!("ferrite-left-{}", std::process::id()));
        let cgroup = Cgroup::new(path.clone());
        cgroup.clear(SOON).unwrap();
        assert_eq!(cgroup.count().unwrap(), 0);
        let mut left = sleeper();
        Cgroup::new(path.join("inner")).hold(left.0.id()).unwrap();
        cgroup.clear(SOON).unwrap();
        assert!(!path.exists());
        assert_eq!(left.0.wait().unwrap().signal(), Some(9));
        cgroup.kill().unwrap();
    }

    #[test]
    fn who_is_held_is_killed_and_nobody_beside_it() {
        let of = |name: &str| {
            Cgroup::new(mounted().join(format!("ferrite-held-{name}-{}", std::process::id())))
        };
        let (own, other) = (of("own"), of("other"));
        let (mut hangs, mut others) = (sleeper(), sleeper());
        own.hold(hangs.0.id()).unwrap();
        other.hold(others.0.id()).unwrap();
        assert_eq!((own.count().unwrap(), other.count().unwrap()), (1, 1));
        own.kill().unwrap();
        assert_eq!(hangs.0.wait().unwrap().signal(), Some(9));
        assert!(others.0.try_wait().unwrap().is_none());
        own.clear(SOON).unwrap();
        other.clear(SOON).unwrap();
    }
}
