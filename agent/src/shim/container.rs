//! A container's creation through libcontainer.

use std::fs::{self, File};
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use libcontainer::container::builder::ContainerBuilder;
use libcontainer::error::LibcontainerError;
use libcontainer::oci_spec::OciSpecError;
use libcontainer::oci_spec::runtime::Spec;
use libcontainer::syscall::syscall::SyscallType;
use rustix::pipe::PipeFlags;
use rustix::process::{Pid, PidfdFlags};

use super::loopback;
use super::protocol::Request;

/// The kernel's file for this process's rank when memory runs out.
const OOM_SCORE: &str = "/proc/self/oom_score_adj";

/// A container could not be made.
#[derive(Debug, thiserror::Error)]
pub(super) enum ContainerProblem {
    #[error("prepare the container's folder")]
    Prepare(#[source] io::Error),
    #[error("write the container's specification")]
    WriteSpec(#[source] OciSpecError),
    #[error("make the container's streams")]
    Streams(#[source] io::Error),
    #[error("create the container")]
    Create(#[source] LibcontainerError),
    #[error("find the container's process")]
    FindProcess(#[source] io::Error),
    #[error("bring up the container's loopback interface")]
    Loopback(#[source] io::Error),
    #[error("start the container's program")]
    Start(#[source] LibcontainerError),
    #[error("restore this process's rank when memory runs out")]
    OomScore(#[source] io::Error),
}

/// A container whose program runs.
pub(super) struct Running {
    pub(super) pid: Pid,
    pub(super) pidfd: OwnedFd,
    pub(super) stdout: OwnedFd,
    pub(super) stderr: OwnedFd,
}

/// Creates the container in its own namespaces and starts its program.
pub(super) fn create_and_start(
    request: &Request,
    spec: &Spec,
    folder: &Path,
) -> Result<Running, ContainerProblem> {
    let (bundle, state) = (folder.join("bundle"), folder.join("state"));
    match fs::remove_dir_all(&state) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(ContainerProblem::Prepare(error));
        }
        Ok(()) | Err(_) => {}
    }
    fs::create_dir_all(&state).map_err(ContainerProblem::Prepare)?;
    spec.save(bundle.join("config.json")).map_err(ContainerProblem::WriteSpec)?;
    let pipe = || {
        rustix::pipe::pipe_with(PipeFlags::CLOEXEC)
            .map_err(|errno| ContainerProblem::Streams(errno.into()))
    };
    let ((stdout, stdout_end), (stderr, stderr_end)) = (pipe()?, pipe()?);
    let nothing = File::open("/dev/null").map_err(ContainerProblem::Streams)?;
    // libcontainer writes the container's rank to the file of this process, and leaves it there.
    let rank = fs::read_to_string(OOM_SCORE).map_err(ContainerProblem::OomScore)?;
    let built = ContainerBuilder::new(request.unit.clone(), SyscallType::Linux)
        .with_root_path(&state)
        .map_err(ContainerProblem::Create)?
        .with_stdin(nothing)
        .with_stdout(stdout_end)
        .with_stderr(stderr_end)
        .as_init(&bundle)
        .with_systemd(false)
        .with_detach(true)
        .build();
    fs::write(OOM_SCORE, rank.trim()).map_err(ContainerProblem::OomScore)?;
    let mut container = built.map_err(ContainerProblem::Create)?;
    let missing = || ContainerProblem::FindProcess(io::ErrorKind::NotFound.into());
    let pid = container.pid().and_then(|pid| Pid::from_raw(pid.as_raw())).ok_or_else(missing)?;
    // Its status is this process's to collect, so the number cannot belong to another before that.
    let pidfd = rustix::process::pidfd_open(pid, PidfdFlags::empty())
        .map_err(|errno| ContainerProblem::FindProcess(errno.into()))?;
    loopback::bring_up(pid.as_raw_nonzero().get()).map_err(ContainerProblem::Loopback)?;
    container.start().map_err(ContainerProblem::Start)?;
    Ok(Running { pid, pidfd, stdout, stderr })
}
