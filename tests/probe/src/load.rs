//! Ways to behave: noisy, stubborn, stuck.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use nix::sys::signal::{SigSet, Signal};

/// Writes `count` numbered lines to both streams; 0 means for ever.
pub(crate) fn spew(count: u64) -> io::Result<ExitCode> {
    let (mut out, mut err) = (io::stdout().lock(), io::stderr().lock());
    let last = if count == 0 { u64::MAX } else { count };
    for number in 1..=last {
        writeln!(out, "out {number}")?;
        writeln!(err, "err {number}")?;
    }
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}

/// Hears SIGTERM and says so, but does not end.
pub(crate) fn ignore_term() -> io::Result<ExitCode> {
    let signals = blocked()?;
    say("waiting")?;
    loop {
        let signal = signals.wait()?;
        say(&format!("ignored {signal}"))?;
    }
}

/// Ends well on SIGTERM; with a folder it first leaves a synced file there, so that a test can tell a stop from
/// a kill.
pub(crate) fn await_term(folder: Option<&Path>) -> io::Result<ExitCode> {
    let signals = blocked()?;
    say("waiting")?;
    let signal = signals.wait()?;
    if let Some(folder) = folder {
        fs::create_dir_all(folder)?;
        let mut file = File::create(folder.join("stopped"))?;
        writeln!(file, "{signal}")?;
        file.sync_all()?;
        File::open(folder)?.sync_all()?;
    }
    say(&format!("stopped by {signal}"))?;
    Ok(ExitCode::SUCCESS)
}

/// Does nothing, for ever.
pub(crate) fn hang() -> io::Result<ExitCode> {
    loop {
        // With nothing to wait for it only returns when a signal interrupts it.
        match rustix::event::poll(&mut [], None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

fn blocked() -> io::Result<SigSet> {
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGTERM);
    signals.thread_block()?;
    Ok(signals)
}

fn say(line: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}
