//! Figures of the machine: what the kernel counts, slots, and what runs.

use std::collections::BTreeMap;

use ferrite_schema::control::Status;

use super::names;
use super::readings::{Counted, Kernel, Readings, Traffic};
use super::text::{Metric, Text};

/// The kernel's hundredths of a second, in which it counts processors' time.
const TICKS_PER_S: f64 = 100.0;
/// Modes of a processor, in the order of `/proc/stat`.
const MODES: [&str; 8] = ["user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal"];
const US_PER_S: f64 = 1_000_000.0;
/// Where STATE is.
const STATE: [&str; 3] = ["STATE", "ext4", "/var"];

/// Interfaces of a `net/dev`, without loopback.
pub(crate) fn traffic(text: &str) -> BTreeMap<String, Traffic> {
    let line = |line: &str| {
        let (name, numbers) = line.split_once(':')?;
        let numbers: Vec<u64> =
            numbers.split_whitespace().map(str::parse).collect::<Result<_, _>>().ok()?;
        // Eight of what was received and eight of what was sent.
        let counted = |at: usize| {
            let [bytes, packets, errors, dropped] = *numbers.get(at..at + 4)?.first_chunk()?;
            Some(Counted { bytes, packets, errors, dropped })
        };
        let name = name.trim().to_owned();
        Some((name, Traffic { received: counted(0)?, sent: counted(8)? }))
    };
    text.lines().filter_map(line).filter(|(name, _)| name != "lo").collect()
}

pub(super) fn add(text: &mut Text, readings: &Readings) {
    if let Some(machine) = &readings.machine {
        let labels = [&machine.version, &machine.variant, &machine.kernel, &machine.slot];
        text.add(&names::FERRITE_BUILD_INFO, &labels.map(String::as_str), 1_u64);
        text.add(&names::FERRITE_NODE_READY, &[], machine.ready);
        text.add(&names::FERRITE_NODE_RESCUE, &[], machine.rescue.is_some());
        text.add(&names::FERRITE_NODE_WARNINGS, &[], machine.warnings.len());
    }
    for (source, answered) in &readings.answered {
        text.add(&names::FERRITE_SOURCE_UP, &[source], *answered);
    }
    text.add(&names::NODE_TIME_SECONDS, &[], readings.now_s);
    kernel(text, &readings.kernel);
    let stats = &readings.stats;
    text.add(&names::FERRITE_MEMORY_SIZE_BYTES, &[], stats.memory_bytes);
    text.add(&names::FERRITE_MEMORY_AVAILABLE_BYTES, &[], stats.memory_available_bytes);
    // In its rescue state a node has no STATE, and `/var` is memory.
    if readings.machine.as_ref().is_none_or(|machine| machine.rescue.is_none()) {
        text.add(&names::NODE_FILESYSTEM_SIZE_BYTES, &STATE, stats.state_bytes);
        text.add(&names::NODE_FILESYSTEM_AVAIL_BYTES, &STATE, stats.state_available_bytes);
        text.add(&names::NODE_FILESYSTEM_FILES, &STATE, stats.state_inodes);
        text.add(&names::NODE_FILESYSTEM_FILES_FREE, &STATE, stats.state_available_inodes);
    }
    if let Some(status) = &readings.slots {
        slots(text, status);
    }
}

fn kernel(text: &mut Text, kernel: &Kernel) {
    let mut loads = kernel.loadavg.split_whitespace().map_while(|word| word.parse::<f64>().ok());
    for metric in [&names::NODE_LOAD1, &names::NODE_LOAD5, &names::NODE_LOAD15] {
        text.maybe(metric, &[], loads.next());
    }
    for line in kernel.stat.lines() {
        let mut words = line.split_whitespace();
        let first = words.next().unwrap_or_default();
        if first == "btime" {
            text.maybe(
                &names::NODE_BOOT_TIME_SECONDS,
                &[],
                words.next().and_then(|s| s.parse::<u64>().ok()),
            );
        }
        let number = first.strip_prefix("cpu").filter(|number| !number.is_empty());
        let Some(number) = number else { continue };
        for (mode, ticks) in MODES.iter().zip(words) {
            let seconds = ticks.parse::<f64>().ok().map(|ticks| ticks / TICKS_PER_S);
            text.maybe(&names::NODE_CPU_SECONDS_TOTAL, &[number, mode], seconds);
        }
    }
    for (metric, file, line) in [
        (&names::NODE_PRESSURE_CPU_WAITING_SECONDS_TOTAL, &kernel.pressure_cpu, "some"),
        (&names::NODE_PRESSURE_MEMORY_WAITING_SECONDS_TOTAL, &kernel.pressure_memory, "some"),
        (&names::NODE_PRESSURE_MEMORY_STALLED_SECONDS_TOTAL, &kernel.pressure_memory, "full"),
        (&names::NODE_PRESSURE_IO_WAITING_SECONDS_TOTAL, &kernel.pressure_io, "some"),
        (&names::NODE_PRESSURE_IO_STALLED_SECONDS_TOTAL, &kernel.pressure_io, "full"),
    ] {
        text.maybe(metric, &[], pressure_s(file, line));
    }
    for (device, traffic) in &kernel.links {
        passed(text, &LINKS, &[device], traffic);
    }
}

/// Seconds of `some avg10=0.00 … total=MICROSECONDS`.
fn pressure_s(file: &str, line: &str) -> Option<f64> {
    let words = file.lines().find_map(|text| text.strip_prefix(line)?.strip_prefix(' '))?;
    let total = words.split_whitespace().find_map(|word| word.strip_prefix("total="))?;
    Some(total.parse::<f64>().ok()? / US_PER_S)
}

/// Figures of an interface: bytes, packets, errors, dropped; received and then sent.
pub(super) type OfInterface = [&'static Metric; 8];

static LINKS: OfInterface = [
    &names::NODE_NETWORK_RECEIVE_BYTES_TOTAL,
    &names::NODE_NETWORK_RECEIVE_PACKETS_TOTAL,
    &names::NODE_NETWORK_RECEIVE_ERRS_TOTAL,
    &names::NODE_NETWORK_RECEIVE_DROP_TOTAL,
    &names::NODE_NETWORK_TRANSMIT_BYTES_TOTAL,
    &names::NODE_NETWORK_TRANSMIT_PACKETS_TOTAL,
    &names::NODE_NETWORK_TRANSMIT_ERRS_TOTAL,
    &names::NODE_NETWORK_TRANSMIT_DROP_TOTAL,
];

pub(super) fn passed(text: &mut Text, metrics: &OfInterface, labels: &[&str], traffic: &Traffic) {
    let figures =
        |counted: &Counted| [counted.bytes, counted.packets, counted.errors, counted.dropped];
    let all = [figures(&traffic.received), figures(&traffic.sent)];
    for (metric, figure) in metrics.iter().zip(all.as_flattened()) {
        text.add(metric, labels, *figure);
    }
}

fn slots(text: &mut Text, status: &Status) {
    for one in &status.slots {
        let slot = one.slot.to_string();
        let slot = slot.as_str();
        text.add(
            &names::FERRITE_SLOT_INFO,
            &[slot, one.version.as_deref().unwrap_or_default()],
            1_u64,
        );
        text.add(&names::FERRITE_SLOT_RUNNING, &[slot], one.slot == status.slot);
        text.add(&names::FERRITE_SLOT_PRIORITY, &[slot], u64::from(one.attributes.priority));
        text.add(&names::FERRITE_SLOT_TRIES, &[slot], u64::from(one.attributes.tries));
        text.add(&names::FERRITE_SLOT_SUCCESSFUL, &[slot], one.attributes.successful);
    }
}
