//! Into the container: its namespaces, its cgroup, its rights, and then the command.

use std::fs;
use std::io::{self, BufRead, BufReader};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use ferrite_schema::shim::{Notice, REQUEST, Request, SOCKET};
use ferrite_schema::stream::ExecRequest;
use ferrite_sys::cgroup::Cgroup;
use ferrite_sys::confined::{self, Confinement, Step};
use libcontainer::oci_spec::OciSpecError;
use libcontainer::oci_spec::runtime::{Capabilities, Process, Spec};
use rustix::io::Errno;
use rustix::process::{DumpableBehavior, Gid, Pid, PidfdFlags, Uid};
use rustix::thread::{CapabilitySet, ThreadNameSpaceType};

use super::terminal::{self, TerminalProblem};
use super::{Leftovers, bounds};
use crate::owners::Ids;
use crate::reaper::{self, ReaperProblem};
use crate::seccomp::{self, Program, ProgramProblem};
use crate::user::{self, UserProblem};
use crate::workload::{self, Unexecuted};

/// A living shim answers at once.
const GREETING: Duration = Duration::from_secs(10);
/// Where the specification of the container is.
const SPEC: &str = "bundle/config.json";
/// Namespaces by their names below `/proc/PID/ns`.
const NAMESPACES: [(&str, ThreadNameSpaceType); 7] = [
    ("user", ThreadNameSpaceType::USER),
    ("mnt", ThreadNameSpaceType::MOUNT),
    ("pid", ThreadNameSpaceType::PROCESS_ID),
    ("net", ThreadNameSpaceType::NETWORK),
    ("ipc", ThreadNameSpaceType::INTER_PROCESS_COMMUNICATION),
    ("uts", ThreadNameSpaceType::HOST_NAME_AND_NIS_DOMAIN_NAME),
    ("cgroup", ThreadNameSpaceType::CONTROL_GROUP),
];

/// The command was not started.
#[derive(Debug, thiserror::Error)]
pub(super) enum EnterProblem {
    #[error("find the unit's container: it does not run")]
    NotRunning(#[source] io::Error),
    #[error("read what the container was made from")]
    Request(#[source] io::Error),
    #[error("read the container's specification")]
    Spec(#[from] OciSpecError),
    #[error("find the container's rights in its specification")]
    NoProcess,
    #[error("run nothing: no command was given")]
    NoCommand,
    #[error(transparent)]
    User(#[from] UserProblem),
    #[error(
        "run as user or group {id}: the unit has no such ID; those beyond 65535 are named by number in its `user`"
    )]
    NoSuchId { id: u32 },
    #[error("open the container's control group")]
    Cgroup(#[source] io::Error),
    #[error("keep the command apart from the container's program")]
    Apart(#[source] io::Error),
    #[error(transparent)]
    Reaper(#[from] ReaperProblem),
    #[error("set the limits of the command")]
    Limits(#[source] io::Error),
    #[error("enter the container")]
    Enter(#[source] io::Error),
    #[error(transparent)]
    Terminal(#[from] TerminalProblem),
    #[error(transparent)]
    Filter(#[from] ProgramProblem),
    #[error("work in {folder}")]
    WorkingDirectory { folder: String, source: io::Error },
    #[error(transparent)]
    Unexecuted(#[from] Unexecuted),
    #[error("start {command}: this node could not {}", what(*step))]
    Start { command: String, step: Option<Step>, source: io::Error },
}

/// What the node did not do for a command; nothing where no process was made for it.
fn what(step: Option<Step>) -> String {
    step.map_or_else(|| "make a process for it".to_owned(), |step| step.to_string())
}

impl EnterProblem {
    /// There is no such command.
    pub(super) fn is_absent(&self) -> bool {
        match self {
            Self::Unexecuted(Unexecuted::Absent { .. }) => true,
            Self::Unexecuted(Unexecuted::Refused { source, .. }) => {
                source.kind() == io::ErrorKind::NotFound
            }
            _ => false,
        }
    }

    /// It is the node that failed, and nothing is said of the command, its container or who asks.
    pub(super) fn is_nodes(&self) -> bool {
        match self {
            Self::Request(_)
            | Self::Spec(_)
            | Self::NoProcess
            | Self::Cgroup(_)
            | Self::Apart(_)
            | Self::Reaper(_)
            | Self::Limits(_)
            | Self::Enter(_)
            | Self::Terminal(_)
            | Self::Filter(_)
            | Self::Unexecuted(Unexecuted::Filter(_))
            | Self::Start { .. } => true,
            Self::NotRunning(_)
            | Self::NoCommand
            | Self::User(_)
            | Self::NoSuchId { .. }
            | Self::WorkingDirectory { .. }
            | Self::Unexecuted(_) => false,
        }
    }
}

/// A command that runs.
pub(super) struct Started {
    pub(super) child: Child,
    /// The master of its terminal.
    pub(super) terminal: Option<OwnedFd>,
    /// The `cgroup.kill` of a control group that is its own; the child is its parent there then, and ends soon after it.
    pub(super) kill: Option<OwnedFd>,
}

/// Starts the command that is asked for. Afterwards this process is in the container's namespaces.
pub(super) fn start(request: &ExecRequest, leftovers: Leftovers) -> Result<Started, EnterProblem> {
    if request.command.is_empty() {
        return Err(EnterProblem::NoCommand);
    }
    let made_from: Request = fs::read(REQUEST)
        .and_then(|bytes| Ok(serde_json::from_slice(&bytes)?))
        .map_err(EnterProblem::Request)?;
    // Its shim speaks once everything is written.
    let (pid, pidfd) =
        container(Path::new(""), &made_from.cgroup).map_err(EnterProblem::NotRunning)?;
    let spec = Spec::load(SPEC)?;
    let process = spec.process().as_ref().ok_or(EnterProblem::NoProcess)?;
    let profile = spec.linux().as_ref().and_then(|linux| linux.seccomp().as_ref());
    // Found where the node's files are still to be seen.
    let filter = profile.map(|profile| Program::of(profile, &seccomp::folder())).transpose()?;
    let (mut confinement, home) = rights(request, process, &made_from, pid)?;
    let mut kill = None;
    if leftovers == Leftovers::Go {
        let reaper = reaper::of_check(Cgroup::below_root(&made_from.cgroup).path())?;
        let own = reaper.apart.as_ref().map(|apart| apart.kill.try_clone());
        kill = own.transpose().map_err(EnterProblem::Apart)?;
        confinement.reaper = Some(reaper);
    }
    let namespaces = namespaces(pid).map_err(EnterProblem::Enter)?;
    rank(process).map_err(EnterProblem::Limits)?;
    enter(&pidfd, namespaces).map_err(|errno| EnterProblem::Enter(errno.into()))?;
    drop(pidfd);
    let environment = environment(request, process, home.as_ref());
    let program = workload::Command::new(&request.command, &environment)?;
    let execution = program.execution(&environment)?;
    // What it executes is said to the child by `execution`, with its words and its environment.
    let mut command = Command::new(request.command.first().map_or("", String::as_str));
    command.current_dir(working_directory(request, process)?);
    let master = if request.tty {
        let (master, slave) = terminal::make(confinement.uid, request.size)?;
        let copy = || slave.try_clone().map_err(EnterProblem::Enter);
        command.stdin(copy()?).stdout(copy()?).stderr(slave);
        Some(master)
    } else {
        let stdin = if request.stdin { Stdio::piped() } else { Stdio::null() };
        command.stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped());
        None
    };
    let steps = confined::confine(&mut command, confinement, execution);
    let steps = steps.map_err(EnterProblem::Enter)?;
    if let Some(filter) = filter {
        // On this process, from which the command inherits it: what follows here needs little.
        filter.install()?;
    }
    let child = command.spawn().map_err(|source| {
        let errno = source.raw_os_error().map(Errno::from_raw_os_error);
        match (steps.last(), errno) {
            (Some(Step::Execute), Some(errno)) => program.refused(None, errno).into(),
            (step, _) => EnterProblem::Start { command: request.command.join(" "), step, source },
        }
    })?;
    Ok(Started { child, terminal: master, kill })
}

/// The container's environment, what the user's differs in, and what was asked for.
fn environment(request: &ExecRequest, process: &Process, home: Option<&String>) -> Vec<String> {
    let own = process.env().as_deref().unwrap_or_default();
    let mut all = workload::environment(own.iter().chain(home).chain(&request.env));
    if request.tty && !request.env.iter().any(|pair| pair.starts_with("TERM=")) {
        all.retain(|pair| !pair.starts_with("TERM="));
        all.push("TERM=xterm".to_owned());
    }
    all
}

/// Looked at here: of the child's own look, nobody could tell its reason from the program's.
fn working_directory<'a>(
    request: &'a ExecRequest,
    process: &'a Process,
) -> Result<&'a Path, EnterProblem> {
    let folder = request.workdir.as_deref().map_or(process.cwd().as_path(), Path::new);
    let failed = |source| {
        let folder = folder.display().to_string();
        EnterProblem::WorkingDirectory { folder, source }
    };
    let is_folder = fs::metadata(folder).map_err(failed)?.is_dir();
    if is_folder { Ok(folder) } else { Err(failed(io::ErrorKind::NotADirectory.into())) }
}

/// The first process of the container with this run folder. Its shim says which; that it is in the container's cgroup shows that the number
/// was not given to another since.
pub(crate) fn container(folder: &Path, cgroup: &str) -> io::Result<(Pid, OwnedFd)> {
    let gone = || io::Error::from(io::ErrorKind::NotFound);
    let stream = UnixStream::connect(folder.join(SOCKET))?;
    stream.set_read_timeout(Some(GREETING))?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line)?;
    let Notice::Started { pid: number } = serde_json::from_str(&line)?;
    let pid = Pid::from_raw(number).ok_or_else(gone)?;
    let pidfd = rustix::process::pidfd_open(pid, PidfdFlags::empty())?;
    let found = fs::read_to_string(format!("/proc/{number}/cgroup"))?;
    // Below a node's cgroup root the path is whole; a test may run below another.
    let inside = |path: &str| path == cgroup || path.starts_with(&format!("{cgroup}/"));
    if found.lines().filter_map(|line| line.strip_prefix("0::")).any(inside) {
        return Ok((pid, pidfd));
    }
    Err(gone())
}

fn rights(
    request: &ExecRequest,
    process: &Process,
    made_from: &Request,
    pid: Pid,
) -> Result<(Confinement, Option<String>), EnterProblem> {
    let (uid, gid, groups, home) = match &request.user {
        Some(text) => {
            let root = format!("/proc/{}/root", pid.as_raw_nonzero());
            let user = user::find(text, Path::new(&root))?;
            let home = format!("HOME={}", user.home.as_deref().unwrap_or("/"));
            (user.uid, user.gid, user.groups, Some(home))
        }
        None => {
            let user = process.user();
            (user.uid(), user.gid(), user.additional_gids().clone().unwrap_or_default(), None)
        }
    };
    let ids = Ids::of(made_from);
    if let Some(id) = [uid, gid].iter().chain(&groups).find(|id| ids.outside(**id).is_none()) {
        return Err(EnterProblem::NoSuchId { id: *id });
    }
    let cgroup = Cgroup::below_root(&made_from.cgroup);
    let cgroup = fs::File::options()
        .write(true)
        .open(cgroup.path().join("cgroup.procs"))
        .map_err(EnterProblem::Cgroup)?;
    let sets = process.capabilities().as_ref();
    let set =
        |pick: fn(&libcontainer::oci_spec::runtime::LinuxCapabilities) -> &Option<Capabilities>| {
            sets.map_or(CapabilitySet::empty(), |sets| capabilities(pick(sets).as_ref()))
        };
    let ambient = set(|sets| sets.ambient());
    let confinement = Confinement {
        cgroup: cgroup.into(),
        terminal: request.tty,
        uid,
        gid,
        groups,
        bounding: set(|sets| sets.bounding()),
        permitted: if uid == 0 { set(|sets| sets.permitted()) } else { ambient },
        ambient,
        limits: bounds::of(process.rlimits().as_deref().unwrap_or_default()),
        no_new_privileges: process.no_new_privileges().unwrap_or(true),
        reaper: None,
    };
    bounds::raise(&confinement.limits).map_err(EnterProblem::Limits)?;
    Ok((confinement, home))
}

fn capabilities(named: Option<&Capabilities>) -> CapabilitySet {
    let bits = named.into_iter().flatten().filter_map(|capability| {
        // Both lists name capabilities as the kernel does.
        let name = format!("CAP_{}", capability.to_string().trim_start_matches("CAP_"));
        name.parse::<caps::Capability>().ok().map(|capability| 1_u64 << capability.index())
    });
    CapabilitySet::from_bits_retain(bits.fold(0, |all, bit| all | bit))
}

/// The command's place in the order in which the kernel kills when memory runs out.
fn rank(process: &Process) -> io::Result<()> {
    fs::write("/proc/self/oom_score_adj", process.oom_score_adj().unwrap_or(0).to_string())
}

/// Those of the container's namespaces that are not ours already: entering one's own user namespace is an error.
pub(crate) fn namespaces(pid: Pid) -> io::Result<ThreadNameSpaceType> {
    let mut flags = ThreadNameSpaceType::empty();
    for (name, flag) in NAMESPACES {
        let own = fs::read_link(format!("/proc/self/ns/{name}"))?;
        if own != fs::read_link(format!("/proc/{}/ns/{name}", pid.as_raw_nonzero()))? {
            flags |= flag;
        }
    }
    Ok(flags)
}

pub(crate) fn enter(pidfd: &OwnedFd, namespaces: ThreadNameSpaceType) -> rustix::io::Result<()> {
    // Nothing in the container may look at the child before it executes the command: it still holds our memory.
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    if !namespaces.is_empty() {
        rustix::thread::move_into_thread_name_spaces(pidfd.as_fd(), namespaces)?;
    }
    if namespaces.contains(ThreadNameSpaceType::USER) {
        // As the container's root, so that what is made here (a terminal) belongs to it. Capabilities stay.
        rustix::thread::set_thread_res_gid(Gid::ROOT, Gid::ROOT, Gid::ROOT)?;
        rustix::thread::set_thread_res_uid(Uid::ROOT, Uid::ROOT, Uid::ROOT)?;
    }
    Ok(())
}
