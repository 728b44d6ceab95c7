//! Builds Ferrite's disk images, unprivileged and deterministically.

pub mod boot_files;
pub mod build;
pub mod disk;
pub mod epoch;
pub mod file_system;
pub mod initramfs;
pub mod initramfs_archive;
pub mod inspect;
pub mod kernel;
pub mod kernel_file;
pub mod keys;
pub mod manifest;
pub mod modules;
pub mod opened;
pub mod packages;
pub mod progress;
pub mod qcow2;
pub mod root_container;
pub mod root_file_system;
pub mod root_tree;
pub mod sbom;
pub mod stage;
pub mod tools;
pub mod tree;
pub mod variant;
pub mod verify;
mod window;
