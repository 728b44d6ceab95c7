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

pub mod mac;
mod port;
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

pub mod gateway;

mod fabric;
mod listeners;
mod obey;
mod running;

pub mod client;
pub mod control;

#[cfg(test)]
mod bridge_tests;

pub use port::{Frame, Port, cable_socket};
pub use running::{Running, Switch, SwitchError};
