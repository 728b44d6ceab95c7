//! What is done to one container.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use ferrite_files::durable::WriteFile;
use ferrite_files::removal;
use libcontainer::container::{Container, ContainerStatus, State, StateConversionError};
use libcontainer::error::LibcontainerError;
use libcontainer::oci_spec::OciSpecError;
use libcontainer::signal::Signal;
use nix::sys::wait::{WaitStatus, waitpid};

use super::Problem;
use super::arguments::{Arguments, Usage};
use super::create::{make, parse};
use super::devices::DevicesProblem;
use super::list::say;
use super::update::UpdateProblem;
use crate::limits::LimitsProblem;
use crate::seccomp::ProgramProblem;

/// Added to a signal's number for the exit status, as shells do.
const SIGNAL_BASE: i32 = 128;
/// Folder of specifications that were completed; no container may have its name.
pub(super) const COMPLETED: &str = ".specifications";

/// A verb was not carried out.
#[derive(Debug, thiserror::Error)]
pub(super) enum VerbProblem {
    #[error("use systemd for cgroups: this runtime manages them itself")]
    Systemd,
    #[error("find container {id}: it does not exist")]
    NoContainer { id: String },
    #[error(transparent)]
    Container(#[from] LibcontainerError),
    #[error("read or write the specification")]
    Specification(#[from] OciSpecError),
    #[error("keep the state")]
    State(#[from] libcontainer::container::state::StateError),
    #[error("understand the state")]
    Understand(#[from] StateConversionError),
    #[error(transparent)]
    Devices(#[from] DevicesProblem),
    #[error(transparent)]
    Limits(#[from] LimitsProblem),
    #[error(transparent)]
    Update(#[from] UpdateProblem),
    #[error(transparent)]
    Write(#[from] WriteFile),
    #[error("use {}", path.display())]
    File { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Filter(#[from] ProgramProblem),
    #[error("run nothing: no command was given")]
    NoCommand,
    #[error("find the container's process in its specification")]
    NoProcess,
    #[error("add capability {name}: there is no such capability")]
    NoCapability { name: String },
    #[error("wait for the container")]
    Wait(#[source] io::Error),
    #[error("write JSON")]
    Encode(#[source] serde_json::Error),
    #[error("write to standard output")]
    Say(#[source] io::Error),
}

/// `ferrite-oci create`.
pub(super) fn create(arguments: &mut Arguments, root: &str) -> Result<u8, Problem> {
    let (create, id) = parse(arguments)?;
    make(&create, root, &id, true)?;
    Ok(0)
}

/// `ferrite-oci run`.
pub(super) fn run(arguments: &mut Arguments, root: &str) -> Result<u8, Problem> {
    let (create, id) = parse(arguments)?;
    let mut container = make(&create, root, &id, create.detach)?;
    if let Err(problem) = container.start() {
        // Whoever runs a container does not ask for it again.
        drop(remove(&mut container, root, true));
        return Err(VerbProblem::from(problem).into());
    }
    let Some(pid) = container.pid().filter(|_| !create.detach) else { return Ok(0) };
    let code = wait(pid.as_raw())?;
    if !create.keep {
        remove(&mut container, root, true)?;
    }
    Ok(code)
}

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

/// `ferrite-oci start`.
pub(super) fn start(arguments: &mut Arguments, root: &str) -> Result<u8, Problem> {
    load(root, &arguments.word("ID")?)?.start().map_err(VerbProblem::from)?;
    Ok(0)
}

/// `ferrite-oci pause`.
pub(super) fn pause(arguments: &mut Arguments, root: &str) -> Result<u8, Problem> {
    load(root, &arguments.word("ID")?)?.pause().map_err(VerbProblem::from)?;
    Ok(0)
}

/// `ferrite-oci resume`.
pub(super) fn resume(arguments: &mut Arguments, root: &str) -> Result<u8, Problem> {
    load(root, &arguments.word("ID")?)?.resume().map_err(VerbProblem::from)?;
    Ok(0)
}

/// `ferrite-oci state`.
pub(super) fn state(arguments: &mut Arguments, root: &str) -> Result<u8, Problem> {
    let container = load(root, &arguments.word("ID")?)?;
    let state: &State = &container.state;
    let text = serde_json::to_string_pretty(state).map_err(VerbProblem::Encode)?;
    Ok(say(&text)?)
}

/// `ferrite-oci kill`.
pub(super) fn kill(arguments: &mut Arguments, root: &str) -> Result<u8, Problem> {
    let mut all = false;
    let mut words = Vec::new();
    loop {
        while let Some(option) = arguments.option()? {
            match option.as_str() {
                "-a" | "--all" => all = true,
                _ => return Err(Usage::UnknownOption { option }.into()),
            }
        }
        match arguments.optional_word() {
            Some(word) => words.push(word),
            None => break,
        }
    }
    let mut words = words.into_iter();
    let id = words.next().ok_or(Usage::Missing { what: "ID" })?;
    let word = words.next().unwrap_or_else(|| "SIGTERM".to_owned());
    let signal = Signal::try_from(word.as_str())
        .map_err(|_unknown| Usage::Invalid { what: "signal", word })?;
    load(root, &id)?.kill(signal, all).map_err(VerbProblem::from)?;
    Ok(0)
}

/// `ferrite-oci delete`.
pub(super) fn delete(arguments: &mut Arguments, root: &str) -> Result<u8, Problem> {
    let mut force = false;
    let mut id = None;
    loop {
        while let Some(option) = arguments.option()? {
            match option.as_str() {
                "-f" | "--force" => force = true,
                _ => return Err(Usage::UnknownOption { option }.into()),
            }
        }
        match arguments.optional_word() {
            Some(word) => id = Some(word),
            None => break,
        }
    }
    let id = id.ok_or(Usage::Missing { what: "ID" })?;
    match load(root, &id) {
        Ok(mut container) => remove(&mut container, root, force)?,
        Err(VerbProblem::NoContainer { .. }) if force => {}
        Err(problem) => return Err(problem.into()),
    }
    Ok(0)
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
