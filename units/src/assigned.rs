//! What a cluster wants on this node, and what follows from it, as a pure function.

use std::collections::{BTreeMap, BTreeSet};

use ferrite_schema::api::Origin;
use ferrite_schema::unit::{self, Unit, names, template};

use crate::graph::{self, Edges};

/// A unit that the cluster placed on this node.
#[derive(Debug, Clone, PartialEq)]
pub struct Assigned {
    /// Its document; the name is the instance's, such as `web@1`.
    pub unit: Unit,
    /// It should run; otherwise it is known here, and its image is brought.
    pub launched: bool,
}

/// A unit that the cluster placed here and that this node did not take; nothing was changed for it. The next assignment tries
/// it again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotTaken {
    /// Its name.
    pub name: String,
    /// Why, one sentence.
    pub why: String,
}

/// A unit that is on the node already.
#[derive(Debug, Clone, Copy)]
pub struct Present<'a> {
    /// Who wants it.
    pub origin: Origin,
    /// Its document.
    pub unit: &'a Unit,
    /// It is forgotten as soon as it has stopped.
    pub removing: bool,
}

/// What an assignment means for this node.
#[derive(Debug, Default, PartialEq)]
pub struct Plan {
    /// Units of the cluster that it does not want here any more.
    pub forget: Vec<String>,
    /// Units that it wants, whether anything changes for them or not.
    pub take: Vec<Assigned>,
    /// Units that it wants and that cannot be.
    pub not_taken: Vec<NotTaken>,
}

/// Compares what the cluster wants with what is there.
#[must_use]
pub fn plan(present: &BTreeMap<&str, Present<'_>>, wanted: Vec<Assigned>) -> Plan {
    let names: BTreeSet<String> = wanted.iter().map(|one| one.unit.name.clone()).collect();
    let leaves = |name: &str, there: &Present<'_>| {
        there.removing || (there.origin == Origin::Cluster && !names.contains(name))
    };
    let forget = present
        .iter()
        .filter(|(name, there)| !there.removing && leaves(name, there))
        .map(|(name, _)| (*name).to_owned())
        .collect();
    let mut plan = Plan { forget, ..Plan::default() };
    let mut seen = BTreeSet::new();
    let mut fitting = Vec::new();
    for one in wanted {
        let name = one.unit.name.clone();
        match objection(present.get(name.as_str()), &one.unit, !seen.insert(name.clone())) {
            Some(why) => plan.not_taken.push(NotTaken { name, why }),
            None => fitting.push(one),
        }
    }
    let stays =
        present.iter().filter(|(name, there)| !leaves(name, there) && !template::is_template(name));
    let before: Edges<'_> = stays.map(|(name, there)| (*name, graph::edges(there.unit))).collect();
    // A circle is one in what will be, not in what is there on the way.
    let mut after = before.clone();
    after.extend(fitting.iter().map(|one| (one.unit.name.as_str(), graph::edges(&one.unit))));
    let mut in_circles = BTreeSet::new();
    for one in &fitting {
        let name = one.unit.name.as_str();
        let unchanged = present.get(name).is_some_and(|there| *there.unit == one.unit);
        let circle = if unchanged { None } else { graph::cycle(&after, name) };
        let Some(circle) = circle else { continue };
        let why = format!("units would wait for each other in a circle: {}", circle.join(" → "));
        plan.not_taken.push(NotTaken { name: name.to_owned(), why });
        in_circles.insert(name.to_owned());
        match before.get(name) {
            Some(edges) => after.insert(name, edges.clone()),
            None => after.remove(name),
        };
    }
    drop(after);
    plan.take = fitting.into_iter().filter(|one| !in_circles.contains(&one.unit.name)).collect();
    plan
}

/// Why a unit cannot be here, as far as it can be seen without the others.
fn objection(there: Option<&Present<'_>>, unit: &Unit, again: bool) -> Option<String> {
    let name = &unit.name;
    if !names::is_unit_name(name) || template::is_template(name) {
        return Some(format!("{name:?} is no name of a unit that runs"));
    }
    if again {
        return Some(format!("unit {name} is assigned twice; the first one counts"));
    }
    match there {
        Some(Present { origin: Origin::Local, removing: true, .. }) => {
            return Some(format!("a unit of this node's own called {name} is being forgotten"));
        }
        Some(Present { origin: Origin::Local | Origin::System, .. }) => {
            return Some(format!(
                "this node has a unit of its own called {name}; destroy it, or give one of both another name"
            ));
        }
        Some(Present { origin: Origin::Cluster, .. }) | None => {}
    }
    if there.is_some_and(|there| there.unit == unit) {
        return None;
    }
    // What STATE could not be read with is not written there.
    unit::check(unit).err().map(|bad| bad.to_string())
}

#[cfg(test)]
mod tests;
