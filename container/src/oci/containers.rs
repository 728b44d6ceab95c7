//! Containers by their names: how they are found, waited for and removed.

use std::fs;
use std::path::{Path, PathBuf};

use ferrite_files::removal;
use libcontainer::container::{Container, ContainerStatus};
use libcontainer::error::LibcontainerError;
use libcontainer::signal::Signal;
use nix::sys::wait::{WaitStatus, waitpid};
use rustix::process::Pid;

use super::problem::VerbProblem;

/// Added to a signal's number for the exit status, as shells do.
const SIGNAL_BASE: i32 = 128;
/// Folder of specifications that were completed; no container may have its name.
pub(super) const COMPLETED: &str = ".specifications";

/// Waits for a child; its exit status, as shells give it.
pub(super) fn wait(pid: i32) -> Result<u8, VerbProblem> {
    let code = loop {
        match waitpid(nix::unistd::Pid::from_raw(pid), None) {
            Ok(WaitStatus::Exited(_, code)) => break code,
            Ok(WaitStatus::Signaled(_, signal, _)) => break SIGNAL_BASE + signal as i32,
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(errno) => return Err(VerbProblem::Wait(errno.into())),
        }
    };
    Ok(u8::try_from(code & 0xff).unwrap_or(u8::MAX))
}

/// Such a name is a folder's of its own below the root.
pub(super) fn is_plain(id: &str) -> bool {
    !id.is_empty() && !id.starts_with('.') && !id.contains('/')
}

/// A container by its name.
pub(super) fn load(root: &str, id: &str) -> Result<Container, VerbProblem> {
    let missing = || VerbProblem::NoContainer { id: id.to_owned() };
    let folder = Path::new(root).join(id);
    if !is_plain(id) || !folder.is_dir() {
        return Err(missing());
    }
    let mut container = Container::load(folder)?;
    container.refresh_status()?;
    if !runs_in_its_cgroup(&container)? {
        container.set_status(ContainerStatus::Stopped);
    }
    Ok(container)
}

/// The process of that number is the container's, and the number not another's since.
fn runs_in_its_cgroup(container: &Container) -> Result<bool, VerbProblem> {
    let Some(pid) = container.pid() else { return Ok(false) };
    let Ok(found) = fs::read_to_string(format!("/proc/{}/cgroup", pid.as_raw())) else {
        return Ok(false);
    };
    let own = container.spec()?.cgroup_path;
    let inside = |path: &str| Path::new(path).starts_with(&own);
    Ok(found.lines().filter_map(|line| line.strip_prefix("0::")).any(inside))
}

/// Folder of a container's cgroup.
pub(super) fn cgroup_folder(path: &Path) -> PathBuf {
    Path::new("/sys/fs/cgroup").join(path.strip_prefix("/").unwrap_or(path))
}

/// Numbers of all processes in a cgroup and below it.
pub(super) fn processes(folder: &Path) -> Result<Vec<i32>, VerbProblem> {
    let failed = |source| VerbProblem::File { path: PathBuf::from(folder), source };
    let text = fs::read_to_string(folder.join("cgroup.procs")).map_err(failed)?;
    let mut pids: Vec<i32> = text.lines().filter_map(|line| line.parse().ok()).collect();
    for entry in fs::read_dir(folder).map_err(failed)?.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            pids.extend(processes(&entry.path())?);
        }
    }
    Ok(pids)
}

/// Sends a container, or all that is in its cgroup, a signal by its number. libcontainer numbers two signals as other
/// systems do when it reads them, and knows no real-time ones, which podman stops systemd in a container with.
pub(super) fn signal(container: &mut Container, number: i32, all: bool) -> Result<(), VerbProblem> {
    if let Ok(named) = Signal::try_from(number) {
        return Ok(container.kill(named, all)?);
    }
    if !all && !container.can_kill() {
        return Err(LibcontainerError::IncorrectStatus(container.status()).into());
    }
    let pids = if all {
        processes(&cgroup_folder(&container.spec()?.cgroup_path))?
    } else {
        container.pid().map(|pid| pid.as_raw()).into_iter().collect()
    };
    for pid in pids.into_iter().filter_map(Pid::from_raw) {
        let Some(signal) = ferrite_sys::signal::numbered(number) else { continue };
        match rustix::process::kill_process(pid, signal) {
            // One that has ended needs no signal.
            Ok(()) | Err(rustix::io::Errno::SRCH) => {}
            Err(errno) => return Err(VerbProblem::Signal(errno.into())),
        }
    }
    Ok(())
}

/// Removes a container and what is kept about it.
pub(super) fn remove(
    container: &mut Container,
    root: &str,
    force: bool,
) -> Result<(), VerbProblem> {
    let id = container.id().to_owned();
    container.delete(force)?;
    let completed = Path::new(root).join(COMPLETED).join(id);
    removal::remove(&completed)
        .map_err(|error| VerbProblem::File { path: completed, source: error.source })
}
