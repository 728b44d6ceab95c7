//! The cluster's units and services as people see them.

use ferrite_schema::api::{ClusterInstance, ClusterUnit, Exit, UnitTarget};

use crate::output::{columns, facts};

/// The word for an instance's state; `backing-off` is two.
pub(super) fn state_words(instance: &ClusterInstance) -> String {
    let state = instance.state.replace('-', " ");
    let exit = match (&instance.exit, instance.state.as_str()) {
        (Some(Exit::Status { code }), "failed" | "backing-off") => format!(" (status {code})"),
        (Some(Exit::Signal { signal }), "failed" | "backing-off") => format!(" (signal {signal})"),
        _ => String::new(),
    };
    format!("{state}{exit}")
}

const fn yes(is: bool) -> &'static str {
    if is { "yes" } else { "no" }
}

fn machine_of(instance: &ClusterInstance) -> String {
    instance.machine_name.clone().unwrap_or_else(|| "-".to_owned())
}

/// A line for each instance, and for each unit without one.
pub(super) fn list(units: &[ClusterUnit]) -> String {
    let mut rows: Vec<[String; 7]> = Vec::new();
    for unit in units {
        let document = unit.definition.as_ref();
        let image = document.map(|document| document.image.clone()).unwrap_or_default();
        for instance in &unit.instances {
            let old = if instance.outdated { ", old version" } else { "" };
            rows.push([
                instance.name.clone(),
                format!("{}{old}", state_words(instance)),
                yes(instance.ready).to_owned(),
                machine_of(instance),
                instance.addresses.join(" "),
                instance.ports.join(" "),
                image.clone(),
            ]);
        }
        if unit.instances.is_empty() {
            let none = || "-".to_owned();
            rows.push([unit.name.clone(), wish(unit), none(), none(), none(), none(), image]);
        }
    }
    if rows.is_empty() {
        return "no units: `ferrite unit start FILE` submits and starts one".to_owned();
    }
    columns(["UNIT", "STATE", "READY", "MACHINE", "ADDRESS", "PORTS", "IMAGE"], &rows)
}

fn wish(unit: &ClusterUnit) -> String {
    match (&unit.problem, unit.target) {
        (Some(_), _) => "not understood".to_owned(),
        (None, Some(target)) => target.word().to_owned(),
        (None, None) => "destroyed".to_owned(),
    }
}

/// A line for each unit: what should become of it, and how far that is.
pub(super) fn files(units: &[ClusterUnit]) -> String {
    let rows: Vec<[String; 5]> = units
        .iter()
        .map(|unit| {
            let ready = unit.instances.iter().filter(|instance| instance.ready).count();
            let count = match unit.replicas {
                Some(count) => count.to_string(),
                None => "-".to_owned(),
            };
            let image = unit.definition.as_ref().map(|document| document.image.clone());
            let ready = format!("{ready} of {}", unit.instances.len());
            [unit.name.clone(), wish(unit), count, ready, image.unwrap_or_default()]
        })
        .collect();
    if rows.is_empty() {
        return "no units: `ferrite unit submit FILE` makes one known".to_owned();
    }
    columns(["UNIT", "WISH", "REPLICAS", "READY", "IMAGE"], &rows)
}

/// All that is known of a unit.
pub(super) fn status(unit: &ClusterUnit) -> String {
    let mut rows = vec![("unit", unit.name.clone()), ("wish", wish(unit))];
    if let Some(problem) = &unit.problem {
        rows.push(("problem", problem.clone()));
    }
    if let Some(count) = unit.replicas {
        rows.push(("replicas", count.to_string()));
    }
    if let Some(document) = &unit.definition {
        rows.push(("image", document.image.clone()));
        for (key, values) in &document.placement.metadata {
            rows.push(("placement", format!("{key} is {}", values.join(" or "))));
        }
        for (key, value) in &document.labels {
            rows.push(("label", format!("{key}={value}")));
        }
    }
    if let Some(digest) = &unit.image_digest {
        rows.push(("digest", digest.clone()));
    }
    rows.push(("revision", unit.revision.to_string()));
    rows.extend(unit.notes.iter().map(|note| ("note", note.clone())));
    let all: Vec<[String; 5]> = unit.instances.iter().map(line).collect();
    if all.is_empty() {
        return facts(&rows);
    }
    let instances = columns(["INSTANCE", "STATE", "READY", "MACHINE", "WHY"], &all);
    format!("{}\n\n{instances}", facts(&rows))
}

fn line(instance: &ClusterInstance) -> [String; 5] {
    [
        instance.name.clone(),
        state_words(instance),
        yes(instance.ready).to_owned(),
        machine_of(instance),
        instance.why.clone(),
    ]
}

/// How far a unit is, in one line: `web@1 running on dev-1, web@2 pulling on dev-2`.
pub(super) fn progress(unit: &ClusterUnit) -> String {
    let each = unit.instances.iter().map(|instance| match &instance.machine_name {
        Some(machine) => format!("{} {} on {machine}", instance.name, state_words(instance)),
        None => format!("{} {}", instance.name, state_words(instance)),
    });
    let all: Vec<String> = each.collect();
    match (all.is_empty(), unit.target) {
        (true, Some(UnitTarget::Inactive)) => format!("{} is inactive", unit.name),
        (true, _) => format!("{} has no instance yet", unit.name),
        (false, _) => all.join(", "),
    }
}

#[cfg(test)]
#[path = "tables_tests.rs"]
mod tests;
