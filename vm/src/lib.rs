//! QEMU machines: described as data, started, watched, ended.
//!
//! Responsible for finding a QEMU that works and the fastest way to run a guest, for building its command
//! line, for the life of its process, for QMP and for the serial console. It never builds an image, never
//! talks to a node's API, and writes only into the directory of the machine that it was given.
//!
//! One machine is one directory:
//!
//! | file | content |
//! |---|---|
//! | `pid` | process ID and start time of its QEMU |
//! | `serial.log` | everything that its serial console said; appended to across starts |
//! | `qmp.sock` | QMP, for whoever connects |
//! | `qemu.log` | QEMU's own complaints |
//! | `vars.fd` | UEFI variables, where it boots through UEFI |

pub mod deadline;

pub mod host;
mod kvm;

mod arguments;
pub mod disk;
pub mod machine;

pub mod process;
pub mod running;

pub mod qmp;
mod qmp_message;

pub mod console;
pub mod scan;

pub mod switch;
