//! Which machine of a cluster is meant, and where an instance is.

use ferrite_schema::api::{ClusterInstance, ClusterMachine, ClusterUnit};
use ferrite_schema::cluster::MachineId;

use crate::client::Client;
use crate::failure::Failure;

/// Digits of an ID that are shown.
pub(crate) const SHORT_ID: usize = 8;

/// The machine whose name is `what`, or whose ID begins so. A name counts before an ID.
pub(crate) fn chosen<'a>(
    machines: &'a [ClusterMachine],
    what: &str,
) -> Result<&'a ClusterMachine, Failure> {
    let named = machines.iter().filter(|machine| !what.is_empty() && machine.name == what);
    let mut found: Vec<&ClusterMachine> = named.collect();
    if found.is_empty() && !what.is_empty() {
        found = machines.iter().filter(|machine| machine.id.starts_with(what)).collect();
    }
    let words = |all: &[&ClusterMachine]| all.iter().map(|machine| label(machine)).collect();
    match &found[..] {
        [one] => Ok(one),
        [] => {
            let all: Vec<&ClusterMachine> = machines.iter().collect();
            Err(Failure::NoMachine { what: what.to_owned(), known: words(&all) })
        }
        several => Err(Failure::SomeMachines { what: what.to_owned(), found: words(several) }),
    }
}

/// Name and start of the ID.
pub(crate) fn label(machine: &ClusterMachine) -> String {
    let name = if machine.name.is_empty() { "?" } else { &machine.name };
    format!("{name} ({})", short(&machine.id))
}

/// The start of an ID, enough for people.
pub(crate) fn short(id: &str) -> String {
    id.chars().take(SHORT_ID).collect()
}

/// That machine, through any node that `cluster` reaches.
pub(crate) fn client(cluster: &Client, machine: &ClusterMachine) -> Result<Client, Failure> {
    behind(cluster, &machine.id, &machine.name)
}

/// The machine of an instance.
pub(crate) fn client_of(cluster: &Client, instance: &ClusterInstance) -> Result<Client, Failure> {
    let no_machine = || Failure::NoInstance {
        name: instance.name.clone(),
        why: format!("it has no machine: {}", instance.why),
    };
    let id = instance.machine.as_ref().ok_or_else(no_machine)?;
    behind(cluster, id, instance.machine_name.as_deref().unwrap_or(id))
}

/// The machine with this ID, which people call `name`.
pub(crate) fn behind(cluster: &Client, id: &str, name: &str) -> Result<Client, Failure> {
    let none = |_bad| Failure::NoMachine { what: id.to_owned(), known: Vec::new() };
    let id: MachineId = id.parse().map_err(none)?;
    Ok(cluster.through(&id, name)?)
}

/// The instance of this name, or those of the unit of this name.
pub(crate) fn instances<'a>(units: &'a [ClusterUnit], name: &str) -> Vec<&'a ClusterInstance> {
    let all = || units.iter().flat_map(|unit| &unit.instances);
    let exact: Vec<&ClusterInstance> = all().filter(|instance| instance.name == name).collect();
    if !exact.is_empty() {
        return exact;
    }
    units.iter().filter(|unit| unit.name == name).flat_map(|unit| &unit.instances).collect()
}

/// The instance of this name, or the only one of the unit of this name.
pub(crate) fn only_instance<'a>(
    units: &'a [ClusterUnit],
    name: &str,
) -> Result<&'a ClusterInstance, Failure> {
    let none = |why: String| Err(Failure::NoInstance { name: name.to_owned(), why });
    match &instances(units, name)[..] {
        [one] => Ok(one),
        [] if units.iter().any(|unit| unit.name == name) => {
            none("the unit has no instance, since it is not started".to_owned())
        }
        [] => none("the cluster has no unit or instance of that name".to_owned()),
        several => {
            let names: Vec<&str> = several.iter().map(|one| one.name.as_str()).collect();
            none(format!("the unit has several: name one of {}", names.join(", ")))
        }
    }
}

#[cfg(test)]
#[path = "machine_tests.rs"]
mod tests;
