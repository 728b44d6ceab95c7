//! How the container's process says why it executes nothing, to the one that made it: a pipe that closes when a program
//! is executed.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::pipe::{PIPE_BUF, PipeFlags};

/// How long a program's execution is waited for. A disk or a server that does not answer holds it up, and with it only
/// what its unit is told: the container has its keeper then.
const EXECUTION_MAX: Timespec = Timespec { tv_sec: 10, tv_nsec: 0 };

/// The end that is read.
#[derive(Debug)]
pub(crate) struct Listener(File);

/// The end that the container's process writes to.
#[derive(Debug, Clone)]
pub(crate) struct Speaker(Arc<OwnedFd>);

/// Both ends. No program inherits one.
pub(crate) fn channel() -> io::Result<(Listener, Speaker)> {
    let (reader, writer) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
    Ok((Listener(reader.into()), Speaker(Arc::new(writer))))
}

impl Speaker {
    /// Says it, in one piece; false where nobody listens.
    pub(crate) fn say(&self, reason: &str) -> bool {
        let whole =
            (0..=reason.len().min(PIPE_BUF)).rev().find(|end| reason.is_char_boundary(*end));
        let bytes = reason.as_bytes().get(..whole.unwrap_or(0)).unwrap_or_default();
        rustix::io::write(&*self.0, bytes).is_ok()
    }
}

impl Listener {
    /// What has been said until now.
    pub(crate) fn until_now(&self) -> Option<String> {
        let mut bytes = Vec::new();
        // It ends where nothing more is there, or the other end is closed.
        drop((&self.0).take(PIPE_BUF as u64).read_to_end(&mut bytes));
        (!bytes.is_empty()).then(|| String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Waits until a program was executed, or it was said why none is.
    pub(crate) fn to_the_end(&self) -> Option<String> {
        loop {
            let mut ends = [PollFd::new(&self.0, PollFlags::IN)];
            match rustix::event::poll(&mut ends, Some(&EXECUTION_MAX)) {
                Err(Errno::INTR) => {}
                Ok(_) | Err(_) => return self.until_now(),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_said_is_heard_and_silence_ends_with_the_other_end() {
        let (heard, said) = channel().unwrap();
        assert_eq!(heard.until_now(), None);
        let other = said.clone();
        assert!(said.say("it is a folder"));
        assert_eq!(heard.to_the_end().unwrap(), "it is a folder");
        drop((said, other));
        assert_eq!(heard.to_the_end(), None);

        let (heard, said) = channel().unwrap();
        // Cut between characters.
        assert!(said.say(&"ä".repeat(PIPE_BUF)));
        assert_eq!(heard.to_the_end().unwrap(), "ä".repeat(PIPE_BUF / 2));
        drop(heard);
        assert!(!said.say("nobody is there"));
    }
}
