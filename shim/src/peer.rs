//! Somebody connected to a shim: the agent with its commands, or a person who is attached to the container.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use ferrite_schema::shim::{Command, LINE_MAX_BYTES};
use ferrite_schema::stream::{self, Decoder, Frame, Kind};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;

/// With more than this on its way to an attached peer, the container's output waits for it.
const OUT_MAX_BYTES: usize = 256 * 1024;
/// A peer that takes nothing for this long is left behind: nobody who sleeps stops a container.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// What a peer wants.
#[derive(Debug, PartialEq, Eq)]
pub enum Request {
    /// A line of the agent.
    Command(Command),
    /// A frame of somebody who is attached.
    Frame(Frame),
}

#[derive(Debug)]
enum Mode {
    Lines(Vec<u8>),
    Frames(Decoder),
}

/// A connection.
#[derive(Debug)]
pub struct Peer {
    stream: UnixStream,
    mode: Mode,
    out: Vec<u8>,
    progress: Instant,
}

impl Peer {
    /// Takes a connection and greets it.
    ///
    /// # Errors
    /// It is gone already.
    pub fn greet(mut stream: UnixStream, greeting: &[u8]) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        // A new socket has room for a line.
        stream.write_all(greeting)?;
        let mode = Mode::Lines(Vec::new());
        Ok(Self { stream, mode, out: Vec::new(), progress: Instant::now() })
    }

    /// Takes a connection that carries frames from its beginning, of which `arrived` was read already: see [`Self::arrived`].
    ///
    /// # Errors
    /// It cannot be made non-blocking.
    pub fn attached(stream: UnixStream, arrived: &[u8]) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        let mut decoder = Decoder::default();
        decoder.feed(arrived);
        Ok(Self { stream, mode: Mode::Frames(decoder), out: Vec::new(), progress: Instant::now() })
    }

    /// Its socket.
    #[must_use]
    pub fn stream(&self) -> &UnixStream {
        &self.stream
    }

    /// It hears the container's output.
    #[must_use]
    pub fn is_attached(&self) -> bool {
        matches!(self.mode, Mode::Frames(_))
    }

    /// Something waits to be sent.
    #[must_use]
    pub fn wants_to_write(&self) -> bool {
        !self.out.is_empty()
    }

    /// So much waits that no more should come.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.out.len() > OUT_MAX_BYTES
    }

    /// It has taken nothing for too long.
    #[must_use]
    pub fn is_asleep(&self, now: Instant) -> bool {
        self.wants_to_write() && now.saturating_duration_since(self.progress) >= PATIENCE
    }

    /// Sends a frame to an attached peer, now or as soon as it takes it.
    pub fn send(&mut self, kind: Kind, payload: &[u8]) {
        if self.is_attached() {
            if self.out.is_empty() {
                self.progress = Instant::now();
            }
            stream::encode(&mut self.out, kind, payload);
            // An error shows again when the peer is read.
            drop(self.flush());
        }
    }

    /// Sends as much as the peer takes.
    ///
    /// # Errors
    /// It is gone.
    pub fn flush(&mut self) -> io::Result<()> {
        while !self.out.is_empty() {
            match self.stream.write(&self.out) {
                Ok(count) => {
                    self.out.drain(..count);
                    self.progress = Instant::now();
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.out = Vec::new();
        Ok(())
    }

    /// Sends what is left, for as long as the peer takes some of it and until `deadline` at most, and gives the socket
    /// back.
    #[must_use]
    pub fn finish(mut self, deadline: Option<Instant>) -> UnixStream {
        // Where it is gone or asleep, nobody reads.
        while self.flush().is_ok() && self.wants_to_write() {
            let until = self.progress + PATIENCE;
            let until = deadline.map_or(until, |deadline| deadline.min(until));
            let left = until.saturating_duration_since(Instant::now());
            let (Ok(wait), false) = (Timespec::try_from(left), left.is_zero()) else { break };
            let mut fds = [PollFd::new(&self.stream, PollFlags::OUT)];
            match rustix::event::poll(&mut fds, Some(&wait)) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(_) => break,
            }
        }
        self.stream
    }

    /// Hands out what came before anything was read here: nothing more may ever come that would wake a reader for it.
    ///
    /// # Errors
    /// It talks nonsense.
    pub fn arrived(&mut self) -> io::Result<Vec<Request>> {
        self.take(&[])
    }

    /// Reads once and hands out what is complete.
    ///
    /// # Errors
    /// It is gone or talks nonsense.
    pub fn read(&mut self) -> io::Result<Vec<Request>> {
        let mut chunk = [0; LINE_MAX_BYTES];
        let count = match self.stream.read(&mut chunk) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        self.take(chunk.get(..count).unwrap_or_default())
    }

    fn take(&mut self, bytes: &[u8]) -> io::Result<Vec<Request>> {
        let nonsense = || io::Error::from(io::ErrorKind::InvalidData);
        let mut requests = Vec::new();
        if let Mode::Lines(partial) = &mut self.mode {
            partial.extend_from_slice(bytes);
            while let Some(end) = partial.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = partial.drain(..=end).collect();
                match serde_json::from_slice(&line) {
                    Ok(Command::Attach) => {
                        let mut decoder = Decoder::default();
                        decoder.feed(partial);
                        self.mode = Mode::Frames(decoder);
                        requests.push(Request::Command(Command::Attach));
                        break;
                    }
                    Ok(command) => requests.push(Request::Command(command)),
                    // A newer agent's command: what it expects then does not happen, as with any older shim.
                    Err(_) => {}
                }
            }
            if let Mode::Lines(partial) = &self.mode
                && partial.len() > LINE_MAX_BYTES
            {
                return Err(nonsense());
            }
        } else if let Mode::Frames(decoder) = &mut self.mode {
            decoder.feed(bytes);
        }
        if let Mode::Frames(decoder) = &mut self.mode {
            while let Some(frame) = decoder.frame().map_err(|_bad| nonsense())? {
                requests.push(Request::Frame(frame));
            }
        }
        Ok(requests)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_become_frames_after_attach() {
        let (own, mut other) = UnixStream::pair().unwrap();
        let mut peer = Peer::greet(own, b"hello\n").unwrap();
        let mut bytes = b"{\"command\":\"kill\"}\nnonsense\n{\"command\":\"attach\"}\n".to_vec();
        stream::encode(&mut bytes, Kind::Stdin, b"{\n");
        other.write_all(&bytes).unwrap();
        let frame = Frame { kind: Kind::Stdin, payload: b"{\n".to_vec() };
        let expected = [
            Request::Command(Command::Kill),
            Request::Command(Command::Attach),
            Request::Frame(frame),
        ];
        assert_eq!(peer.read().unwrap(), expected);
        assert!(peer.is_attached());
        drop(other);
        assert!(peer.read().is_err());
    }

    #[test]
    fn what_came_with_the_request_is_handed_out_before_anything_is_read() {
        let (own, _other) = UnixStream::pair().unwrap();
        let mut bytes = Vec::new();
        stream::encode(&mut bytes, Kind::Stdin, b"hi");
        stream::encode(&mut bytes, Kind::CloseStdin, b"");
        let mut peer = Peer::attached(own, &bytes).unwrap();
        let kinds = |requests: Vec<Request>| -> Vec<Kind> {
            let kind = |request| match request {
                Request::Frame(frame) => frame.kind,
                Request::Command(command) => panic!("{command:?}"),
            };
            requests.into_iter().map(kind).collect()
        };
        assert_eq!(kinds(peer.arrived().unwrap()), [Kind::Stdin, Kind::CloseStdin]);
        assert_eq!(kinds(peer.arrived().unwrap()), []);
    }

    #[test]
    fn one_who_takes_a_little_at_a_time_does_not_hold_up_the_end() {
        let (own, mut other) = UnixStream::pair().unwrap();
        let mut peer = Peer::attached(own, b"").unwrap();
        while !peer.is_full() {
            peer.send(Kind::Stdout, &[0; 1000]);
        }
        let (stop, stopped) = std::sync::mpsc::channel::<()>();
        let dripping = std::thread::spawn(move || {
            let mut little = [0; 1024];
            while stopped.recv_timeout(Duration::from_millis(50)).is_err() {
                other.read_exact(&mut little).unwrap();
            }
        });
        let begin = Instant::now();
        drop(peer.finish(Some(begin + Duration::from_millis(300))));
        assert!(begin.elapsed() < Duration::from_secs(5));
        stop.send(()).unwrap();
        dripping.join().unwrap();
    }

    #[test]
    fn a_peer_that_takes_nothing_becomes_full_and_then_asleep() {
        let (own, other) = UnixStream::pair().unwrap();
        let mut peer = Peer::greet(own, b"").unwrap();
        peer.take(b"{\"command\":\"attach\"}\n").unwrap();
        while !peer.is_full() {
            peer.send(Kind::Stdout, &[0; 1000]);
        }
        let now = Instant::now();
        assert!(!peer.is_asleep(now));
        assert!(peer.is_asleep(now + PATIENCE));
        drop(other);
        assert!(peer.flush().is_err());
    }
}
