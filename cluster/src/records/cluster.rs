//! What holds for the whole cluster.

use std::net::{Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};

use super::record::{Record, Rest, Wrong, word};
use crate::keys::NET_MAX;
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

/// Networks of a cluster, each as address and length of the prefix.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Networks {
    /// IPv4, such as `10.112.0.0/12`.
    pub ipv4: String,
    /// IPv6: a `/48` of the cluster's own.
    pub ipv6: String,
    /// What newer versions wrote.
    #[serde(flatten)]
    pub rest: Rest,
}

/// Length of the prefix that each machine has, by family.
const MACHINE_PREFIX4: u8 = 24;
const CLUSTER_PREFIX6: u8 = 48;

impl Networks {
    /// Both as numbers: IPv4 with its length, and the `/48`.
    ///
    /// # Errors
    /// One is no network that machines could have theirs of.
    pub fn parse(&self) -> Result<((Ipv4Addr, u8), Ipv6Addr), Wrong> {
        let wrong4 = "it is a network with room for machines' /24, such as 10.112.0.0/12";
        let wrong6 = "it is a network of length 48, such as fd12:3456:789a::/48";
        let parts = |text: &str| {
            let (address, prefix) = text.split_once('/')?;
            Some((address.to_owned(), prefix.parse::<u8>().ok()?))
        };
        let ipv4 = parts(&self.ipv4).and_then(|(address, prefix)| {
            let address: Ipv4Addr = address.parse().ok()?;
            let rest = u32::MAX.checked_shr(prefix.into()).unwrap_or(0);
            let fits = (8..MACHINE_PREFIX4).contains(&prefix) && address.to_bits() & rest == 0;
            fits.then_some((address, prefix))
        });
        let ipv6 = parts(&self.ipv6).and_then(|(address, prefix)| {
            let address: Ipv6Addr = address.parse().ok()?;
            let fits = prefix == CLUSTER_PREFIX6 && address.to_bits() << prefix == 0;
            fits.then_some(address)
        });
        Ok((
            ipv4.ok_or_else(|| Wrong::at("networks.ipv4", wrong4))?,
            ipv6.ok_or_else(|| Wrong::at("networks.ipv6", wrong6))?,
        ))
    }

    /// Highest number of a machine's network, counted from 0.
    ///
    /// # Errors
    /// As [`Self::parse`].
    pub fn number_max(&self) -> Result<u16, Wrong> {
        let ((_, prefix), _) = self.parse()?;
        let bits = u32::from(MACHINE_PREFIX4 - prefix).min(16);
        Ok(u16::try_from((1_u32 << bits) - 1).unwrap_or(u16::MAX).min(NET_MAX))
    }
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

/// The machine that has a network's number, for good.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Net {
    /// The machine.
    pub machine: MachineId,
    /// What newer versions wrote.
    #[serde(flatten)]
    pub rest: Rest,
}

impl Record for Net {
    const MAX_BYTES: usize = 1 << 10;
}
