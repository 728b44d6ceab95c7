//! One container: its isolation, its creation through libcontainer, commands that join it, copies out of it and into it; and
//! the same behind runc's command line, [`oci`].
//!
//! Everything here runs in processes of its own, single-threaded ones: libcontainer clones and goes on in the child, which
//! no process with other threads survives. Nothing else of the product links libcontainer and libseccomp.

pub mod create;
pub mod exec;
pub mod files;
pub mod oci;

mod container;
mod devices;
mod handover;
mod heard;
mod inside;
mod isolation;
mod joined;
mod limits;
mod memory;
mod owners;
mod ports;
mod privilege;
mod quota;
mod reaper;
mod resources;
mod rootfs;
mod seccomp;
mod secrets;
mod seed;
mod spec;
mod user;
mod volumes;
mod workload;
