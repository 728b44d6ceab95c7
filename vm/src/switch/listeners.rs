//! Whoever is connected to a switch's control socket: lines from them, lines to them.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use super::cable::{bind, unless_blocked};
use super::control::{Answer, CONTROL_SOCKET, Command, parse};
use super::recorder::Recorder;

/// Connections at once; further ones wait.
const CALLERS_MAX: usize = 64;
/// Longest line.
const LINE_MAX_BYTES: usize = 64 << 10;
/// Beacons that are told in one go: whoever has not read these is told no others.
const BEACONS_AT_ONCE: usize = 256;
/// Bytes that wait for one who does not read; then the connection ends.
const WAITING_MAX_BYTES: usize = 8 << 20;

/// All connections.
#[derive(Debug)]
pub(crate) struct Listeners {
    listener: UnixListener,
    callers: Vec<Caller>,
}

#[derive(Debug)]
struct Caller {
    stream: UnixStream,
    heard: Vec<u8>,
    waiting: Vec<u8>,
    /// Number of the next beacon, where it follows them.
    follows: Option<usize>,
    is_gone: bool,
}

impl Listeners {
    pub(crate) fn bind(folder: &Path) -> io::Result<Self> {
        Ok(Self { listener: bind(&folder.join(CONTROL_SOCKET))?, callers: Vec::new() })
    }

    /// What to wait for; the flag says that room is waited for, too.
    pub(crate) fn waits_for(&self) -> impl Iterator<Item = (BorrowedFd<'_>, bool)> {
        let has_room = self.callers.len() < CALLERS_MAX;
        let listener = has_room.then_some((self.listener.as_fd(), false));
        let callers = self.callers.iter();
        listener.into_iter().chain(callers.map(|one| (one.stream.as_fd(), !one.waiting.is_empty())))
    }

    /// Somebody is connected.
    pub(crate) fn has_callers(&self) -> bool {
        !self.callers.is_empty()
    }

    /// Hears everybody, and has `obey` answer.
    pub(crate) fn hear(&mut self, mut obey: impl FnMut(Command) -> Answer) {
        while self.callers.len() < CALLERS_MAX {
            let Ok(Some((stream, _))) = unless_blocked(self.listener.accept()) else { break };
            if stream.set_nonblocking(true).is_ok() {
                let (heard, waiting) = (Vec::new(), Vec::new());
                self.callers.push(Caller { stream, heard, waiting, follows: None, is_gone: false });
            }
        }
        for caller in &mut self.callers {
            caller.hear(&mut obey);
        }
    }

    /// Tells everybody what is due to them.
    pub(crate) fn tell(&mut self, recorder: &Recorder) {
        for caller in &mut self.callers {
            caller.flush();
            while caller.takes_more() && caller.follow(recorder) {
                caller.flush();
            }
        }
        self.callers.retain(|caller| !caller.is_gone);
    }
}

impl Caller {
    fn hear(&mut self, obey: &mut impl FnMut(Command) -> Answer) {
        let mut piece = [0; 4096];
        let heard = match unless_blocked(self.stream.read(&mut piece)) {
            Ok(None) => return,
            Ok(Some(length)) => piece.get(..length).unwrap_or_default(),
            Err(_) => &[],
        };
        self.is_gone |= heard.is_empty();
        self.heard.extend_from_slice(heard);
        while let Some(end) = self.heard.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.heard.drain(..=end).collect();
            let answer = match parse(&line) {
                Ok(Command::Follow {}) => {
                    self.follows = Some(0);
                    continue;
                }
                Ok(command) => obey(command),
                Err(wrong) => Answer::Refused(wrong),
            };
            write_line(&mut self.waiting, &answer);
        }
        if self.heard.len() > LINE_MAX_BYTES {
            self.is_gone = true;
        }
    }

    /// It is there, and has read what it was told.
    fn takes_more(&self) -> bool {
        !self.is_gone && self.waiting.is_empty()
    }

    /// Prepares the next beacons, a few at a time; false where none are due.
    fn follow(&mut self, recorder: &Recorder) -> bool {
        let Some(next) = &mut self.follows else { return false };
        for beacon in recorder.since(*next).iter().take(BEACONS_AT_ONCE) {
            *next += 1;
            write_line(&mut self.waiting, &Answer::Beacon(beacon.clone()));
        }
        !self.waiting.is_empty()
    }

    fn flush(&mut self) {
        while !self.waiting.is_empty() {
            match unless_blocked(self.stream.write(&self.waiting)) {
                Ok(None) => break,
                Ok(Some(length)) => drop(self.waiting.drain(..length)),
                Err(_) => {
                    self.is_gone = true;
                    return;
                }
            }
        }
        self.is_gone |= self.waiting.len() > WAITING_MAX_BYTES;
    }
}

fn write_line(to: &mut Vec<u8>, answer: &Answer) {
    // A vector takes everything, and every answer can be written.
    if serde_json::to_writer(&mut *to, answer).is_ok() {
        to.push(b'\n');
    }
}
