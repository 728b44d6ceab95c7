//! Checking several documents and showing what is wrong with each.

use std::path::PathBuf;

use ferrite_schema::document::Problem;
use serde::Serialize;

use crate::document::{self, DocumentError};
use crate::failure::{Failure, chain};
use crate::output::Format;
use crate::session::Session;

/// What was found in a file.
#[derive(Debug, Serialize)]
struct Verdict {
    file: PathBuf,
    valid: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    column: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
}

/// Checks `files`; fails when one of them is not valid.
pub(super) fn show(
    files: &[PathBuf],
    session: &mut Session<'_>,
    check: impl Fn(&str) -> Result<(), Problem>,
) -> Result<(), Failure> {
    let mut verdicts = Vec::new();
    let mut errors = Vec::new();
    for file in files {
        let outcome = document::load(file, &check);
        verdicts.push(verdict(file.clone(), outcome.as_ref().err()));
        errors.extend(outcome.err());
    }
    let (bad, all) = (errors.len(), files.len());
    if session.globals.output == Format::Table {
        for file in verdicts.iter().filter(|verdict| verdict.valid).map(|verdict| &verdict.file) {
            session.say(&format!("{}: valid", file.display()))?;
        }
    } else {
        session.show(&verdicts, |_| String::new())?;
    }
    match (errors.pop(), bad) {
        (None, _) => Ok(()),
        (Some(only), 1) => Err(only.into()),
        (Some(last), _) => {
            for error in errors.iter().chain([&last]) {
                let line = format!("error: {}\n", chain(error));
                session
                    .err
                    .write_all(line.as_bytes())
                    .map_err(|source| crate::output::OutputError::Write { source })?;
            }
            Err(DocumentError::Several { bad, all }.into())
        }
    }
}

fn verdict(file: PathBuf, error: Option<&DocumentError>) -> Verdict {
    let (line, column, problem) = match error {
        None => (None, None, None),
        Some(DocumentError::Invalid { problem, .. }) => {
            (Some(problem.line), Some(problem.column), Some(problem.message.clone()))
        }
        Some(other) => (None, None, Some(chain(other))),
    };
    Verdict { file, valid: error.is_none(), line, column, problem }
}
