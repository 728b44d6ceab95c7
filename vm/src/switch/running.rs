//! The switch's loop: it waits for whoever has something, and for what is due.

use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, Timespec, poll};

use super::client::Client;
use super::control::Command;
use super::fabric::{Fabric, flags};
use super::listeners::Listeners;
use super::topology::{Network, TopologyError};

/// Why there is no switch.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum SwitchError {
    #[error(transparent)]
    Topology(#[from] TopologyError),
    #[error("lay out the network in {}", folder.display())]
    LayOut { folder: PathBuf, source: io::Error },
    #[error("start a switch in {}: one runs there already; stop it first", folder.display())]
    AlreadyRuns { folder: PathBuf },
    #[error("start the switch's thread")]
    Spawn { source: io::Error },
    #[error("wait for frames")]
    Wait { source: io::Error },
}

/// A switch that is set up: its sockets are there, and nothing is forwarded yet.
#[derive(Debug)]
pub struct Switch {
    fabric: Fabric,
    listeners: Listeners,
    /// Where there is one: the switch ends when its other end does.
    life: Option<UnixStream>,
    /// Where there is one: the switch ends when nobody has used it for so long.
    patience: Option<Duration>,
}

/// Whom something came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    Life,
    Control,
    Cable(usize),
    Way,
}

impl Switch {
    /// Sets a switch up: a socket per machine (see [`super::cable_socket`]), the control socket, capture and history,
    /// all in `folder`, in place of what was left there.
    ///
    /// # Errors
    /// The network cannot be, a switch runs there already, or the folder cannot be used.
    pub fn new(network: Network, folder: &Path) -> Result<Self, SwitchError> {
        network.check()?;
        // Whoever is connected to that one would be left alone with it.
        if Client::connect(folder).is_ok() {
            return Err(SwitchError::AlreadyRuns { folder: folder.to_owned() });
        }
        let lay_out = |source| SwitchError::LayOut { folder: folder.to_owned(), source };
        let fabric = Fabric::new(network, folder).map_err(lay_out)?;
        let listeners = Listeners::bind(folder).map_err(lay_out)?;
        Ok(Self { fabric, listeners, life: None, patience: None })
    }

    /// Ends by itself when for so long no machine's cable was plugged in and nobody was connected to its control socket: a
    /// process of its own outlives no network.
    #[must_use]
    pub fn ending_when_unused_for(self, patience: Duration) -> Self {
        Self { patience: Some(patience), ..self }
    }

    /// Forwards until it is told to stop: the main loop of a process, or a thread's.
    ///
    /// # Errors
    /// The kernel refuses to wait.
    pub fn run(mut self) -> Result<(), SwitchError> {
        let mut is_ending = false;
        let mut last_use = Instant::now();
        while !is_ending {
            self.fabric.turn();
            self.listeners.tell(&self.fabric.recorder);
            if self.fabric.is_used() || self.listeners.has_callers() {
                last_use = Instant::now();
            }
            let patience = self.patience.map(|long| long.saturating_sub(last_use.elapsed()));
            is_ending = patience == Some(Duration::ZERO);
            let idle = self.fabric.idle().min(patience.unwrap_or(Duration::MAX));
            for source in self.wait(idle).map_err(|source| SwitchError::Wait { source })? {
                match source {
                    Source::Cable(index) => {
                        let received = self.fabric.receive(index);
                        received.map_err(|source| SwitchError::Wait { source })?;
                    }
                    Source::Control => self.listeners.hear(|command| {
                        is_ending |= command == Command::Stop {};
                        self.fabric.obey(command)
                    }),
                    Source::Life => is_ending = true,
                    // What came goes on with the next turn.
                    Source::Way => {}
                }
            }
        }
        self.listeners.tell(&self.fabric.recorder);
        Ok(())
    }

    /// Sets a switch up and runs it in a thread.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn start(network: Network, folder: &Path) -> Result<Running, SwitchError> {
        let mut switch = Self::new(network, folder)?;
        let spawn = |source| SwitchError::Spawn { source };
        let (life, other_end) = UnixStream::pair().map_err(spawn)?;
        switch.life = Some(other_end);
        let thread = std::thread::Builder::new().name("switch".to_owned());
        let thread = thread.spawn(|| switch.run());
        let thread = thread.map_err(spawn)?;
        Ok(Running { folder: folder.to_owned(), alive: Some((life, thread)) })
    }

    /// Waits for at most so long, and says who has something.
    fn wait(&self, idle: Duration) -> io::Result<Vec<Source>> {
        let life = self.life.iter().map(|life| (Source::Life, life.as_fd(), flags(false)));
        let control =
            self.listeners.waits_for().map(|(fd, room)| (Source::Control, fd, flags(room)));
        let fabric = self.fabric.waits_for().into_iter();
        let fabric =
            fabric.map(|(cable, fd, flags)| (cable.map_or(Source::Way, Source::Cable), fd, flags));
        let (sources, mut polled): (Vec<Source>, Vec<PollFd<'_>>) = life
            .chain(control)
            .chain(fabric)
            .map(|(source, fd, flags)| (source, PollFd::from_borrowed_fd(fd, flags)))
            .unzip();
        let timeout = Timespec::try_from(idle).map_err(io::Error::other)?;
        match poll(&mut polled, Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        let ready = sources.into_iter().zip(&polled);
        let mut ready: Vec<Source> =
            ready.filter(|(_, fd)| !fd.revents().is_empty()).map(|(source, _)| source).collect();
        ready.dedup();
        Ok(ready)
    }
}

/// A switch that runs in a thread, and ends when this is dropped.
#[derive(Debug)]
pub struct Running {
    folder: PathBuf,
    /// Its life's other end, and its thread.
    alive: Option<(UnixStream, JoinHandle<Result<(), SwitchError>>)>,
}

impl Running {
    /// The network's folder, where [`Client::connect`] finds the switch.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some((life, thread)) = self.alive.take() {
            drop(life);
            // What it ended of is nobody's to hear any more.
            drop(thread.join());
        }
    }
}
