//! The shim's loop: the container's output, its end, what the agent asks, who is attached.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ferrite_schema::api::{Exit, Stream};
use ferrite_schema::shim::{Command, Notice, Outcome};
use ferrite_schema::stream::{End, Frame, Kind};
use ferrite_sys::cgroup::Cgroup;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::{WaitId, WaitIdOptions, WaitIdStatus};
use rustix::termios::Winsize;

use crate::custody::Held;
use crate::input::Input;
use crate::log::{LIMITS, Log, OpenLog};
use crate::peer::{PATIENCE, Peer, Request};
use crate::rest;

/// Most connections at a time: the agent and its successor while the kernel still tears down the first, and people
/// who are attached.
const PEERS_MAX: usize = 16;
/// Bound of the wait for the container's killed processes to be gone.
const EMPTY_WITHIN: Duration = Duration::from_secs(10);
/// Read at once from a stream.
const CHUNK_BYTES: usize = 16 * 1024;
/// How often sleeping peers are looked for, while output waits for one.
const SLEEPER_CHECK: Timespec = Timespec { tv_sec: 1, tv_nsec: 0 };

/// The watch failed.
#[derive(Debug, thiserror::Error)]
pub enum Watch {
    /// The log cannot be written.
    #[error(transparent)]
    Log(#[from] OpenLog),
    /// The kernel does not say what happens.
    #[error("wait for the container")]
    Wait(#[source] io::Error),
    /// A document cannot be made.
    #[error("make the notice for the agent")]
    Notice(#[from] serde_json::Error),
}

/// The end of a container.
#[derive(Debug)]
pub struct Finished {
    /// How it went.
    pub outcome: Outcome,
    /// Closing them tells the agent that the outcome can be read: to be kept until it is written.
    pub connections: Vec<UnixStream>,
}

struct Loop {
    pidfd: OwnedFd,
    listener: UnixListener,
    peers: Vec<Peer>,
    stdout: Option<OwnedFd>,
    stderr: Option<OwnedFd>,
    input: Input,
    tty: bool,
    log: Log,
    cgroup: Cgroup,
    greeting: Vec<u8>,
    chunk: Vec<u8>,
}

/// Watches the container until it ended and what it wrote is in the log. Its end is the end of its processes, whoever
/// else has its streams open.
///
/// # Errors
/// It cannot be watched; it is killed.
pub fn watch(held: Held) -> Result<Finished, Watch> {
    let cgroup = Cgroup::new(PathBuf::from(&held.cgroup));
    let mut state = begin(held, cgroup).map_err(|(error, cgroup)| {
        drop(cgroup.clear(EMPTY_WITHIN));
        error
    })?;
    let ended = state.until_end();
    let oom_killed = state.cgroup.oom_killed();
    // Whatever the container's init left behind ends with it. The next start says what cannot be killed.
    drop(state.cgroup.clear(EMPTY_WITHIN));
    state.drain();
    state.accept();
    let (outcome, end) = match ended {
        Ok(exit) => {
            let end = End::Ended { exit: exit.clone() };
            (Outcome::Ended { exit, oom_killed }, end)
        }
        Err(error) => {
            let reason = error.to_string();
            (Outcome::StartFailed { reason: reason.clone() }, End::Refused { code: 126, reason })
        }
    };
    let end = serde_json::to_vec(&end)?;
    // For all of them together: until then nobody knows of the end.
    let deadline = Instant::now() + PATIENCE;
    let finish = |mut peer: Peer| {
        peer.send(Kind::Exit, &end);
        peer.finish(Some(deadline))
    };
    Ok(Finished { outcome, connections: state.peers.into_iter().map(finish).collect() })
}

fn begin(held: Held, cgroup: Cgroup) -> Result<Loop, (Watch, Cgroup)> {
    let make = || -> Result<(Log, Input, Vec<u8>), Watch> {
        let log = Log::open(Path::new(&held.log_dir), LIMITS)?;
        if !held.beside {
            log.note_run();
        }
        let wait = |error: rustix::io::Errno| Watch::Wait(error.into());
        let stdin = match held.stdin {
            Some(stdin) => Some(stdin),
            None if held.tty => {
                Some(rustix::io::fcntl_dupfd_cloexec(&held.stdout, 3).map_err(wait)?)
            }
            None => None,
        };
        let input = Input::new(stdin).map_err(wait)?;
        // The container can read from the other end too, and take what this was woken for.
        for fd in std::iter::once(&held.stdout).chain(&held.stderr) {
            let flags = rustix::fs::fcntl_getfl(fd).map_err(wait)?;
            rustix::fs::fcntl_setfl(fd, flags | rustix::fs::OFlags::NONBLOCK).map_err(wait)?;
        }
        let mut greeting =
            serde_json::to_vec(&Notice::Started { pid: held.pid.as_raw_nonzero().get() })?;
        greeting.push(b'\n');
        Ok((log, input, greeting))
    };
    match make() {
        Ok((log, input, greeting)) => Ok(Loop {
            pidfd: held.pidfd,
            listener: held.listener,
            peers: Vec::new(),
            stdout: Some(held.stdout),
            stderr: held.stderr,
            input,
            tty: held.tty,
            log,
            cgroup,
            greeting,
            chunk: vec![0; CHUNK_BYTES],
        }),
        Err(error) => Err((error, cgroup)),
    }
}

impl Loop {
    fn until_end(&mut self) -> Result<Exit, Watch> {
        // There is one of these per container, and most of them wait most of the time.
        ferrite_sys::memory::forget_start_up_code();
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
        self.log.let_go(Instant::now());
        if ready.input {
            self.input.flush();
        }
        for index in ready.peers.iter().rev() {
            self.serve(*index);
        }
        if self.peers.iter().any(Peer::is_full) {
            let now = Instant::now();
            self.peers.retain(|peer| !peer.is_asleep(now));
        }
        if ready.listener {
            self.accept();
        }
        Ok(None)
    }

    /// How long nothing may happen before there is something to do all the same.
    fn patience(&self, full: bool) -> Option<Timespec> {
        let held = self.log.due().map(|due| {
            let left = due.saturating_duration_since(Instant::now());
            // Rounded up: woken a moment before, it would turn in vain until then.
            Timespec::try_from(left + Duration::from_millis(1)).unwrap_or(SLEEPER_CHECK)
        });
        held.into_iter()
            .chain(full.then_some(SLEEPER_CHECK))
            .min_by_key(|wait| (wait.tv_sec, wait.tv_nsec))
    }

    fn poll(&self) -> Result<Ready, Watch> {
        let read = PollFlags::IN;
        let mut sources: Vec<(Source, BorrowedFd<'_>, PollFlags)> = vec![
            (Source::Container, self.pidfd.as_fd(), read),
            (Source::Listener, self.listener.as_fd(), read),
        ];
        let full = self.peers.iter().any(Peer::is_full);
        if !full {
            sources.extend(self.stdout.iter().map(|fd| (Source::Stdout, fd.as_fd(), read)));
            sources.extend(self.stderr.iter().map(|fd| (Source::Stderr, fd.as_fd(), read)));
        }
        let input = self.input.wants_to_write().into_iter();
        sources.extend(input.map(|fd| (Source::Input, fd.as_fd(), PollFlags::OUT)));
        for (index, peer) in self.peers.iter().enumerate() {
            let mut flags = PollFlags::empty();
            // What an attached peer sends waits where the container does not read it.
            flags.set(read, !(peer.is_attached() && self.input.is_full()));
            flags.set(PollFlags::OUT, peer.wants_to_write());
            sources.push((Source::Peer(index), peer.stream().as_fd(), flags));
        }
        let mut fds: Vec<_> =
            sources.iter().map(|(_, fd, flags)| PollFd::from_borrowed_fd(*fd, *flags)).collect();
        match rustix::event::poll(&mut fds, self.patience(full).as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(Watch::Wait(errno.into())),
        }
        let mut ready = Ready::default();
        for ((source, _, _), fd) in sources.iter().zip(&fds) {
            if !fd.revents().is_empty() {
                ready.note(*source);
            }
        }
        Ok(ready)
    }

    /// Reads one chunk of a stream; its end closes it.
    fn read(&mut self, stream: Stream) {
        let (source, kind) = match stream {
            Stream::Stdout => (&mut self.stdout, Kind::Stdout),
            Stream::Stderr => (&mut self.stderr, Kind::Stderr),
        };
        let Some(fd) = source else { return };
        match rustix::io::read(&*fd, self.chunk.as_mut_slice()) {
            Ok(0) => *source = None,
            Ok(count) => {
                let bytes = self.chunk.get(..count).unwrap_or_default();
                self.log.take(stream, bytes);
                for peer in &mut self.peers {
                    peer.send(kind, bytes);
                }
            }
            Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) => {}
            // A terminal that nobody has open any more ends so.
            Err(_) => *source = None,
        }
    }

    /// Takes what the container wrote before it ended. Its streams may have been handed to others, who hold them open.
    fn drain(&mut self) {
        let first = if self.tty { rest::Stream::Terminal } else { rest::Stream::Pipe };
        let sources = [
            (self.stdout.take(), first, Stream::Stdout, Kind::Stdout),
            (self.stderr.take(), rest::Stream::Pipe, Stream::Stderr, Kind::Stderr),
        ];
        for (fd, of, stream, kind) in sources {
            let Some(fd) = fd else { continue };
            rest::read(&fd, of, &mut self.chunk, |bytes| {
                self.log.take(stream, bytes);
                for peer in &mut self.peers {
                    peer.send(kind, bytes);
                }
            });
        }
        self.log.finish();
    }

    /// The container's exit status. It is collected here and nowhere else, so it cannot be lost.
    fn collect(&mut self) -> Result<Option<Exit>, Watch> {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
        match rustix::process::waitid(WaitId::PidFd(self.pidfd.as_fd()), options) {
            Ok(status) => Ok(status.as_ref().map(exit_of)),
            Err(rustix::io::Errno::INTR) => Ok(None),
            Err(errno) => Err(Watch::Wait(errno.into())),
        }
    }

    fn accept(&mut self) {
        while let Ok((stream, _)) = self.listener.accept() {
            if let Ok(peer) = Peer::greet(stream, &self.greeting)
                && self.peers.len() < PEERS_MAX
            {
                self.peers.push(peer);
            }
        }
    }

    /// A peer that is gone or talks nonsense is dropped.
    fn serve(&mut self, index: usize) {
        let Some(peer) = self.peers.get_mut(index) else { return };
        match peer.flush().and_then(|()| peer.read()) {
            Ok(requests) => {
                for request in requests {
                    match request {
                        Request::Command(command) => self.obey(&command),
                        Request::Frame(frame) => self.hear(&frame),
                    }
                }
            }
            Err(_) => drop(self.peers.remove(index)),
        }
    }

    fn obey(&self, command: &Command) {
        match command {
            Command::Signal { signal } => self.signal(*signal),
            // It fails only where the container ended, which the next turn sees.
            Command::Kill => drop(self.cgroup.kill()),
            Command::Attach => {}
        }
    }

    fn hear(&mut self, frame: &Frame) {
        match frame.kind {
            Kind::Stdin => self.input.push(&frame.payload),
            // A terminal's end is a character that the program sees, so nothing is closed.
            Kind::CloseStdin if !self.tty => self.input.end(),
            Kind::Signal => {
                if let [signal] = frame.payload.as_slice() {
                    self.signal((*signal).into());
                }
            }
            Kind::Resize => {
                if let (true, Some(master), Some((ws_col, ws_row))) =
                    (self.tty, &self.stdout, frame.size())
                {
                    let size = Winsize { ws_row, ws_col, ws_xpixel: 0, ws_ypixel: 0 };
                    rustix::termios::tcsetwinsize(master, size).unwrap_or_default();
                }
            }
            Kind::CloseStdin | Kind::Stdout | Kind::Stderr | Kind::Exit => {}
        }
    }

    fn signal(&self, number: i32) {
        if let Some(signal) = ferrite_sys::signal::numbered(number) {
            // As with a kill.
            rustix::process::pidfd_send_signal(self.pidfd.as_fd(), signal).unwrap_or_default();
        }
    }
}

#[derive(Clone, Copy)]
enum Source {
    Container,
    Listener,
    Stdout,
    Stderr,
    Input,
    Peer(usize),
}

#[derive(Default)]
struct Ready {
    ended: bool,
    listener: bool,
    stdout: bool,
    stderr: bool,
    input: bool,
    peers: Vec<usize>,
}

impl Ready {
    fn note(&mut self, source: Source) {
        match source {
            Source::Container => self.ended = true,
            Source::Listener => self.listener = true,
            Source::Stdout => self.stdout = true,
            Source::Stderr => self.stderr = true,
            Source::Input => self.input = true,
            Source::Peer(index) => self.peers.push(index),
        }
    }
}

/// What a collected status says.
#[must_use]
pub fn exit_of(status: &WaitIdStatus) -> Exit {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => Exit::Status { code: u8::try_from(code & 0xff).unwrap_or(u8::MAX) },
        (None, Some(signal)) => Exit::Signal { signal },
        (None, None) => Exit::Status { code: u8::MAX },
    }
}

#[cfg(test)]
mod tests;
