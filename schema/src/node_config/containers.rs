//! `[containers]`: what units of a node may ask for beyond their own isolation.

use serde::{Deserialize, Serialize};

/// Exceptions from isolation that the node grants to units that ask for them. A unit that asks for one that is
/// forbidden is refused before anything of it is started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ContainersConfig {
    /// `privileged = true`.
    pub allow_privileged: bool,
    /// Volumes that are paths of the node, and devices of the node.
    pub allow_host_paths: bool,
    /// `network = "host"`.
    pub allow_host_network: bool,
    /// `host_user_namespace = "…"`.
    pub allow_host_user_namespace: bool,
}

impl ContainersConfig {
    /// No exception is granted.
    #[must_use]
    pub const fn closed() -> Self {
        Self {
            allow_privileged: false,
            allow_host_paths: false,
            allow_host_network: false,
            allow_host_user_namespace: false,
        }
    }
}

impl Default for ContainersConfig {
    fn default() -> Self {
        Self {
            allow_privileged: true,
            allow_host_paths: true,
            allow_host_network: true,
            allow_host_user_namespace: true,
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn what_is_not_said_is_allowed() {
        let config = crate::node_config::parse(
            "#cloud-config\n[containers]\nallow_privileged = false\nallow_host_paths = false\n",
        )
        .unwrap();
        let containers = config.containers;
        assert!(!containers.allow_privileged && !containers.allow_host_paths);
        assert!(containers.allow_host_network && containers.allow_host_user_namespace);
        let problem = crate::node_config::parse("#cloud-config\n[containers]\nallow_all = true\n");
        assert!(problem.unwrap_err().to_string().starts_with("line 3, column 1: unknown field"));
    }
}
