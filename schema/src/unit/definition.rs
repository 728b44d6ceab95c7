//! A unit as its author writes it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::container::{Capabilities, Port, Resources, Ulimit, Volume};
use super::life::{Health, StartLimit, Timer};
use super::network::NetworkMode;
use super::placement::Placement;
use super::secret::SecretFile;

/// What is done when a unit's container ends.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
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

/// When a unit's image is asked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum PullPolicy {
    /// Where it is not here.
    #[default]
    Missing,
    /// At each start: its registry says what the name means then. What is here is used where it does not answer.
    Always,
    /// Never: it is here, or the start fails.
    Never,
}

impl PullPolicy {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// A unit as its author writes it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Unit {
    /// Name: letters, digits, `-`, `_`, `.`, up to 64 of them. `web@` is a template, `web@1` its instance `1`.
    pub name: String,
    /// Image reference, as imported or as a registry names it.
    pub image: String,
    /// When the image is asked for.
    #[serde(default, skip_serializing_if = "PullPolicy::is_default")]
    pub pull: PullPolicy,
    /// Replaces the image's entrypoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entrypoint: Option<Vec<String>>,
    /// Replaces the image's command.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<Vec<String>>,
    /// Words after entrypoint and command, whoever named those.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<String>,
    /// Environment, on top of the image's.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// Names of environment files of the node's configuration (`[env_files]`), later ones winning; `env` wins over all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub env_files: Vec<String>,
    /// Secrets of the node's configuration (`[secrets]`) that it has as files, in `/run/secrets` where nothing else is said.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<SecretFile>,
    /// `user`, `user:group`, names of the image or numbers; the image's, or root.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Working directory; the image's, or `/`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workdir: Option<String>,
    /// Hostname inside; made from the unit's name where it is absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// The container cannot write its root; volumes stay writable.
    #[serde(default, skip_serializing_if = "is_false")]
    pub read_only_root: bool,
    /// Standard output and input are a terminal, which `attach` shows.
    #[serde(default, skip_serializing_if = "is_false")]
    pub tty: bool,
    /// Standard input stays open for `attach`; otherwise it is empty.
    #[serde(default, skip_serializing_if = "is_false")]
    pub stdin: bool,
    /// A small program of the node's is the container's first process: it collects processes that end without a parent, passes
    /// signals on to the unit's program, and ends as that does.
    #[serde(default, skip_serializing_if = "is_false")]
    pub init: bool,
    /// All capabilities and devices of the node, no user namespace, no seccomp, no masked paths.
    #[serde(default, skip_serializing_if = "is_false")]
    pub privileged: bool,
    /// Why this unit must share the node's user namespace; it has a private one where this is absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_user_namespace: Option<String>,
    /// Devices of the node that it may use, as paths below `/dev`: `"/dev/fuse"`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub devices: Vec<String>,
    /// Capabilities beyond or short of the default ones.
    #[serde(default, skip_serializing_if = "Capabilities::is_default")]
    pub capabilities: Capabilities,
    /// What is mounted into it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub volumes: Vec<Volume>,
    /// Bounds.
    #[serde(default, skip_serializing_if = "Resources::is_default")]
    pub resources: Resources,
    /// `net.*` and other namespaced kernel parameters.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub sysctls: BTreeMap<String, String>,
    /// Limits of each process, by the name without `RLIMIT_` in lower case: `nofile = 1024`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub ulimits: BTreeMap<String, Ulimit>,
    /// Whose network it has: `bridge` (its own, connected to the node's bridge), `host` (the node's), `none` (its own, connected to
    /// nothing), or that of another unit of the node, `unit:web`.
    #[serde(default)]
    #[cfg_attr(
        feature = "openapi",
        schema(value_type = String, pattern = "^(bridge|host|none|unit:[A-Za-z0-9][A-Za-z0-9@._%-]*)$")
    )]
    pub network: NetworkMode,
    /// It reaches what the cloud tells the machine about itself (169.254.169.254 and its like).
    #[serde(default, skip_serializing_if = "is_false")]
    pub metadata_service: bool,
    /// Ports of the node that lead into it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<Port>,
    /// What is done when it ends; `always`, or `never` for a oneshot unit and one with a timer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restart: Option<RestartPolicy>,
    /// Bounds how often it is started; beyond it the unit has failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_limit: Option<StartLimit>,
    /// It does its work and ends: units that wait for it wait for its end with status 0. Not with `restart = "always"`.
    #[serde(default, skip_serializing_if = "is_false")]
    pub oneshot: bool,
    /// Starts it again and again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timer: Option<Timer>,
    /// Units that must be ready, or done, before this one is started, if they are asked to run.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub after: Vec<String>,
    /// Units that this one cannot do without: started with it, waited for, and it is stopped with them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub requires: Vec<String>,
    /// Commands that must each exit with status 0 in a container like this one before it is started.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pre_start: Vec<Vec<String>>,
    /// Commands that are each run in a container like this one after it ended.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub post_stop: Vec<Vec<String>>,
    /// Signal that asks it to stop; the image's, or SIGTERM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_signal: Option<String>,
    /// Seconds it gets to stop before it is killed.
    #[serde(default = "default_stop_grace_s")]
    pub stop_grace_s: u32,
    /// How to see that it does its work.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<Health>,
    /// For people and programs that look for units.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// How many of it a cluster runs: `web` with 3 runs as `web@1`, `web@2` and `web@3`; as itself where it is absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replicas: Option<u32>,
    /// Where in a cluster it may run.
    #[serde(default, skip_serializing_if = "Placement::is_default")]
    pub placement: Placement,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
const fn is_false(value: &bool) -> bool {
    !*value
}

const fn default_stop_grace_s() -> u32 {
    10
}

impl Unit {
    /// What is done when it ends.
    #[must_use]
    pub fn restart_policy(&self) -> RestartPolicy {
        let ends = self.oneshot || self.timer.is_some();
        self.restart.unwrap_or(if ends { RestartPolicy::Never } else { RestartPolicy::Always })
    }
}
