//! Units and what they keep.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What a unit is doing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum UnitState {
    /// Known, not asked to run.
    #[default]
    Loaded,
    /// It waits for other units.
    Waiting,
    /// Its image is on its way.
    Pulling,
    /// Being started.
    Starting,
    /// Its container runs.
    Running,
    /// It was asked to stop and has not ended yet.
    Stopping,
    /// It ended with status 0 and is not started again.
    Exited,
    /// It ended otherwise, or could not be started, and is not started again.
    Failed,
    /// It ended and is started again after a delay.
    BackingOff,
    /// Its timer starts it when its time has come.
    Scheduled,
}

impl UnitState {
    /// Its name in a sentence.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Loaded => "loaded",
            Self::Waiting => "waiting",
            Self::Pulling => "pulling",
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Stopping => "stopping",
            Self::Exited => "exited",
            Self::Failed => "failed",
            Self::BackingOff => "backing off",
            Self::Scheduled => "scheduled",
        }
    }
}

/// Who wants a unit on this node.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Origin {
    /// Somebody who asked this node.
    #[default]
    Local,
    /// The cluster.
    Cluster,
    /// The node itself.
    System,
}

/// What a unit's health check says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum HealthState {
    /// It has not been well yet.
    Starting,
    /// It is well.
    Healthy,
    /// It is not, and is being stopped.
    Unhealthy,
}

impl HealthState {
    /// Its name in a sentence.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Healthy => "healthy",
            Self::Unhealthy => "unhealthy",
        }
    }
}

/// How a container ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(tag = "how", rename_all = "kebab-case")]
pub enum Exit {
    /// It exited.
    Status {
        /// Exit status.
        code: u8,
    },
    /// A signal killed it.
    Signal {
        /// Signal number.
        signal: i32,
    },
}

/// A unit and its container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct UnitStatus {
    /// Name.
    pub name: String,
    /// Image reference.
    pub image: String,
    /// State.
    pub state: UnitState,
    /// Why it is in this state, one sentence.
    pub reason: Option<String>,
    /// Process ID of its container on the node.
    pub pid: Option<i32>,
    /// Starts after the first.
    pub restarts: u32,
    /// How its last run ended.
    pub last_exit: Option<Exit>,
    /// When this state began, seconds since the epoch.
    pub since_s: u64,
    /// What a person should know about it whatever it does: isolation that it gave up, with its reason.
    #[serde(default)]
    pub notes: Vec<String>,
    /// It should run, also after a reboot.
    #[serde(default)]
    pub wanted: bool,
    /// It is a template: its instances run, it does not.
    #[serde(default)]
    pub template: bool,
    /// What its health check says; absent where it has none or does not run.
    #[serde(default)]
    pub health: Option<HealthState>,
    /// Others that wait for it may go on.
    #[serde(default)]
    pub ready: bool,
    /// In one line, why it is not running, or that it is.
    #[serde(default)]
    pub why: String,
    /// When it is started next by itself, seconds since the epoch.
    #[serde(default)]
    pub next_start_s: Option<u64>,
    /// In its last run the kernel killed something for want of memory.
    #[serde(default)]
    pub oom_killed: bool,
    /// Digest of its image's manifest, where the image is here.
    #[serde(default)]
    pub image_digest: Option<String>,
    /// Whose network it has: `bridge`, `host`, `none`, or `unit:web`.
    #[serde(default)]
    pub network: String,
    /// Its addresses; those of the other one where it shares its network.
    #[serde(default)]
    pub addresses: Vec<String>,
    /// Its published ports: `8080→80/tcp`.
    #[serde(default)]
    pub ports: Vec<String>,
    /// Its volumes: `data→/var/lib/data`.
    #[serde(default)]
    pub volumes: Vec<String>,
    /// Its secrets, by name: `db→/run/secrets/db`.
    #[serde(default)]
    pub secrets: Vec<String>,
    /// Its labels.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// It runs as an older document says; the one that was submitted since holds from its next start on.
    #[serde(default)]
    pub outdated: bool,
    /// Who wants it on this node.
    #[serde(default)]
    pub origin: Origin,
}

/// A named volume.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Volume {
    /// Name, as units say it.
    pub name: String,
    /// Bytes of its files.
    pub size_bytes: u64,
    /// Its files and folders.
    #[serde(default)]
    pub files: u64,
    /// Units that name it.
    #[serde(default)]
    pub units: Vec<String>,
}
