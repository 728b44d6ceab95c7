//! A node's configuration: cloud-config in TOML. The first line is `#cloud-config`.

mod cluster;
mod cluster_network;
mod containers;
mod env_files;
mod network;
mod registries;
mod secrets;
mod signatures;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use self::cluster::{
    Certificate, ClusterConfig, EXPECT_MAX, Fingerprint, IssuerConfig, JOIN_MAX, JoinAddress,
    MemberConfig, PrivateKey, Root, Token,
};
pub use self::cluster_network::{ClusterNetworkConfig, UnfitNetwork};
pub use self::containers::ContainersConfig;
pub use self::env_files::EnvFile;
pub use self::network::NetworkConfig;
pub use self::registries::{
    COLLECT_BELOW_PERCENT, COLLECT_UNTIL_PERCENT, ImagesConfig, RegistryConfig, Secret,
};
pub use self::secrets::SECRET_MAX_BYTES;
pub use self::signatures::{SignaturePolicy, SignatureRule};
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
    /// The cluster that the node belongs to; it is alone where this is absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster: Option<ClusterConfig>,
    /// Labels of the machine, which units may ask for.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
    /// What units may ask for beyond their own isolation.
    #[serde(default)]
    pub containers: ContainersConfig,
    /// The network of the units.
    #[serde(default)]
    pub network: NetworkConfig,
    /// Environment that units name in their `env_files`.
    #[serde(default)]
    pub env_files: BTreeMap<String, EnvFile>,
    /// What units are given as files, by naming it in their `secrets`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub secrets: BTreeMap<String, Secret>,
    /// The image store's settings.
    #[serde(default)]
    pub images: ImagesConfig,
    /// Registries and mirrors by host, with the port where it is not the usual one.
    #[serde(default)]
    pub registries: BTreeMap<String, RegistryConfig>,
    /// Which images may be used, the first fitting rule counts.
    #[serde(default)]
    pub signatures: Vec<SignatureRule>,
}

impl NodeConfig {
    /// What a node runs with that has rules and does not know them: no image is used, no exception granted.
    #[must_use]
    pub fn closed() -> Self {
        let nothing = SignatureRule {
            name: "*".to_owned(),
            policy: SignaturePolicy::Reject,
            keys: Vec::new(),
        };
        Self {
            containers: ContainersConfig::closed(),
            signatures: vec![nothing],
            ..Self::default()
        }
    }
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
    let config: NodeConfig = document::parse(text)?;
    match problem_of_several(&config) {
        // What several keys say together has no one place.
        Some(message) => Err(Problem { line: 1, column: 1, message }),
        None => Ok(config),
    }
}

fn problem_of_several(config: &NodeConfig) -> Option<String> {
    let registries = config.registries.iter().find_map(|(host, registry)| registry.problem(host));
    let rules = || config.signatures.iter().find_map(SignatureRule::problem);
    config
        .images
        .problem()
        .or(registries)
        .or_else(rules)
        .or_else(|| secrets::problem(&config.secrets))
        .or_else(|| config.network.problem())
        .or_else(|| {
            let wanted = config.cluster.as_ref()?.network;
            cluster_network::problem_beside(wanted, &config.network)
        })
        .or_else(|| cluster::metadata_problem(&config.metadata))
}

#[cfg(test)]
mod tests {
    use super::parse;

    fn check(text: &str, expected: &str) {
        let problem = parse(&format!("#cloud-config\n{text}")).unwrap_err().to_string();
        assert!(problem.contains(expected), "{problem}");
    }

    #[test]
    fn registries_and_rules_are_checked() {
        check("[registries.\"a b\"]", "does not name a host");
        check("[registries.\"a:5000\"]\nusername = \"u\"", "both username and password");
        check("[registries.\"a\"]\nmirrors = [\"https://b\"]", "is not a host");
        check("[images]\ndefault_registry = \"a/b\"", "default_registry");
        check("[images]\ncollect_below_percent = 50", "must not be less");
        check("[[signatures]]\nname = \"*\"\npolicy = \"signed\"", "has no keys");
        let good = "#cloud-config\n[registries.\"10.0.2.2:5000\"]\nplain_http = true\nmirrors = [\"m.example/hub\"]\n\
            username = \"u\"\npassword = \"secret-word\"\n[[signatures]]\nname = \"*\"\npolicy = \"reject\"\n";
        let config = parse(good).unwrap();
        assert!(config.registries["10.0.2.2:5000"].plain_http);
        assert!(!format!("{config:?}").contains("secret-word"), "a log would show the password");
    }
}
