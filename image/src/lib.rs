//! Builds Ferrite's disk images, unprivileged and deterministically.

pub mod disk;
pub mod file_system;
pub mod inspect;
pub mod keys;
pub mod opened;
pub mod packages;
pub mod progress;
pub mod qcow2;
pub mod stage;
pub mod tools;
pub mod verify;
mod window;
