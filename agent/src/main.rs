//! `ferrite-agent`: the node's brain. PID 1 starts it.

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
    if std::env::args().len() > 1 {
        say("usage: ferrite-agent");
        return ExitCode::from(USAGE);
    }
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("ferrite-agent: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// To standard error; where that is gone, nobody is left to be told.
fn say(text: &str) {
    drop(writeln!(std::io::stderr(), "{text}"));
}

fn run() -> anyhow::Result<()> {
    // Where the allocator does not take it, the node runs with more memory.
    let _taken = ferrite_sys::memory::keep_heap_small();
    tracing_subscriber::fmt().without_time().with_target(false).with_ansi(false).init();
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(BLOCKING_THREADS_MAX)
        .thread_keep_alive(BLOCKING_THREADS_STAY)
        .build()
        .context("start the runtime")?
        .block_on(ferrite_agent::run::run())
}
