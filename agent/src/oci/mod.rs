//! The OCI runtime front end: create, start, state, kill, delete and the rest of what callers of runc know.
//!
//! *Responsible for*: the command line, and where an error is written. *Never does*: make containers differently from
//! a shim: libcontainer and our own device filter do the work in both. One thread, as libcontainer demands.

mod arguments;
mod create;
mod devices;
mod list;
mod specification;
mod update;
mod verbs;

use std::fs::File;
use std::io::{self, Write};
use std::process::ExitCode;

use tracing::level_filters::LevelFilter;

use self::arguments::{Arguments, Usage};
use self::verbs::VerbProblem;

/// Where containers are kept unless the caller says otherwise; a tmpfs.
const ROOT: &str = "/run/ferrite-oci";

/// The command failed.
#[derive(Debug, thiserror::Error)]
enum Problem {
    #[error(transparent)]
    Usage(#[from] Usage),
    #[error(transparent)]
    Verb(#[from] VerbProblem),
}

/// Options before the verb.
struct Globals {
    root: String,
    log: Option<String>,
    json: bool,
    debug: bool,
    systemd: bool,
}

/// Carries out a command line, without the program's name.
#[must_use]
pub fn main(words: Vec<String>) -> ExitCode {
    let mut arguments = Arguments::new(words);
    let globals = match globals(&mut arguments) {
        Ok(globals) => globals,
        Err(usage) => return report(&usage.to_string(), None),
    };
    follow(&globals);
    match run(arguments, &globals) {
        Ok(code) => ExitCode::from(code),
        Err(problem) => report(&crate::chain(&problem), Some(&globals)),
    }
}

fn globals(arguments: &mut Arguments) -> Result<Globals, Usage> {
    let mut globals =
        Globals { root: ROOT.to_owned(), log: None, json: false, debug: false, systemd: false };
    while let Some(option) = arguments.option()? {
        match option.as_str() {
            "--root" => globals.root = arguments.value(&option)?,
            "--log" | "-l" => globals.log = Some(arguments.value(&option)?),
            "--log-format" => globals.json = arguments.value(&option)? == "json",
            "--systemd-cgroup" => globals.systemd = true,
            "--cgroup-manager" => globals.systemd = arguments.value(&option)? == "systemd",
            "--debug" => globals.debug = true,
            "--rootless" => drop(arguments.value(&option)?),
            "--version" | "-v" => arguments.push_verb("version"),
            "--help" | "-h" => arguments.push_verb("help"),
            _ => return Err(Usage::UnknownOption { option }),
        }
    }
    Ok(globals)
}

/// Lets libcontainer say on standard error why something fails: what a container's first process meets comes back
/// without its cause.
fn follow(globals: &Globals) {
    let level = if globals.debug { LevelFilter::DEBUG } else { LevelFilter::ERROR };
    tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(io::stderr)
        .with_ansi(false)
        .without_time()
        .init();
}

fn run(mut arguments: Arguments, globals: &Globals) -> Result<u8, Problem> {
    let verb = arguments.word("COMMAND")?;
    if globals.systemd {
        return Err(VerbProblem::Systemd.into());
    }
    let root = globals.root.as_str();
    match verb.as_str() {
        "create" => verbs::create(&mut arguments, root),
        "run" => verbs::run(&mut arguments, root),
        "start" => verbs::start(&mut arguments, root),
        "state" => verbs::state(&mut arguments, root),
        "kill" => verbs::kill(&mut arguments, root),
        "delete" => verbs::delete(&mut arguments, root),
        "exec" => verbs::exec(&mut arguments, root),
        "pause" => verbs::pause(&mut arguments, root),
        "resume" => verbs::resume(&mut arguments, root),
        "update" => update::update(&mut arguments, root),
        "list" => list::list(&mut arguments, root),
        "ps" => list::ps(&mut arguments, root),
        "spec" => specification::write(&mut arguments),
        "features" => specification::features(),
        "version" => Ok(list::say(&format!(
            "ferrite-oci version {}\nspec: {}",
            env!("CARGO_PKG_VERSION"),
            specification::VERSION
        ))?),
        "help" => Ok(list::say(arguments::HELP)?),
        _ => Err(Usage::UnknownCommand { verb }.into()),
    }
}

/// To standard error, and to the caller's log, which is where podman and containerd look.
fn report(text: &str, globals: Option<&Globals>) -> ExitCode {
    drop(writeln!(io::stderr(), "ferrite-oci: error: {text}"));
    if let Some((globals, path)) =
        globals.and_then(|globals| Some((globals, globals.log.as_ref()?)))
    {
        let line = if globals.json {
            serde_json::json!({ "level": "error", "msg": text }).to_string()
        } else {
            format!("level=error msg={text:?}")
        };
        let log = File::options().create(true).append(true).open(path);
        // Where it cannot be written, standard error has it.
        drop(log.and_then(|mut log| writeln!(log, "{line}")));
    }
    ExitCode::FAILURE
}
