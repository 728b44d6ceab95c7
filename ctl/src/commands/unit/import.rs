//! `ferrite unit import`.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::path::Path;

use ferrite_schema::unit::Unit;
use serde::Serialize;

use crate::cli::ImportUnitArguments;
use crate::document;
use crate::failure::Failure;
use crate::output::{Format, OutputError, printable};
use crate::session::Session;
use crate::systemd::{self, Finding, Name, Outcome};

/// What became of the files, for programs.
#[derive(Debug, Serialize)]
struct Shown<'a> {
    /// The unit; absent where none is needed.
    unit: Option<&'a Unit>,
    /// Its document.
    document: Option<&'a str>,
    /// What is said of lines of the unit's file, and of the timer's.
    findings: &'a [Finding],
    timer_findings: &'a [Finding],
}

pub(super) fn run(
    arguments: &ImportUnitArguments,
    session: &mut Session<'_>,
) -> Result<(), Failure> {
    let name = name(arguments)?;
    let timer = match &arguments.timer {
        Some(file) => Some(document::load(file, systemd::timer)?),
        None => None,
    };
    let (timer, timer_findings) = timer.unzip();
    let timer_findings = timer_findings.unwrap_or_default();
    let outcome = document::load(&arguments.unit, |text| systemd::import(&name, text, timer))?;
    let (imported, findings) = match &outcome {
        Outcome::Unit(imported) => (Some(imported), imported.findings.as_slice()),
        Outcome::NotNeeded(finding) => (None, std::slice::from_ref(finding)),
    };
    if let (Some(imported), Some(file)) = (imported, &arguments.file) {
        write(file, &imported.document, arguments.force)?;
    }
    if session.globals.output != Format::Table {
        let shown = Shown {
            unit: imported.map(|imported| &imported.unit),
            document: imported.map(|imported| imported.document.as_str()),
            findings,
            timer_findings: &timer_findings,
        };
        return session.show(&shown, |_| String::new());
    }
    say(&arguments.unit, findings, session)?;
    if let Some(timer) = &arguments.timer {
        say(timer, &timer_findings, session)?;
    }
    match (imported, &arguments.file) {
        (Some(_), Some(file)) => session.say(&format!("{}: written", file.display())),
        (Some(imported), None) => session.say(&imported.document),
        (None, _) => Ok(()),
    }
}

/// What the unit is to be called.
fn name(arguments: &ImportUnitArguments) -> Result<Name, Failure> {
    let file = arguments.unit.file_name().unwrap_or_default().to_string_lossy();
    let name = arguments.name.clone().unwrap_or_else(|| file.into_owned());
    Name::of(&name).ok_or_else(|| Failure::UnitName { file: arguments.unit.clone(), name })
}

/// Says what became of lines, on standard error: what is on standard output is the document alone.
fn say(file: &Path, findings: &[Finding], session: &mut Session<'_>) -> Result<(), Failure> {
    for one in findings {
        let line = format!(
            "{}:{}: {}: {}: {}\n",
            file.display(),
            one.line,
            one.kind.words(),
            printable(&one.what),
            printable(&one.why)
        );
        session.err.write_all(line.as_bytes()).map_err(|source| OutputError::Write { source })?;
    }
    Ok(())
}

fn write(path: &Path, text: &str, force: bool) -> Result<(), Failure> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(!force).create(force).truncate(force);
    let failed = |source: std::io::Error| match source.kind() {
        ErrorKind::AlreadyExists => Failure::Exists { path: path.to_owned() },
        _ => Failure::Write { path: path.to_owned(), source },
    };
    let mut file = options.open(path).map_err(failed)?;
    file.write_all(text.as_bytes()).map_err(failed)
}
