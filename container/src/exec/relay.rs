//! Between a command's streams and the socket, until the command ended or nobody listens any more.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process::Child;

use ferrite_schema::api::Exit;
use ferrite_schema::stream::{Frame, Kind};
use ferrite_shim::input::Input;
use ferrite_shim::peer::{Peer, Request};
use ferrite_shim::rest;
use ferrite_shim::watch::exit_of;
use ferrite_sys::signal;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::OFlags;
use rustix::process::{Pid, PidfdFlags, Signal, WaitId, WaitIdOptions};
use rustix::termios::Winsize;

use super::enter::Started;

/// Read at once from a stream.
const CHUNK_BYTES: usize = 16 * 1024;
/// How long a command's parent gets to collect what was killed: longer than it takes by itself.
const COLLECT_MAX: Timespec = Timespec { tv_sec: 6, tv_nsec: 0 };

struct Relay<'a> {
    pid: Pid,
    pidfd: OwnedFd,
    peer: &'a mut Peer,
    input: Input,
    stdout: Option<OwnedFd>,
    stderr: Option<OwnedFd>,
    tty: bool,
}

/// Carries bytes until the command ended; nothing where the peer went away and the command was killed.
pub(super) fn relay(started: Started, peer: &mut Peer) -> io::Result<Option<Exit>> {
    let Started { mut child, terminal, kill } = started;
    let missing = || io::Error::from(io::ErrorKind::NotFound);
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).ok_or_else(missing)?;
    let pidfd = rustix::process::pidfd_open(pid, PidfdFlags::empty())?;
    let tty = terminal.is_some();
    let (stdin, stdout, stderr) = streams(&mut child, terminal)?;
    for fd in stdout.iter().chain(&stderr) {
        let flags = rustix::fs::fcntl_getfl(fd)?;
        rustix::fs::fcntl_setfl(fd, flags | OFlags::NONBLOCK)?;
    }
    let mut relay = Relay { pid, pidfd, peer, input: Input::new(stdin)?, stdout, stderr, tty };
    let exit = relay.until_end().ok();
    if exit.is_none() {
        if let Some(kill) = kill {
            relay.kill_apart(&kill);
        }
        relay.kill();
        child.wait()?;
    }
    Ok(exit)
}

type Streams = (Option<OwnedFd>, Option<OwnedFd>, Option<OwnedFd>);

fn streams(child: &mut Child, terminal: Option<OwnedFd>) -> io::Result<Streams> {
    Ok(match terminal {
        Some(master) => (Some(master.try_clone()?), Some(master), None),
        None => (
            child.stdin.take().map(OwnedFd::from),
            child.stdout.take().map(OwnedFd::from),
            child.stderr.take().map(OwnedFd::from),
        ),
    })
}

impl Relay<'_> {
    /// The exit; an error where the peer is gone.
    fn until_end(&mut self) -> io::Result<Exit> {
        // The socket does not wake anybody for what came with the request.
        let arrived = self.peer.arrived()?;
        self.take(arrived);
        loop {
            if let Some(exit) = self.turn()? {
                return Ok(exit);
            }
        }
    }

    fn take(&mut self, requests: Vec<Request>) {
        for request in requests {
            if let Request::Frame(frame) = request {
                self.hear(&frame);
            }
        }
    }

    /// Waits for something and handles it; the exit, once it is there.
    fn turn(&mut self) -> io::Result<Option<Exit>> {
        let ready = self.poll()?;
        self.peer.flush()?;
        if ready.peer {
            let requests = self.peer.read()?;
            self.take(requests);
        }
        self.input.flush();
        if ready.stdout {
            self.read(Kind::Stdout);
        }
        if ready.stderr {
            self.read(Kind::Stderr);
        }
        if ready.ended {
            let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
            let status = rustix::process::waitid(WaitId::PidFd(self.pidfd.as_fd()), options)?;
            if let Some(status) = status {
                self.read_the_rest();
                return Ok(Some(exit_of(&status)));
            }
        }
        Ok(None)
    }

    fn poll(&self) -> io::Result<Ready> {
        let mut sources: Vec<(Source, BorrowedFd<'_>, PollFlags)> = Vec::new();
        // A peer that reads slowly makes the command wait, and its end wait with it.
        if !self.peer.is_full() {
            sources.push((Source::Ended, self.pidfd.as_fd(), PollFlags::IN));
            let (out, err) = (self.stdout.iter(), self.stderr.iter());
            sources.extend(out.map(|fd| (Source::Stdout, fd.as_fd(), PollFlags::IN)));
            sources.extend(err.map(|fd| (Source::Stderr, fd.as_fd(), PollFlags::IN)));
        }
        let input = self.input.wants_to_write().into_iter();
        sources.extend(input.map(|fd| (Source::Input, fd.as_fd(), PollFlags::OUT)));
        let mut flags = PollFlags::empty();
        flags.set(PollFlags::IN, !self.input.is_full());
        flags.set(PollFlags::OUT, self.peer.wants_to_write());
        sources.push((Source::Peer, self.peer.stream().as_fd(), flags));
        let mut fds: Vec<_> =
            sources.iter().map(|(_, fd, flags)| PollFd::from_borrowed_fd(*fd, *flags)).collect();
        match rustix::event::poll(&mut fds, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        let mut ready = Ready::default();
        for ((source, _, _), fd) in sources.iter().zip(&fds) {
            let seen = fd.revents();
            match source {
                Source::Ended => ready.ended = !seen.is_empty(),
                Source::Stdout => ready.stdout = !seen.is_empty(),
                Source::Stderr => ready.stderr = !seen.is_empty(),
                Source::Peer => ready.peer = seen.intersects(!PollFlags::OUT),
                Source::Input => {}
            }
        }
        Ok(ready)
    }

    /// Passes a chunk on; the end closes the stream.
    fn read(&mut self, kind: Kind) {
        let source = if kind == Kind::Stderr { &mut self.stderr } else { &mut self.stdout };
        let Some(fd) = source else { return };
        let mut chunk = [0; CHUNK_BYTES];
        match rustix::io::read(&*fd, &mut chunk) {
            Ok(count) if count > 0 => {
                self.peer.send(kind, chunk.get(..count).unwrap_or_default());
            }
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => {}
            // Also how a terminal ends that nobody has open any more.
            Ok(_) | Err(_) => *source = None,
        }
    }

    /// What the command wrote is there to be read; what others hold open may go on for ever.
    fn read_the_rest(&mut self) {
        let first = if self.tty { rest::Stream::Terminal } else { rest::Stream::Pipe };
        let mut chunk = [0; CHUNK_BYTES];
        for (fd, of, kind) in [
            (self.stdout.take(), first, Kind::Stdout),
            (self.stderr.take(), rest::Stream::Pipe, Kind::Stderr),
        ] {
            if let Some(fd) = fd {
                rest::read(&fd, of, &mut chunk, |bytes| self.peer.send(kind, bytes));
            }
        }
    }

    fn hear(&mut self, frame: &Frame) {
        match frame.kind {
            Kind::Stdin => self.input.push(&frame.payload),
            Kind::CloseStdin if !self.tty => self.input.end(),
            Kind::Signal => {
                let number = frame.payload.first().copied();
                let signal = number.and_then(|byte| signal::numbered(byte.into()));
                if let Some(signal) = signal {
                    // It fails only where the command ended, which the next turn sees.
                    rustix::process::kill_process(self.pid, signal).unwrap_or_default();
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

    /// Kills the command with all that it started, for its parent to collect. What that does not manage is collected after the
    /// next check.
    fn kill_apart(&self, kill: &OwnedFd) {
        if rustix::io::write(kill, b"1").is_ok() {
            let mut ends = [PollFd::new(&self.pidfd, PollFlags::IN)];
            // Ended or not, it is killed next.
            rustix::event::poll(&mut ends, Some(&COLLECT_MAX)).unwrap_or_default();
        }
    }

    /// The command leads a session: what it started and did not set apart goes with it.
    fn kill(&self) {
        rustix::process::kill_process_group(self.pid, Signal::KILL).unwrap_or_default();
        rustix::process::kill_process(self.pid, Signal::KILL).unwrap_or_default();
    }
}

enum Source {
    Ended,
    Stdout,
    Stderr,
    Input,
    Peer,
}

#[derive(Default)]
struct Ready {
    ended: bool,
    stdout: bool,
    stderr: bool,
    peer: bool,
}

#[cfg(test)]
mod tests;
