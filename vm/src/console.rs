//! The serial console of a machine, followed as it is written.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::inotify;

use crate::deadline::{Deadline, wait_readable};
use crate::scan::{self, Problem};

/// Lines of the console that an error carries.
const TAIL_LINES: usize = 40;

/// Why waiting for the console ended without the line.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum ConsoleError {
    #[error("open console log {}", path.display())]
    Open { path: PathBuf, source: io::Error },
    #[error("read console log {}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("wait for {wanted:?} on the console: not in time; its last lines:\n{tail}")]
    Deadline { wanted: Vec<String>, tail: String },
    #[error("wait for {wanted:?} on the console: the machine ended; its last lines:\n{tail}")]
    Ended { wanted: Vec<String>, tail: String },
    #[error("wait for the console: interrupted")]
    Interrupted,
}

/// What ends waiting before the line is there.
#[derive(Debug, Clone, Copy)]
pub struct Until<'fd> {
    /// The last moment.
    pub deadline: Deadline,
    /// The machine's process ([`crate::running::Running::process`]): when it ends, nothing comes any more.
    pub machine: Option<BorrowedFd<'fd>>,
    /// Readable when the user has had enough.
    pub interrupt: Option<BorrowedFd<'fd>>,
}

/// A console. Lines are kept, for [`Self::tail`] and [`Self::problems`]; waiting moves on through them.
#[derive(Debug)]
pub struct Console {
    path: PathBuf,
    log: File,
    changes: OwnedFd,
    /// Bytes after the last whole line.
    partial: Vec<u8>,
    lines: Vec<String>,
    /// Lines that waiting has gone past.
    passed: usize,
}

impl Console {
    /// Opens the log at `path`, at its start. It is made where it is absent, so that it can be watched
    /// before the machine starts.
    ///
    /// # Errors
    /// It can be neither opened nor watched.
    pub fn open(path: &Path) -> Result<Self, ConsoleError> {
        let act = || -> io::Result<(File, OwnedFd)> {
            let log = OpenOptions::new().read(true).append(true).create(true).open(path)?;
            let changes = inotify::init(inotify::CreateFlags::CLOEXEC)?;
            inotify::add_watch(&changes, path, inotify::WatchFlags::MODIFY)?;
            Ok((log, changes))
        };
        let (log, changes) =
            act().map_err(|source| ConsoleError::Open { path: path.to_owned(), source })?;
        let path = path.to_owned();
        Ok(Self { path, log, changes, partial: Vec::new(), lines: Vec::new(), passed: 0 })
    }

    /// Goes past everything that is there already.
    ///
    /// # Errors
    /// The log cannot be read.
    pub fn skip_to_end(&mut self) -> Result<(), ConsoleError> {
        self.read()?;
        self.passed = self.lines.len();
        Ok(())
    }

    /// The next whole line, without its end and without colours.
    ///
    /// # Errors
    /// As `until` says, or the log cannot be read.
    pub fn next_line(&mut self, until: Until<'_>) -> Result<String, ConsoleError> {
        self.next_or(until, &[])
    }

    /// Waits for a line that contains one of `patterns`, and returns which and the line. Goes past it.
    ///
    /// # Errors
    /// As `until` says, or the log cannot be read.
    pub fn wait_for(
        &mut self,
        patterns: &[&str],
        until: Until<'_>,
    ) -> Result<(usize, String), ConsoleError> {
        loop {
            let line = self.next_or(until, patterns)?;
            if let Some(index) = patterns.iter().position(|pattern| line.contains(pattern)) {
                return Ok((index, line));
            }
        }
    }

    /// The last `count` lines and what stands after them.
    ///
    /// # Errors
    /// The log cannot be read.
    pub fn tail(&mut self, count: usize) -> Result<String, ConsoleError> {
        self.read()?;
        let start = self.lines.len().saturating_sub(count);
        let mut tail: Vec<String> = self.lines.iter().skip(start).cloned().collect();
        if !self.partial.is_empty() {
            tail.push(plain(&self.partial));
        }
        Ok(tail.join("\n"))
    }

    /// Every line so far that tells of trouble, except those that contain one of `expected`.
    ///
    /// # Errors
    /// The log cannot be read.
    pub fn problems(&mut self, expected: &[&str]) -> Result<Vec<Problem>, ConsoleError> {
        self.read()?;
        Ok(scan::scan(self.lines.iter().map(String::as_str), expected))
    }

    fn next_or(&mut self, until: Until<'_>, wanted: &[&str]) -> Result<String, ConsoleError> {
        let mut ended = false;
        loop {
            self.read()?;
            if let Some(line) = self.lines.get(self.passed) {
                self.passed += 1;
                return Ok(line.clone());
            }
            let wanted = || wanted.iter().map(|pattern| (*pattern).to_owned()).collect();
            if ended {
                return Err(ConsoleError::Ended { wanted: wanted(), tail: self.tail(TAIL_LINES)? });
            }
            match self.wait(until)? {
                Woken::Change => {}
                // What it wrote at last is still read.
                Woken::MachineEnd => ended = true,
                Woken::Interrupt => return Err(ConsoleError::Interrupted),
                Woken::Deadline => {
                    let tail = self.tail(TAIL_LINES)?;
                    return Err(ConsoleError::Deadline { wanted: wanted(), tail });
                }
            }
        }
    }

    fn wait(&self, until: Until<'_>) -> Result<Woken, ConsoleError> {
        let sources = [
            Some((self.changes.as_fd(), Woken::Change)),
            until.interrupt.map(|fd| (fd, Woken::Interrupt)),
            until.machine.map(|fd| (fd, Woken::MachineEnd)),
        ];
        let sources: Vec<_> = sources.into_iter().flatten().collect();
        let fds: Vec<_> = sources.iter().map(|(fd, _)| *fd).collect();
        let read = |source| ConsoleError::Read { path: self.path.clone(), source };
        let index = wait_readable(&fds, until.deadline).map_err(read)?;
        let woken = index.and_then(|index| sources.get(index)).map(|(_, woken)| *woken);
        if matches!(woken, Some(Woken::Change)) {
            // What the notices say is not of interest, only that there are any.
            let mut notices = [0; 4096];
            rustix::io::read(&self.changes, &mut notices).map_err(|errno| read(errno.into()))?;
        }
        Ok(woken.unwrap_or(Woken::Deadline))
    }

    /// Takes in what was written since.
    fn read(&mut self) -> Result<(), ConsoleError> {
        let mut fresh = Vec::new();
        self.log
            .read_to_end(&mut fresh)
            .map_err(|source| ConsoleError::Read { path: self.path.clone(), source })?;
        self.partial.extend(fresh);
        while let Some(end) = self.partial.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.partial.drain(..=end).collect();
            self.lines.push(plain(&line));
        }
        Ok(())
    }
}

#[derive(Clone, Copy)]
enum Woken {
    Change,
    Interrupt,
    MachineEnd,
    Deadline,
}

/// A console line as text: without its end and without terminal control sequences, which firmware uses
/// plenty of.
fn plain(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let mut plain = String::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match character {
            // CSI: parameters, then one letter. Any other escape is two characters long.
            '\u{1b}' if characters.next() == Some('[') => {
                characters.by_ref().find(|character| character.is_ascii_alphabetic());
            }
            '\t' => plain.push(' '),
            character if character.is_control() => {}
            character => plain.push(character),
        }
    }
    plain
}

#[cfg(test)]
#[path = "console_tests.rs"]
mod tests;
