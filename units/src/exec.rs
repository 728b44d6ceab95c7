//! Commands in running containers: a process of ours per command (`ferrite-container exec`, or `check`), spoken to in frames.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use ferrite_schema::api::Exit;
use ferrite_schema::names;
use ferrite_schema::shim::{Command, LINE_MAX_BYTES, SOCKET};
use ferrite_schema::stream::{Decoder, End, ExecRequest, FilesRequest, Kind, NODE_FAILED};
use serde::Serialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

/// What is kept of a command's output where only its exit counts.
const OUTPUT_MAX_BYTES: usize = 4096;

/// A command was not run, or its end is not known.
#[derive(Debug, thiserror::Error)]
pub enum ExecProblem {
    /// Its process could not be started.
    #[error("start a process for the command")]
    Spawn(#[source] io::Error),
    /// The unit's shim does not answer: the unit does not run.
    #[error("reach the unit's container: it does not run")]
    Reach(#[source] io::Error),
    /// The request is no JSON.
    #[error("write the request as JSON")]
    Encode(#[from] serde_json::Error),
    /// It was not started.
    #[error("{reason}")]
    Refused {
        /// Why, one sentence.
        reason: String,
    },
    /// It was not started, and that is the node's fault.
    #[error("{reason}")]
    Node {
        /// Why, one sentence.
        reason: String,
    },
    /// It took too long and was killed.
    #[error("the command did not end within {} seconds", within.as_secs())]
    Deadline {
        /// What it had.
        within: Duration,
    },
    /// The container ended under it.
    #[error("the command's end is not known: the container ended")]
    Lost,
}

impl ExecProblem {
    /// It says nothing of the command, nor of the unit.
    #[must_use]
    pub fn is_nodes(&self) -> bool {
        match self {
            Self::Spawn(_) | Self::Encode(_) | Self::Node { .. } => true,
            Self::Reach(_) | Self::Refused { .. } | Self::Deadline { .. } | Self::Lost => false,
        }
    }
}

/// How a command went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ran {
    /// Its exit.
    pub exit: Exit,
    /// The first bytes of what it wrote, both streams.
    pub output: String,
}

/// Starts a command in the container whose run folder is given. The stream carries frames; closing it kills the
/// command.
///
/// # Errors
/// No process for it runs. That the command itself cannot be started is said in the stream.
pub async fn start(folder: &Path, request: &ExecRequest) -> Result<UnixStream, ExecProblem> {
    serve(folder, "exec", request).await
}

/// Copies files of the container whose run folder is given. The stream carries frames.
///
/// # Errors
/// No process for it runs. That the copy fails is said in the stream.
pub async fn files(folder: &Path, request: &FilesRequest) -> Result<UnixStream, ExecProblem> {
    serve(folder, "files", request).await
}

async fn serve<T: Serialize>(
    folder: &Path,
    verb: &str,
    request: &T,
) -> Result<UnixStream, ExecProblem> {
    let (mut own, other) = UnixStream::pair().map_err(ExecProblem::Spawn)?;
    let other = other.into_std().map_err(ExecProblem::Spawn)?;
    other.set_nonblocking(false).map_err(ExecProblem::Spawn)?;
    // Dropped at once: the runtime reaps it when it ends.
    let child = tokio::process::Command::new(names::CONTAINER)
        .arg(verb)
        .env_clear()
        .current_dir(folder)
        .stdin(Stdio::from(OwnedFd::from(other)))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(ExecProblem::Spawn)?;
    drop(child);
    let mut line = serde_json::to_vec(request)?;
    line.push(b'\n');
    own.write_all(&line).await.map_err(ExecProblem::Spawn)?;
    Ok(own)
}

/// Attaches to the container whose run folder is given. The stream carries frames; closing it detaches.
///
/// # Errors
/// The unit does not run.
pub async fn attach(folder: &Path) -> Result<UnixStream, ExecProblem> {
    let mut stream = UnixStream::connect(folder.join(SOCKET)).await.map_err(ExecProblem::Reach)?;
    // The shim greets every connection with one line; frames come after it.
    let mut line = Vec::new();
    while line.last() != Some(&b'\n') {
        let byte = stream.read_u8().await.map_err(ExecProblem::Reach)?;
        line.push(byte);
        if line.len() > LINE_MAX_BYTES {
            return Err(ExecProblem::Reach(io::ErrorKind::InvalidData.into()));
        }
    }
    let mut attach = serde_json::to_vec(&Command::Attach)?;
    attach.push(b'\n');
    stream.write_all(&attach).await.map_err(ExecProblem::Reach)?;
    Ok(stream)
}

/// Runs a health check's command in the container whose run folder is given, and waits for its end. What it leaves behind there
/// is killed.
///
/// # Errors
/// It did not run, or took longer than `timeout` and was killed.
pub async fn check(
    folder: &Path,
    command: &[String],
    timeout: Duration,
) -> Result<Ran, ExecProblem> {
    let request = ExecRequest { command: command.to_vec(), ..ExecRequest::default() };
    // Dropping the stream kills the command.
    tokio::time::timeout(timeout, to_its_end(folder, &request))
        .await
        .unwrap_or(Err(ExecProblem::Deadline { within: timeout }))
}

async fn to_its_end(folder: &Path, request: &ExecRequest) -> Result<Ran, ExecProblem> {
    let mut stream = serve(folder, "check", request).await?;
    let mut decoder = Decoder::default();
    let mut output = Vec::new();
    let mut chunk = vec![0; 16 * 1024];
    loop {
        let count = stream.read(&mut chunk).await.map_err(|_broken| ExecProblem::Lost)?;
        if count == 0 {
            return Err(ExecProblem::Lost);
        }
        decoder.feed(chunk.get(..count).unwrap_or_default());
        while let Some(frame) = decoder.frame().map_err(|_bad| ExecProblem::Lost)? {
            match frame.kind {
                Kind::Stdout | Kind::Stderr => {
                    let room = OUTPUT_MAX_BYTES.saturating_sub(output.len());
                    output.extend(frame.payload.into_iter().take(room));
                }
                Kind::Exit => return ended(&frame.payload, &output),
                Kind::Stdin | Kind::Resize | Kind::Signal | Kind::CloseStdin => {}
            }
        }
    }
}

fn ended(payload: &[u8], output: &[u8]) -> Result<Ran, ExecProblem> {
    match serde_json::from_slice(payload)? {
        End::Ended { exit } => {
            Ok(Ran { exit, output: String::from_utf8_lossy(output).into_owned() })
        }
        End::Refused { code: NODE_FAILED, reason } => Err(ExecProblem::Node { reason }),
        End::Refused { reason, .. } => Err(ExecProblem::Refused { reason }),
        End::Detached => Err(ExecProblem::Lost),
    }
}
