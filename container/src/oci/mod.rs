//! The OCI runtime front end: create, start, state, kill, delete and the rest of what callers of runc know.
//!
//! *Responsible for*: the command line. *Never does*: make containers differently from
//! a shim: libcontainer and our own device filter do the work in both. One thread, as libcontainer demands.

mod arguments;
mod containers;
mod create;
mod devices;
mod exec;
mod globals;
mod itself;
mod list;
mod output;
mod problem;
mod report;
mod specification;
mod update;
mod verbs;

use std::process::ExitCode;

use self::arguments::{Arguments, Usage};
use self::globals::{Globals, globals};
use self::output::say;
use self::problem::{Problem, VerbProblem};
use self::report::Report;

/// Carries out a command line, without the program's name.
#[must_use]
pub fn main(words: Vec<String>) -> ExitCode {
    let mut arguments = Arguments::new(words);
    let globals = match globals(&mut arguments) {
        Ok(globals) => globals,
        Err(usage) => return Report::default().fail(&usage.to_string()),
    };
    let report = match Report::begin(&globals) {
        Ok(report) => report,
        Err(source) => {
            return Report::default().fail(&format!("keep what libcontainer says: {source}"));
        }
    };
    match run(arguments, &globals) {
        Ok(code) => ExitCode::from(code),
        Err(problem) => report.fail(&ferrite_schema::chain(&problem)),
    }
}

fn run(mut arguments: Arguments, globals: &Globals) -> Result<u8, Problem> {
    let verb = arguments.word("COMMAND")?;
    if globals.systemd {
        return Err(VerbProblem::Systemd.into());
    }
    let root = globals.root.as_str();
    if matches!(verb.as_str(), "create" | "run" | "exec") {
        itself::protect()?;
    }
    match verb.as_str() {
        "create" => verbs::create(&mut arguments, root),
        "run" => verbs::run(&mut arguments, root),
        "start" => verbs::start(&mut arguments, root),
        "state" => verbs::state(&mut arguments, root),
        "kill" => verbs::kill(&mut arguments, root),
        "delete" => verbs::delete(&mut arguments, root),
        "exec" => exec::exec(&mut arguments, root),
        "pause" => verbs::pause(&mut arguments, root),
        "resume" => verbs::resume(&mut arguments, root),
        "update" => update::update(&mut arguments, root),
        "list" => list::list(&mut arguments, root),
        "ps" => list::ps(&mut arguments, root),
        "spec" => specification::write(&mut arguments),
        "features" => specification::features(),
        "version" => Ok(say(&format!(
            "ferrite-oci version {}\nspec: {}",
            env!("CARGO_PKG_VERSION"),
            specification::VERSION
        ))?),
        "help" => Ok(say(arguments::HELP)?),
        _ => Err(Usage::UnknownCommand { verb }.into()),
    }
}
