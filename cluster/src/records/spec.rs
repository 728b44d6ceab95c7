//! Versions of units: what is below a hash never changes.

use std::collections::BTreeMap;

use ferrite_schema::unit;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::record::{LEVEL, Record, Rest, Wrong};
use crate::names::{path_of, said};

/// A version of a unit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Spec {
    /// Lowest level that understands all of it; only machines of this level run it.
    pub level: u32,
    /// The unit's document. Only [`Self::unit`] looks into it, since one of a higher level has keys that are errors here.
    pub unit: Value,
    /// The image's digest that its reference meant when the unit was submitted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// Where it may run.
    #[serde(default)]
    pub placement: Placement,
    /// What newer versions wrote.
    #[serde(flatten)]
    pub rest: Rest,
}

/// Where a unit may run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Placement {
    /// For each key, the values of which a machine has one.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, Vec<String>>,
    /// What becomes of it when its machine is lost; `wait` where it has a named volume, else `move`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_loss: Option<OnLoss>,
    /// What newer versions wrote.
    #[serde(flatten)]
    pub rest: Rest,
}

/// What becomes of a unit whose machine is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnLoss {
    /// It waits for the machine, which has its data.
    Wait,
    /// It runs elsewhere.
    Move,
}

impl Spec {
    /// The unit.
    ///
    /// # Errors
    /// It is of a higher level than this version's, or has a value that it must not have.
    pub fn unit(&self) -> Result<unit::Unit, Wrong> {
        if self.level > LEVEL {
            let why =
                format!("it is for level {}, and this version understands {LEVEL}", self.level);
            return Err(Wrong::at("level", why));
        }
        let unit: unit::Unit = serde_path_to_error::deserialize(&self.unit).map_err(|error| {
            let field = format!("unit.{}", path_of(error.path()));
            Wrong::at(field, said(&error.into_inner().to_string()))
        })?;
        unit::check(&unit).map_err(|bad| {
            Wrong::at(said(&format!("unit.{}", bad.path.join("."))), said(&bad.why))
        })?;
        Ok(unit)
    }
}

impl Record for Spec {
    const MAX_BYTES: usize = 64 << 10;

    fn check(&self) -> Result<(), Wrong> {
        if self.level <= LEVEL {
            self.unit()?;
        }
        Ok(())
    }
}
