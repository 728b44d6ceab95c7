//! Messages for the person at the console: each line says what is done, or in plain words what is wrong.
//!
//! Lines go to the kernel's log, which prints them on every console in order with the kernel's own.
//! Writing never waits for a reader and nothing grows: a line that cannot be written is counted.
//! A terminal that is slow to print is the kernel's affair; the number of lines is ours, so callers
//! that forward other programs' text must limit it first.

use std::collections::VecDeque;
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::sync::{Mutex, TryLockError};

use rustix::fs::OFlags;

/// Kernel log device.
const KMSG: &str = "/dev/kmsg";
/// Where lines go when there is no kernel log device.
const CONSOLE: &str = "/dev/console";
/// The kernel drops lines of user space beyond ten in five seconds unless this says `on`.
const RATE_LIMIT: &str = "/proc/sys/kernel/printk_devkmsg";
/// Longest line in bytes. The kernel refuses records of 992 bytes and more.
const LINE_MAX_BYTES: usize = 900;
/// Lines kept until a device is there; enough for all early mounts to fail one by one.
const EARLY_LINES_MAX: usize = 64;
/// Syslog facility "daemon", shifted as in `syslog(3)`.
const FACILITY: u8 = 3 << 3;

/// How important a line is, in the words of `syslog(3)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// The machine cannot go on.
    Critical,
    /// Something asked for did not happen.
    Error,
    /// Odd, but the machine goes on as it should.
    Warning,
    /// A rare change of state.
    Info,
    /// For developers.
    Debug,
}

impl Level {
    const fn priority(self) -> u8 {
        match self {
            Self::Critical => 2,
            Self::Error => 3,
            Self::Warning => 4,
            // "notice": consoles show it beside warnings, and leave out the kernel's own talk.
            Self::Info => 5,
            Self::Debug => 7,
        }
    }
}

enum Sink {
    Kmsg(File),
    Console(File),
}

struct Log {
    sink: Option<Sink>,
    early: VecDeque<(Level, String)>,
    dropped: u64,
}

static LOG: Mutex<Log> = Mutex::new(Log { sink: None, early: VecDeque::new(), dropped: 0 });

/// Opens the log's device and writes the lines that waited for it. Call it as soon as `/dev` exists
/// and again when `/proc` does, so that the kernel's rate limit is lifted. Without a device, lines
/// keep waiting and the oldest are dropped.
pub fn start() {
    if let Err(error) = std::fs::write(RATE_LIMIT, "on\n")
        && std::fs::read_to_string(RATE_LIMIT).is_ok_and(|limit| limit.trim() != "on")
    {
        warn(format_args!("kernel log: rate limit stays, lines may be missing: {error}"));
    }
    let mut log = lock();
    if matches!(log.sink, Some(Sink::Kmsg(_))) {
        return;
    }
    if let Some(sink) = open() {
        log.sink = Some(sink);
    }
    log.flush();
}

/// Something asked for did not happen.
pub fn error(line: fmt::Arguments<'_>) {
    write(Level::Error, line);
}

/// Odd, but the machine goes on as it should.
pub fn warn(line: fmt::Arguments<'_>) {
    write(Level::Warning, line);
}

/// A rare change of state.
pub fn info(line: fmt::Arguments<'_>) {
    write(Level::Info, line);
}

/// For developers; consoles do not show it.
pub fn debug(line: fmt::Arguments<'_>) {
    write(Level::Debug, line);
}

/// Writes one line of PID 1's own. Control characters are made visible, so that it stays one line.
pub fn write(level: Level, line: fmt::Arguments<'_>) {
    write_as("ferrite-init", level, line);
}

/// Writes one line in the name of another program.
pub fn write_as(program: &str, level: Level, line: fmt::Arguments<'_>) {
    let text = one_line(&format!("{program}: {line}"));
    match LOG.try_lock() {
        Ok(mut log) => log.write(level, text),
        Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner().write(level, text),
        // A panic inside this module came back through the panic hook: go around the lock.
        Err(TryLockError::WouldBlock) => {
            if let Some(mut sink) = open() {
                sink.put(level, &text).ok();
            }
        }
    }
}

/// Lines that could not be written since the start.
#[must_use]
pub fn dropped() -> u64 {
    lock().dropped
}

fn lock() -> std::sync::MutexGuard<'static, Log> {
    LOG.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn open() -> Option<Sink> {
    let open = |path: &str| {
        // O_NOCTTY: PID 1 leads a session and must not get a terminal whose hang-up would reach it.
        let flags = OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let flags = i32::try_from(flags.bits()).unwrap_or_default();
        OpenOptions::new().write(true).custom_flags(flags).open(path)
    };
    open(KMSG).map(Sink::Kmsg).or_else(|_| open(CONSOLE).map(Sink::Console)).ok()
}

impl Sink {
    fn put(&mut self, level: Level, text: &str) -> std::io::Result<()> {
        match self {
            // One write is one record.
            Self::Kmsg(file) => {
                file.write_all(format!("<{}>{text}\n", FACILITY | level.priority()).as_bytes())
            }
            Self::Console(file) => match level {
                Level::Debug => Ok(()),
                Level::Critical | Level::Error | Level::Warning | Level::Info => {
                    file.write_all(format!("{text}\r\n").as_bytes())
                }
            },
        }
    }
}

impl Log {
    fn write(&mut self, level: Level, text: String) {
        match &mut self.sink {
            Some(sink) => {
                if sink.put(level, &text).is_err() {
                    self.dropped += 1;
                }
            }
            None => {
                if self.early.len() == EARLY_LINES_MAX {
                    self.early.pop_front();
                    self.dropped += 1;
                }
                self.early.push_back((level, text));
            }
        }
    }

    fn flush(&mut self) {
        if self.sink.is_some() {
            for (level, text) in std::mem::take(&mut self.early) {
                self.write(level, text);
            }
        }
    }
}

/// Makes `text` one printable line of at most [`LINE_MAX_BYTES`].
fn one_line(text: &str) -> String {
    const CUT: &str = " …";
    let mut line = String::with_capacity(text.len().min(LINE_MAX_BYTES));
    for character in text.trim_end().chars() {
        if line.len() + 4 + CUT.len() > LINE_MAX_BYTES {
            line.push_str(CUT);
            break;
        }
        match character {
            '\n' | '\t' => line.push(' '),
            other if other.is_control() => line.push('?'),
            other => line.push(other),
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log() -> Log {
        Log { sink: None, early: VecDeque::new(), dropped: 0 }
    }

    #[test]
    fn a_line_stays_one_line() {
        assert_eq!(one_line("mount STATE:\n\tI/O error\n"), "mount STATE:  I/O error");
        assert_eq!(one_line("agent: \u{1b}[31mred\u{7}"), "agent: ?[31mred?");
    }

    #[test]
    fn a_long_line_is_cut_between_characters() {
        let line = one_line(&"ß".repeat(LINE_MAX_BYTES));
        assert!(line.len() <= LINE_MAX_BYTES, "{} bytes", line.len());
        assert!(line.ends_with("ß …"), "{line}");
    }

    #[test]
    fn lines_wait_for_the_device_and_the_oldest_go_first() {
        let mut log = log();
        for number in 0..EARLY_LINES_MAX + 2 {
            log.write(Level::Info, format!("line {number}"));
        }
        assert_eq!(log.early.len(), EARLY_LINES_MAX);
        assert_eq!(log.early.front().map(|(_, line)| line.as_str()), Some("line 2"));
        assert_eq!(log.dropped, 2);
    }

    #[test]
    fn waiting_lines_are_written_in_order_once_there_is_a_device() {
        let mut log = log();
        log.write(Level::Info, "first".to_owned());
        log.write(Level::Error, "second".to_owned());
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("kmsg");
        log.sink = Some(Sink::Kmsg(File::create(&path).unwrap()));
        log.flush();
        log.write(Level::Debug, "third".to_owned());
        assert_eq!(std::fs::read_to_string(path).unwrap(), "<29>first\n<27>second\n<31>third\n");
    }

    #[test]
    fn a_device_that_refuses_is_counted() {
        let mut log = log();
        // Opened for reading, so every write fails.
        log.sink = Some(Sink::Kmsg(File::open("/dev/null").unwrap()));
        log.write(Level::Info, "lost".to_owned());
        assert_eq!(log.dropped, 1);
    }
}
