//! What a machine runs, as it says itself.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ferrite_schema::api::{Exit, UnitState};
use ferrite_schema::unit::Protocol;
use serde::{Deserialize, Serialize};

use super::record::{ADDRESSES_MAX, Record, Rest, Wrong, count, word};
use crate::names::{SpecHash, UnitName};

/// What a machine runs, all of it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// By the instance's name.
    #[serde(default)]
    pub instances: BTreeMap<UnitName, InstanceState>,
    /// What newer versions wrote.
    #[serde(flatten)]
    pub rest: Rest,
}

/// One instance on its machine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct InstanceState {
    /// The version that runs.
    pub spec: SpecHash,
    /// What it is doing.
    pub state: Condition,
    /// It runs and is well, or has done its work.
    #[serde(default)]
    pub ready: bool,
    /// Its addresses in the cluster's network.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<IpAddr>,
    /// Ports that it serves at those.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<ServicePort>,
    /// How its container ended last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit: Option<Exit>,
    /// It has done its work and is not started again.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub done: bool,
    /// What newer versions wrote.
    #[serde(flatten)]
    pub rest: Rest,
}

/// What an instance is doing; a word of a newer version is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Condition {
    /// Something that this version knows.
    Known(UnitState),
    /// Something that a newer version knows.
    Other(String),
}

/// A port that an instance serves.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ServicePort {
    /// Its number.
    pub port: u16,
    /// Its transport.
    pub protocol: Transport,
}

/// Transport of a port that is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Transport {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

impl From<Protocol> for Transport {
    fn from(protocol: Protocol) -> Self {
        match protocol {
            Protocol::Tcp => Self::Tcp,
            Protocol::Udp => Self::Udp,
        }
    }
}

/// Most ports of an instance.
pub const PORTS_MAX: usize = 256;

impl State {
    /// As much of it as may be stored: of very many instances few addresses, and no ports.
    #[must_use]
    pub fn fitting(mut self) -> Self {
        for (addresses, ports) in [(ADDRESSES_MAX, PORTS_MAX), (4, 4), (2, 0), (0, 0)] {
            for instance in self.instances.values_mut() {
                instance.addresses.truncate(addresses);
                instance.ports.truncate(ports);
            }
            let size_bytes = serde_json::to_vec(&self).map_or(usize::MAX, |text| text.len());
            if size_bytes <= Self::MAX_BYTES {
                break;
            }
        }
        self
    }
}

impl Record for State {
    const MAX_BYTES: usize = 1 << 20;

    fn check(&self) -> Result<(), Wrong> {
        for (name, instance) in &self.instances {
            let at = |field: &str| format!("instances.{name}.{field}");
            count(at("addresses"), instance.addresses.len(), ADDRESSES_MAX)?;
            count(at("ports"), instance.ports.len(), PORTS_MAX)?;
            if let Condition::Other(text) = &instance.state {
                word(at("state"), text)?;
            }
        }
        Ok(())
    }
}
