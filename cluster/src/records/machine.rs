//! Machines.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::record::{ADDRESSES_MAX, Record, Rest, Wrong, count, word};

/// A machine, whether it is there or not.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    /// Its name for people.
    pub name: String,
    /// Addresses at which other nodes reach it.
    pub addresses: Vec<IpAddr>,
    /// What its configuration says about it, for units that look for machines.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
    /// What somebody said about it while it ran; it wins, and `null` takes a key away. Kept when the machine joins again.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub overrides: BTreeMap<String, Option<String>>,
    /// What it has for units.
    pub capacity: Capacity,
    /// What its version understands.
    pub level: u32,
    /// Nothing new is placed on it. Kept when the machine joins again.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub cordoned: bool,
    /// Public key of its end of the mesh, in base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mesh_key: Option<String>,
    /// Longest packet that goes through its networks, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u32>,
    /// Digest of what tells its hardware from another's: a copied disk shows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hardware: Option<String>,
    /// It may run etcd: its configuration has the issuers' keys.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub eligible: bool,
    /// Why its etcd cannot go on there and must be replaced, where that is certain: the machine's own words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub etcd_unusable: Option<String>,
    /// Rights that its configuration grants to units.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rights: Vec<String>,
    /// Names of environment files that its configuration has.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub env_files: Vec<String>,
    /// What newer versions wrote.
    #[serde(flatten)]
    pub rest: Rest,
}

/// What a machine has for units.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capacity {
    /// Processor time, in thousandths of a processor.
    pub cpus_milli: u64,
    /// Memory, in bytes.
    pub memory_bytes: u64,
    /// What newer versions wrote.
    #[serde(flatten)]
    pub rest: Rest,
}

impl Machine {
    /// What holds of `metadata` and `overrides` together.
    #[must_use]
    pub fn labels(&self) -> BTreeMap<String, String> {
        let mut labels = self.metadata.clone();
        for (key, value) in &self.overrides {
            match value {
                Some(value) => drop(labels.insert(key.clone(), value.clone())),
                None => drop(labels.remove(key)),
            }
        }
        labels
    }

    /// This record of a machine that joins, with what others said about it in the one that is `known`.
    #[must_use]
    pub fn rejoining(mut self, known: Self) -> Self {
        // An agent that has just begun may not have its key yet; the machine has it all the same.
        self.mesh_key = self.mesh_key.or(known.mesh_key);
        self.overrides = known.overrides;
        self.cordoned = known.cordoned;
        for (key, value) in known.rest {
            self.rest.entry(key).or_insert(value);
        }
        self
    }
}

impl Record for Machine {
    const MAX_BYTES: usize = 16 << 10;

    fn check(&self) -> Result<(), Wrong> {
        if self.name.is_empty() || self.name.len() > 64 || self.name.chars().any(char::is_control) {
            return Err(Wrong::at("name", "it is a line of 1 to 64 bytes"));
        }
        count("addresses", self.addresses.len(), ADDRESSES_MAX)?;
        for (field, text) in [("mesh_key", &self.mesh_key), ("hardware", &self.hardware)] {
            word(field, text.as_deref().unwrap_or_default())?;
        }
        let keys = self.metadata.keys().map(|key| ("metadata", key));
        for (field, key) in keys.chain(self.overrides.keys().map(|key| ("overrides", key))) {
            if key.is_empty() {
                return Err(Wrong::at(field, "a key is not empty"));
            }
        }
        Ok(())
    }
}

/// A machine is there, as long as its lease lives.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alive {
    /// ID of its boot.
    pub boot_id: String,
    /// Counts how often it joined.
    pub incarnation: u64,
    /// What newer versions wrote.
    #[serde(flatten)]
    pub rest: Rest,
}

impl Record for Alive {
    const MAX_BYTES: usize = 1 << 10;

    fn check(&self) -> Result<(), Wrong> {
        word("boot_id", &self.boot_id)
    }
}
