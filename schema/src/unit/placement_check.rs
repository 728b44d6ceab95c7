//! What must be right about what a unit says about machines.

use super::bad_value::{BadValue, Check, bad};
use super::definition::Unit;
use super::names::NAME_MAX_BYTES;
use super::placement::REPLICAS_MAX;

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

pub(super) const CHECKS: [Check<Unit>; 2] = [replicas, placement];

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
