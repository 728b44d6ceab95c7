//! `ferrite unit`.

use std::path::Path;
use std::time::{Duration, SystemTime};

use ferrite_schema::api::{Exit, UnitState, UnitStatus};
use ferrite_schema::unit::{self, Unit};
use tokio::time::Instant;

use super::{unit_logs, verdicts};
use crate::cli::{UnitCommand, Until, WaitArguments};
use crate::client::Client;
use crate::document;
use crate::failure::Failure;
use crate::output::{columns, facts, seconds};
use crate::session::Session;

/// How often a unit's state is asked for while waiting: short against a person's patience, long against an
/// emulated node's TLS handshake.
const POLL: Duration = Duration::from_millis(250);

pub(super) fn run(command: UnitCommand, session: &mut Session<'_>) -> Result<(), Failure> {
    match command {
        UnitCommand::Start { unit, wait } => start(&unit, &wait, session),
        UnitCommand::Stop { name, no_wait, timeout } => {
            stop(&name, (!no_wait).then_some(timeout), session)
        }
        UnitCommand::Status { name } => {
            let client = session.client()?;
            let status = session.wait_for(async { Ok(client.unit(&name).await?) })?;
            session.show(&status, status_table)
        }
        UnitCommand::Logs(arguments) => unit_logs::run(&arguments, session),
        UnitCommand::List => {
            let client = session.client()?;
            let units = session.wait_for(async { Ok(client.units().await?) })?;
            session.show(&units, |units| list_table(units, now_s()))
        }
        UnitCommand::Cat { name } => {
            let client = session.client()?;
            let unit = session.wait_for(async { Ok(client.unit_definition(&name).await?) })?;
            session.show(&unit, as_toml)
        }
        UnitCommand::Verify { files } => {
            verdicts::show(&files, session, |text| unit::parse(text).map(drop))
        }
        UnitCommand::Destroy { name } => {
            let client = session.client()?;
            session.wait_for(async { Ok(client.destroy_unit(&name).await?) })?;
            session.say(&format!("unit {name} is gone"))
        }
    }
}

fn start(what: &str, wait: &WaitArguments, session: &mut Session<'_>) -> Result<(), Failure> {
    let submitted =
        if is_file(what) { Some(document::load(Path::new(what), unit::parse)?) } else { None };
    let name = submitted.as_ref().map_or(what, |unit| unit.name.as_str());
    let client = session.client()?;
    let until = if wait.no_wait { Until::Accepted } else { wait.until };
    let status = session.wait_for(async {
        if let Some(unit) = &submitted {
            client.put_unit(unit).await?;
        }
        let status = client.start_unit(name).await?;
        let enough = |state| reached(state, until);
        poll(&client, status, wait.timeout, enough).await
    })?;
    session.show(&status, status_table)?;
    match trouble(&status) {
        Some(what) if until != Until::Accepted => {
            Err(Failure::Unit { name: name.to_owned(), what })
        }
        Some(_) | None => Ok(()),
    }
}

fn stop(name: &str, within: Option<Duration>, session: &mut Session<'_>) -> Result<(), Failure> {
    let client = session.client()?;
    let status = session.wait_for(async {
        let status = client.stop_unit(name).await?;
        match within {
            None => Ok(status),
            Some(within) => poll(&client, status, within, |state| !is_live(state)).await,
        }
    })?;
    session.show(&status, status_table)
}

/// Asks for the unit's state until it is `enough`.
async fn poll(
    client: &Client,
    mut status: UnitStatus,
    within: Duration,
    enough: impl Fn(UnitState) -> bool,
) -> Result<UnitStatus, Failure> {
    let deadline = Instant::now() + within;
    while !enough(status.state) {
        if Instant::now() >= deadline {
            let state = state_word(status.state).to_owned();
            return Err(Failure::UnitDeadline { name: status.name, state, within });
        }
        tokio::time::sleep(POLL).await;
        status = client.unit(&status.name).await?;
    }
    Ok(status)
}

/// A file is anything that looks like one: a unit's name has no slash, and `.toml` says it outright.
fn is_file(what: &str) -> bool {
    what == "-" || what.contains('/') || what.ends_with(".toml") || Path::new(what).is_file()
}

const fn is_live(state: UnitState) -> bool {
    match state {
        UnitState::Starting | UnitState::Running | UnitState::Stopping | UnitState::BackingOff => {
            true
        }
        UnitState::Loaded | UnitState::Exited | UnitState::Failed => false,
    }
}

const fn reached(state: UnitState, until: Until) -> bool {
    match (until, state) {
        (Until::Accepted, _) | (_, UnitState::Exited | UnitState::Failed) => true,
        (Until::Running, UnitState::Running | UnitState::BackingOff) => true,
        (Until::Running | Until::Ended, _) => false,
    }
}

/// What is wrong with a unit that was to run, for a person.
fn trouble(status: &UnitStatus) -> Option<String> {
    let what = match status.state {
        UnitState::Failed => "failed",
        UnitState::BackingOff => "ended and is started again after a delay",
        UnitState::Loaded
        | UnitState::Starting
        | UnitState::Running
        | UnitState::Stopping
        | UnitState::Exited => return None,
    };
    Some(match &status.reason {
        Some(reason) => format!("{what}: {reason}"),
        None => what.to_owned(),
    })
}

const fn state_word(state: UnitState) -> &'static str {
    match state {
        UnitState::Loaded => "loaded",
        UnitState::Starting => "starting",
        UnitState::Running => "running",
        UnitState::Stopping => "stopping",
        UnitState::Exited => "exited",
        UnitState::Failed => "failed",
        UnitState::BackingOff => "backing off",
    }
}

fn exit_words(exit: &Exit) -> String {
    match exit {
        Exit::Status { code } => format!("exit status {code}"),
        Exit::Signal { signal } => format!("killed by signal {signal}"),
    }
}

fn as_toml(unit: &Unit) -> String {
    // Every value of a unit has a TOML form; what cannot be written would be our bug.
    toml::to_string(unit).unwrap_or_else(|error| format!("# {error}"))
}

fn now_s() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

fn status_table(status: &UnitStatus) -> String {
    let mut rows = vec![
        ("unit", status.name.clone()),
        ("image", status.image.clone()),
        ("state", state_word(status.state).to_owned()),
    ];
    rows.extend(status.reason.iter().map(|reason| ("reason", reason.clone())));
    rows.extend(status.pid.iter().map(|pid| ("pid", pid.to_string())));
    rows.extend(status.last_exit.iter().map(|exit| ("last end", exit_words(exit))));
    rows.push(("restarts", status.restarts.to_string()));
    rows.push(("since", timestamp(status.since_s)));
    facts(&rows)
}

fn timestamp(epoch_s: u64) -> String {
    let time = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(epoch_s));
    time.map_or_else(String::new, |time| humantime::format_rfc3339_seconds(time).to_string())
}

fn list_table(units: &[UnitStatus], now_s: u64) -> String {
    if units.is_empty() {
        return "no units: `ferrite unit start FILE` submits and starts one".to_owned();
    }
    let rows: Vec<[String; 6]> = units
        .iter()
        .map(|unit| {
            [
                unit.name.clone(),
                state_word(unit.state).to_owned(),
                seconds(now_s.saturating_sub(unit.since_s)),
                unit.restarts.to_string(),
                unit.last_exit.as_ref().map(exit_words).unwrap_or_default(),
                unit.image.clone(),
            ]
        })
        .collect();
    columns(["UNIT", "STATE", "FOR", "RESTARTS", "LAST END", "IMAGE"], &rows)
}

#[cfg(test)]
mod tests;
