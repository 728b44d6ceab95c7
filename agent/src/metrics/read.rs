//! What the kernel says in files.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use ferrite_schema::api::UnitStatus;

use super::node::traffic;
use super::readings::{Kernel, Traffic};

fn text(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// Of the machine.
pub(crate) fn kernel() -> Kernel {
    // A port of the bridge is a unit's end of its cable, and counted there.
    let of_unit = |name: &str| Path::new("/sys/class/net").join(name).join("brport").exists();
    let mut links = traffic(&text("/proc/net/dev"));
    links.retain(|name, _| !of_unit(name));
    Kernel {
        stat: text("/proc/stat"),
        loadavg: text("/proc/loadavg"),
        pressure_cpu: text("/proc/pressure/cpu"),
        pressure_memory: text("/proc/pressure/memory"),
        pressure_io: text("/proc/pressure/io"),
        links,
    }
}

/// Of units that have a network of their own, by name and interface.
pub(crate) fn units(units: &[UnitStatus]) -> BTreeMap<String, BTreeMap<String, Traffic>> {
    let own = |unit: &UnitStatus| {
        // A unit without addresses has the node's network, or none.
        let pid = unit.pid.filter(|_| !unit.addresses.is_empty())?;
        let text = fs::read_to_string(format!("/proc/{pid}/net/dev")).ok()?;
        // Read behind it: the number may be another process's by now.
        is_of(pid, &unit.name).then(|| (unit.name.clone(), traffic(&text)))
    };
    units.iter().filter_map(own).collect()
}

fn is_of(pid: i32, unit: &str) -> bool {
    let cgroups = text(&format!("/proc/{pid}/cgroup"));
    cgroups
        .lines()
        .any(|line| line.rsplit(':').next().unwrap_or_default().split('/').any(|part| part == unit))
}
