//! Cgroups of containers whose shim cannot look after them: killed, and removed where nobody else does.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

use rustix::event::{PollFd, PollFlags, Timespec};

/// Where cgroup v2 is mounted.
pub(crate) const ROOT: &str = "/sys/fs/cgroup";
/// Bound of the wait for killed processes to be gone: they cannot refuse, and a cgroup that stays is the next start's to clear.
const EMPTY_TIMEOUT: Timespec = Timespec { tv_sec: 2, tv_nsec: 0 };

/// Kills all processes in it and below; none are there where it is not.
///
/// # Errors
/// The kernel refuses.
pub(crate) fn kill(path: &Path) -> io::Result<()> {
    absent_is_fine(fs::write(path.join("cgroup.kill"), "1"))
}

/// Kills what is in it, waits until it is gone, removes it.
///
/// # Errors
/// It is still there.
pub(crate) fn clear(path: &Path) -> io::Result<()> {
    if !path.exists() {
        return Ok(());
    }
    kill(path)?;
    wait_empty(path)?;
    absent_is_fine(remove(path))
}

fn absent_is_fine(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

fn remove(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove(&entry.path())?;
        }
    }
    fs::remove_dir(folder)
}

fn wait_empty(path: &Path) -> io::Result<()> {
    loop {
        // The kernel wakes pollers of a file that was read before the change, so: open, read, poll.
        let mut file = File::open(path.join("cgroup.events"))?;
        let mut text = String::new();
        file.read_to_string(&mut text)?;
        if text.lines().any(|line| line == "populated 0") {
            return Ok(());
        }
        match rustix::event::poll(&mut [PollFd::new(&file, PollFlags::PRI)], Some(&EMPTY_TIMEOUT)) {
            Ok(0) => return Err(io::ErrorKind::TimedOut.into()),
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

#[cfg(test)]
mod as_root {
    use std::path::PathBuf;
    use std::process::{Child, Command, Stdio};

    use super::*;

    /// A process that ends with its test, however that ends.
    struct Kept(Child);

    impl Drop for Kept {
        fn drop(&mut self) {
            drop(self.0.kill().and_then(|()| self.0.wait()));
        }
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
        let path = mounted().join(format!("ferrite-units-{}", std::process::id()));
        clear(&path).unwrap();
        fs::create_dir_all(path.join("inner")).unwrap();
        let left = Command::new("/bin/sleep").arg("1000").stdin(Stdio::null()).spawn().unwrap();
        let mut left = Kept(left);
        fs::write(path.join("inner/cgroup.procs"), left.0.id().to_string()).unwrap();
        clear(&path).unwrap();
        assert!(!path.exists());
        assert!(!left.0.wait().unwrap().success());
        kill(&path).unwrap();
    }
}
