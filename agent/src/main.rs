//! `ferrite-agent`: the node's brain (`run`), the process that makes one container
//! (`shim`), and the one that runs a command in it (`exec`) or copies its files (`files`).

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;

/// Largest number of threads for blocking work; each costs memory, and a node has few imports at a time.
const BLOCKING_THREADS_MAX: usize = 4;
/// How long an idle one stays.
const BLOCKING_THREADS_STAY: Duration = Duration::from_secs(1);
/// Exit status for a wrong command line.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let result = match (arguments.next().as_deref(), arguments.next()) {
        (None | Some("run"), None) => run(),
        (Some("shim"), None) => alone(ferrite_agent::shim::run),
        (Some("exec"), None) => alone(ferrite_agent::shim::exec::run),
        (Some("files"), None) => alone(ferrite_agent::shim::files::run),
        _ => {
            say("usage: ferrite-agent [run | shim | exec | files]");
            return ExitCode::from(USAGE);
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("ferrite-agent: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// Does what stands between the node and a container, to which nothing that the agent left open is passed on.
fn alone(work: fn() -> anyhow::Result<()>) -> anyhow::Result<()> {
    ferrite_sys::inherited::close_others_on_exec()
        .context("keep the agent's files from containers")?;
    work()
}

/// To standard error; where that is gone, nobody is left to be told.
fn say(text: &str) {
    drop(writeln!(std::io::stderr(), "{text}"));
}

fn run() -> anyhow::Result<()> {
    tracing_subscriber::fmt().without_time().with_target(false).with_ansi(false).init();
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(BLOCKING_THREADS_MAX)
        .thread_keep_alive(BLOCKING_THREADS_STAY)
        .build()
        .context("start the runtime")?
        .block_on(ferrite_agent::run::run())
}
