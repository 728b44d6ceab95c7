//! `ferrite-shim reap PID`: the first process of a container whose unit asks for one (`init = true`), and the parent of a
//! health check's command.
//!
//! *Responsible for*: collecting whatever ends without a parent, passing signals on to the one program that it is there for,
//! ending as that does. *Never does*: hold anything of the container's or the node's. It is executed in the container, as the
//! container's user, with no environment and no open file, through a mount of its own file that cannot be written through.
//!
//! Its child was forked by the process image before this one, and signals are held back since before that
//! (`ferrite_sys::reaper`), so that neither an end nor a signal is missed.

use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;

use ferrite_sys::{inherited, signal};
use rustix::fs::Timespec;
use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions, WaitStatus};

use crate::custody;

/// What is added to the number of the signal that ended the program, as shells and other engines do.
const BY_SIGNAL: i32 = 128;
/// How long a killed process is waited for. It cannot refuse; only a kernel or a disk that hangs keeps it.
const KILLED_MAX: Timespec = Timespec { tv_sec: 5, tv_nsec: 0 };

/// Nothing can be collected.
#[derive(Debug, thiserror::Error)]
pub enum Reap {
    /// The words are no numbers of a process and an open file.
    #[error("reap nothing: `ferrite-shim reap` is started by ferrite-container only")]
    NotAsked,
    /// The kernel refuses.
    #[error("hold signals back")]
    HoldBack(#[source] std::io::Error),
    /// The kernel refuses.
    #[error("give up what is not needed")]
    GiveUp(#[source] Errno),
    /// It is no child, or was collected by another.
    #[error("wait for process {pid}")]
    Wait {
        /// Its number.
        pid: i32,
        /// Why.
        source: Errno,
    },
}

/// Serves the program that the words name; its exit status, or 128 and the number of the signal that ended it.
///
/// # Errors
/// Its end cannot be known.
pub fn run(mut words: impl Iterator<Item = String>) -> Result<u8, Reap> {
    let mut number = || words.next().map(|word| word.parse::<i32>().map_err(|_bad| Reap::NotAsked));
    let program = number().transpose()?.filter(|number| *number > 0);
    let program = program.and_then(Pid::from_raw).ok_or(Reap::NotAsked)?;
    let take = |number| inherited::take(number).map_err(|_closed| Reap::NotAsked);
    let kill = number().transpose()?.map(take).transpose()?;
    signal::hold_back().map_err(Reap::HoldBack)?;
    inherited::close_standard_streams();
    custody::drop_capabilities().map_err(Reap::GiveUp)?;
    // Where it is not the first process of all, it is told of those without a parent only if it asks.
    rustix::process::set_child_subreaper(Some(program)).map_err(Reap::GiveUp)?;
    // A folder of a volume would be in use.
    rustix::process::chdir("/").map_err(Reap::GiveUp)?;
    let code = until_end(program)?;
    if let Some(kill) = kill {
        kill_the_rest(kill);
    }
    Ok(code)
}

/// Collects and passes on, until the program has ended.
fn until_end(program: Pid) -> Result<u8, Reap> {
    let failed = |source| Reap::Wait { pid: program.as_raw_nonzero().get(), source };
    loop {
        while let Some((pid, status)) = ended().map_err(failed)? {
            if pid == program {
                return Ok(code(status));
            }
        }
        match signal::next(None).map_err(failed)? {
            // One stands for any number of ends.
            Some(Signal::CHILD) | None => {}
            // It fails only where the program has ended, which the next turn sees.
            Some(signal) => rustix::process::kill_process(program, signal).unwrap_or_default(),
        }
    }
}

/// A child that has ended, if there is one.
fn ended() -> Result<Option<(Pid, WaitStatus)>, Errno> {
    rustix::io::retry_on_intr(|| rustix::process::wait(WaitOptions::NOHANG))
}

fn code(status: WaitStatus) -> u8 {
    let signal = status.terminating_signal().map(|signal| BY_SIGNAL.saturating_add(signal));
    status.exit_status().or(signal).and_then(|code| u8::try_from(code).ok()).unwrap_or(u8::MAX)
}

/// Kills what is left in the program's control group, and collects it: each is a child by now, or becomes one as soon as its
/// parent is killed.
fn kill_the_rest(kill: OwnedFd) {
    if File::from(kill).write_all(b"1").is_err() {
        // The whole container goes down.
        return;
    }
    loop {
        match ended() {
            Ok(Some(_)) => {}
            Ok(None) => match signal::next(Some(KILLED_MAX)) {
                Ok(Some(_)) => {}
                Ok(None) | Err(_) => return,
            },
            // Nobody is left.
            Err(_) => return,
        }
    }
}
