//! A network of machines: a switch to which their QEMUs are connected, and a gateway inside of it.
//!
//! Responsible for carrying frames among machines with the faults that were asked for, for a capture of everything
//! that arrives, and for the services that machines need to live: addresses, names, time, ways from and to the host.
//! It asks no privilege, starts no process, and touches nothing of the host's network but loopback ports.
//!
//! ```text
//!  QEMU ── cable ─┐                     ┌─ cable ── QEMU
//!                 ├── bridge ── links ──┤
//!  QEMU ── cable ─┘       │             └─ gateway ── loopback of the host
//!                      capture
//! ```

use std::path::{Path, PathBuf};
use std::sync::Arc;

pub mod mac;
pub mod topology;

pub mod bridge;
pub mod faults;
pub mod links;

mod cable;
pub mod capture;
mod framing;
pub mod recorder;
mod transit;
mod wire;

mod gateway;

mod fabric;
mod listeners;
mod obey;
mod running;

pub mod client;
pub mod control;

#[cfg(test)]
mod bridge_tests;

pub use running::{Running, Switch, SwitchError};

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
