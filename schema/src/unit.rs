//! Units: the containers that a user asks for.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::document::{self, Problem};

/// What is done when a unit's container ends.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RestartPolicy {
    /// Always start it again.
    #[default]
    Always,
    /// Start it again unless it exited with status 0.
    OnFailure,
    /// Leave it ended.
    Never,
}

/// A unit as its author writes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Unit {
    /// Name: letters, digits, `-`, `_`, `.`, up to 64 of them.
    pub name: String,
    /// Image reference, as imported or as a registry names it.
    pub image: String,
    /// Replaces the image's entrypoint.
    #[serde(default)]
    pub entrypoint: Option<Vec<String>>,
    /// Replaces the image's command.
    #[serde(default)]
    pub command: Option<Vec<String>>,
    /// Environment, on top of the image's.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// What is done when it ends.
    #[serde(default)]
    pub restart: RestartPolicy,
    /// Signal that asks it to stop; the image's, or SIGTERM.
    #[serde(default)]
    pub stop_signal: Option<String>,
    /// Seconds it gets to stop before it is killed.
    #[serde(default = "default_stop_grace_s")]
    pub stop_grace_s: u32,
}

const fn default_stop_grace_s() -> u32 {
    10
}

/// Parses a unit.
///
/// # Errors
/// The first problem of the document.
pub fn parse(text: &str) -> Result<Unit, Problem> {
    document::parse(text)
}
