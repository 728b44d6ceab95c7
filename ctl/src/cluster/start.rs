//! Starts a node's machine; what may end a start.

use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Instant;

use ferrite_vm::console::Console;
use ferrite_vm::host::Host;
use ferrite_vm::machine::{Boot, Machine};
use ferrite_vm::running::{self, Running};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::low_level::{pipe, unregister};

use super::problem::ClusterError;
use super::progress::Phase;

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

/// A machine that was started and is not ready yet.
#[derive(Debug)]
pub(super) struct Starting {
    /// Its node.
    pub(super) node: String,
    pub(super) console: Console,
    pub(super) first_phase: Phase,
    pub(super) running: Running,
    pub(super) since: Instant,
}

impl Starting {
    /// Starts `machine`, which is `node`'s.
    pub(super) fn begin(node: &str, machine: &Machine, host: &Host) -> Result<Self, ClusterError> {
        // Before the machine starts: what it said in earlier lives is not waited for.
        let mut console = Console::open(&running::serial_log(&machine.directory))?;
        console.skip_to_end()?;
        let since = Instant::now();
        let running = Running::start(machine, host)?;
        let node = node.to_owned();
        Ok(Self { node, console, first_phase: first_phase(&machine.boot), running, since })
    }
}

fn first_phase(boot: &Boot) -> Phase {
    match boot {
        Boot::Direct { .. } => Phase::Kernel,
        Boot::Bios | Boot::Uefi => Phase::Firmware,
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
