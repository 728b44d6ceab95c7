//! The shim's loop: the container's output, its end, and what the agent asks.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};

use ferrite_schema::api::{Exit, Stream};
use nix::poll::{PollFd, PollFlags, PollTimeout};
use rustix::process::{Signal, WaitId, WaitIdOptions, WaitIdStatus};

use super::cgroup::Cgroup;
use super::container::Running;
use super::log::Log;
use super::protocol::{Command, LINE_MAX_BYTES, Notice, Outcome};

/// Most connections at a time: one agent, and its successor while the kernel still tears down the first.
const CONNECTIONS_MAX: usize = 8;
/// Read at once from a stream.
const CHUNK_BYTES: usize = 64 * 1024;

/// The watch failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Watch {
    #[error("take over the socket")]
    TakeSocket(#[source] io::Error),
    #[error("wait for the container")]
    Wait(#[source] io::Error),
    #[error("make the notice for the agent")]
    Notice(#[from] serde_json::Error),
}

/// A connection and what of a line has arrived.
struct Connection {
    stream: UnixStream,
    partial: Vec<u8>,
}

struct Loop<'a> {
    running: Running,
    listener: UnixListener,
    connections: Vec<Connection>,
    stdout: Option<OwnedFd>,
    stderr: Option<OwnedFd>,
    log: Log,
    cgroup: &'a Cgroup,
    greeting: Vec<u8>,
}

/// The end of a container.
pub(super) struct Finished {
    pub(super) outcome: Outcome,
    /// Closing them tells the agent that the outcome can be read: to be kept until it is written.
    pub(super) connections: Vec<UnixStream>,
}

/// Watches the container until it ended and everything it wrote is in the log.
pub(super) fn watch(mut running: Running, log: Log, cgroup: &Cgroup) -> Result<Finished, Watch> {
    let listener =
        UnixListener::from(io::stdin().as_fd().try_clone_to_owned().map_err(Watch::TakeSocket)?);
    listener.set_nonblocking(true).map_err(Watch::TakeSocket)?;
    let (stdout, stderr) = (running.stdout.try_clone(), running.stderr.try_clone());
    let mut greeting =
        serde_json::to_vec(&Notice::Started { pid: running.pid.as_raw_nonzero().get() })?;
    greeting.push(b'\n');
    let nothing = || std::fs::File::open("/dev/null").map(OwnedFd::from);
    running.stdout = nothing().map_err(Watch::Wait)?;
    running.stderr = nothing().map_err(Watch::Wait)?;
    let mut state = Loop {
        running,
        listener,
        connections: Vec::new(),
        stdout: Some(stdout.map_err(Watch::Wait)?),
        stderr: Some(stderr.map_err(Watch::Wait)?),
        log,
        cgroup,
        greeting,
    };
    let ended = state.until_end();
    // Whatever the container's init left behind ends with it. What cannot be killed keeps its streams open, and
    // the next start will say so.
    if cgroup.clear().is_ok() {
        state.drain();
    }
    state.accept();
    let outcome = match ended {
        Ok(exit) => Outcome::Ended { exit },
        Err(error) => Outcome::StartFailed { reason: crate::chain(&error) },
    };
    let connections = state.connections.into_iter().map(|connection| connection.stream).collect();
    Ok(Finished { outcome, connections })
}

impl Loop<'_> {
    fn until_end(&mut self) -> Result<Exit, Watch> {
        loop {
            if let Some(exit) = self.turn()? {
                return Ok(exit);
            }
        }
    }

    /// Waits for something and handles it; the container's exit, once it is there.
    fn turn(&mut self) -> Result<Option<Exit>, Watch> {
        let ready = self.poll()?;
        for (stream, source) in [(Stream::Stdout, ready.stdout), (Stream::Stderr, ready.stderr)] {
            if source {
                self.read(stream);
            }
        }
        if ready.ended {
            return self.collect();
        }
        for index in ready.connections.iter().rev() {
            self.serve(*index);
        }
        if ready.listener {
            self.accept();
        }
        Ok(None)
    }

    fn poll(&self) -> Result<Ready, Watch> {
        let mut sources: Vec<(Source, BorrowedFd<'_>)> = vec![
            (Source::Container, self.running.pidfd.as_fd()),
            (Source::Listener, self.listener.as_fd()),
        ];
        sources.extend(self.stdout.iter().map(|fd| (Source::Stdout, fd.as_fd())));
        sources.extend(self.stderr.iter().map(|fd| (Source::Stderr, fd.as_fd())));
        sources.extend(
            self.connections
                .iter()
                .enumerate()
                .map(|(index, connection)| (Source::Connection(index), connection.stream.as_fd())),
        );
        let mut fds: Vec<_> =
            sources.iter().map(|(_, fd)| PollFd::new(*fd, PollFlags::POLLIN)).collect();
        match nix::poll::poll(&mut fds, PollTimeout::NONE) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(errno) => return Err(Watch::Wait(errno.into())),
        }
        let mut ready = Ready::default();
        for ((source, _), fd) in sources.iter().zip(&fds) {
            if !fd.any().unwrap_or(false) {
                continue;
            }
            match source {
                Source::Container => ready.ended = true,
                Source::Listener => ready.listener = true,
                Source::Stdout => ready.stdout = true,
                Source::Stderr => ready.stderr = true,
                Source::Connection(index) => ready.connections.push(*index),
            }
        }
        Ok(ready)
    }

    /// Reads one chunk of a stream; its end closes it.
    fn read(&mut self, stream: Stream) {
        let source = match stream {
            Stream::Stdout => &mut self.stdout,
            Stream::Stderr => &mut self.stderr,
        };
        let Some(fd) = source else { return };
        let mut chunk = vec![0; CHUNK_BYTES];
        match rustix::io::read(&*fd, &mut chunk) {
            Ok(0) => *source = None,
            Ok(count) => self.log.take(stream, chunk.get(..count).unwrap_or_default()),
            Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) => {}
            Err(_) => *source = None,
        }
    }

    /// Everything that could write to the streams is dead, so they end.
    fn drain(&mut self) {
        for stream in [Stream::Stdout, Stream::Stderr] {
            let open = |state: &Self| match stream {
                Stream::Stdout => state.stdout.is_some(),
                Stream::Stderr => state.stderr.is_some(),
            };
            while open(self) {
                self.read(stream);
            }
        }
        self.log.finish();
    }

    fn collect(&mut self) -> Result<Option<Exit>, Watch> {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
        let status = rustix::process::waitid(WaitId::PidFd(self.running.pidfd.as_fd()), options)
            .map_err(|errno| Watch::Wait(errno.into()))?;
        Ok(status.map(|status| exit_of(&status)))
    }

    fn accept(&mut self) {
        while let Ok((mut stream, _)) = self.listener.accept() {
            let greeted =
                stream.set_nonblocking(true).and_then(|()| stream.write_all(&self.greeting));
            if greeted.is_ok() && self.connections.len() < CONNECTIONS_MAX {
                self.connections.push(Connection { stream, partial: Vec::new() });
            }
        }
    }

    /// Reads commands; a peer that is gone or talks nonsense is dropped.
    fn serve(&mut self, index: usize) {
        let Some(connection) = self.connections.get_mut(index) else { return };
        let mut chunk = [0; LINE_MAX_BYTES];
        let count = match connection.stream.read(&mut chunk) {
            Ok(0) => None,
            Ok(count) => Some(count),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
            Err(_) => None,
        };
        let Some(count) = count else {
            self.connections.remove(index);
            return;
        };
        connection.partial.extend_from_slice(chunk.get(..count).unwrap_or_default());
        let mut commands = Vec::new();
        while let Some(end) = connection.partial.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = connection.partial.drain(..=end).collect();
            commands.extend(serde_json::from_slice::<Command>(&line).ok());
        }
        if connection.partial.len() > LINE_MAX_BYTES {
            self.connections.remove(index);
        }
        for command in commands {
            self.obey(&command);
        }
    }

    fn obey(&self, command: &Command) {
        match command {
            Command::Signal { signal } => {
                // It fails only when the container ended, which the next turn sees.
                let sent = Signal::from_named_raw(*signal).map(|signal| {
                    rustix::process::pidfd_send_signal(self.running.pidfd.as_fd(), signal)
                });
                debug_assert!(sent.is_some(), "the agent checks signals before it asks");
            }
            // The same holds for its cgroup.
            Command::Kill => drop(self.cgroup.kill()),
        }
    }
}

enum Source {
    Container,
    Listener,
    Stdout,
    Stderr,
    Connection(usize),
}

#[derive(Default)]
struct Ready {
    ended: bool,
    listener: bool,
    stdout: bool,
    stderr: bool,
    connections: Vec<usize>,
}

fn exit_of(status: &WaitIdStatus) -> Exit {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => Exit::Status { code: u8::try_from(code & 0xff).unwrap_or(u8::MAX) },
        (None, Some(signal)) => Exit::Signal { signal },
        (None, None) => Exit::Status { code: u8::MAX },
    }
}
