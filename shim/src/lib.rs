//! What stays of a shim while its container runs: as little as possible, since there is one per container.
//!
//! *Responsible for*: the container's output and its log, its exit status, its cgroup at the end, whoever is attached
//! to it. *Never does*: make a container, allocate by need of anybody outside beyond named bounds, start a thread.
//!
//! The agent's shim makes the container and then becomes this program: same process, same child, open files
//! inherited by number (see [`ferrite_schema::shim::Custody`]).

pub mod custody;
pub mod input;
pub mod log;
pub mod peer;
pub mod reaper;
pub mod rest;
pub mod watch;
