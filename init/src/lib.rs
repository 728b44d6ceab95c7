//! Ferrite's PID 1.
//!
//! Responsible for: bringing the machine from the kernel's hand to a running agent, keeping it there,
//! taking it down in order, and the slot counters on disk. One thread, no asynchronous runtime.
//!
//! Never does: networking, containers, anything that needs the cluster.

pub mod boot;
pub mod disk;
pub mod fatal;
pub mod haste;
pub mod irreversible;
pub mod log;
pub mod modules;
pub mod run;
pub mod state;
pub mod timeline;
