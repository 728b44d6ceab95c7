//! What a machine is to run.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::record::{Record, Rest, Wrong, word};
use super::unit::Target;
use crate::names::{SpecHash, UnitName};

/// What a machine is to run, all of it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Assignment {
    /// By the instance's name.
    #[serde(default)]
    pub instances: BTreeMap<UnitName, Assigned>,
    /// What newer versions wrote.
    #[serde(flatten)]
    pub rest: Rest,
}

/// One instance on its machine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Assigned {
    /// Its version.
    pub spec: SpecHash,
    /// Loaded or launched.
    pub target: Target,
    /// Why it came here.
    pub cause: Cause,
    /// When its timer started it last, in seconds since the epoch, so that its next machine knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fired_s: Option<u64>,
    /// What newer versions wrote.
    #[serde(flatten)]
    pub rest: Rest,
}

/// Why an instance was placed, moved or taken away.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cause {
    /// Somebody wants it.
    Wanted,
    /// Nobody wants it any more.
    Unwanted,
    /// The machine that it was on is lost.
    MachineLost,
    /// The machine that it was on must not have it any more.
    ConstraintBroken,
    /// Somebody changed it: its version or its target.
    Changed,
    /// It was on two machines.
    Duplicate,
    /// Something that a newer version knows.
    #[serde(untagged)]
    Other(String),
}

impl Cause {
    /// The word for it, as it is stored.
    #[must_use]
    pub fn word(&self) -> &str {
        match self {
            Self::Wanted => "wanted",
            Self::Unwanted => "unwanted",
            Self::MachineLost => "machine-lost",
            Self::ConstraintBroken => "constraint-broken",
            Self::Changed => "changed",
            Self::Duplicate => "duplicate",
            Self::Other(word) => word,
        }
    }
}

impl Record for Assignment {
    const MAX_BYTES: usize = 256 << 10;

    fn check(&self) -> Result<(), Wrong> {
        for (name, assigned) in &self.instances {
            if name.is_template() {
                return Err(Wrong::at(format!("instances.{name}"), "a template does not run"));
            }
            if assigned.target == Target::Inactive {
                let why = "what has a machine is loaded or launched";
                return Err(Wrong::at(format!("instances.{name}.target"), why));
            }
            word(format!("instances.{name}.cause"), assigned.cause.word())?;
        }
        Ok(())
    }
}
