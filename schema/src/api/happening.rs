//! What units write, and what happens on a node.

use serde::{Deserialize, Serialize};

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
    /// It goes on in the next one of the same stream and run: it was too long for one. Absent where it does not.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub partial: bool,
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
