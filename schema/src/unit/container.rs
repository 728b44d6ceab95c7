//! What a unit says about its container: capabilities, volumes, bounds, network.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::bytes::Bytes;

/// Capabilities beyond or short of the default ones, without `CAP_`: `"NET_ADMIN"`. `drop = ["ALL"]` drops all
/// before `add` is looked at.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Capabilities {
    /// Granted on top.
    #[serde(default)]
    pub add: Vec<String>,
    /// Taken away.
    #[serde(default)]
    pub drop: Vec<String>,
}

impl Capabilities {
    pub(super) fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// Something mounted into a container. Exactly one of `name`, `host` and `tmpfs` says what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Volume {
    /// A volume of the node by this name, made when it is first used; several units may share it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// A folder or file of the node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// An empty folder in memory of at most this size.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tmpfs: Option<Bytes>,
    /// Where it is in the container.
    pub target: String,
    /// The container cannot write to it.
    #[serde(default)]
    pub read_only: bool,
}

/// What a volume is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VolumeSource<'a> {
    /// A named volume.
    Name(&'a str),
    /// A path of the node.
    Host(&'a str),
    /// Memory.
    Tmpfs(Bytes),
}

impl Volume {
    /// What it is, where exactly one source is given.
    #[must_use]
    pub fn source(&self) -> Option<VolumeSource<'_>> {
        match (&self.name, &self.host, self.tmpfs) {
            (Some(name), None, None) => Some(VolumeSource::Name(name)),
            (None, Some(host), None) => Some(VolumeSource::Host(host)),
            (None, None, Some(size)) => Some(VolumeSource::Tmpfs(size)),
            _ => None,
        }
    }
}

/// Bounds of a container, enforced by cgroup v2. What is absent is unbounded, but for `pids_max`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Resources {
    /// Processors' worth of time: `0.5`, `2`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpus: Option<f64>,
    /// Share when processors are short, 1 to 10000; 100 is everybody's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_weight: Option<u16>,
    /// Most memory, swap excluded; beyond it a process is killed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<Bytes>,
    /// Memory above which it is slowed down and reclaimed from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_high: Option<Bytes>,
    /// Memory that is left to it when the node is short.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_min: Option<Bytes>,
    /// Most processes and threads; 4096 where it is absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pids_max: Option<u32>,
    /// Most space that its root takes on STATE, and each of its named volumes; where this is absent, a quarter of it for the
    /// root.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk: Option<Bytes>,
    /// Most files and folders in its root, and in each of its named volumes; where this is absent, a quarter of what STATE
    /// can hold for the root, and half of it for a volume.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inodes: Option<u64>,
    /// Share when the disk is busy, 1 to 10000; 100 is everybody's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub io_weight: Option<u16>,
    /// Most bytes read from STATE's disk in a second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub io_read_per_s: Option<Bytes>,
    /// Most bytes written to STATE's disk in a second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub io_write_per_s: Option<Bytes>,
}

impl Resources {
    pub(super) fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// A limit of each process: one number for both, or a table of both.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(untagged)]
pub enum Ulimit {
    /// Soft and hard limit.
    Both(u64),
    /// Each.
    Each {
        /// What holds.
        soft: u64,
        /// What a process may raise it to.
        hard: u64,
    },
}

/// Transport protocol of a port.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Protocol {
    /// TCP.
    #[default]
    Tcp,
    /// UDP.
    Udp,
}

/// A port of the node that leads into a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Port {
    /// Port of the node.
    pub host: u16,
    /// Port in the container; the same where it is absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container: Option<u16>,
    /// Transport.
    #[serde(default)]
    pub protocol: Protocol,
    /// Only on this address of the node; on all where it is absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub address: Option<IpAddr>,
}
