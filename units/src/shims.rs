//! Shims as the agent sees them: started with a listening socket, spoken to through it, found again by it.
//!
//! A connection lives exactly as long as its shim, so no process ID is kept that could come to mean another.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use ferrite_files::durable;
use ferrite_files::removal::{self, RemoveTree};
use ferrite_schema::names;
use ferrite_schema::shim::{self, Command, Notice, Outcome, Request};
use ferrite_sys::cgroup::Cgroup;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::sync::mpsc;

use crate::machine::{End, Event};
use crate::secrets::{Given, HandOver};

/// The agent's note in a shim's folder: the number of the run that it is for.
const RUN: &str = "run";
/// Folder that a shim makes first: without it nothing of a container was ever there.
const BUNDLE: &str = "bundle";

/// Commands waiting for one shim: a stop needs two.
const COMMANDS_MAX: usize = 16;

/// A shim could not be started.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartShim {
    /// Its folder could not be made.
    #[error("prepare {}", path.display())]
    Prepare {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// What an earlier one left is in the way.
    #[error(transparent)]
    Remove(#[from] RemoveTree),
    /// Its secrets could not be handed over.
    #[error(transparent)]
    Secrets(#[from] HandOver),
    /// Its request could not be written.
    #[error(transparent)]
    Write(#[from] durable::WriteFile),
    /// Its request is not JSON.
    #[error("write the request as JSON")]
    Encode(#[from] serde_json::Error),
    /// Its process could not be started.
    #[error("start the shim")]
    Spawn(#[source] io::Error),
}

/// A shim that was started.
#[derive(Debug)]
pub struct Shim {
    /// The connection to it.
    pub stream: UnixStream,
    /// Signal that asks its container to stop.
    pub stop_signal: i32,
    /// Its container's addresses.
    pub addresses: Vec<String>,
    /// What a person should know of what its image says.
    pub notes: Vec<String>,
}

/// What was found in a unit's run folder by a new agent.
#[derive(Debug)]
pub enum Found {
    /// This run was never begun.
    Nothing,
    /// Its shim is alive.
    Alive(UnixStream),
    /// Its shim ended in order.
    Ended(Outcome),
    /// Its shim is gone without a word.
    Lost,
}

/// Makes the folder, starts a shim in it and connects to it.
///
/// # Errors
/// No shim runs.
pub(crate) async fn start(
    folder: &Path,
    run: u64,
    request: &Request,
    secrets: &Given,
) -> Result<UnixStream, StartShim> {
    let failed = |source| StartShim::Prepare { path: folder.to_owned(), source };
    removal::remove(folder)?;
    folder.parent().map_or(Ok(()), durable::private_folder).map_err(failed)?;
    durable::private_folder(folder).map_err(failed)?;
    fs::write(folder.join(RUN), run.to_string()).map_err(failed)?;
    secrets.hand_over(folder)?;
    durable::write(&folder.join(shim::REQUEST), &serde_json::to_vec(request)?)?;
    let socket = folder.join(shim::SOCKET);
    let listener = UnixListener::bind(&socket).map_err(failed)?;
    let stderr = fs::File::create(folder.join(shim::STDERR)).map_err(failed)?;
    // Dropped at once: the runtime reaps it when it ends, and PID 1 does if this agent is gone by then.
    let child = tokio::process::Command::new(names::CONTAINER)
        .arg("create")
        .env_clear()
        .current_dir(folder)
        .stdin(Stdio::from(OwnedFd::from(listener)))
        .stdout(Stdio::null())
        .stderr(Stdio::from(stderr))
        .spawn()
        .map_err(StartShim::Spawn)?;
    // From its first moment on it can be killed there with all that it starts, wherever it hangs. Where it cannot be put there,
    // it says so itself: it needs to be.
    if let Some(pid) = child.id()
        && let Err(error) = Cgroup::new(PathBuf::from(&request.shim_cgroup)).hold(pid)
    {
        tracing::debug!(error = ferrite_schema::chain(&error), "shim-not-in-its-cgroup");
    }
    drop(child);
    UnixStream::connect(&socket).await.map_err(failed)
}

/// Looks for the shim that an earlier agent started for this run; for any where the run is not known.
pub async fn find(folder: &Path, run: Option<u64>) -> Found {
    let noted = fs::read_to_string(folder.join(RUN)).ok().and_then(|text| text.parse().ok());
    if run.is_some_and(|run| noted != Some(run)) {
        return Found::Nothing;
    }
    if let Some(outcome) = outcome(folder) {
        return Found::Ended(outcome);
    }
    if !folder.join(shim::REQUEST).exists() {
        return Found::Nothing;
    }
    match UnixStream::connect(folder.join(shim::SOCKET)).await {
        Ok(stream) => Found::Alive(stream),
        // It may have ended between the two looks. Without a bundle the earlier agent ended before it had
        // started the shim, or the shim before it had made anything.
        Err(_) => outcome(folder).map_or_else(
            || if folder.join(BUNDLE).exists() { Found::Lost } else { Found::Nothing },
            Found::Ended,
        ),
    }
}

/// What a shim was asked to run.
#[must_use]
pub fn request(folder: &Path) -> Option<Request> {
    serde_json::from_slice(&fs::read(folder.join(shim::REQUEST)).ok()?).ok()
}

fn outcome(folder: &Path) -> Option<Outcome> {
    serde_json::from_slice(&fs::read(folder.join(shim::OUTCOME)).ok()?).ok()
}

/// The event that an outcome stands for.
#[must_use]
pub fn event_of(outcome: Outcome) -> Event {
    match outcome {
        Outcome::Ended { exit, oom_killed } => Event::Ended(End { exit, oom_killed }),
        Outcome::StartFailed { reason } => Event::StartFailed { reason },
    }
}

/// A queue for commands to a shim.
#[must_use]
pub fn commands() -> (mpsc::Sender<Command>, mpsc::Receiver<Command>) {
    mpsc::channel(COMMANDS_MAX)
}

/// Carries commands to a shim and what happens to it, up to its end, into a queue.
pub async fn follow<T>(
    stream: UnixStream,
    mut commands: mpsc::Receiver<Command>,
    folder: PathBuf,
    queue: mpsc::Sender<T>,
    wrap: impl Fn(Event) -> T,
) {
    let (reader, mut writer) = stream.into_split();
    let mut lines = BufReader::with_capacity(shim::LINE_MAX_BYTES, reader).lines();
    let mut open = true;
    loop {
        tokio::select! {
            line = lines.next_line() => match line {
                Ok(Some(line)) => {
                    if let Ok(Notice::Started { pid }) = serde_json::from_str(&line) {
                        // The queue lives as long as the program.
                        drop(queue.send(wrap(Event::Started { pid })).await);
                    }
                }
                Ok(None) | Err(_) => break,
            },
            command = commands.recv(), if open => match command {
                Some(command) => {
                    let mut line = serde_json::to_vec(&command).unwrap_or_default();
                    line.push(b'\n');
                    // A shim that is gone says so by the end of its lines.
                    drop(writer.write_all(&line).await);
                }
                None => open = false,
            },
        }
    }
    let last = outcome(&folder).map_or_else(|| lost(&folder), event_of);
    drop(queue.send(wrap(last)).await);
}

/// A shim that left its last words on standard error never had a container that ran.
fn lost(folder: &Path) -> Event {
    match fs::read_to_string(folder.join(shim::STDERR)) {
        Ok(text) if !text.trim().is_empty() => {
            let tail: Vec<&str> = text.lines().rev().take(3).collect();
            tracing::error!(folder = %folder.display(), words = %tail.join(" / "), "shim-lost");
        }
        Ok(_) | Err(_) => tracing::error!(folder = %folder.display(), "shim-lost"),
    }
    Event::Lost
}
