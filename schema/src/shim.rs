//! What agent and shims tell each other: documents in a unit's run folder, and one JSON object per line on the socket.

mod request;

use serde::{Deserialize, Serialize};

pub use request::{
    Attachment, BindMount, IdRange, IdStretch, MountSource, Network, Request, SecretMount,
    SharedNetwork,
};

use crate::api::Exit;

/// The agent's request.
pub const REQUEST: &str = "request.json";
/// Folder in a unit's run folder: what its secrets hold, until its shim has given it to the container.
pub const SECRETS: &str = "secrets";
/// How it went.
pub const OUTCOME: &str = "outcome.json";
/// The shim's socket.
pub const SOCKET: &str = "shim.sock";
/// The shim's standard error.
pub const STDERR: &str = "shim.err";
/// Longest line on the socket.
pub const LINE_MAX_BYTES: usize = 4096;
/// The log file being written, in the unit's log folder.
pub const LOG_CURRENT: &str = "current.jsonl";
/// The log file before it.
pub const LOG_PREVIOUS: &str = "previous.jsonl";
/// Which runs of a unit's program there were last, in the unit's log folder: a run that wrote nothing is in no log.
pub const LOG_RUNS: &str = "runs.json";

/// The last runs of a unit's program, each by when it began, as [`crate::api::LogLine`] names them. Commands before and after
/// it are none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogRuns {
    /// The latest one.
    pub latest: u64,
    /// The one before it; absent where that is not known.
    pub before: Option<u64>,
}

/// How a container went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "kebab-case")]
pub enum Outcome {
    /// It ran and ended.
    Ended {
        /// How.
        exit: Exit,
        /// The kernel killed one of its processes for want of memory.
        #[serde(default)]
        oom_killed: bool,
    },
    /// It never ran.
    StartFailed {
        /// Why, one sentence.
        reason: String,
    },
}

/// What the shim says to each connection, once, as soon as it is true. The end is not said but shown: the shim
/// writes its outcome and closes the connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "notice", rename_all = "kebab-case")]
pub enum Notice {
    /// The container's program runs.
    Started {
        /// Its process ID on the node.
        pid: i32,
    },
}

/// What the agent says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "kebab-case")]
pub enum Command {
    /// Sends a signal to the container's first process.
    Signal {
        /// Signal number.
        signal: i32,
    },
    /// Kills everything in the container.
    Kill,
    /// From the next byte on the connection carries frames of [`crate::stream`]: the container's output from now
    /// on, and what is written to its standard input.
    Attach,
}

/// What the process that made a container leaves to the one that it becomes: its container, by numbers of open
/// files. The listening socket is standard input.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Custody {
    /// The container's first process, a child of this one.
    pub pid: i32,
    /// Its pidfd.
    pub pidfd: i32,
    /// Its standard output, to read; or the terminal's master.
    pub stdout: i32,
    /// Its standard error, to read; absent with a terminal.
    pub stderr: Option<i32>,
    /// Its standard input, to write; absent where it is closed from the start, and with a terminal.
    pub stdin: Option<i32>,
    /// `stdout` is a terminal's master.
    pub tty: bool,
    /// Folder of its cgroup.
    pub cgroup: String,
    /// Folder for its log.
    pub log_dir: String,
    /// It is a command before or after the unit's program; see [`Request::beside`].
    #[serde(default)]
    pub beside: bool,
}

/// Environment variable that carries [`Custody`] as JSON.
pub const CUSTODY: &str = "FERRITE_CUSTODY";
