//! What a unit says about the machines of a cluster: how many of it there are, and where they may run.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::bad_value::{BadValue, Check, bad};
use super::definition::Unit;
use super::names::NAME_MAX_BYTES;

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

impl Unit {
    /// The first key of its document that only a cluster can honour.
    #[must_use]
    pub fn needs_cluster(&self) -> Option<&'static str> {
        match (self.replicas, self.placement.is_default()) {
            (Some(_), _) => Some("replicas"),
            (None, false) => Some("placement"),
            (None, true) => None,
        }
    }
}

pub(super) const CHECKS: [Check; 2] = [replicas, placement];

fn replicas(unit: &Unit) -> Result<(), BadValue> {
    let Some(count) = unit.replicas else { return Ok(()) };
    if !(1..=REPLICAS_MAX).contains(&count) {
        let why = format!("use 1 to {REPLICAS_MAX}; `ferrite unit stop` runs none of it");
        return bad(["replicas"], why);
    }
    // An instance of a template is checked with its name; the template's own is as good.
    if unit.name.contains('@') {
        let why = "replicas are called `NAME@1`, `NAME@2` and so on: a name with an `@` has none";
        return bad(["replicas"], why);
    }
    let longest = unit.name.len() + format!("@{count}").len();
    if longest > NAME_MAX_BYTES {
        let why = format!(
            "its replicas' names, {}@{count} for one, would be longer than {NAME_MAX_BYTES} bytes: shorten `name`",
            unit.name
        );
        return bad(["replicas"], why);
    }
    Ok(())
}

fn placement(unit: &Unit) -> Result<(), BadValue> {
    for (key, values) in &unit.placement.metadata {
        if key.is_empty() {
            return bad(["placement", "metadata"], "a key of a machine's metadata is not empty");
        }
        if values.is_empty() {
            let why = "name at least one value: no machine has one of none";
            return bad(["placement", "metadata", key], why);
        }
    }
    Ok(())
}
