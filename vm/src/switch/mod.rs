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

use std::sync::Arc;

pub mod mac;

pub mod bridge;
pub mod faults;
pub mod links;

#[cfg(test)]
mod bridge_tests;

/// An Ethernet frame without its checksum. Shared: flooding and duplicating copy nothing.
pub type Frame = Arc<[u8]>;

/// A port of the switch. The first is the gateway's, the others are the machines', in the topology's order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Port(pub u16);

impl Port {
    /// The gateway's.
    pub const GATEWAY: Self = Self(0);
}
