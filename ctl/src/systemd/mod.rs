//! Units of systemd and fleet whose container Docker or rkt runs, as units of Ferrite. Pure: texts in, a document and what is said
//! of each line out. Nothing is passed over in silence but what means nothing anywhere.
//!
//! | module | what it knows |
//! |---|---|
//! | `ini`, `words`, `names`, `environment` | the syntax of systemd's files: lines, words, specifiers, variables |
//! | `values`, `calendar` | amounts and times of others |
//! | `flags`, `docker_flags` | options as Docker and rkt read them, and all of `docker run` |
//! | `commands`, `beside` | what `Exec…=` lines are for, and what becomes of those beside the container |
//! | `docker`, `docker_places`, `docker_bounds`, `rkt` | a container's options as a unit |
//! | `service`, `fleet`, `timer` | sections of the files |
//! | `draft`, `findings`, `document` | the unit as far as it has come, what is said, and what is written |

mod beside;
mod calendar;
mod commands;
mod docker;
mod docker_bounds;
mod docker_flags;
mod docker_places;
mod document;
mod draft;
mod environment;
mod findings;
mod flags;
mod fleet;
mod ini;
mod names;
mod rkt;
mod service;
mod timer;
mod values;
mod words;

use ferrite_schema::document::Problem;
use ferrite_schema::unit::{Timer, Unit};

use commands::{Command, Purpose};
use docker::Ran;
use draft::Draft;
use environment::Environment;
use ini::{Entry, problem};
use names::Open;
use service::Runner;

pub(crate) use findings::{Finding, Findings};
pub(crate) use names::Name;
pub(crate) use timer::read as timer;

/// What became of a file.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Outcome {
    /// A unit, its document, and what is to be said of the file's lines.
    Unit(Box<Imported>),
    /// No unit is needed: the line of its command, and why.
    NotNeeded(Finding),
}

/// A unit made of a file.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Imported {
    pub(crate) unit: Unit,
    /// It as TOML, with words for people at the top.
    pub(crate) document: String,
    pub(crate) findings: Vec<Finding>,
}

/// All commands of a file, by their keys.
#[derive(Debug, Default)]
struct Commands {
    start: Vec<Command>,
    /// Those beside, in order, with their keys.
    beside: Vec<(String, Command)>,
}

/// Makes the unit `name` of the text of a `.service` file, and of when a timer starts it.
///
/// # Errors
/// The text is no unit file, its container cannot be understood, or what it asks for may not be: the line, and what to do.
pub(crate) fn import(name: &Name, text: &str, timer: Option<Timer>) -> Result<Outcome, Problem> {
    let entries = ini::read(text)?;
    let mut open = Open::new();
    let mut environment = Environment::default();
    for entry in of(&entries, "Environment") {
        environment.set(entry, name, &mut open)?;
    }
    let commands = commands_of(&entries, name, &environment, &mut open)?;
    let end = text.lines().count().max(1);
    let no_name = || problem(1, "this is no name of a unit");
    let mut draft = Draft::new(name, Findings::default(), open).ok_or_else(no_name)?;
    draft.unit.timer = timer;
    let Some(main) = main(&commands, end)? else {
        return Ok(Outcome::NotNeeded(not_needed(&mut draft, &entries, &commands)));
    };
    let line = main.command.line;
    let (runner, ran) = match &main.purpose {
        Purpose::Rkt(_, words) => {
            rkt::take(&mut draft, words, &environment, line)?;
            (Runner::Rkt, Ran::default())
        }
        Purpose::Docker(_, words) => {
            (Runner::Docker, docker::take(&mut draft, words, &environment, line)?)
        }
        Purpose::Announce | Purpose::Shell | Purpose::Program(_) => {
            (Runner::Docker, Ran::default())
        }
    };
    if main.command.may_fail && commands.start.contains(main.command) {
        let why = "whatever it ends with counts: `restart` says what is done";
        draft.findings.changed(line, "ExecStart=-", why);
    }
    service::take(&mut draft, &entries, runner, &ran);
    beside::take(&mut draft, &main.beside);
    if runner == Runner::Docker {
        of_client(&mut draft, &entries);
    }
    sections(&mut draft, &entries);
    checked(&mut draft, line)?;
    let description = of(&entries, "Description").last().map(|entry| entry.value.text.as_str());
    let document = document::text(&draft.unit, description).map_err(|why| problem(line, why))?;
    let findings = draft.findings.sorted();
    Ok(Outcome::Unit(Box::new(Imported { unit: draft.unit, document, findings })))
}

/// The entries of this key, whichever section they are in.
fn of<'a>(entries: &'a [Entry], key: &'static str) -> impl Iterator<Item = &'a Entry> {
    entries.iter().filter(move |entry| entry.key == key)
}

fn commands_of(
    entries: &[Entry],
    name: &Name,
    environment: &Environment,
    open: &mut Open,
) -> Result<Commands, Problem> {
    let mut commands = Commands::default();
    for entry in entries.iter().filter(|entry| entry.section == "Service") {
        if !entry.key.starts_with("Exec") {
            continue;
        }
        let start = entry.key == "ExecStart";
        if entry.value.text.is_empty() {
            match start {
                true => commands.start.clear(),
                false => commands.beside.retain(|(key, _)| *key != entry.key),
            }
            continue;
        }
        let found = Command::read(entry, name, environment, open)?;
        match start {
            true => commands.start.extend(found),
            false => commands
                .beside
                .extend(found.into_iter().map(|command| (entry.key.clone(), command))),
        }
    }
    Ok(commands)
}

/// The command that runs the container, what it is for, and those beside it.
struct Main<'a> {
    command: &'a Command,
    purpose: Purpose,
    beside: Vec<(&'a str, &'a Command)>,
}

fn runs(purpose: &Purpose) -> bool {
    matches!(purpose, Purpose::Docker(verb, _) | Purpose::Rkt(verb, _) if verb == "run")
}

/// Finds the container's command; nothing where the unit only tells others of a service.
fn main(commands: &Commands, end: usize) -> Result<Option<Main<'_>>, Problem> {
    let purposes: Vec<Purpose> =
        commands.start.iter().map(Command::purpose).collect::<Result<_, _>>()?;
    let all = || commands.start.iter().zip(&purposes);
    let mut running = all().filter(|(_, purpose)| runs(purpose));
    let beside = commands.beside.iter().map(|(key, command)| (key.as_str(), command));
    if let Some((command, purpose)) = running.next() {
        if let Some((second, _)) = running.next() {
            let why = "a unit has one container: make a unit of each `run`; `requires` and `after` say their order";
            return Err(problem(second.line, why));
        }
        let others = all().filter(|(other, _)| other.line != command.line);
        let others = others.map(|(other, _)| ("ExecStart", other));
        let purpose = purpose.clone();
        return Ok(Some(Main { command, purpose, beside: others.chain(beside).collect() }));
    }
    let starts = |purpose: &Purpose| matches!(purpose, Purpose::Docker(verb, _) if verb == "start");
    if all().any(|(_, purpose)| starts(purpose)) {
        // The container is made before, and started here.
        for (_, command) in &commands.beside {
            let purpose = command.purpose()?;
            let Purpose::Docker(verb, _) = &purpose else { continue };
            if matches!(verb.as_str(), "create" | "run") {
                let beside = beside.filter(|(_, other)| other.line != command.line).collect();
                return Ok(Some(Main { command, purpose, beside }));
            }
        }
    }
    if all().any(|(_, purpose)| *purpose == Purpose::Announce) {
        return Ok(None);
    }
    let Some((command, purpose)) = all().next() else {
        let why =
            "there is no `ExecStart=` in `[Service]`: it must say `docker run …` or `rkt run …`";
        return Err(problem(end, why));
    };
    Err(problem(command.line, no_container(purpose)))
}

/// Why a command runs no container that could be understood, and what to do.
fn no_container(purpose: &Purpose) -> String {
    match purpose {
        Purpose::Docker(verb, _) if verb == "start" => {
            "`docker start` starts a container that another file makes: write `ExecStart=` as the `docker run` that made it".to_owned()
        }
        Purpose::Docker(verb, _) => format!("`docker {verb}` runs no container: write `ExecStart=` as `docker run …`"),
        Purpose::Rkt(verb, _) => format!("`rkt {verb}` is not understood: write `ExecStart=` as `rkt run …`"),
        Purpose::Shell | Purpose::Announce => {
            "a shell's script is not read: write `ExecStart=` as the one `docker run …` in it; what else it does belongs into the image, or into `pre_start`".to_owned()
        }
        Purpose::Program(program) => {
            format!("`{program}` runs on the machine itself, and Ferrite runs containers alone: put it into an image, and write `ExecStart=` as `docker run …`")
        }
    }
}

/// Says why a unit that tells others of a service is not needed.
fn not_needed(draft: &mut Draft<'_>, entries: &[Entry], commands: &Commands) -> Finding {
    service::take(draft, entries, Runner::Docker, &Ran::default());
    let mut names: Vec<&str> = draft.unit.requires.iter().map(String::as_str).collect();
    if names.is_empty() {
        names = draft.unit.after.iter().map(String::as_str).collect();
    }
    let service =
        names.first().map_or("its unit's name", |name| name.split('@').next().unwrap_or(name));
    let line = commands.start.first().map_or(1, |command| command.line);
    let why = format!(
        "it tells others where a service is, and services announce themselves: other units find `{service}` by its name, as soon as it is ready and as long \
         as it is; `ferrite service list` shows who answers"
    );
    let kind = findings::Kind::NotNeeded;
    Finding { line, what: "the whole unit".to_owned(), kind, why }
}

/// Variables that Docker's client had and no option gave to the container.
fn of_client(draft: &mut Draft<'_>, entries: &[Entry]) {
    let commands: Vec<&str> = entries
        .iter()
        .filter(|entry| entry.key.starts_with("Exec"))
        .map(|entry| entry.value.text.as_str())
        .collect();
    for entry in of(entries, "Environment") {
        for word in words::split(&entry.value).unwrap_or_default() {
            let name = word.text.split('=').next().unwrap_or_default();
            if !commands.iter().any(|command| command.contains(name)) {
                let why = "Docker's client had it, and the container did not: use `env` where it needs it";
                draft.findings.not_needed(word.line, format!("Environment={}", word.text), why);
            }
        }
    }
}

/// fleet's section, and those that nobody knows.
fn sections(draft: &mut Draft<'_>, entries: &[Entry]) {
    for entry in entries {
        let fleets = entry.section == "X-Fleet"
            || entry.key.starts_with("X-Condition")
            || entry.key == "X-Conflicts";
        if fleets {
            fleet::take(draft, entry);
        } else if !matches!(entry.section.as_str(), "Unit" | "Service" | "Install")
            && !entry.section.starts_with("X-")
        {
            let what = format!("[{}] {}", entry.section, entry.key);
            draft.findings.lost(entry.line, what, "this section is not a service's");
        }
    }
}

/// Checks the unit as a node does. What is beside the point is left out where it is bad, and said.
fn checked(draft: &mut Draft<'_>, line: usize) -> Result<(), Problem> {
    while let Err(bad) = ferrite_schema::unit::check(&draft.unit) {
        let line = draft.line_of(&bad, line);
        let (key, name) = (bad.path.first().map(String::as_str), bad.path.get(1));
        let unit = &mut draft.unit;
        let left_out = match (key, name) {
            (Some("labels"), Some(name)) => unit.labels.remove(name).is_some(),
            (Some("sysctls"), Some(name)) => unit.sysctls.remove(name).is_some(),
            (Some("ulimits"), Some(name)) => unit.ulimits.remove(name).is_some(),
            (Some("hostname"), None) => unit.hostname.take().is_some(),
            (Some("stop_signal"), None) => unit.stop_signal.take().is_some(),
            (Some("after"), Some(index)) => remove(&mut unit.after, index),
            (Some("requires"), Some(index)) => remove(&mut unit.requires, index),
            _ => false,
        };
        if !left_out {
            return Err(problem(line, bad.to_string()));
        }
        draft.findings.lost(line, bad.path.join("."), bad.why);
    }
    Ok(())
}

fn remove(list: &mut Vec<String>, index: &str) -> bool {
    let index = index.parse::<usize>().ok().filter(|index| *index < list.len());
    index.map(|index| list.remove(index)).is_some()
}

#[cfg(test)]
mod corpus_tests;
#[cfg(test)]
mod property_tests;
