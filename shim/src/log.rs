//! The container's log on STATE: what it wrote, a [`LogLine`] as JSON per line, in two files of bounded size.
//!
//! A line whose end does not come (a prompt, a bar of progress) is not held back: what there is of it is written as a piece,
//! and the line goes on in the next one.
//!
//! A full disk never blocks the container: what cannot be written is counted, and the count is written once
//! there is room again.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use ferrite_files::small::read_small;
use ferrite_files::{durable, own};
use ferrite_schema::api::{LogLine, Stream};
use ferrite_schema::shim::{LOG_CURRENT as CURRENT, LOG_PREVIOUS as PREVIOUS, LOG_RUNS, LogRuns};

/// Size at which a file is rotated, and longest line. Two files of this size per unit are what STATE pays at most.
pub const LIMITS: Limits = Limits { file_max_bytes: 8 << 20, line_max_bytes: 16 << 10 };

/// How long a line may be without its end before what there is of it is written: soon enough for a person who is asked
/// something, and seldom enough that a bar of progress costs the disk four pieces a second.
pub const HELD_MAX: Duration = Duration::from_millis(250);

/// More than two numbers take.
const RUNS_MAX_BYTES: u64 = 4096;

/// Bounds of a log.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Size at which the file is moved away.
    pub file_max_bytes: u64,
    /// Longer lines are cut into several.
    pub line_max_bytes: usize,
}

/// The log could not be opened.
#[derive(Debug, thiserror::Error)]
#[error("open the log {}", path.display())]
pub struct OpenLog {
    path: PathBuf,
    source: io::Error,
}

/// A line of one stream whose end has not come.
#[derive(Debug, Default)]
struct Begun {
    /// What of it is not written.
    held: Vec<u8>,
    /// Since when that is held. Nothing where no time will make more of it: half a character.
    since: Option<Instant>,
    /// A piece of it is written.
    goes_on: bool,
}

/// A log being written. Each of its lines names the run that wrote it, by when that began.
#[derive(Debug)]
pub struct Log {
    folder: PathBuf,
    file: File,
    bytes: u64,
    limits: Limits,
    begun: [Begun; 2],
    lost: u64,
    run: u64,
}

impl Log {
    /// Goes on with the log in `folder`, with a new run.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn open(folder: &Path, limits: Limits) -> Result<Self, OpenLog> {
        let path = folder.join(CURRENT);
        let open = || {
            // What a program writes is not for other containers to read.
            durable::own_folder(folder)?;
            let file = own::open(&path)?;
            // Who reads the log reads it too.
            own::remove_another(&folder.join(PREVIOUS))?;
            let bytes = whole_lines(&file)?;
            if bytes < file.metadata()?.len() {
                file.set_len(bytes)?;
            }
            Ok((file, bytes))
        };
        let (file, bytes) = open().map_err(|source| OpenLog { path: path.clone(), source })?;
        let begun = [Begun::default(), Begun::default()];
        Ok(Self { folder: folder.to_owned(), file, bytes, limits, begun, lost: 0, run: now_us() })
    }

    /// Remembers this run as the latest of the unit's program, beside the log: one that writes nothing is a run as well.
    pub fn note_run(&self) {
        let path = self.folder.join(LOG_RUNS);
        let known = read_small(&path, RUNS_MAX_BYTES).ok().flatten();
        let known: Option<LogRuns> = known.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        let runs = LogRuns { latest: self.run, before: known.map(|known| known.latest) };
        let note = || -> io::Result<()> {
            durable::note(&path, &serde_json::to_vec(&runs)?).map_err(|error| error.source)
        };
        if note().is_err() {
            // What is out of date would hide runs; without it, the log says which runs wrote something.
            drop(own::remove(&path));
        }
    }

    /// Takes what the container wrote to one of its streams.
    pub fn take(&mut self, stream: Stream, bytes: &[u8]) {
        let time_us = now_us();
        let mut out = Vec::new();
        let mut count = 0;
        let [stdout, stderr] = &mut self.begun;
        let begun = match stream {
            Stream::Stdout => stdout,
            Stream::Stderr => stderr,
        };
        for byte in bytes {
            if *byte == b'\n' {
                frame(&mut out, self.run, LineOf { time_us, stream, goes_on: false }, &begun.held);
                count += 1;
                *begun = Begun::default();
                continue;
            }
            if begun.held.len() >= self.limits.line_max_bytes {
                // A line that is nothing but the beginning of a character has to be cut somewhere.
                let whole = whole_characters(&begun.held).unwrap_or(begun.held.len());
                let rest = begun.held.split_off(whole);
                frame(&mut out, self.run, LineOf { time_us, stream, goes_on: true }, &begun.held);
                count += 1;
                (begun.held, begun.goes_on) = (rest, true);
            }
            begun.held.push(*byte);
        }
        if !begun.held.is_empty() {
            begun.since.get_or_insert_with(Instant::now);
        }
        self.write(&out, count);
    }

    /// When [`Self::let_go`] is to be called.
    #[must_use]
    pub fn due(&self) -> Option<Instant> {
        self.begun.iter().filter_map(|begun| begun.since).min().map(|since| since + HELD_MAX)
    }

    /// Writes what has been held for long enough of lines whose ends have not come.
    pub fn let_go(&mut self, now: Instant) {
        let mut out = Vec::new();
        let mut count = 0;
        for (stream, begun) in [Stream::Stdout, Stream::Stderr].into_iter().zip(&mut self.begun) {
            if begun.since.is_none_or(|since| since + HELD_MAX > now) {
                continue;
            }
            begun.since = None;
            // Half a character waits for its other half, or for its line's end.
            let Some(whole) = whole_characters(&begun.held) else { continue };
            let rest = begun.held.split_off(whole);
            let of = LineOf { time_us: now_us(), stream, goes_on: true };
            frame(&mut out, self.run, of, &begun.held);
            count += 1;
            (begun.held, begun.goes_on) = (rest, true);
        }
        self.write(&out, count);
    }

    /// Writes what was not ended by a newline, and where pieces of it are written already, that it ends here.
    pub fn finish(&mut self) {
        let mut out = Vec::new();
        let mut count = 0;
        for (stream, begun) in [Stream::Stdout, Stream::Stderr].into_iter().zip(&mut self.begun) {
            if !begun.held.is_empty() || begun.goes_on {
                let of = LineOf { time_us: now_us(), stream, goes_on: false };
                frame(&mut out, self.run, of, &begun.held);
                count += 1;
                *begun = Begun::default();
            }
        }
        self.write(&out, count);
    }

    fn write(&mut self, lines: &[u8], count: u64) {
        if lines.is_empty() {
            return;
        }
        if self.bytes >= self.limits.file_max_bytes {
            self.rotate();
        }
        if self.lost > 0 {
            let notice = format!("ferrite: {} lines before this one could not be kept", self.lost);
            let mut framed = Vec::new();
            let of = LineOf { time_us: now_us(), stream: Stream::Stderr, goes_on: false };
            frame(&mut framed, self.run, of, notice.as_bytes());
            if self.append(&framed).is_ok() {
                self.lost = 0;
            }
        }
        if self.append(lines).is_err() {
            self.lost = self.lost.saturating_add(count);
        }
    }

    /// A part of a line that a full disk cut is taken away again.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let written = self.file.write_all(bytes);
        if let Err(error) = written {
            self.file.set_len(self.bytes)?;
            return Err(error);
        }
        self.bytes += bytes.len() as u64;
        Ok(())
    }

    /// On failure the log goes on in the old file: longer than it should be is better than lost.
    fn rotate(&mut self) {
        let (current, previous) = (self.folder.join(CURRENT), self.folder.join(PREVIOUS));
        let next = own::rename(&current, &previous).and_then(|()| own::open(&current));
        if let Ok(file) = next {
            self.file = file;
            self.bytes = 0;
        }
    }
}

/// Length of the file up to the end of its last whole line: a power cut may have torn the one after it, and what
/// follows must not become a part of that.
fn whole_lines(file: &File) -> io::Result<u64> {
    let mut end = file.metadata()?.len();
    let mut block = [0; 4096];
    while end > 0 {
        let start = end.saturating_sub(block.len() as u64);
        let length = usize::try_from(end - start).unwrap_or(block.len());
        let read = block.get_mut(..length).unwrap_or_default();
        file.read_exact_at(read, start)?;
        if let Some(newline) = read.iter().rposition(|byte| *byte == b'\n') {
            return Ok(start + newline as u64 + 1);
        }
        end = start;
    }
    Ok(0)
}

/// What is said of a line.
struct LineOf {
    time_us: u64,
    stream: Stream,
    goes_on: bool,
}

fn frame(out: &mut Vec<u8>, run: u64, of: LineOf, line: &[u8]) {
    let LineOf { time_us, stream, goes_on: partial } = of;
    let line = String::from_utf8_lossy(line).into_owned();
    let line = LogLine { time_us, stream, run, line, partial };
    // Serialising strings and numbers into memory cannot fail; a line that did would be left out.
    if serde_json::to_writer(&mut *out, &line).is_ok() {
        out.push(b'\n');
    }
}

/// Where a line is cut: before a character of which only the beginning is there. Nothing where there is nothing else.
fn whole_characters(bytes: &[u8]) -> Option<usize> {
    let whole = bytes.len();
    let begun = bytes.iter().rev().take(3).position(|byte| byte & 0b1100_0000 != 0b1000_0000);
    let Some(at) = begun.and_then(|back| whole.checked_sub(back + 1)) else { return Some(whole) };
    let length = match bytes.get(at) {
        Some(0b1100_0000..=0b1101_1111) => 2,
        Some(0b1110_0000..=0b1110_1111) => 3,
        Some(0b1111_0000..=0b1111_0111) => 4,
        // A whole character, or none at all.
        Some(_) | None => return Some(whole),
    };
    let cut = if at + length > whole { at } else { whole };
    (cut > 0).then_some(cut)
}

fn now_us() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
