//! What is done to one container.

use ferrite_schema::unit::names::signal_number;
use libcontainer::container::State;

use super::arguments::{Arguments, Usage};
use super::containers::{load, remove, signal, wait};
use super::create::{make, parse};
use super::output::say;
use super::problem::{Problem, VerbProblem};

/// `ferrite-oci create`.
pub(super) fn create(arguments: &mut Arguments, root: &str) -> Result<u8, Problem> {
    let (create, id) = parse(arguments)?;
    make(&create, root, &id, true)?;
    Ok(0)
}

/// `ferrite-oci run`.
pub(super) fn run(arguments: &mut Arguments, root: &str) -> Result<u8, Problem> {
    let (create, id) = parse(arguments)?;
    let mut container = make(&create, root, &id, create.detach)?;
    if let Err(problem) = container.start() {
        // Whoever runs a container does not ask for it again.
        drop(remove(&mut container, root, true));
        return Err(VerbProblem::from(problem).into());
    }
    let Some(pid) = container.pid().filter(|_| !create.detach) else { return Ok(0) };
    let code = wait(pid.as_raw())?;
    if !create.keep {
        remove(&mut container, root, true)?;
    }
    Ok(code)
}

/// `ferrite-oci start`.
pub(super) fn start(arguments: &mut Arguments, root: &str) -> Result<u8, Problem> {
    load(root, &arguments.word("ID")?)?.start().map_err(VerbProblem::from)?;
    Ok(0)
}

/// `ferrite-oci pause`.
pub(super) fn pause(arguments: &mut Arguments, root: &str) -> Result<u8, Problem> {
    load(root, &arguments.word("ID")?)?.pause().map_err(VerbProblem::from)?;
    Ok(0)
}

/// `ferrite-oci resume`.
pub(super) fn resume(arguments: &mut Arguments, root: &str) -> Result<u8, Problem> {
    load(root, &arguments.word("ID")?)?.resume().map_err(VerbProblem::from)?;
    Ok(0)
}

/// `ferrite-oci state`.
pub(super) fn state(arguments: &mut Arguments, root: &str) -> Result<u8, Problem> {
    let container = load(root, &arguments.word("ID")?)?;
    let state: &State = &container.state;
    let text = serde_json::to_string_pretty(state).map_err(VerbProblem::Encode)?;
    Ok(say(&text)?)
}

/// `ferrite-oci kill`.
pub(super) fn kill(arguments: &mut Arguments, root: &str) -> Result<u8, Problem> {
    let mut all = false;
    let mut words = Vec::new();
    loop {
        while let Some(option) = arguments.option()? {
            match option.as_str() {
                "-a" | "--all" => all = true,
                _ => return Err(Usage::UnknownOption { option }.into()),
            }
        }
        match arguments.optional_word() {
            Some(word) => words.push(word),
            None => break,
        }
    }
    let mut words = words.into_iter();
    let id = words.next().ok_or(Usage::Missing { what: "ID" })?;
    let word = words.next().unwrap_or_else(|| "SIGTERM".to_owned());
    let Some(number) = signal_number(&word) else {
        return Err(Usage::Invalid { what: "signal", word }.into());
    };
    signal(&mut load(root, &id)?, number, all)?;
    Ok(0)
}

/// `ferrite-oci delete`.
pub(super) fn delete(arguments: &mut Arguments, root: &str) -> Result<u8, Problem> {
    let mut force = false;
    let mut id = None;
    loop {
        while let Some(option) = arguments.option()? {
            match option.as_str() {
                "-f" | "--force" => force = true,
                _ => return Err(Usage::UnknownOption { option }.into()),
            }
        }
        match arguments.optional_word() {
            Some(word) => id = Some(word),
            None => break,
        }
    }
    let id = id.ok_or(Usage::Missing { what: "ID" })?;
    match load(root, &id) {
        Ok(mut container) => remove(&mut container, root, force)?,
        Err(VerbProblem::NoContainer { .. }) if force => {}
        Err(problem) => return Err(problem.into()),
    }
    Ok(0)
}
