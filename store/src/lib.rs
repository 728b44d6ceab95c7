//! OCI images on STATE: a content-addressed store, its imports, and layers unpacked for overlayfs.

pub mod access;
pub mod annotations;
pub mod arrival;
pub mod beside;
mod bounded;
pub mod choice;
pub mod collect;
pub mod config;
#[cfg(test)]
mod differential;
pub mod digest;
pub mod documents;
pub mod elsewhere;
pub mod export;
pub mod far_ids;
mod idle;
pub mod import;
pub mod layer;
mod pipeline;
pub mod platform;
pub mod pull;
pub mod signature;
pub mod stack;
pub mod store;
pub mod unpack;
