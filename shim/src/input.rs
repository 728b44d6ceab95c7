//! Bytes on their way into a container's standard input: never more than a bound, never blocking.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::OFlags;
use rustix::io::Errno;

/// More is not taken from a peer before some of it is gone.
const PENDING_MAX_BYTES: usize = 64 * 1024;

/// A standard input: a pipe's end or a terminal's master.
#[derive(Debug)]
pub struct Input {
    fd: Option<OwnedFd>,
    pending: Vec<u8>,
    ending: bool,
}

impl Input {
    /// Takes the writing end; without one everything is thrown away.
    ///
    /// # Errors
    /// It cannot be made non-blocking.
    pub fn new(fd: Option<OwnedFd>) -> Result<Self, Errno> {
        if let Some(fd) = &fd {
            let flags = rustix::fs::fcntl_getfl(fd)?;
            rustix::fs::fcntl_setfl(fd, flags | OFlags::NONBLOCK)?;
        }
        Ok(Self { fd, pending: Vec::new(), ending: false })
    }

    /// Nothing more should be pushed now.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.pending.len() >= PENDING_MAX_BYTES
    }

    /// What to wait for before [`Self::flush`]; nothing where nothing waits.
    #[must_use]
    pub fn wants_to_write(&self) -> Option<&OwnedFd> {
        self.fd.as_ref().filter(|_| !self.pending.is_empty())
    }

    /// Takes bytes and writes as many as can be written.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.fd.is_some() && !self.ending {
            self.pending.extend_from_slice(bytes);
            self.flush();
        }
    }

    /// It ends after what is pending.
    pub fn end(&mut self) {
        self.ending = true;
        self.flush();
    }

    /// Writes as much as can be written. A reader that is gone ends it.
    pub fn flush(&mut self) {
        while let (Some(fd), false) = (&self.fd, self.pending.is_empty()) {
            match rustix::io::write(fd.as_fd(), &self.pending) {
                Ok(count) => drop(self.pending.drain(..count)),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => break,
                Err(_) => {
                    self.fd = None;
                    self.pending = Vec::new();
                }
            }
        }
        if self.pending.is_empty() {
            // A large paste should not cost memory for ever.
            self.pending = Vec::new();
            if self.ending {
                self.fd = None;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_arrives_and_the_end_comes_last() {
        let (reader, writer) = rustix::pipe::pipe().unwrap();
        let mut input = Input::new(Some(writer)).unwrap();
        let much = vec![b'x'; 300_000];
        input.push(&much);
        assert!(input.is_full() && input.wants_to_write().is_some());
        input.end();
        let (mut found, mut chunk) = (0, vec![0; 10_000]);
        loop {
            let count = rustix::io::read(&reader, &mut chunk).unwrap();
            if count == 0 {
                break;
            }
            found += count;
            input.flush();
        }
        assert_eq!(found, much.len());
        assert!(input.wants_to_write().is_none());
    }

    #[test]
    fn a_reader_that_is_gone_is_no_trouble() {
        let (reader, writer) = rustix::pipe::pipe().unwrap();
        drop(reader);
        let mut input = Input::new(Some(writer)).unwrap();
        input.push(b"lost");
        assert!(input.wants_to_write().is_none() && !input.is_full());
    }
}
