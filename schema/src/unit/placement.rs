//! What a unit says about the machines of a cluster: how many of it there are, and where they may run.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Most replicas of a unit.
pub const REPLICAS_MAX: u32 = 10_000;

/// Where in a cluster a unit may run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Placement {
    /// For each key of machines' metadata, the values of which a machine must have one: `{ zone = ["a", "b"] }`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, Vec<String>>,
    /// What becomes of it when its machine is lost; `wait` where it has a named volume, else `move`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_loss: Option<OnLoss>,
}

/// What becomes of a unit whose machine is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum OnLoss {
    /// It waits for the machine, which has its data.
    Wait,
    /// It runs elsewhere.
    Move,
}

impl Placement {
    /// It says nothing.
    #[must_use]
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}
