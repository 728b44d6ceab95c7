//! A container's creation through libcontainer.

use std::fs::{self, File};
use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use ferrite_files::durable::{self, WriteFile};
use ferrite_files::removal::{self, RemoveTree};
use ferrite_net::cable::{self, CableProblem};
use ferrite_schema::shim::Request;
use ferrite_sys::cgroup::Cgroup;
use libcontainer::container::Container;
use libcontainer::container::builder::ContainerBuilder;
use libcontainer::error::LibcontainerError;
use libcontainer::oci_spec::runtime::Spec;
use libcontainer::syscall::syscall::SyscallType;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags};
use rustix::pipe::PipeFlags;
use rustix::process::{Gid, Pid, PidfdFlags, Uid};

use super::owners::Ids;
use super::reaper::{self, ReaperProblem};
use super::resources::{self, ResourcesProblem};
use super::seccomp::{self, Program, ProgramProblem};
use super::workload::{self, Speaker, Workload};

/// The kernel's file for this process's rank when memory runs out.
const OOM_SCORE: &str = "/proc/self/oom_score_adj";
/// In libcontainer's folder, the specification of the container's first process, which installs its filter of
/// system calls itself; no container may have its name.
const FIRST: &str = ".first";
/// Where libcontainer leaves the master of the container's terminal; in the run folder.
const CONSOLE: &str = "console.sock";

/// A container could not be made.
#[derive(Debug, thiserror::Error)]
pub(super) enum ContainerProblem {
    #[error("prepare the container's folder")]
    Prepare(#[source] io::Error),
    #[error(transparent)]
    Remove(#[from] RemoveTree),
    #[error("write the container's specification")]
    WriteSpec(#[from] WriteFile),
    #[error("encode the container's specification")]
    EncodeSpec(#[source] serde_json::Error),
    #[error("make the container's streams")]
    Streams(#[source] io::Error),
    #[error("take the container's terminal")]
    Terminal(#[source] io::Error),
    #[error("create the container")]
    Create(#[source] LibcontainerError),
    #[error("find the container's process")]
    FindProcess(#[source] io::Error),
    #[error(transparent)]
    Filter(#[from] ProgramProblem),
    #[error(transparent)]
    Init(#[from] ReaperProblem),
    #[error(transparent)]
    Connect(#[from] CableProblem),
    #[error(transparent)]
    Bound(#[from] ResourcesProblem),
    #[error("start the container's program")]
    Start(#[source] LibcontainerError),
    #[error("{reason}")]
    Program { reason: String },
    #[error("restore this process's rank when memory runs out")]
    OomScore(#[source] io::Error),
}

impl ContainerProblem {
    /// It is libcontainer's, whose errors are texts without their causes.
    pub(super) fn is_libcontainers(&self) -> bool {
        matches!(self, Self::Create(_) | Self::Start(_))
    }
}

/// A container whose program runs.
pub(super) struct Running {
    pub(super) pid: Pid,
    pub(super) pidfd: OwnedFd,
    pub(super) streams: Streams,
}

/// The node's ends of a container's streams.
pub(super) struct Streams {
    /// Its standard output, or its terminal's master.
    pub(super) stdout: OwnedFd,
    /// Absent with a terminal.
    pub(super) stderr: Option<OwnedFd>,
    /// Absent where nothing is ever written to it, and with a terminal.
    pub(super) stdin: Option<OwnedFd>,
}

/// Creates the container in its own namespaces and starts its program.
pub(super) fn create_and_start(
    request: &Request,
    spec: &Spec,
    folder: &Path,
) -> Result<Running, ContainerProblem> {
    let (listener, speaker) = workload::channel().map_err(ContainerProblem::Streams)?;
    // What the container's process said is nearer to the cause than what its maker makes of its end.
    let said = |problem| match (problem, listener.until_now()) {
        (ContainerProblem::Create(_), Some(reason)) => ContainerProblem::Program { reason },
        (problem, _) => problem,
    };
    let (mut container, ends) = create(request, spec, folder, speaker).map_err(said)?;
    let missing = || ContainerProblem::FindProcess(io::ErrorKind::NotFound.into());
    let pid = container.pid().and_then(|pid| Pid::from_raw(pid.as_raw())).ok_or_else(missing)?;
    // Its status is this process's to collect, so the number cannot belong to another before that.
    let pidfd = rustix::process::pidfd_open(pid, PidfdFlags::empty())
        .map_err(|errno| ContainerProblem::FindProcess(errno.into()))?;
    let streams = ends.outer().map_err(ContainerProblem::Terminal)?;
    resources::settle(Cgroup::below_root(&request.cgroup).path(), &request.resources)?;
    cable::connect(pid.as_raw_nonzero().get(), &request.network)?;
    container.start().map_err(ContainerProblem::Start)?;
    match listener.to_the_end() {
        Some(reason) => Err(ContainerProblem::Program { reason }),
        None => Ok(Running { pid, pidfd, streams }),
    }
}

/// Creates the container; its program waits to be started.
fn create(
    request: &Request,
    spec: &Spec,
    folder: &Path,
    speaker: Speaker,
) -> Result<(Container, Ends), ContainerProblem> {
    let (bundle, state) = (folder.join("bundle"), folder.join("state"));
    removal::remove(&state)?;
    let first = state.join(FIRST);
    for folder in [&bundle, &state, &first] {
        durable::private_folder(folder).map_err(ContainerProblem::Prepare)?;
    }
    let mut spec = spec.clone();
    if let Some(process) = spec.process_mut() {
        process.set_terminal(Some(request.tty));
    }
    // Commands that join the container later are bound by all of it.
    write_spec(&bundle, &spec)?;
    let filter = Program::take(&mut spec, &seccomp::folder())?;
    write_spec(&first, &spec)?;
    let reaper = request.init.then(reaper::first).transpose()?;
    // libcontainer's names have no `@`, ours no `+`.
    let builder = ContainerBuilder::new(request.unit.replace('@', "+"), SyscallType::Linux)
        .with_root_path(&state)
        .map_err(ContainerProblem::Create)?
        .with_executor(Workload::new(filter, Some(speaker)).below(reaper));
    // libcontainer writes the container's rank to the file of this process, and leaves it there.
    let rank = fs::read_to_string(OOM_SCORE).map_err(ContainerProblem::OomScore)?;
    let (built, ends) = if request.tty {
        let socket = folder.join(CONSOLE);
        let listener = UnixListener::bind(&socket).map_err(ContainerProblem::Terminal)?;
        let built = init(builder.with_console_socket(Some(&socket)), &first);
        (built, Ends::Terminal(listener))
    } else {
        let (streams, inner) = pipes(request.stdin).map_err(ContainerProblem::Streams)?;
        inner.give_to(request, &spec).map_err(ContainerProblem::Streams)?;
        let builder =
            builder.with_stdin(inner.stdin).with_stdout(inner.stdout).with_stderr(inner.stderr);
        (init(builder, &first), Ends::Pipes(streams))
    };
    fs::write(OOM_SCORE, rank.trim()).map_err(ContainerProblem::OomScore)?;
    Ok((built.map_err(ContainerProblem::Create)?, ends))
}

/// It holds the container's environment, which is nobody else's to read.
fn write_spec(folder: &Path, spec: &Spec) -> Result<(), ContainerProblem> {
    let text = serde_json::to_vec(spec).map_err(ContainerProblem::EncodeSpec)?;
    Ok(durable::write(&folder.join("config.json"), &text)?)
}

fn init(builder: ContainerBuilder, bundle: &Path) -> Result<Container, LibcontainerError> {
    builder.as_init(bundle).with_systemd(false).with_detach(true).build()
}

/// The node's ends, which for a terminal exist only once the container does.
enum Ends {
    Pipes(Streams),
    Terminal(UnixListener),
}

impl Ends {
    fn outer(self) -> io::Result<Streams> {
        match self {
            Self::Pipes(streams) => Ok(streams),
            Self::Terminal(listener) => {
                // It was sent before the container's creation ended.
                listener.set_nonblocking(true)?;
                let (stream, _) = listener.accept()?;
                Ok(Streams { stdout: receive(&stream)?, stderr: None, stdin: None })
            }
        }
    }
}

/// The container's ends.
struct Inner {
    stdin: OwnedFd,
    stdout: OwnedFd,
    stderr: OwnedFd,
}

impl Inner {
    /// Programs open `/dev/stdout` by name, which only the pipe's owner may.
    fn give_to(&self, request: &Request, spec: &Spec) -> io::Result<()> {
        let Some(user) = spec.process().as_ref().map(|process| process.user()) else {
            return Ok(());
        };
        // The specification was made for IDs that there are.
        let ids = Ids::of(request);
        let outside = |id| ids.outside(id).ok_or(io::ErrorKind::InvalidInput);
        let (uid, gid) = (outside(user.uid())?, outside(user.gid())?);
        let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
        for pipe in [&self.stdout, &self.stderr] {
            rustix::fs::fchown(pipe, Some(uid), Some(gid))?;
        }
        if request.stdin {
            rustix::fs::fchown(&self.stdin, Some(uid), Some(gid))?;
        }
        Ok(())
    }
}

fn pipes(with_stdin: bool) -> io::Result<(Streams, Inner)> {
    let pipe = || rustix::pipe::pipe_with(PipeFlags::CLOEXEC);
    let ((stdout, inner_stdout), (stderr, inner_stderr)) = (pipe()?, pipe()?);
    let (inner_stdin, stdin) = if with_stdin {
        let (reader, writer) = pipe()?;
        (reader, Some(writer))
    } else {
        (File::open("/dev/null")?.into(), None)
    };
    let inner = Inner { stdin: inner_stdin, stdout: inner_stdout, stderr: inner_stderr };
    Ok((Streams { stdout, stderr: Some(stderr), stdin }, inner))
}

/// Takes the one open file that a message carries.
fn receive(stream: &UnixStream) -> io::Result<OwnedFd> {
    let mut name = [0; 128];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    rustix::net::recvmsg(
        stream,
        &mut [IoSliceMut::new(&mut name)],
        &mut control,
        RecvFlags::CMSG_CLOEXEC,
    )?;
    let files = control.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(files) => Some(files),
        _ => None,
    });
    files.flatten().next().ok_or_else(|| io::ErrorKind::InvalidData.into())
}
