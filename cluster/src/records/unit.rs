//! Units that somebody submitted.

use serde::{Deserialize, Serialize};

use super::record::{Record, Rest, Wrong};
use crate::names::SpecHash;

/// What should become of a unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Target {
    /// It is known, and nowhere.
    Inactive,
    /// It has its machine and its image, and does not run.
    Loaded,
    /// It runs.
    Launched,
}

/// A unit that somebody submitted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Unit {
    /// What should become of it.
    pub target: Target,
    /// Its present version.
    pub spec: SpecHash,
    /// The version that was well last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stable: Option<SpecHash>,
    /// How many of it: `web` with 3 runs as `web@1`, `web@2` and `web@3`; absent, it runs as itself. It is no part of the
    /// version, so that more or fewer of it touch none that run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replicas: Option<u32>,
    /// What newer versions wrote; the state of a roll-out will be there.
    #[serde(flatten)]
    pub rest: Rest,
}

/// Most replicas of a unit.
pub const REPLICAS_MAX: u32 = 10_000;

impl Record for Unit {
    const MAX_BYTES: usize = 4 << 10;

    fn check(&self) -> Result<(), Wrong> {
        if self.replicas.is_some_and(|count| count > REPLICAS_MAX) {
            return Err(Wrong::at("replicas", format!("{REPLICAS_MAX} are the most")));
        }
        Ok(())
    }
}
