//! The node's brain: its configuration, its API, and the wiring of images, network and units.

#[cfg(test)]
extern crate self as ferrite_agent;

pub mod api;
mod archive;
pub mod bounds;
pub mod cluster;
pub mod config;
pub mod control;
pub mod identity;
pub mod join;
pub mod keeper;
pub mod links;
pub mod logs;
mod metrics;
pub mod node;
pub mod readiness;
pub mod ready;
pub mod reserve;
pub mod run;
mod serving;
pub mod stats;
pub mod streams;
