//! Scenarios on whole machines. One module per part of the acceptance list.
#![expect(
    clippy::indexing_slicing,
    reason = "JSON answers: an absent member is null, and the assertion then says so"
)]

mod api;
mod attacks;
mod boot;
mod clock;
mod cluster;
mod computer;
mod disk;
mod exec;
mod fleet;
mod fleet_functional;
mod image;
mod init;
mod isolation;
mod kernel;
mod living;
mod mesh;
mod nemesis;
mod network;
mod oci;
mod pid1;
mod power;
mod quorum;
mod registry;
mod root;
mod services;
mod slots;
mod state;
mod strangers;
mod survival;
mod system_disk;
mod trouble;
mod underlays;
mod units;
mod watchdog;
