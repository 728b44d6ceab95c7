//! Starts a node's machine and waits until the node is ready.

use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use ferrite_vm::console::{Console, ConsoleError, Until};
use ferrite_vm::deadline::Deadline;
use ferrite_vm::host::Host;
use ferrite_vm::machine::{Boot, Machine};
use ferrite_vm::running::{self, Running};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::low_level::{pipe, unregister};

use super::problem::ClusterError;
use super::progress::{Phase, Progress};

/// What PID 1 says when the node is ready.
const READY: &str = "ferrite-init: ready";
/// What is said when it never will be.
const GIVEN_UP: [&str; 2] = ["ferrite-init: FATAL", "Kernel panic"];
/// Lines of the console that are shown when it never will be.
const TAIL_LINES: usize = 20;

/// Ctrl-C and its like as something to poll, while this lives. Without it they end the process at once.
#[derive(Debug)]
pub(super) struct Interrupt {
    received: UnixStream,
    registered: Vec<signal_hook::SigId>,
}

impl Interrupt {
    /// Catches them from now on.
    pub(super) fn catch() -> Result<Self, ClusterError> {
        let catch = || {
            let (received, sent) = UnixStream::pair()?;
            let registered = [SIGINT, SIGTERM, SIGHUP]
                .into_iter()
                .map(|signal| pipe::register(signal, sent.try_clone()?))
                .collect::<std::io::Result<_>>()?;
            Ok(Self { received, registered })
        };
        catch().map_err(|source| ClusterError::Signals { source })
    }
}

impl Drop for Interrupt {
    fn drop(&mut self) {
        for id in self.registered.drain(..) {
            unregister(id);
        }
    }
}

impl AsFd for Interrupt {
    /// Readable once one of them came.
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.received.as_fd()
    }
}

/// What waiting needs to know.
#[derive(Debug)]
pub(super) struct Wait<'wait> {
    /// The node's name.
    pub(super) node: &'wait str,
    /// Longest wait.
    pub(super) timeout: Duration,
    /// Standard error is a terminal.
    pub(super) draws: bool,
    /// Ends the wait.
    pub(super) interrupt: &'wait Interrupt,
}

/// A machine that was started and is not ready yet.
#[derive(Debug)]
pub(super) struct Starting {
    console: Console,
    first_phase: Phase,
    running: Running,
    since: Instant,
}

impl Starting {
    /// Starts `machine`.
    pub(super) fn begin(machine: &Machine, host: &Host) -> Result<Self, ClusterError> {
        // Before the machine starts: what it said in earlier lives is not waited for.
        let mut console = Console::open(&running::serial_log(&machine.directory))?;
        console.skip_to_end()?;
        let since = Instant::now();
        let running = Running::start(machine, host)?;
        Ok(Self { console, first_phase: first_phase(&machine.boot), running, since })
    }

    /// Waits until its node is ready; returns how long that took since it was started. A machine that gives up is ended
    /// again; one that is only not ready in time runs on, so that it can be asked why.
    pub(super) fn wait(
        mut self,
        wait: &Wait<'_>,
        err: &mut dyn Write,
    ) -> Result<Duration, ClusterError> {
        let mut progress = Progress::start(wait.node, self.first_phase, wait.draws);
        let outcome = wait_ready(&self.running, &mut self.console, wait, (&mut progress, err));
        progress.finish();
        match outcome {
            Ok(()) => Ok(self.since.elapsed()),
            Err(error @ ClusterError::NotReady { .. }) => Err(error),
            Err(error) => {
                self.running.cut()?;
                Err(error)
            }
        }
    }

    /// The machine.
    pub(super) fn running(&mut self) -> &mut Running {
        &mut self.running
    }

    /// Ends it again.
    pub(super) fn cut(mut self) -> Result<(), ClusterError> {
        Ok(self.running.cut()?)
    }
}

fn first_phase(boot: &Boot) -> Phase {
    match boot {
        Boot::Direct { .. } => Phase::Kernel,
        Boot::Bios | Boot::Uefi => Phase::Firmware,
    }
}

fn wait_ready(
    running: &Running,
    console: &mut Console,
    wait: &Wait<'_>,
    (progress, err): (&mut Progress, &mut dyn Write),
) -> Result<(), ClusterError> {
    let until = Until {
        deadline: Deadline::after(wait.timeout),
        machine: Some(running.process().as_fd()),
        interrupt: Some(wait.interrupt.as_fd()),
    };
    let name = || wait.node.to_owned();
    loop {
        let line = match console.next_line(until) {
            Ok(line) => line,
            Err(ConsoleError::Interrupted) => {
                return Err(ClusterError::Interrupted { name: name() });
            }
            Err(ConsoleError::Deadline { .. }) => {
                let tail = console.tail(TAIL_LINES)?;
                return Err(ClusterError::NotReady { name: name(), within: wait.timeout, tail });
            }
            Err(ConsoleError::Ended { .. }) => {
                return Err(ClusterError::Ended { name: name(), tail: console.tail(TAIL_LINES)? });
            }
            Err(error) => return Err(error.into()),
        };
        if line.contains(READY) {
            return Ok(());
        }
        if GIVEN_UP.iter().any(|words| line.contains(words)) {
            return Err(ClusterError::GaveUp { name: name(), tail: console.tail(TAIL_LINES)? });
        }
        progress.line(&line, err).map_err(|source| ClusterError::Signals { source })?;
    }
}

/// The folder of a cluster that is being made: removed again unless it is kept.
#[derive(Debug)]
pub(super) struct Unfinished<'path> {
    folder: Option<&'path Path>,
}

impl<'path> Unfinished<'path> {
    /// Removes `folder` when dropped.
    pub(super) fn new(folder: &'path Path) -> Self {
        Self { folder: Some(folder) }
    }

    /// It is finished, and stays.
    pub(super) fn keep(&mut self) {
        self.folder = None;
    }
}

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        if let Some(folder) = self.folder {
            // A failure is on its way up already; this one would hide it.
            drop(super::folder::delete(folder));
        }
    }
}
