//! What agent and shim tell each other: documents in the unit's run folder, and one JSON object per line on the socket.

use std::collections::BTreeMap;

use ferrite_schema::api::Exit;
use serde::{Deserialize, Serialize};

/// The agent's request.
pub const REQUEST: &str = "request.json";
/// How it went.
pub const OUTCOME: &str = "outcome.json";
/// The shim's socket.
pub const SOCKET: &str = "shim.sock";
/// The shim's standard error.
pub const STDERR: &str = "shim.err";
/// Longest line on the socket.
pub const LINE_MAX_BYTES: usize = 4096;

/// A container to run: everything is decided, nothing is looked up any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// Unit; also the container's ID.
    pub unit: String,
    /// Folders of the layers, bottom first.
    pub layers: Vec<String>,
    /// Folder for what the container writes; emptied before each start.
    pub scratch: String,
    /// Program and arguments.
    pub args: Vec<String>,
    /// Environment.
    pub env: BTreeMap<String, String>,
    /// Working directory.
    pub cwd: String,
    /// `user`, `user:group`, names or numbers, as in an image's configuration; empty for root.
    pub user: String,
    /// Hostname.
    pub hostname: String,
    /// The container's cgroup, below the cgroup root, with a leading `/`.
    pub cgroup: String,
    /// Folder of the cgroup where shims live.
    pub shim_cgroup: String,
    /// Folder for the log.
    pub log_dir: String,
}

/// How a container went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "kebab-case")]
pub enum Outcome {
    /// It ran and ended.
    Ended {
        /// How.
        exit: Exit,
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
}
