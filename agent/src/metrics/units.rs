//! Figures of units, by name, and of no more of them than [`UNITS_MAX`].

use std::collections::BTreeMap;

use ferrite_schema::api::{HealthState, Origin, UnitState, UnitStats, UnitStatus};

use super::names;
use super::node::{OfInterface, passed};
use super::readings::Readings;
use super::text::Text;

/// Most units with figures of their own: some fifty lines each.
pub(super) const UNITS_MAX: usize = 1000;
const US_PER_S: u64 = 1_000_000;
/// All states, so that each has a figure.
const STATES: [UnitState; 10] = [
    UnitState::Loaded,
    UnitState::Waiting,
    UnitState::Pulling,
    UnitState::Starting,
    UnitState::Running,
    UnitState::Stopping,
    UnitState::Exited,
    UnitState::Failed,
    UnitState::BackingOff,
    UnitState::Scheduled,
];

static INTERFACES: OfInterface = [
    &names::CONTAINER_NETWORK_RECEIVE_BYTES_TOTAL,
    &names::CONTAINER_NETWORK_RECEIVE_PACKETS_TOTAL,
    &names::CONTAINER_NETWORK_RECEIVE_ERRORS_TOTAL,
    &names::CONTAINER_NETWORK_RECEIVE_PACKETS_DROPPED_TOTAL,
    &names::CONTAINER_NETWORK_TRANSMIT_BYTES_TOTAL,
    &names::CONTAINER_NETWORK_TRANSMIT_PACKETS_TOTAL,
    &names::CONTAINER_NETWORK_TRANSMIT_ERRORS_TOTAL,
    &names::CONTAINER_NETWORK_TRANSMIT_PACKETS_DROPPED_TOTAL,
];

pub(super) fn add(text: &mut Text, readings: &Readings) {
    // A template runs nothing itself.
    let mut units: Vec<&UnitStatus> = readings.units.iter().filter(|unit| !unit.template).collect();
    units.sort_by(|one, other| one.name.cmp(&other.name));
    for state in STATES {
        let count = units.iter().filter(|unit| unit.state == state).count();
        text.add(&names::FERRITE_UNITS, &[word(state)], count);
    }
    let left_out = units.len().saturating_sub(UNITS_MAX);
    text.add(&names::FERRITE_UNITS_LEFT_OUT, &[], left_out);
    units.truncate(UNITS_MAX);
    let stats: BTreeMap<&str, &UnitStats> =
        readings.unit_stats.iter().map(|stats| (stats.unit.as_str(), stats)).collect();
    for unit in units {
        let name = unit.name.as_str();
        of_unit(text, unit);
        if let Some(stats) = stats.get(name) {
            of_container(text, stats);
        }
        for (interface, traffic) in readings.unit_traffic.get(name).into_iter().flatten() {
            passed(text, &INTERFACES, &[name, interface], traffic);
        }
    }
}

/// A state as a label's value: one word.
const fn word(state: UnitState) -> &'static str {
    match state {
        UnitState::BackingOff => "backing-off",
        other => other.word(),
    }
}

fn of_unit(text: &mut Text, unit: &UnitStatus) {
    let name = unit.name.as_str();
    let origin = match unit.origin {
        Origin::Local => "local",
        Origin::Cluster => "cluster",
        Origin::System => "system",
    };
    text.add(&names::FERRITE_UNIT_INFO, &[name, &unit.image, origin], 1_u64);
    for state in STATES {
        text.add(&names::FERRITE_UNIT_STATE, &[name, word(state)], unit.state == state);
    }
    text.add(&names::FERRITE_UNIT_STATE_SINCE_TIMESTAMP_SECONDS, &[name], unit.since_s);
    text.add(&names::FERRITE_UNIT_READY, &[name], unit.ready);
    text.add(&names::FERRITE_UNIT_WANTED, &[name], unit.wanted);
    text.add(&names::FERRITE_UNIT_RESTARTS_TOTAL, &[name], unit.restarts);
    let well = unit.health.map(|health| health == HealthState::Healthy);
    text.maybe(&names::FERRITE_UNIT_HEALTHY, &[name], well);
}

fn of_container(text: &mut Text, stats: &UnitStats) {
    let name = [stats.unit.as_str()];
    text.add(&names::CONTAINER_CPU_USAGE_SECONDS_TOTAL, &name, seconds(stats.cpu_us));
    text.maybe(&names::CONTAINER_MEMORY_WORKING_SET_BYTES, &name, stats.memory_bytes);
    text.maybe(&names::CONTAINER_MEMORY_TOTAL_INACTIVE_FILE_BYTES, &name, stats.cache_bytes);
    text.maybe(&names::CONTAINER_SPEC_MEMORY_LIMIT_BYTES, &name, stats.memory_max_bytes);
    text.maybe(&names::CONTAINER_OOM_EVENTS_TOTAL, &name, stats.oom_kills);
    text.maybe(&names::CONTAINER_THREADS, &name, stats.pids);
    text.maybe(&names::CONTAINER_THREADS_MAX, &name, stats.pids_max);
    text.maybe(&names::CONTAINER_FS_READS_BYTES_TOTAL, &name, stats.read_bytes);
    text.maybe(&names::CONTAINER_FS_WRITES_BYTES_TOTAL, &name, stats.written_bytes);
    text.maybe(&names::CONTAINER_FS_USAGE_BYTES, &name, stats.disk_bytes);
    text.maybe(&names::CONTAINER_FS_LIMIT_BYTES, &name, stats.disk_max_bytes);
    text.maybe(&names::FERRITE_UNIT_FILES, &name, stats.inodes);
    text.maybe(&names::FERRITE_UNIT_FILES_LIMIT, &name, stats.inodes_max);
}

/// Microseconds as seconds; a millionth is lost only after centuries.
fn seconds(us: u64) -> f64 {
    let whole = u32::try_from(us / US_PER_S).unwrap_or(u32::MAX);
    let part = u32::try_from(us % US_PER_S).unwrap_or(0);
    f64::from(whole) + f64::from(part) / 1e6
}
