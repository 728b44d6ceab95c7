//! What a person is told about a unit.

use std::net::IpAddr;
use std::time::UNIX_EPOCH;

use ferrite_schema::api::{UnitState, UnitStatus};
use ferrite_schema::unit::{Port, Protocol, SecretFile, Volume, VolumeSource, template};
use ferrite_schema::utc;

use super::super::{clock, launch};
use super::entry::Entry;

/// A unit's status; the digest of its image is the caller's to know.
pub(super) fn status(entry: &Entry, image_digest: Option<String>) -> UnitStatus {
    let (machine, unit) = (&entry.machine, &entry.unit);
    let template = template::is_template(&unit.name);
    let next_start_s = match machine.state() {
        UnitState::Scheduled => entry.next_fire,
        UnitState::BackingOff => machine.until().map(clock::calendar),
        _ => None,
    };
    // What it has is what it was started with, whatever was submitted meanwhile.
    let lives_by = entry.lives_by();
    let mut status = UnitStatus {
        name: unit.name.clone(),
        image: unit.image.clone(),
        state: machine.state(),
        reason: machine.reason(),
        pid: machine.pid(),
        restarts: machine.restarts(),
        last_exit: machine.last_end().map(|end| end.exit.clone()),
        since_s: entry.since.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs(),
        notes: if entry.system.is_some() { Vec::new() } else { launch::notes(lives_by) },
        wanted: entry.wanted,
        template,
        health: machine.health(),
        ready: machine.is_ready(),
        why: String::new(),
        next_start_s,
        oom_killed: machine.last_end().is_some_and(|end| end.oom_killed),
        image_digest,
        network: lives_by.network.to_string(),
        addresses: if machine.is_alive() { entry.addresses.clone() } else { Vec::new() },
        ports: lives_by.ports.iter().map(port_words).collect(),
        volumes: lives_by.volumes.iter().filter_map(volume_words).collect(),
        secrets: lives_by.secrets.iter().map(secret_words).collect(),
        labels: unit.labels.clone(),
        origin: entry.origin,
        outdated: lives_by != unit,
    };
    if machine.is_alive() || entry.launched.as_ref() == Some(unit) {
        status.notes.extend(entry.image_notes.iter().cloned());
    }
    let failing = machine.failing().map(|(since, why)| (clock::calendar(since), why.to_owned()));
    status.notes.extend(entry.unasked.clone().filter(|_| machine.is_alive()));
    status.why = why(&status, failing);
    status
}

/// Says of a unit that runs that its image could not be started now.
pub(super) fn note_objection(status: &mut UnitStatus, objection: &str) {
    let note = format!("it keeps running, but is not started again: {objection}");
    status.why = format!("{}; {note}", status.why);
    status.notes.push(note);
}

/// In one line, why a unit is not running, or that it is.
fn why(status: &UnitStatus, failing: Option<(u64, String)>) -> String {
    if status.template {
        return format!("a template does not run: start an instance, such as {}1", status.name);
    }
    let reason = status.reason.clone();
    let because = reason.clone().map(|reason| format!(": {reason}")).unwrap_or_default();
    match (status.state, failing) {
        (UnitState::Running, Some((since_s, why))) => {
            format!("running, but its health check fails since {}: {why}", utc::text(since_s))
        }
        (UnitState::Running, None) => match status.health {
            Some(health) if !status.ready => format!("running, health: {}", health.word()),
            Some(_) | None => "running".to_owned(),
        },
        (UnitState::Loaded, _) => reason.unwrap_or_else(|| "nobody has asked it to run".to_owned()),
        (UnitState::Waiting | UnitState::Pulling, _) => {
            reason.unwrap_or_else(|| status.state.word().to_owned())
        }
        (UnitState::BackingOff, _) => {
            let until = status.next_start_s.map(utc::text).unwrap_or_default();
            format!("backing off until {until} after {} restarts{because}", status.restarts)
        }
        (UnitState::Scheduled, _) => {
            let next = status.next_start_s.map(utc::text).unwrap_or_default();
            let last = reason.map(|reason| format!("; last time {reason}")).unwrap_or_default();
            format!("scheduled: it is started at {next}{last}")
        }
        (UnitState::Starting | UnitState::Stopping | UnitState::Exited | UnitState::Failed, _) => {
            format!("{}{because}", status.state.word())
        }
    }
}

fn port_words(port: &Port) -> String {
    let protocol = match port.protocol {
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
    };
    let address = match port.address {
        Some(IpAddr::V6(address)) => format!("[{address}]:"),
        Some(IpAddr::V4(address)) => format!("{address}:"),
        None => String::new(),
    };
    format!("{address}{}→{}/{protocol}", port.host, port.container.unwrap_or(port.host))
}

fn secret_words(secret: &SecretFile) -> String {
    format!("{}→{}", secret.name(), secret.target())
}

fn volume_words(volume: &Volume) -> Option<String> {
    let source = match volume.source()? {
        VolumeSource::Name(name) => name.to_owned(),
        VolumeSource::Host(path) => path.to_owned(),
        VolumeSource::Tmpfs(size) => format!("memory of {size}"),
    };
    let how = if volume.read_only { " (read-only)" } else { "" };
    Some(format!("{source}→{}{how}", volume.target))
}
