//! `ferrite unit status`: what is known of a unit, and what it uses.

use std::time::{Duration, SystemTime};

use ferrite_schema::api::{Exit, Stats, UnitStats, UnitStatus};
use serde::Serialize;

use crate::output::{bytes, facts, of};

/// A unit, with what its container uses where it has one.
#[derive(Debug, Serialize)]
pub(super) struct Shown<'a> {
    #[serde(flatten)]
    status: &'a UnitStatus,
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<&'a UnitStats>,
}

impl<'a> Shown<'a> {
    /// Finds the unit in the sample, where there is one.
    pub(super) fn new(status: &'a UnitStatus, usage: Option<&'a Stats>) -> Self {
        let usage = usage.and_then(|all| all.units.iter().find(|unit| unit.unit == status.name));
        Self { status, usage }
    }
}

pub(super) fn table(shown: &Shown<'_>) -> String {
    let status = shown.status;
    let mut rows = vec![
        ("unit", status.name.clone()),
        ("image", status.image.clone()),
        ("state", status.state.word().to_owned()),
    ];
    let mut more = |name, value: Option<String>| rows.extend(value.map(|value| (name, value)));
    more("reason", status.reason.clone());
    more("health", status.health.map(|health| health.word().to_owned()));
    more("next start", status.next_start_s.map(timestamp));
    more("pid", status.pid.map(|pid| pid.to_string()));
    let oom = if status.oom_killed { ", out of memory" } else { "" };
    more("last end", status.last_exit.as_ref().map(|exit| format!("{}{oom}", exit_words(exit))));
    more("restarts", Some(status.restarts.to_string()));
    more("since", Some(timestamp(status.since_s)));
    if let Some(usage) = shown.usage {
        let number: fn(u64) -> String = |number| number.to_string();
        for (name, value, most, text) in [
            ("memory", usage.memory_bytes, usage.memory_max_bytes, bytes as fn(u64) -> String),
            ("pids", usage.pids, usage.pids_max, number),
            ("disk", usage.disk_bytes, usage.disk_max_bytes, bytes),
            ("files", usage.inodes, usage.inodes_max, number),
        ] {
            more(name, value.map(|_| of(value, most, text)));
        }
    }
    more("digest", status.image_digest.clone());
    let shared = status.network.starts_with("unit:");
    more("network", shared.then(|| status.network.clone()));
    for (name, values) in [
        ("address", &status.addresses),
        ("port", &status.ports),
        ("volume", &status.volumes),
        ("secret", &status.secrets),
        ("note", &status.notes),
    ] {
        for value in values {
            more(name, Some(value.clone()));
        }
    }
    for (name, value) in &status.labels {
        more("label", Some(format!("{name}={value}")));
    }
    if status.outdated {
        let words = "a newer document was submitted; `ferrite unit restart` takes it";
        more("note", Some(words.to_owned()));
    }
    facts(&rows)
}

fn exit_words(exit: &Exit) -> String {
    match exit {
        Exit::Status { code } => format!("exit status {code}"),
        Exit::Signal { signal } => format!("killed by signal {signal}"),
    }
}

fn timestamp(epoch_s: u64) -> String {
    let time = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(epoch_s));
    time.map_or_else(String::new, |time| humantime::format_rfc3339_seconds(time).to_string())
}
