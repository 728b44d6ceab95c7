//! What is done to one container.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use libcontainer::container::builder::ContainerBuilder;
use libcontainer::container::{Container, State, StateConversionError};
use libcontainer::error::LibcontainerError;
use libcontainer::oci_spec::OciSpecError;
use libcontainer::signal::Signal;
use libcontainer::syscall::syscall::SyscallType;
use nix::sys::wait::{WaitStatus, waitpid};

use super::Problem;
use super::arguments::{Arguments, Usage};
use super::create::{make, parse};
use super::devices::DevicesProblem;
use super::list::say;
use super::update::UpdateProblem;
use crate::shim::LimitsProblem;
use crate::shim::seccomp::ProgramProblem;

/// Added to a signal's number for the exit status, as shells do.
const SIGNAL_BASE: i32 = 128;
/// Folder of specifications that were completed; no container may have its name.
pub(super) const COMPLETED: &str = ".specifications";

/// What libcontainer keeps of a specification, beside the state.
const CONFIG: &str = "youki_config.json";

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
    #[error("use {}", path.display())]
    File { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Filter(#[from] ProgramProblem),
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
    container.start().map_err(VerbProblem::from)?;
    let Some(pid) = container.pid().filter(|_| !create.detach) else { return Ok(0) };
    let pid = nix::unistd::Pid::from_raw(pid.as_raw());
    let code = loop {
        match waitpid(pid, None) {
            Ok(WaitStatus::Exited(_, code)) => break code,
            Ok(WaitStatus::Signaled(_, signal, _)) => break SIGNAL_BASE + signal as i32,
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(errno) => return Err(VerbProblem::Wait(errno.into()).into()),
        }
    };
    if !create.keep {
        remove(&mut container, root, true)?;
    }
    Ok(u8::try_from(code & 0xff).unwrap_or(u8::MAX))
}

/// A container by its name.
pub(super) fn load(root: &str, id: &str) -> Result<Container, VerbProblem> {
    let missing = || VerbProblem::NoContainer { id: id.to_owned() };
    let plain = !id.is_empty() && !id.starts_with('.') && !id.contains('/');
    let folder = Path::new(root).join(id);
    if !plain || !folder.is_dir() {
        return Err(missing());
    }
    let mut container = Container::load(folder)?;
    container.refresh_status()?;
    Ok(container)
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
    match fs::remove_dir_all(&completed) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(VerbProblem::File { path: completed, source })
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

#[derive(Default)]
struct Exec {
    env: HashMap<String, String>,
    cwd: Option<PathBuf>,
    user: Option<(u32, Option<u32>)>,
    groups: Vec<u32>,
    capabilities: Vec<String>,
    no_new_privileges: bool,
    process: Option<PathBuf>,
    console: Option<PathBuf>,
    pid_file: Option<PathBuf>,
    preserve_fds: i32,
    detach: bool,
    ignore_paused: bool,
    cgroup: Option<String>,
    label: Option<String>,
    apparmor: Option<String>,
}

/// `ferrite-oci exec`.
pub(super) fn exec(arguments: &mut Arguments, root: &str) -> Result<u8, Problem> {
    let exec = parse_exec(arguments)?;
    let id = arguments.word("ID")?;
    let container = load(root, &id)?;
    let detach = exec.detach;
    let shadow = shadow(&container, root)?;
    let build = || {
        let (uid, gid) = exec.user.unzip();
        ContainerBuilder::new(id, SyscallType::Linux)
            .with_root_path(shadow.as_deref().unwrap_or(Path::new(root)))?
            .with_console_socket(exec.console)
            .with_pid_file(exec.pid_file)?
            .with_preserved_fds(exec.preserve_fds)
            .validate_id()?
            .as_tenant()
            .with_detach(detach)
            .with_env(exec.env)
            .with_cwd(exec.cwd)
            .with_capabilities(exec.capabilities)
            .with_no_new_privs(exec.no_new_privileges)
            .with_process(exec.process)
            .with_additional_gids(exec.groups)
            .with_user(uid)
            .with_group(gid.flatten())
            .with_ignore_paused(exec.ignore_paused)
            .with_sub_cgroup(exec.cgroup)
            .with_process_label(exec.label)
            .with_apparmor(exec.apparmor)
            .with_container_args(arguments.rest())
            .build()
    };
    let built = build().map_err(VerbProblem::from);
    if let Some(shadow) = &shadow {
        // What is left goes with the container.
        drop(fs::remove_dir_all(shadow));
    }
    let pid = built?;
    if detach {
        return Ok(0);
    }
    let code = loop {
        match waitpid(nix::unistd::Pid::from_raw(pid.as_raw()), None) {
            Ok(WaitStatus::Exited(_, code)) => break code,
            Ok(WaitStatus::Signaled(_, signal, _)) => break SIGNAL_BASE + signal as i32,
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(errno) => return Err(VerbProblem::Wait(errno.into()).into()),
        }
    };
    Ok(u8::try_from(code & 0xff).unwrap_or(u8::MAX))
}

/// A folder of containers for one command: libcontainer finds the container's specification by the bundle in its
/// state, and a bundle whose specification was completed leads to another cgroup, outside of all limits.
fn shadow(container: &Container, root: &str) -> Result<Option<PathBuf>, VerbProblem> {
    let completed = Path::new(root).join(COMPLETED).join(container.id());
    if !completed.is_dir() {
        return Ok(None);
    }
    let shadow = completed.join(format!("exec-{}", std::process::id()));
    let folder = shadow.join(container.id());
    fs::create_dir_all(&folder)
        .map_err(|source| VerbProblem::File { path: folder.clone(), source })?;
    let config = Path::new(root).join(container.id()).join(CONFIG);
    fs::copy(&config, folder.join(CONFIG))
        .map_err(|source| VerbProblem::File { path: config, source })?;
    let mut state = container.state.clone();
    state.bundle = completed;
    state.save(&folder)?;
    Ok(Some(shadow))
}

fn parse_exec(arguments: &mut Arguments) -> Result<Exec, Usage> {
    let mut exec = Exec::default();
    while let Some(option) = arguments.option()? {
        match option.as_str() {
            "-e" | "--env" => {
                let pair = arguments.value(&option)?;
                let (name, value) = pair.split_once('=').unwrap_or((&pair, ""));
                exec.env.insert(name.to_owned(), value.to_owned());
            }
            "--cwd" => exec.cwd = Some(arguments.value(&option)?.into()),
            "-u" | "--user" => exec.user = Some(user(arguments.value(&option)?)?),
            "-g" | "--additional-gids" => exec.groups.push(arguments.number(&option)?),
            "-c" | "--cap" => exec.capabilities.push(arguments.value(&option)?),
            "--no-new-privs" => exec.no_new_privileges = true,
            "-p" | "--process" => exec.process = Some(arguments.value(&option)?.into()),
            "--console-socket" => exec.console = Some(arguments.value(&option)?.into()),
            "--pid-file" => exec.pid_file = Some(arguments.value(&option)?.into()),
            "--preserve-fds" => exec.preserve_fds = arguments.number(&option)?,
            "-d" | "--detach" => exec.detach = true,
            "--ignore-paused" => exec.ignore_paused = true,
            "--cgroup" => exec.cgroup = Some(arguments.value(&option)?),
            "--process-label" => exec.label = Some(arguments.value(&option)?),
            "--apparmor" => exec.apparmor = Some(arguments.value(&option)?),
            "-t" | "--tty" => {}
            _ => return Err(Usage::UnknownOption { option }),
        }
    }
    Ok(exec)
}

fn user(word: String) -> Result<(u32, Option<u32>), Usage> {
    let (uid, gid) = match word.split_once(':') {
        Some((uid, gid)) => (uid.parse().ok(), gid.parse().ok().map(Some)),
        None => (word.parse().ok(), Some(None)),
    };
    uid.zip(gid).ok_or(Usage::Invalid { what: "user", word })
}
