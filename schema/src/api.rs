//! Types of the node's API: JSON over HTTPS with mutual TLS, under `/v1`.
//!
//! | request | body | answer |
//! |---|---|---|
//! | `GET /v1/machine` | | [`Machine`] |
//! | `POST /v1/machine/reboot`, `/poweroff` | | 202 |
//! | `GET /v1/boot` | | [`crate::timeline::Timeline`] |
//! | `GET /v1/slots` | | [`crate::control::Status`] |
//! | `POST /v1/slots/mark-good`, `/stage`, `/rollback` | | 200 |
//! | `GET /v1/images` | | list of [`Image`] |
//! | `POST /v1/images?name=NAME` | OCI or Docker archive (tar, also compressed) | [`Image`] |
//! | `DELETE /v1/images?name=NAME` | | [`Pruned`] |
//! | `POST /v1/images/prune` | | [`Pruned`] |
//! | `POST /v1/images/pull?name=NAME` | | lines of [`PullEvent`], JSON, one per line |
//! | `GET /v1/images/export?name=NAME&format=FORMAT` | | archive (tar) |
//! | `GET /v1/units` | | list of [`UnitStatus`] |
//! | `PUT /v1/units/NAME` | [`crate::unit::Unit`] | [`UnitStatus`] |
//! | `GET /v1/units/NAME` | | [`UnitStatus`] |
//! | `GET /v1/units/NAME/definition` | | [`crate::unit::Unit`], as it was submitted |
//! | `DELETE /v1/units/NAME` | | 204 |
//! | `POST /v1/units/NAME/exec`, upgrade to `ferrite-stream/1` | [`crate::stream::ExecRequest`] | 101, then frames of [`crate::stream`] |
//! | `POST /v1/units/NAME/files`, upgrade to `ferrite-stream/1` | [`crate::stream::FilesRequest`] | 101, then frames of [`crate::stream`] |
//! | `POST /v1/units/NAME/attach`, upgrade to `ferrite-stream/1` | | 101, then frames of [`crate::stream`] |
//! | `POST /v1/units/NAME/load`, `/start`, `/restart`, `/stop`, `/unload` | | [`UnitStatus`] |
//! | `GET /v1/units/NAME/logs?follow=BOOL&since_us=…&until_us=…&tail=N&stream=…&previous=BOOL` | | lines of [`LogLine`], JSON, one per line |
//! | `GET /v1/events?follow=BOOL&since_us=…&unit=NAME` | | lines of [`Event`], JSON, one per line |
//! | `GET /v1/stats?follow=BOOL&interval_ms=N` | | [`Stats`]; with `follow` one per line |
//! | `GET /v1/openapi.json` | | OpenAPI 3.1 document of all this |
//!
//! Errors are [`ApiError`] with a fitting status code.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// A machine and what it runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Machine {
    /// Machine ID.
    pub id: String,
    /// Hostname.
    pub hostname: String,
    /// OS version.
    pub version: String,
    /// Image variant.
    pub variant: String,
    /// Kernel release.
    pub kernel: String,
    /// Slot in use, `A` or `B`.
    pub slot: String,
    /// STATE could not be used, and the node is in its rescue state: why, and what to do. It runs no units, and what is
    /// written is not kept.
    #[serde(default)]
    pub rescue: Option<String>,
    /// The node is as it should be.
    pub ready: bool,
    /// Seconds since the kernel started.
    pub uptime_s: u64,
    /// Things a person should know: a rejected configuration, a recreated STATE.
    pub warnings: Vec<String>,
}

/// An image in the node's store.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Image {
    /// Reference.
    pub name: String,
    /// Manifest digest, `sha256:…`.
    pub digest: String,
    /// Bytes of its blobs.
    pub size_bytes: u64,
    /// Bytes on STATE, blobs and unpacked layers, that go when this image is removed.
    #[serde(default)]
    pub own_bytes: u64,
    /// Bytes on STATE that other images use as well.
    #[serde(default)]
    pub shared_bytes: u64,
    /// Units that name it.
    #[serde(default)]
    pub units: Vec<String>,
    /// When it was used last, seconds since the epoch.
    #[serde(default)]
    pub last_used_s: u64,
}

/// What was removed from the image store.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Pruned {
    /// Names of images.
    pub images: Vec<String>,
    /// Bytes that were freed.
    pub freed_bytes: u64,
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

/// Kind of archive that an image is exported as.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum ExportFormat {
    /// OCI image layout.
    #[default]
    Oci,
    /// What `docker save` writes.
    Docker,
}

/// How far a pull is: the answer to `POST /v1/images/pull` is one [`PullEvent`] per line.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PullProgress {
    /// The image's full name.
    pub name: String,
    /// Its layers, bottom first; empty before its manifest is known.
    pub layers: Vec<LayerProgress>,
}

impl PullProgress {
    /// Bytes that are here, and bytes of all layers.
    #[must_use]
    pub fn bytes(&self) -> (u64, u64) {
        self.layers.iter().fold((0, 0), |(done, total), layer| {
            (done.saturating_add(layer.done_bytes), total.saturating_add(layer.size_bytes))
        })
    }
}

/// A layer that is being pulled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct LayerProgress {
    /// Digest of its blob.
    pub digest: String,
    /// Bytes of its blob.
    pub size_bytes: u64,
    /// Bytes that are here.
    pub done_bytes: u64,
    /// What happens to it.
    pub phase: LayerPhase,
}

/// What happens to a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum LayerPhase {
    /// Others come first.
    Waiting,
    /// It is on its way.
    Downloading,
    /// It is being unpacked.
    Unpacking,
    /// It can be used.
    Done,
}

/// A line of the answer to a pull.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum PullEvent {
    /// It goes on.
    Progress(PullProgress),
    /// The image is here.
    Done {
        /// The image.
        image: Image,
    },
    /// The image is not here.
    Failed {
        /// Why, one sentence.
        error: String,
    },
}

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
    /// Its addresses.
    #[serde(default)]
    pub addresses: Vec<String>,
    /// Its published ports: `8080→80/tcp`.
    #[serde(default)]
    pub ports: Vec<String>,
    /// Its volumes: `data→/var/lib/data`.
    #[serde(default)]
    pub volumes: Vec<String>,
    /// Its labels.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// It runs as an older document says; the one that was submitted since holds from its next start on.
    #[serde(default)]
    pub outdated: bool,
}

/// Output stream of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// A line that a container wrote.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct LogLine {
    /// When, microseconds since the epoch.
    pub time_us: u64,
    /// Where.
    pub stream: Stream,
    /// Which run of the container wrote it: when that began, microseconds since the epoch; 0 where the log is older
    /// than this field.
    #[serde(default)]
    pub run: u64,
    /// The line, without its end; bytes that are not UTF-8 are replaced.
    pub line: String,
}

/// What sort of thing happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum EventKind {
    /// A unit was submitted or replaced.
    Submitted,
    /// A unit's state changed; the message begins with the new state.
    State,
    /// The kernel killed something in a unit for want of memory.
    Oom,
    /// A unit's health or readiness changed.
    Health,
    /// A unit was forgotten.
    Removed,
    /// An image came or went.
    Image,
    /// Something about the node itself: a full disk, a warning.
    Node,
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Event {
    /// When, microseconds since the epoch; no two events have the same time.
    pub time_us: u64,
    /// Unit that it happened to; absent where it is about the node.
    pub unit: Option<String>,
    /// What sort of thing.
    pub kind: EventKind,
    /// One sentence for a person.
    pub message: String,
}

/// What a node and its containers use, at one moment. Counters only grow while a container lives: what is used per
/// second is the difference of two samples.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Stats {
    /// When, microseconds since the epoch.
    pub time_us: u64,
    /// The node.
    pub node: NodeStats,
    /// Units that have a container, by name.
    pub units: Vec<UnitStats>,
}

/// What a node uses.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NodeStats {
    /// Processors.
    pub cpus: u32,
    /// Time that they were busy, all together, microseconds since the kernel started.
    pub cpu_us: u64,
    /// Memory.
    pub memory_bytes: u64,
    /// Memory that programs could still have.
    pub memory_available_bytes: u64,
    /// Size of STATE.
    pub state_bytes: u64,
    /// Free space on STATE that units can have.
    pub state_available_bytes: u64,
    /// Files and folders that STATE can hold.
    #[serde(default)]
    pub state_inodes: u64,
    /// How many more.
    #[serde(default)]
    pub state_available_inodes: u64,
}

/// What a unit's container uses. What the kernel does not count is absent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct UnitStats {
    /// Unit.
    pub unit: String,
    /// Its state.
    pub state: UnitState,
    /// Processor time since its container started, microseconds.
    pub cpu_us: u64,
    /// Memory, without cached files that could be dropped at once.
    pub memory_bytes: Option<u64>,
    /// Cached files that could be dropped at once.
    pub cache_bytes: Option<u64>,
    /// Most memory that it may have; absent where it is unbounded.
    pub memory_max_bytes: Option<u64>,
    /// Times that the kernel killed something in it for want of memory.
    pub oom_kills: Option<u64>,
    /// Bytes read from disks.
    pub read_bytes: Option<u64>,
    /// Bytes written to disks.
    pub written_bytes: Option<u64>,
    /// Processes and threads.
    pub pids: Option<u64>,
    /// Most that it may have; absent where they are unbounded.
    pub pids_max: Option<u64>,
    /// Bytes that its root takes on STATE, beyond its image.
    #[serde(default)]
    pub disk_bytes: Option<u64>,
    /// The most; absent where it is unbounded.
    #[serde(default)]
    pub disk_max_bytes: Option<u64>,
    /// Files and folders of its root, beyond its image.
    #[serde(default)]
    pub inodes: Option<u64>,
    /// The most; absent where they are unbounded.
    #[serde(default)]
    pub inodes_max: Option<u64>,
}

/// Why a request was not carried out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ApiError {
    /// One sentence for a person.
    pub error: String,
}
