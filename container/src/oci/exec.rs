//! `ferrite-oci exec`: a command that joins a container.
//!
//! libcontainer makes a process document out of options for itself, without the container's limits, and applies no
//! filter of system calls to what joins a container. So the document is made here, from the container's own process,
//! and the filter is installed as the container's process installs it.

use std::fs;
use std::path::{Path, PathBuf};

use ferrite_files::{durable, removal};
use libcontainer::container::Container;
use libcontainer::container::builder::ContainerBuilder;
use libcontainer::oci_spec::runtime::{Capabilities, Capability, Process, Spec, User};
use libcontainer::syscall::syscall::SyscallType;

use super::arguments::{Arguments, Usage};
use super::containers::{COMPLETED, load, wait};
use super::create::FILTERS;
use super::problem::{Problem, VerbProblem};
use super::specification;
use crate::seccomp::Program;
use crate::workload::Workload;

/// What libcontainer keeps of a specification, beside the state.
const CONFIG: &str = "youki_config.json";

#[derive(Default)]
struct Exec {
    env: Vec<String>,
    cwd: Option<PathBuf>,
    user: Option<(u32, Option<u32>)>,
    groups: Vec<u32>,
    capabilities: Vec<String>,
    no_new_privileges: bool,
    terminal: bool,
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
    let exec = parse(arguments)?;
    let id = arguments.word("ID")?;
    let container = load(root, &id)?;
    let completed = Path::new(root).join(COMPLETED).join(&id);
    let spec = Spec::load(completed.join("config.json")).map_err(VerbProblem::from)?;
    let profile = spec.linux().as_ref().and_then(|linux| linux.seccomp().as_ref());
    let filter = profile.map(|profile| Program::of(profile, &Path::new(root).join(FILTERS)));
    let filter = filter.transpose().map_err(VerbProblem::from)?;
    let mut process = process(&exec, arguments.rest(), &spec)?;
    if filter.is_some() {
        // Without its rights a process may install a filter only if it can gain none.
        process.set_no_new_privileges(Some(true));
    }
    let (detach, shadow) = (exec.detach, Shadow::make(&container, completed, &process)?);
    let build = || {
        ContainerBuilder::new(id, SyscallType::Linux)
            .with_root_path(&shadow.0)?
            .with_executor(Workload::new(filter, None))
            .with_console_socket(exec.console)
            .with_pid_file(exec.pid_file)?
            .with_preserved_fds(exec.preserve_fds)
            .validate_id()?
            .as_tenant()
            .with_detach(detach)
            .with_process(Some(shadow.process()))
            .with_ignore_paused(exec.ignore_paused)
            .with_sub_cgroup(exec.cgroup)
            .with_process_label(exec.label)
            .build()
    };
    let built = build().map_err(VerbProblem::from);
    drop(shadow);
    let pid = built?;
    if detach { Ok(0) } else { Ok(wait(pid.as_raw())?) }
}

/// The command as a process document: the caller's, or the container's own with what the options say.
fn process(exec: &Exec, words: Vec<String>, spec: &Spec) -> Result<Process, VerbProblem> {
    let root = spec.root().as_ref().map(|root| root.path().clone()).unwrap_or_default();
    let mut process = match &exec.process {
        Some(path) => specification::process(path)?,
        None => described(exec, words, spec)?,
    };
    specification::add_home(&mut process, &root);
    Ok(process)
}

fn described(exec: &Exec, words: Vec<String>, spec: &Spec) -> Result<Process, VerbProblem> {
    if words.is_empty() {
        return Err(VerbProblem::NoCommand);
    }
    let mut process = spec.process().clone().ok_or(VerbProblem::NoProcess)?;
    process.set_args(Some(words)).set_terminal(Some(exec.terminal)).set_console_size(None);
    let mut env = process.env().clone().unwrap_or_default();
    env.extend(exec.env.iter().cloned());
    process.set_env(Some(env));
    if let Some(cwd) = &exec.cwd {
        process.set_cwd(cwd.clone());
    }
    if exec.user.is_some() || !exec.groups.is_empty() {
        let mut user = User::default();
        let (uid, gid) = exec.user.unwrap_or((process.user().uid(), Some(process.user().gid())));
        user.set_uid(uid).set_gid(gid.unwrap_or(0));
        user.set_additional_gids(Some(exec.groups.clone()));
        process.set_user(user);
    }
    if exec.no_new_privileges {
        process.set_no_new_privileges(Some(true));
    }
    if exec.apparmor.is_some() {
        process.set_apparmor_profile(exec.apparmor.clone());
    }
    let more = exec.capabilities.iter().map(|name| {
        let unknown = |_error| VerbProblem::NoCapability { name: name.clone() };
        serde_json::from_value::<Capability>(name.as_str().into()).map_err(unknown)
    });
    let more = more.collect::<Result<Vec<_>, _>>()?;
    let mut sets = process.capabilities().clone().unwrap_or_default();
    let joined = |set: &Option<Capabilities>| {
        Some(set.iter().flatten().copied().chain(more.iter().copied()).collect())
    };
    let (bounding, effective, permitted) =
        (joined(sets.bounding()), joined(sets.effective()), joined(sets.permitted()));
    sets.set_bounding(bounding).set_effective(effective).set_permitted(permitted);
    process.set_capabilities(Some(sets));
    Ok(process)
}

/// A folder of containers for one command, as root of them all: libcontainer finds the container's specification by
/// the bundle in its state, and a bundle whose specification was completed leads to another cgroup, outside of all
/// limits. What is left of it goes with the container.
struct Shadow(PathBuf);

impl Shadow {
    fn make(
        container: &Container,
        completed: PathBuf,
        process: &Process,
    ) -> Result<Self, VerbProblem> {
        let shadow = Self(completed.join(format!("exec-{}", std::process::id())));
        let folder = shadow.0.join(container.id());
        let file = |path: &Path| {
            let path = path.to_owned();
            |source| VerbProblem::File { path, source }
        };
        durable::private_folder(&shadow.0).map_err(file(&shadow.0))?;
        durable::private_folder(&folder).map_err(file(&folder))?;
        let config = container.root.join(CONFIG);
        fs::copy(&config, folder.join(CONFIG)).map_err(file(&config))?;
        let mut state = container.state.clone();
        state.bundle = completed;
        state.save(&folder)?;
        let document = serde_json::to_vec(process).map_err(VerbProblem::Encode)?;
        durable::write(&shadow.process(), &document)?;
        Ok(shadow)
    }

    fn process(&self) -> PathBuf {
        self.0.join("process.json")
    }
}

impl Drop for Shadow {
    fn drop(&mut self) {
        drop(removal::remove(&self.0));
    }
}

fn parse(arguments: &mut Arguments) -> Result<Exec, Usage> {
    let mut exec = Exec::default();
    while let Some(option) = arguments.option()? {
        match option.as_str() {
            "-e" | "--env" => exec.env.push(arguments.value(&option)?),
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
            "-t" | "--tty" => exec.terminal = true,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_change_the_containers_own_process() {
        let words = ["-e", "A=b", "-e", "HOME=", "-u", "5:6", "-c", "CAP_KILL", "-t", "box", "ls"];
        let mut arguments = Arguments::new(words.map(str::to_owned).to_vec());
        let exec = parse(&mut arguments).unwrap();
        assert_eq!(arguments.word("ID").unwrap(), "box");
        let mut spec = Spec::default();
        let own = spec.process_mut().as_mut().unwrap();
        own.set_env(Some(["A=a", "HOME=/root"].map(str::to_owned).to_vec()));
        let found = process(&exec, arguments.rest(), &spec).unwrap();
        assert_eq!(found.args().as_ref().unwrap(), &["ls"]);
        // Nobody's home but the root: there is no image.
        assert_eq!(found.env().as_ref().unwrap(), &["A=a", "A=b", "HOME=/"]);
        assert_eq!((found.user().uid(), found.user().gid()), (5, 6));
        assert_eq!(
            (found.terminal(), found.rlimits()),
            (Some(true), spec.process().as_ref().unwrap().rlimits())
        );
        let bounding = found.capabilities().as_ref().unwrap().bounding().clone().unwrap();
        assert!(bounding.contains(&Capability::Kill));
        assert!(process(&Exec::default(), Vec::new(), &spec).is_err());
    }
}
