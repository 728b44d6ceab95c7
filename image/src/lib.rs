//! Builds Ferrite's disk images, unprivileged and deterministically.

pub mod disk;
pub mod keys;
pub mod packages;
pub mod progress;
pub mod tools;
