//! What Ferrite's documents mean: the node's cloud-config, units, the API's types, what the agent and
//! PID 1 say to each other, the boot timeline. Types, parsing and validation only; nothing here does I/O.

pub mod api;
mod chain;
pub mod cluster;
pub mod cluster_network;
pub mod control;
pub mod document;
pub mod host;
pub mod join;
pub mod names;
pub mod node_config;
pub mod reference;
pub mod shim;
pub mod stream;
pub mod timeline;
pub mod unit;
pub mod utc;

pub use chain::chain;
