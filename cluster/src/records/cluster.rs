//! What holds for the whole cluster.

use ferrite_schema::cluster::NotOne;
use ferrite_schema::cluster_network::{ClusterIpv4, ClusterIpv6, MeshTransport};
use serde::{Deserialize, Serialize};

use super::record::{LEVEL, Record, Rest, Wrong, word};
use crate::names::MachineId;

/// The cluster itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Cluster {
    /// Its ID, drawn when it was founded.
    pub id: String,
    /// Rises when the store was restored from a backup: what was known before may be from a future that never was.
    pub epoch: u64,
    /// Networks that nodes get theirs from.
    pub networks: Networks,
    /// How many machines should run etcd: 1, 3, 5 or 7.
    pub member_target: u8,
    /// Times.
    pub timings: Timings,
    /// Lowest level of its machines; documents of a higher one are refused.
    pub level: u32,
    /// What newer versions wrote.
    #[serde(flatten)]
    pub rest: Rest,
}

/// Networks of a cluster, each as address and length of the prefix, and what carries packets from machine to machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Networks {
    /// IPv4, such as `10.112.0.0/12`.
    pub ipv4: String,
    /// IPv6: a `/48` of the cluster's own.
    pub ipv6: String,
    /// `routes`, or `wireguard`, which it is where this is absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transport: Option<String>,
    /// What a machine must understand at least to take part; everybody does where it is absent. A version that does not know
    /// `transport` would use WireGuard beside machines that do without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub level: Option<u32>,
    /// What newer versions wrote.
    #[serde(flatten)]
    pub rest: Rest,
}

/// Networks of a cluster, understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClusterNetwork {
    /// IPv4.
    pub ipv4: ClusterIpv4,
    /// IPv6.
    pub ipv6: ClusterIpv6,
    /// What carries packets from machine to machine.
    pub transport: MeshTransport,
}

impl ClusterNetwork {
    /// As it is stored.
    #[must_use]
    pub fn stored(&self) -> Networks {
        let other = self.transport != MeshTransport::default();
        Networks {
            ipv4: self.ipv4.to_string(),
            ipv6: self.ipv6.to_string(),
            transport: other.then(|| self.transport.to_string()),
            level: other.then_some(TRANSPORT_LEVEL),
            rest: Rest::new(),
        }
    }
}

/// The level of machines that may do without WireGuard.
const TRANSPORT_LEVEL: u32 = 2;
const _: () = assert!(TRANSPORT_LEVEL <= LEVEL, "this version writes what it understands");

impl Networks {
    /// What a machine must understand at least to take part.
    #[must_use]
    pub fn least_level(&self) -> u32 {
        let other = self.transport.as_deref().map(str::parse) != Some(Ok(MeshTransport::default()));
        // A record of the time when it was not said yet.
        let means = if self.transport.is_some() && other { TRANSPORT_LEVEL } else { 1 };
        self.level.unwrap_or(1).max(means)
    }

    /// What they mean. A transport of a newer version is none that this one could do without.
    ///
    /// # Errors
    /// One is no network that machines could have theirs of.
    pub fn parse(&self) -> Result<ClusterNetwork, Wrong> {
        if let Some(level) = self.level.filter(|level| *level > LEVEL) {
            let why = format!(
                "machines of level {level} alone take part, and this version is of level {LEVEL}: update it"
            );
            return Err(Wrong::at("networks.level", why));
        }
        let transport = self.transport.as_deref().map(str::parse).transpose();
        Ok(ClusterNetwork {
            ipv4: self.ipv4.parse().map_err(|wrong| not_one("networks.ipv4", &wrong))?,
            ipv6: self.ipv6.parse().map_err(|wrong| not_one("networks.ipv6", &wrong))?,
            transport: transport
                .map_err(|wrong| not_one("networks.transport", &wrong))?
                .unwrap_or_default(),
        })
    }
}

fn not_one(field: &'static str, wrong: &NotOne) -> Wrong {
    Wrong::at(field, wrong.to_string())
}

/// Times of a cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timings {
    /// Between etcd's heartbeats, in milliseconds.
    pub heartbeat_ms: u32,
    /// After which etcd elects another leader, in milliseconds.
    pub election_ms: u32,
    /// After which a machine that says nothing is gone, in seconds.
    pub ttl_s: u32,
    /// What newer versions wrote.
    #[serde(flatten)]
    pub rest: Rest,
}

impl Record for Cluster {
    const MAX_BYTES: usize = 4 << 10;

    fn check(&self) -> Result<(), Wrong> {
        word("id", &self.id)?;
        if self.id.is_empty()
            || !self.id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        {
            return Err(Wrong::at("id", "it has letters, digits and `-`"));
        }
        if !matches!(self.member_target, 1 | 3 | 5 | 7) {
            return Err(Wrong::at("member_target", "it is 1, 3, 5 or 7"));
        }
        for (field, value) in [
            ("timings.heartbeat_ms", self.timings.heartbeat_ms),
            ("timings.election_ms", self.timings.election_ms),
            ("timings.ttl_s", self.timings.ttl_s),
        ] {
            if value == 0 {
                return Err(Wrong::at(field, "it is longer than nothing"));
            }
        }
        Ok(())
    }
}

/// Who leads. Whoever decides compares the revision of this key's modification in every transaction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leader {
    /// The machine.
    pub machine: MachineId,
    /// What newer versions wrote.
    #[serde(flatten)]
    pub rest: Rest,
}

impl Record for Leader {
    const MAX_BYTES: usize = 1 << 10;
}

/// The machine that has a network's number, until it is forgotten.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Net {
    /// The machine.
    pub machine: MachineId,
    /// The machine was forgotten. Others may route to it still, so that its number is the last to be given again.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub forgotten: bool,
    /// What newer versions wrote.
    #[serde(flatten)]
    pub rest: Rest,
}

impl Record for Net {
    const MAX_BYTES: usize = 1 << 10;
}
