//! The switch's ports, and what passes through them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

/// An Ethernet frame without its checksum. Shared: flooding and duplicating copy nothing.
pub type Frame = Arc<[u8]>;

/// A port of the switch. The first is the gateway's, the others are the machines', in the topology's order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Port(pub u16);

impl Port {
    /// The gateway's.
    pub const GATEWAY: Self = Self(0);
}

/// The socket to which a machine's QEMU connects, in the network's folder.
#[must_use]
pub fn cable_socket(folder: &Path, machine: &str) -> PathBuf {
    folder.join(format!("cable-{machine}.sock"))
}
