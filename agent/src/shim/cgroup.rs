//! The container's cgroup: cleared before the start, killed and removed at the end.

use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use nix::poll::{PollFd, PollFlags, PollTimeout};

/// Where cgroup v2 is mounted.
pub(super) const ROOT: &str = "/sys/fs/cgroup";
/// Bound of the wait for killed processes to be gone. They cannot refuse; only a kernel or disk that hangs keeps them.
const EMPTY_TIMEOUT_MS: u16 = 10_000;

/// A cgroup could not be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum CgroupProblem {
    #[error("join cgroup {}", path.display())]
    Join { path: PathBuf, source: io::Error },
    #[error("kill what runs in cgroup {}", path.display())]
    Kill { path: PathBuf, source: io::Error },
    #[error("remove cgroup {}", path.display())]
    Remove { path: PathBuf, source: io::Error },
    #[error("wait until cgroup {} is empty: its processes do not end", path.display())]
    NotEmpty { path: PathBuf },
}

/// Moves the calling process to another cgroup, so that it lives on when the agent's is killed.
pub(super) fn join(path: &Path) -> Result<(), CgroupProblem> {
    fs::create_dir_all(path)
        .and_then(|()| fs::write(path.join("cgroup.procs"), "0"))
        .map_err(|source| CgroupProblem::Join { path: path.to_owned(), source })
}

/// The container's cgroup.
pub(super) struct Cgroup {
    path: PathBuf,
}

impl Cgroup {
    /// Names it; `relative` starts with `/`. Makes nothing.
    pub(super) fn of_unit(relative: &str) -> Self {
        Self { path: Path::new(ROOT).join(relative.trim_start_matches('/')) }
    }

    /// Kills all processes in it and below.
    pub(super) fn kill(&self) -> Result<(), CgroupProblem> {
        match fs::write(self.path.join("cgroup.kill"), "1") {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                Err(CgroupProblem::Kill { path: self.path.clone(), source })
            }
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Kills what is in it, waits until it is gone, removes it.
    pub(super) fn clear(&self) -> Result<(), CgroupProblem> {
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
            let mut fds = [PollFd::new(file.as_fd(), PollFlags::POLLPRI)];
            match nix::poll::poll(&mut fds, PollTimeout::from(EMPTY_TIMEOUT_MS)) {
                Ok(0) => return Err(CgroupProblem::NotEmpty { path: self.path.clone() }),
                Ok(_) | Err(nix::errno::Errno::EINTR) => {}
                Err(errno) => return Err(unreadable(errno.into())),
            }
        }
    }
}
