//! A node's configuration: cloud-config in TOML. The first line is `#cloud-config`.

use serde::{Deserialize, Serialize};

use crate::document::{self, Problem};

/// First line of every cloud-config: a comment to TOML, a marker to clouds.
pub const MARKER: &str = "#cloud-config";

/// Everything that can be said about a node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeConfig {
    /// Name of the node; made from the machine ID where it is absent.
    pub hostname: Option<String>,
    /// The node's API.
    pub api: Option<ApiConfig>,
}

/// The API's identity and whom it trusts. PEM texts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApiConfig {
    /// Certificate authority whose client certificates are let in.
    pub ca: String,
    /// Server certificate chain.
    pub certificate: String,
    /// Server's private key.
    pub key: String,
}

/// Parses a cloud-config.
///
/// # Errors
/// The marker is missing, or the first problem of the document.
pub fn parse(text: &str) -> Result<NodeConfig, Problem> {
    if text.lines().next().map(str::trim_end) != Some(MARKER) {
        return Err(Problem {
            line: 1,
            column: 1,
            message: format!("a cloud-config starts with the line `{MARKER}`"),
        });
    }
    document::parse(text)
}
