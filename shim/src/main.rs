//! `ferrite-shim`: waits for one container. Not for people: `ferrite-container create` becomes it. In a container it is the
//! parent of a program, where that has one of ours.

use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use ferrite_files::removal;
use ferrite_schema::shim::{OUTCOME, Outcome};
use ferrite_shim::custody::{self, Held};
use ferrite_shim::{reaper, watch};

/// As the program of a container of the OS's own it has nothing to do but to run.
const PROOF: &str = "proof";
/// As the parent of a container's program it collects what ends.
const REAP: &str = "reap";

fn main() -> ExitCode {
    let mut words = std::env::args().skip(1);
    match words.next().as_deref() {
        Some(PROOF) => return ExitCode::SUCCESS,
        Some(REAP) => {
            return match reaper::run(words) {
                Ok(code) => ExitCode::from(code),
                Err(error) => say(&error),
            };
        }
        Some(_) | None => {}
    }
    let held = match custody::take() {
        Ok(held) => held,
        Err(error) => return say(&error),
    };
    match own(held) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => say(&error),
    }
}

/// To standard error, which is a file in the run folder: the agent reads it when a shim is lost.
fn say(error: &dyn std::error::Error) -> ExitCode {
    let mut text = format!("ferrite-shim: {error}");
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(&format!(": {error}"));
        source = error.source();
    }
    // Nobody is left to be told.
    drop(writeln!(io::stderr(), "{text}"));
    ExitCode::FAILURE
}

fn own(held: Held) -> io::Result<()> {
    // On the way down PID 1 asks everybody to end. What a container says at its end is to be in its log, so this ends after
    // the container, and by no request.
    ferrite_sys::child::outlive_termination()?;
    let finished = match watch::watch(held) {
        Ok(finished) => finished,
        Err(error) => {
            let reason = format!("the shim cannot watch the container: {error}");
            return record(&Outcome::StartFailed { reason });
        }
    };
    let recorded = record(&finished.outcome);
    // Only now: the agent takes the end of a connection for the sign to read the outcome.
    drop(finished.connections);
    // The container is gone; its files go with the next start.
    drop(removal::remove(Path::new("state")));
    recorded
}

/// On a tmpfs, where nothing is gained by syncing: the name appears with the whole content or not at all.
fn record(outcome: &Outcome) -> io::Result<()> {
    let next = format!("{OUTCOME}.next");
    fs::write(&next, serde_json::to_vec(outcome)?)?;
    fs::rename(&next, OUTCOME)
}
