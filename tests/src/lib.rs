//! Harness of the scenarios: images made once, nodes in QEMU, the `ferrite` command as people run it.
//!
//! A scenario describes a [`node::Node`], boots it, does something to it and looks. When it ends the harness looks
//! too: whatever the console says of panics, oopses and the like fails the scenario unless it was expected, and
//! a failure shows the console's tail. What a scenario leaves is in `target/test-artifacts/NAME`.

pub mod agent_death;
pub mod as_root;
pub mod computer;
pub mod cutter;
pub mod demo;
pub mod disk;
pub mod images;
pub mod node;
pub mod openapi;
pub mod programs;
pub mod registry;
pub mod runs;
pub mod saved;
pub mod services;
pub mod turnstile;
pub mod units;
