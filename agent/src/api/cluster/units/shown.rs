//! Units and their instances as people see them. Pure.

use std::collections::{BTreeMap, BTreeSet};

use ferrite_cluster::engine::why;
use ferrite_cluster::names::UnitName;
use ferrite_cluster::records::{self, OnLoss, Target};
use ferrite_schema::api::{ClusterInstance, ClusterUnit, UnitTarget};
use ferrite_schema::unit::{self, Unit};

use crate::api::cluster::picture::Picture;
use crate::api::cluster::services::{addresses, ports};

/// All units, by name, also those that cannot be understood, and those that are forgotten while something of them runs.
pub(in crate::api::cluster) fn units(picture: &Picture) -> Vec<ClusterUnit> {
    let there = there(picture);
    let names: BTreeSet<&UnitName> = picture.units.keys().chain(there.keys()).collect();
    names.into_iter().map(|name| shown(picture, name, there.get(name))).collect()
}

/// One of them.
pub(in crate::api::cluster) fn unit(picture: &Picture, name: &UnitName) -> Option<ClusterUnit> {
    let there = there(picture);
    let known = picture.units.contains_key(name) || there.contains_key(name);
    known.then(|| shown(picture, name, there.get(name)))
}

/// Instances that have a machine or that a machine tells of, by their unit.
fn there(picture: &Picture) -> BTreeMap<UnitName, BTreeSet<UnitName>> {
    let told = picture
        .states
        .iter()
        .filter(|(id, _)| picture.alive.contains(*id))
        .flat_map(|(_, state)| state.instances.keys());
    let mut units: BTreeMap<UnitName, BTreeSet<UnitName>> = BTreeMap::new();
    for instance in picture.assigned.keys().chain(told) {
        units.entry(owner(picture, instance)).or_default().insert(instance.clone());
    }
    units
}

/// The unit that an instance is of: one of the very name counts before one whose replica it would be.
fn owner(picture: &Picture, instance: &UnitName) -> UnitName {
    if picture.units.contains_key(instance) {
        return instance.clone();
    }
    match instance.replica_of() {
        Some((unit, _)) if picture.units.contains_key(&unit) => unit,
        Some(_) | None => instance.clone(),
    }
}

fn shown(picture: &Picture, name: &UnitName, there: Option<&BTreeSet<UnitName>>) -> ClusterUnit {
    let (revision, read) = match picture.units.get(name) {
        Some((revision, read)) => (revision.0, Some(read)),
        None => (0, None),
    };
    let record = read.and_then(|read| read.as_ref().ok());
    let document = record.map(|record| document(picture, record));
    let mut instances: BTreeSet<UnitName> =
        record.map(|record| wanted(picture, name, record)).unwrap_or_default();
    instances.extend(there.into_iter().flatten().cloned());
    let problem = match (read, &document) {
        (Some(Err(why)), _) => Some(format!("its record cannot be understood: {why}")),
        (_, Some(Err(why))) => Some(why.clone()),
        (_, Some(Ok(_)) | None) => None,
    };
    let mut notes = Vec::new();
    if read.is_none() {
        notes.push("it was destroyed, and what runs of it is being stopped".to_owned());
    }
    let version = record.and_then(|record| picture.specs.get(&record.spec)?.as_ref().ok());
    ClusterUnit {
        name: name.to_string(),
        target: record.map(|record| target_of(record.target)),
        replicas: record.and_then(|record| record.replicas),
        spec: record.map(|record| record.spec.to_string()),
        image_digest: version.and_then(|version| version.image.clone()),
        definition: document.and_then(Result::ok),
        revision,
        instances: instances.iter().map(|name| instance(picture, name, record)).collect(),
        notes,
        problem,
    }
}

/// Instances that a unit wants; one whose name another unit has is that one's.
fn wanted(picture: &Picture, name: &UnitName, record: &records::Unit) -> BTreeSet<UnitName> {
    if record.target == Target::Inactive || name.is_template() {
        return BTreeSet::new();
    }
    match record.replicas {
        None => [name.clone()].into(),
        Some(count) => (1..=count)
            .filter_map(|number| name.replica(number))
            .filter(|replica| !picture.units.contains_key(replica))
            .collect(),
    }
}

/// A unit's document as it was submitted.
pub(super) fn document(picture: &Picture, record: &records::Unit) -> Result<Unit, String> {
    let spec = match picture.specs.get(&record.spec) {
        Some(Ok(spec)) => spec,
        Some(Err(why)) => return Err(format!("its version cannot be understood: {why}")),
        None => return Err(format!("its version {} is not there", record.spec)),
    };
    let unit = spec.unit().map_err(|wrong| {
        format!("its version cannot be understood: {}: {}", wrong.field, wrong.why)
    })?;
    let placement = unit::Placement {
        metadata: spec.placement.metadata.clone(),
        on_loss: spec.placement.on_loss.map(|on_loss| match on_loss {
            OnLoss::Wait => unit::OnLoss::Wait,
            OnLoss::Move => unit::OnLoss::Move,
        }),
    };
    Ok(Unit { replicas: record.replicas, placement, ..unit })
}

fn instance(picture: &Picture, name: &UnitName, unit: Option<&records::Unit>) -> ClusterInstance {
    let said = picture.said_of(name);
    let assigned = picture.assigned.get(name).map(|(id, _)| id);
    let machine = assigned.or(said.map(|(id, _)| id));
    let alive = machine.is_some_and(|id| picture.alive.contains(id));
    let said = said.map(|(_, said)| said);
    let state = match (machine, said) {
        (None, _) => "unplaced".to_owned(),
        (Some(_), _) if !alive => "lost".to_owned(),
        (Some(_), None) => "placed".to_owned(),
        (Some(_), Some(said)) => word(&said.state),
    };
    ClusterInstance {
        name: name.to_string(),
        machine: machine.map(ToString::to_string),
        machine_name: machine.map(|id| picture.name_of(id)),
        state,
        ready: alive && said.is_some_and(|said| said.ready),
        addresses: said.map(addresses).unwrap_or_default(),
        ports: said.map(|said| ports(&said.ports)).unwrap_or_default(),
        exit: said.and_then(|said| said.exit.clone()),
        outdated: said.zip(unit).is_some_and(|(said, unit)| said.spec != unit.spec),
        why: picture.with_names(&why(&picture.world, name).to_string()),
    }
}

/// As it is stored.
fn word(state: &records::Condition) -> String {
    match serde_json::to_value(state) {
        Ok(serde_json::Value::String(word)) => word,
        Ok(_) | Err(_) => "unknown".to_owned(),
    }
}

const fn target_of(target: Target) -> UnitTarget {
    match target {
        Target::Inactive => UnitTarget::Inactive,
        Target::Loaded => UnitTarget::Loaded,
        Target::Launched => UnitTarget::Launched,
    }
}
