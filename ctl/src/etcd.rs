//! Copies of etcd and ways to it, on this computer: what makes a copy whole, and what can go wrong.

mod snapshot;

use std::io;

pub use self::snapshot::NotWhole;
pub(crate) use self::snapshot::{Check, Checked};
use crate::exit::Exit;

/// What goes wrong here.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum EtcdProblem {
    #[error("copy etcd: what came is no whole copy, and was thrown away")]
    Snapshot(#[from] NotWhole),
    #[error("copy etcd: broken off by a signal; nothing was written")]
    BrokenOff,
    #[error("listen on port {port} of 127.0.0.1")]
    Listen { port: u16, source: io::Error },
}

impl EtcdProblem {
    /// The exit code that the command ends with.
    #[must_use]
    pub const fn exit(&self) -> Exit {
        match self {
            Self::Snapshot(_) => Exit::Unverified,
            Self::BrokenOff => Exit::Failed,
            Self::Listen { .. } => Exit::Environment,
        }
    }

    /// What a person can do about it.
    #[must_use]
    pub const fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Snapshot(_) => {
                Some("try again, or take it from another machine: `--machine NAME`")
            }
            Self::BrokenOff => None,
            Self::Listen { .. } => Some("choose another port with `--port`, or leave it out"),
        }
    }
}
