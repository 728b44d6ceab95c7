//! Copies of etcd and ways to it, on this computer: what makes a copy whole, and what can go wrong.

mod recovery;
mod snapshot;

use std::io;
use std::time::Duration;

pub use self::recovery::NotRecovered;
pub(crate) use self::recovery::{Fate, Plan, Said, reached, weigh};
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
    #[error("recover etcd")]
    Recover(#[from] NotRecovered),
    #[error("recover etcd: nothing is done before you agree that all but {machine} are given up")]
    Unconfirmed { machine: String },
    #[error("recover etcd: {machine} does not lead yet after {}", humantime::format_duration(*within))]
    NotAlone { machine: String, within: Duration },
    #[error("listen on port {port} of 127.0.0.1")]
    Listen { port: u16, source: io::Error },
}

impl EtcdProblem {
    /// The exit code that the command ends with.
    #[must_use]
    pub const fn exit(&self) -> Exit {
        match self {
            Self::Snapshot(_) => Exit::Unverified,
            Self::Unconfirmed { .. } => Exit::Usage,
            Self::BrokenOff | Self::Recover(_) | Self::NotAlone { .. } => Exit::Failed,
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
            Self::Recover(
                NotRecovered::Led { .. }
                | NotRecovered::Enough { .. }
                | NotRecovered::Overtaken { .. },
            ) => Some("`ferrite etcd status` says what is wrong with each member"),
            Self::Recover(NotRecovered::Nothing { .. }) => Some(
                "with an endpoint for each machine (`further` in the context) more of them are asked; without any data there is \
                 only a copy: `ferrite etcd snapshot`",
            ),
            Self::Recover(NotRecovered::Parted { .. }) => {
                Some("recover with the machines of the later epoch alone: turn the others off")
            }
            Self::Unconfirmed { .. } => Some("say it again with `--yes`"),
            Self::NotAlone { .. } => Some(
                "it goes on by itself: `ferrite machine status` on that machine says what it waits for, and this command again how far it is",
            ),
            Self::Listen { .. } => Some("choose another port with `--port`, or leave it out"),
        }
    }
}
