//! `ferrite unit`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use ferrite_schema::api::{Stats, UnitState, UnitStatus};
use ferrite_schema::unit::{self, Unit};

use super::images::DIGEST_CHARS;
use super::unit_document::{as_toml, submitted};
use super::{cp, exec, fleet, unit_logs, unit_select, verdicts};
use crate::cli::{Selection, UnitCommand, Until, WaitArguments};
use crate::client::UnitVerb;
use crate::document;
use crate::failure::Failure;
use crate::output::{columns, printable, seconds};
use crate::session::Session;

mod import;
mod status;
mod wait;

use status::Shown;

pub(super) fn run(command: UnitCommand, session: &mut Session<'_>) -> Result<(), Failure> {
    // What asks nobody needs no context.
    if matches!(command, UnitCommand::Verify { .. } | UnitCommand::Import(_)) {
        return on_node(command, session);
    }
    // What is wrong with a document is said whoever would have got it.
    read_documents(&command)?;
    match session.cluster()? {
        Some(cluster) => match fleet::run(command, &cluster, session)? {
            Some(of_one_machine) => on_node(of_one_machine, session),
            None => Ok(()),
        },
        None => on_node(command, session),
    }
}

/// Looks at the documents that a command sends, but for standard input, which is read once.
fn read_documents(command: &UnitCommand) -> Result<(), Failure> {
    match command {
        UnitCommand::Start { units, .. } => {
            let mut files = units.iter().filter(|what| *what != "-");
            files.try_for_each(|what| submitted(what).map(drop))
        }
        UnitCommand::Submit { files } => {
            let mut files = files.iter().filter(|file| *file != Path::new("-"));
            files.try_for_each(|file| Ok(document::load(file, unit::parse).map(drop)?))
        }
        _ => Ok(()),
    }
}

/// Does what is about the units of one node.
fn on_node(command: UnitCommand, session: &mut Session<'_>) -> Result<(), Failure> {
    match command {
        UnitCommand::Start { units, wait } => start(&units, &wait, session),
        UnitCommand::Submit { files } => submit(&files, session),
        UnitCommand::Load { selection } => act(&selection, UnitVerb::Load, None, session),
        UnitCommand::Unload { selection } => act(&selection, UnitVerb::Unload, None, session),
        UnitCommand::Restart { selection, no_wait, timeout } => {
            act(&selection, UnitVerb::Restart, (!no_wait).then_some(timeout), session)
        }
        UnitCommand::Stop { selection, no_wait, timeout } => {
            act(&selection, UnitVerb::Stop, (!no_wait).then_some(timeout), session)
        }
        UnitCommand::Status { selection } => status(&selection, session),
        UnitCommand::Why { selection } => why(&selection, session),
        UnitCommand::Logs(arguments) => unit_logs::run(&arguments, session),
        UnitCommand::Exec(arguments) => exec::run(&arguments, session),
        UnitCommand::Cp { from, to } => cp::run(&from, &to, session),
        UnitCommand::Attach { name, no_stdin } => exec::attach(&name, !no_stdin, session),
        UnitCommand::List { names, labels } => {
            let client = session.client()?;
            let units = session.wait_for(async { Ok(client.units().await?) })?;
            let units = unit_select::chosen(units, &Selection { names, labels });
            session.show(&units, |units| list_table(units, now_s()))
        }
        UnitCommand::ListFiles => {
            let client = session.client()?;
            let units = session.wait_for(async { Ok(client.units().await?) })?;
            session.show(&units, |units| files_table(units))
        }
        UnitCommand::Cat { name } => {
            let client = session.client()?;
            let unit = session.wait_for(async { Ok(client.unit_definition(&name).await?) })?;
            session.show(&unit, as_toml)
        }
        UnitCommand::Verify { files } => {
            verdicts::show(&files, session, |text| unit::parse(text).map(drop))
        }
        UnitCommand::Import(arguments) => import::run(&arguments, session),
        UnitCommand::Destroy { selection, no_wait, timeout } => {
            destroy(&selection, (!no_wait).then_some(timeout), session)
        }
    }
}

fn submit(files: &[PathBuf], session: &mut Session<'_>) -> Result<(), Failure> {
    // All are read before any is sent: nothing is half done for want of a comma.
    let units: Vec<Unit> =
        files.iter().map(|file| document::load(file, unit::parse)).collect::<Result<_, _>>()?;
    let client = session.client()?;
    for unit in &units {
        session.wait_for(async { Ok(client.put_unit(unit).await?) })?;
        session.say(&format!("unit {} is known to the node", unit.name))?;
    }
    Ok(())
}

/// Has the node do something with the units that are meant, one after the other, and waits for each where asked.
fn act(
    selection: &Selection,
    verb: UnitVerb,
    within: Option<Duration>,
    session: &mut Session<'_>,
) -> Result<(), Failure> {
    let client = session.client()?;
    let names = session.wait_for(unit_select::names(&client, selection))?;
    let mut done = Vec::new();
    for name in names {
        let status = session.wait_for(async {
            let status = client.unit_verb(verb, &name).await?;
            match (within, verb) {
                (Some(within), UnitVerb::Stop) => {
                    wait::until(&client, status, within, wait::is_decided).await
                }
                (Some(within), UnitVerb::Restart) => {
                    let enough = |status: &UnitStatus| is_as_far(status, Until::Running);
                    wait::until(&client, status, within, enough).await
                }
                _ => Ok(status),
            }
        })?;
        if verb == UnitVerb::Stop && within.is_some() && status.wanted {
            let words = format!("unit {name}: somebody has started it again meanwhile");
            // Nobody is left to hear that standard error is gone.
            drop(writeln!(session.err, "{}", printable(&words)));
        }
        done.push(status);
    }
    show_some(selection, &done, None, session)?;
    match done.iter().find_map(|status| Some((status.name.clone(), trouble(status)?))) {
        Some((name, what)) if verb == UnitVerb::Restart && within.is_some() => {
            Err(Failure::Unit { name, what })
        }
        Some(_) | None => Ok(()),
    }
}

fn some(selection: &Selection, session: &mut Session<'_>) -> Result<Vec<UnitStatus>, Failure> {
    let client = session.client()?;
    session.wait_for(async {
        let mut all = Vec::new();
        for name in unit_select::names(&client, selection).await? {
            all.push(client.unit(&name).await?);
        }
        Ok(all)
    })
}

fn status(selection: &Selection, session: &mut Session<'_>) -> Result<(), Failure> {
    let units = some(selection, session)?;
    let client = session.client()?;
    // What is known of a unit is shown whether or not what it uses can be asked.
    let usage = session.wait_for(async { Ok(client.usage().await.ok()) })?;
    show_some(selection, &units, usage.as_ref(), session)
}

/// One unit that was named is shown as itself; several, or those of a pattern, as a list.
fn show_some(
    selection: &Selection,
    units: &[UnitStatus],
    usage: Option<&Stats>,
    session: &mut Session<'_>,
) -> Result<(), Failure> {
    let shown: Vec<Shown<'_>> = units.iter().map(|unit| Shown::new(unit, usage)).collect();
    match (unit_select::single(selection), &shown[..]) {
        (Some(_), [one]) => session.show(one, status::table),
        _ => session
            .show(&shown, |shown| shown.iter().map(status::table).collect::<Vec<_>>().join("\n\n")),
    }
}

fn why(selection: &Selection, session: &mut Session<'_>) -> Result<(), Failure> {
    let units = some(selection, session)?;
    let words: BTreeMap<&str, &str> =
        units.iter().map(|unit| (unit.name.as_str(), unit.why.as_str())).collect();
    session.show(&words, |words| {
        let line = |(name, why): (&&str, &&str)| format!("{}: {}", printable(name), printable(why));
        words.iter().map(line).collect::<Vec<_>>().join("\n")
    })
}

/// All are told to go before the first is waited for.
fn destroy(
    selection: &Selection,
    within: Option<Duration>,
    session: &mut Session<'_>,
) -> Result<(), Failure> {
    let client = session.client()?;
    let names = session.wait_for(unit_select::names(&client, selection))?;
    for name in &names {
        session.wait_for(async { Ok(client.destroy_unit(name).await?) })?;
    }
    for name in names {
        let Some(within) = within else {
            session.say(&format!("unit {name} goes"))?;
            continue;
        };
        session.wait_for(wait::until_gone(&client, &name, within))?;
        session.say(&format!("unit {name} is gone"))?;
    }
    Ok(())
}

fn start(units: &[String], wait: &WaitArguments, session: &mut Session<'_>) -> Result<(), Failure> {
    // All files are read before anything is asked for.
    let units: Vec<(Option<Unit>, &str)> = units
        .iter()
        .map(|what| Ok((submitted(what)?, what.as_str())))
        .collect::<Result<_, Failure>>()?;
    let client = session.client()?;
    let until = if wait.no_wait { Until::Accepted } else { wait.until };
    let mut started = Vec::new();
    for (unit, what) in &units {
        let name = unit.as_ref().map_or(*what, |unit| unit.name.as_str());
        started.push(session.wait_for(async {
            if let Some(unit) = unit {
                client.put_unit(unit).await?;
            }
            client.unit_verb(UnitVerb::Start, name).await.map_err(Failure::from)
        })?);
    }
    for status in &mut started {
        let before = std::mem::take(status);
        let enough = |status: &UnitStatus| is_as_far(status, until);
        *status = session.wait_for(wait::until(&client, before, wait.timeout, enough))?;
    }
    match &started[..] {
        [one] => session.show(&Shown::new(one, None), status::table)?,
        several => session.show(&several, |several| list_table(several, now_s()))?,
    }
    match started.iter().find_map(|status| Some((status.name.clone(), trouble(status)?))) {
        Some((name, what)) if until != Until::Accepted => Err(Failure::Unit { name, what }),
        Some(_) | None => Ok(()),
    }
}

/// A unit that was to run is as far as it was to come, or has stopped by somebody's wish.
fn is_as_far(status: &UnitStatus, until: Until) -> bool {
    reached(status.state, until) || (!status.wanted && !wait::is_live(status.state))
}

const fn reached(state: UnitState, until: Until) -> bool {
    match (until, state) {
        (Until::Accepted, _) | (_, UnitState::Exited | UnitState::Failed) => true,
        (Until::Running, UnitState::Running | UnitState::BackingOff | UnitState::Scheduled) => true,
        (Until::Running | Until::Ended, _) => false,
    }
}

/// What is wrong with a unit that was to run, for a person.
fn trouble(status: &UnitStatus) -> Option<String> {
    let what = match status.state {
        UnitState::Failed => "failed",
        UnitState::BackingOff => "does not run, and is started again after a delay",
        // Whoever was told to run it would not have it so.
        UnitState::Loaded => "does not run",
        UnitState::Starting
        | UnitState::Running
        | UnitState::Stopping
        | UnitState::Waiting
        | UnitState::Pulling
        | UnitState::Scheduled
        | UnitState::Exited => return None,
    };
    Some(match &status.reason {
        Some(reason) => format!("{what}: {reason}"),
        None => what.to_owned(),
    })
}

fn now_s() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// As much of an image's digest as a list has room for.
fn short(image: &str) -> String {
    let shown = |digest: &str| digest.chars().take(DIGEST_CHARS).collect::<String>();
    match image.split_once('@') {
        Some((name, digest)) => format!("{name}@{}", shown(digest)),
        None => image.to_owned(),
    }
}

/// That memory ran out is seen at once, among many units too.
fn state_words(unit: &UnitStatus) -> String {
    let word = unit.state.word();
    let down = matches!(unit.state, UnitState::Failed | UnitState::BackingOff);
    if down && unit.oom_killed { format!("{word}, OOM") } else { word.to_owned() }
}

fn list_table(units: &[UnitStatus], now_s: u64) -> String {
    let rows: Vec<[String; 7]> = units
        .iter()
        .filter(|unit| !unit.template)
        .map(|unit| {
            [
                unit.name.clone(),
                state_words(unit),
                unit.health.map(|health| health.word().to_owned()).unwrap_or_default(),
                seconds(now_s.saturating_sub(unit.since_s)),
                unit.restarts.to_string(),
                short(&unit.image),
                unit.ports.join(" "),
            ]
        })
        .collect();
    if rows.is_empty() {
        return "no units: `ferrite unit start FILE` submits and starts one".to_owned();
    }
    columns(["UNIT", "STATE", "HEALTH", "FOR", "RESTARTS", "IMAGE", "PORTS"], &rows)
}

fn files_table(units: &[UnitStatus]) -> String {
    let rows: Vec<[String; 4]> = units
        .iter()
        .map(|unit| {
            let what = match (unit.template, unit.wanted) {
                (true, _) => "template",
                (false, true) => "should run",
                (false, false) => "should not run",
            };
            let state = if unit.template { String::new() } else { unit.state.word().to_owned() };
            [unit.name.clone(), what.to_owned(), state, short(&unit.image)]
        })
        .collect();
    columns(["UNIT", "WISH", "STATE", "IMAGE"], &rows)
}

#[cfg(test)]
mod tests;
