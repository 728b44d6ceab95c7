//! The `ferrite` command: what it understands, asks of nodes and shows.
//!
//! Responsible for: the command line, contexts, the client of the node's API, what people see.
//! Never does: decide anything about a node, build an image or run a machine itself.

pub mod archive;
pub mod cli;
pub mod client;
pub mod cluster;
pub mod commands;
pub mod context;
pub mod document;
pub mod etcd;
pub mod exit;
pub mod failure;
pub mod founding;
mod machine;
pub mod moment;
pub mod output;
pub mod pki;
pub mod progress;
pub mod screen;
pub mod session;
mod systemd;
pub mod timeline_svg;
