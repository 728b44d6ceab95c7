//! Why an image could not be pulled.

use ferrite_schema::reference::NotAReference;

use super::blob::Download;
use super::registry::Registry;
use crate::access::Unusable;
use crate::digest::Digest;
use crate::documents::Refuse;
use crate::layer::Layer;
use crate::store::Store;

/// An image could not be pulled.
#[derive(Debug, thiserror::Error)]
pub enum Pull {
    /// Its name is none.
    #[error(transparent)]
    Reference(#[from] NotAReference),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] Store),
    /// The node's rules do not let it in.
    #[error(transparent)]
    Policy(#[from] crate::signature::Refused),
    /// No registry gives it.
    #[error("pull image {name}")]
    Registry {
        /// Its name.
        name: String,
        /// What the last place said.
        source: Registry,
    },
    /// What the registry gives is not what was asked for.
    #[error("refuse manifest {expected}: its content has the digest {found}")]
    RefuseManifest {
        /// What was asked for.
        expected: Digest,
        /// What came.
        found: Digest,
    },
    /// A document of it is refused.
    #[error("pull image {name}")]
    Document {
        /// Its name.
        name: String,
        /// Why.
        source: Refuse,
    },
    /// Its configuration is not one.
    #[error("read the configuration of image {name}")]
    ReadConfig {
        /// Its name.
        name: String,
        /// Why.
        source: serde_json::Error,
    },
    /// There is none for this machine, or its parts do not fit.
    #[error("pull image {name}: {why}")]
    Unfit {
        /// Its name.
        name: String,
        /// Why.
        why: String,
    },
    /// A blob of it cannot be had.
    #[error("pull image {name}")]
    Download {
        /// Its name.
        name: String,
        /// Why.
        source: Download,
    },
    /// A layer cannot be unpacked.
    #[error("pull image {name}")]
    Layer {
        /// Its name.
        name: String,
        /// Why.
        source: Layer,
    },
    /// What is here cannot be used.
    #[error(transparent)]
    Unusable(#[from] Unusable),
    /// What is here cannot be used, and neither can another be had.
    #[error("{}; pulling it again", ferrite_schema::chain(problem))]
    Again {
        /// What is wrong with the one that is here.
        problem: Box<Unusable>,
        /// Why there is no other.
        source: Box<Pull>,
    },
    /// The agent goes down.
    #[error("pull image {name}: the agent goes down")]
    GoingDown {
        /// Its name.
        name: String,
    },
}

impl Pull {
    /// A rule of the node's configuration is why.
    #[must_use]
    pub fn is_by_rule(&self) -> bool {
        match self {
            Self::Policy(_) => true,
            Self::Unusable(problem) => problem.is_by_rule(),
            Self::Again { problem, source } => problem.is_by_rule() || source.is_by_rule(),
            _ => false,
        }
    }
}
