//! Orphans: processes whose parent is gone, which all end at the same moment.
//!
//! A parent starts them and ends at once. Each says that it lives and then waits for ever; they are one process
//! group, and one signal ends them all. (A pipe that they all read from would not do: the kernel wakes every
//! remaining reader whenever one of them ends.)

use std::io::{self, Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use rustix::event::{Timespec, poll};
use serde::Serialize;

use crate::processes;

/// How long the machine gets to wait for them all.
const REAPED_WITHIN: Duration = Duration::from_secs(30);
/// Pause between looks at the process table.
const LOOK_PAUSE: Timespec = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };

/// What became of them.
#[derive(Debug, Serialize)]
pub(crate) struct Orphans {
    made: usize,
    batches: usize,
    /// Left over when the wait was over.
    zombies: usize,
    /// Longest time from a batch's end to a process table without zombies.
    reaped_within_ms: u128,
}

/// Makes `count` orphans, `batch` at a time.
pub(crate) fn make(count: usize, batch: usize) -> io::Result<Orphans> {
    let mut summary = Orphans { made: 0, batches: 0, zombies: 0, reaped_within_ms: 0 };
    while summary.made < count {
        let size = batch.max(1).min(count - summary.made);
        let took = one_batch(size)?;
        summary.made += size;
        summary.batches += 1;
        summary.reaped_within_ms = summary.reaped_within_ms.max(took.as_millis());
    }
    summary.zombies = processes::zombies()?;
    Ok(summary)
}

fn one_batch(size: usize) -> io::Result<Duration> {
    let (mut alive_reader, alive_writer) = io::pipe()?;
    let mut parent = itself(&["orphan-parent", &size.to_string()])?
        .stdin(Stdio::null())
        .stdout(Stdio::from(alive_writer))
        .process_group(0)
        .spawn()?;
    let group = Pid::from_raw(i32::try_from(parent.id()).map_err(io::Error::other)?);
    let status = parent.wait()?;
    if !status.success() {
        return Err(io::Error::other(format!("the orphans' parent ended with {status}")));
    }
    alive_reader.read_exact(&mut vec![0; size])?;
    killpg(group, Signal::SIGKILL)?;
    until_reaped(group)
}

/// A process group exists until the last of its processes was waited for.
fn until_reaped(group: Pid) -> io::Result<Duration> {
    let start = Instant::now();
    while killpg(group, None).is_ok() && start.elapsed() < REAPED_WITHIN {
        poll(&mut [], Some(&LOOK_PAUSE))?;
    }
    Ok(start.elapsed())
}

/// Starts `count` orphans and leaves them.
pub(crate) fn parent(count: usize) -> io::Result<ExitCode> {
    for _ in 0..count {
        // Dropping the handle leaves the process alone.
        drop(itself(&["orphan"])?.stdin(Stdio::null()).stdout(Stdio::inherit()).spawn()?);
    }
    Ok(ExitCode::SUCCESS)
}

/// Is an orphan: says that it lives, and waits to be killed.
pub(crate) fn orphan() -> io::Result<ExitCode> {
    let mut out = io::stdout();
    out.write_all(b".")?;
    out.flush()?;
    loop {
        nix::unistd::pause();
    }
}

fn itself(arguments: &[&str]) -> io::Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(arguments);
    Ok(command)
}
