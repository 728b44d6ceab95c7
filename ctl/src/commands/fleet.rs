//! `ferrite unit …` where the context is for a cluster: its units, on whichever machines they are.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use ferrite_schema::api::{ClusterUnit, UnitChange, UnitTarget};
use ferrite_schema::unit::{self, Unit};

use super::unit_document::{as_toml, submitted};
use super::unit_select::{has_labels, is_named, is_pattern};
use crate::cli::{Selection, UnitCommand, Until, WaitArguments};
use crate::client::Client;
use crate::document;
use crate::failure::Failure;
use crate::output::printable;
use crate::session::Session;

mod tables;
mod wait;

/// Does what is about the cluster's units. The commands that are about a container find its machine themselves, and some know
/// no cluster: those are given back.
pub(super) fn run(
    command: UnitCommand,
    cluster: &Client,
    session: &mut Session<'_>,
) -> Result<Option<UnitCommand>, Failure> {
    match command {
        command @ (UnitCommand::Verify { .. }
        | UnitCommand::Logs(_)
        | UnitCommand::Exec(_)
        | UnitCommand::Cp { .. }
        | UnitCommand::Import(_)
        | UnitCommand::Attach { .. }) => return Ok(Some(command)),
        UnitCommand::Start { units, wait } => start(cluster, &units, &wait, session),
        UnitCommand::Submit { files } => submit(cluster, &files, session),
        UnitCommand::Load { selection } => {
            let target = UnitTarget::Loaded;
            aim(cluster, &selection, target, None, session)
        }
        UnitCommand::Unload { selection } => {
            let target = UnitTarget::Inactive;
            aim(cluster, &selection, target, None, session)
        }
        UnitCommand::Stop { selection, no_wait, timeout } => {
            let target = UnitTarget::Inactive;
            aim(cluster, &selection, target, (!no_wait).then_some(timeout), session)
        }
        UnitCommand::Restart { .. } => Err(Failure::OfOneMachine { what: "restart units" }),
        UnitCommand::Status { selection } => {
            let units = some(cluster, &selection, session)?;
            match &units[..] {
                [one] => session.show(one, tables::status),
                _ => session.show(&units, |units| {
                    units.iter().map(tables::status).collect::<Vec<_>>().join("\n\n")
                }),
            }
        }
        UnitCommand::Why { selection } => why(cluster, &selection, session),
        UnitCommand::List { names, labels } => {
            let units = session.wait_for(async { Ok(cluster.cluster_units().await?) })?;
            let selection = Selection { names, labels };
            let units: Vec<ClusterUnit> =
                units.into_iter().filter(|unit| is_meant(unit, &selection)).collect();
            session.show(&units, |units| tables::list(units))
        }
        UnitCommand::ListFiles => {
            let units = session.wait_for(async { Ok(cluster.cluster_units().await?) })?;
            session.show(&units, |units| tables::files(units))
        }
        UnitCommand::Cat { name } => {
            let unit = session.wait_for(async { Ok(cluster.cluster_unit(&name).await?) })?;
            match unit.definition {
                Some(unit) => session.show(&unit, as_toml),
                None => Err(Failure::Unit {
                    name,
                    what: unit.problem.unwrap_or_else(|| "has no document any more".to_owned()),
                }),
            }
        }
        UnitCommand::Destroy { selection, no_wait, timeout } => {
            destroy(cluster, &selection, (!no_wait).then_some(timeout), session)
        }
    }?;
    Ok(None)
}

fn is_meant(unit: &ClusterUnit, selection: &Selection) -> bool {
    let of_instance = |name: &String| unit.instances.iter().any(|one| is_named(name, &one.name));
    let named = selection.names.is_empty()
        || selection.names.iter().any(|name| is_named(name, &unit.name) || of_instance(name));
    let no_labels = BTreeMap::new();
    let labels = unit.definition.as_ref().map_or(&no_labels, |unit| &unit.labels);
    named && has_labels(labels, &selection.labels)
}

/// The units that are meant. A name that is no pattern must be one's.
fn some(
    cluster: &Client,
    selection: &Selection,
    session: &Session<'_>,
) -> Result<Vec<ClusterUnit>, Failure> {
    let all = session.wait_for(async { Ok(cluster.cluster_units().await?) })?;
    let units: Vec<ClusterUnit> =
        all.into_iter().filter(|unit| is_meant(unit, selection)).collect();
    let found = |name: &&String| {
        let one = Selection { names: vec![(*name).clone()], labels: Vec::new() };
        units.iter().any(|unit| is_meant(unit, &one))
    };
    let plain = || selection.names.iter().filter(|name| !is_pattern(name));
    if let Some(name) = plain().find(|name| !found(name)) {
        return Err(Failure::NoUnit { what: name.clone() });
    }
    if units.is_empty() {
        let labels = selection.labels.iter().map(|label| format!("--label {label}"));
        let what: Vec<String> = selection.names.iter().cloned().chain(labels).collect();
        return Err(Failure::NoUnit { what: what.join(" ") });
    }
    Ok(units)
}

/// The names of units that something is done to: an instance of a template may not be there yet.
fn names(
    cluster: &Client,
    selection: &Selection,
    session: &Session<'_>,
) -> Result<Vec<String>, Failure> {
    if selection.labels.is_empty() && !selection.names.iter().any(|name| is_pattern(name)) {
        return Ok(selection.names.clone());
    }
    Ok(some(cluster, selection, session)?.into_iter().map(|unit| unit.name).collect())
}

fn submit(cluster: &Client, files: &[PathBuf], session: &mut Session<'_>) -> Result<(), Failure> {
    // All are read before any is sent: nothing is half done for want of a comma.
    let units: Vec<Unit> =
        files.iter().map(|file| document::load(file, unit::parse)).collect::<Result<_, _>>()?;
    for unit in &units {
        session.wait_for(async { Ok(cluster.put_cluster_unit(unit, None).await?) })?;
        session.say(&format!("unit {} is known to the cluster", unit.name))?;
    }
    Ok(())
}

fn start(
    cluster: &Client,
    units: &[String],
    wait: &WaitArguments,
    session: &mut Session<'_>,
) -> Result<(), Failure> {
    // All files are read before anything is asked for.
    let units: Vec<(Option<Unit>, &str)> = units
        .iter()
        .map(|what| Ok((submitted(what)?, what.as_str())))
        .collect::<Result<_, Failure>>()?;
    let until = if wait.no_wait { Until::Accepted } else { wait.until };
    let mut started = Vec::new();
    for (unit, what) in &units {
        started.push(session.wait_for(async {
            Ok(match unit {
                Some(unit) => cluster.put_cluster_unit(unit, Some(UnitTarget::Launched)).await?,
                None => change(cluster, what, UnitTarget::Launched).await?,
            })
        })?);
    }
    for unit in &mut started {
        *unit = wait::until(cluster, unit, until, wait.timeout, session)?;
    }
    session.show(&started, |started| tables::list(started))?;
    match started.iter().find_map(wait::trouble) {
        Some((name, what)) if until != Until::Accepted => Err(Failure::Unit { name, what }),
        Some(_) | None => Ok(()),
    }
}

async fn change(cluster: &Client, name: &str, target: UnitTarget) -> Result<ClusterUnit, Failure> {
    let change = UnitChange { target: Some(target), replicas: None };
    Ok(cluster.change_cluster_unit(name, &change).await?)
}

/// Has units become something else; waits until nothing of them runs where asked.
fn aim(
    cluster: &Client,
    selection: &Selection,
    target: UnitTarget,
    gone_within: Option<Duration>,
    session: &mut Session<'_>,
) -> Result<(), Failure> {
    let mut done = Vec::new();
    for name in names(cluster, selection, session)? {
        done.push(session.wait_for(change(cluster, &name, target))?);
    }
    if let Some(within) = gone_within {
        for unit in &mut done {
            *unit = wait::until_nothing_runs(cluster, unit, within, session)?;
        }
    }
    session.show(&done, |done| tables::files(done))
}

/// All are told to go before the first is waited for.
fn destroy(
    cluster: &Client,
    selection: &Selection,
    within: Option<Duration>,
    session: &mut Session<'_>,
) -> Result<(), Failure> {
    let names = names(cluster, selection, session)?;
    for name in &names {
        session.wait_for(async { Ok(cluster.destroy_cluster_unit(name).await?) })?;
    }
    for name in names {
        let Some(within) = within else {
            session.say(&format!("unit {name} goes"))?;
            continue;
        };
        wait::until_gone(cluster, &name, within, session)?;
        session.say(&format!("unit {name} is gone"))?;
    }
    Ok(())
}

/// A line for each instance, or for a unit that has none.
fn why(cluster: &Client, selection: &Selection, session: &mut Session<'_>) -> Result<(), Failure> {
    let units = some(cluster, selection, session)?;
    let mut words: BTreeMap<&str, String> = BTreeMap::new();
    for unit in &units {
        let whole = selection.names.is_empty()
            || selection.names.iter().any(|name| is_named(name, &unit.name));
        let meant =
            |instance: &str| whole || selection.names.iter().any(|name| is_named(name, instance));
        for instance in unit.instances.iter().filter(|one| meant(&one.name)) {
            let words_of = format!("{}; {}", tables::state_words(instance), instance.why);
            words.insert(&instance.name, words_of);
        }
        if let Some(problem) = &unit.problem {
            words.insert(&unit.name, problem.clone());
        } else if unit.instances.is_empty() {
            let target = unit.target.map_or("not there", UnitTarget::word);
            words.insert(&unit.name, format!("it is {target}: nobody wants it to run"));
        }
    }
    session.show(&words, |words| {
        let line =
            |(name, why): (&&str, &String)| format!("{}: {}", printable(name), printable(why));
        words.iter().map(line).collect::<Vec<_>>().join("\n")
    })
}
