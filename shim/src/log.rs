//! The container's log on STATE: what it wrote, a [`LogLine`] as JSON per line, in two files of bounded size.
//!
//! A full disk never blocks the container: what cannot be written is counted, and the count is written once
//! there is room again.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use ferrite_files::small::read_small;
use ferrite_files::{durable, own};
use ferrite_schema::api::{LogLine, Stream};
use ferrite_schema::shim::{LOG_CURRENT as CURRENT, LOG_PREVIOUS as PREVIOUS, LOG_RUNS, LogRuns};

/// Size at which a file is rotated, and longest line. Two files of this size per unit are what STATE pays at most.
pub const LIMITS: Limits = Limits { file_max_bytes: 8 << 20, line_max_bytes: 16 << 10 };

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

/// A log being written. Each of its lines names the run that wrote it, by when that began.
#[derive(Debug)]
pub struct Log {
    folder: PathBuf,
    file: File,
    bytes: u64,
    limits: Limits,
    partial: [Vec<u8>; 2],
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
            let bytes = whole_lines(&file)?;
            if bytes < file.metadata()?.len() {
                file.set_len(bytes)?;
            }
            Ok((file, bytes))
        };
        let (file, bytes) = open().map_err(|source| OpenLog { path: path.clone(), source })?;
        let partial = [Vec::new(), Vec::new()];
        Ok(Self { folder: folder.to_owned(), file, bytes, limits, partial, lost: 0, run: now_us() })
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
        for byte in bytes {
            let [stdout, stderr] = &mut self.partial;
            let partial = match stream {
                Stream::Stdout => stdout,
                Stream::Stderr => stderr,
            };
            if *byte == b'\n' {
                frame(&mut out, self.run, LineOf { time_us, stream, goes_on: false }, partial);
                count += 1;
                partial.clear();
                continue;
            }
            if partial.len() >= self.limits.line_max_bytes {
                let rest = partial.split_off(whole_characters(partial));
                frame(&mut out, self.run, LineOf { time_us, stream, goes_on: true }, partial);
                count += 1;
                *partial = rest;
            }
            partial.push(*byte);
        }
        self.write(&out, count);
    }

    /// Writes what was not ended by a newline.
    pub fn finish(&mut self) {
        let mut out = Vec::new();
        let mut count = 0;
        for (stream, partial) in [Stream::Stdout, Stream::Stderr].into_iter().zip(&mut self.partial)
        {
            if !partial.is_empty() {
                let of = LineOf { time_us: now_us(), stream, goes_on: false };
                frame(&mut out, self.run, of, partial);
                count += 1;
                partial.clear();
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

/// Where a line that is too long is cut: before a character of which only the beginning is there.
fn whole_characters(bytes: &[u8]) -> usize {
    let whole = bytes.len();
    let begun = bytes.iter().rev().take(3).position(|byte| byte & 0b1100_0000 != 0b1000_0000);
    let Some(at) = begun.and_then(|back| whole.checked_sub(back + 1)) else { return whole };
    let length = match bytes.get(at) {
        Some(0b1100_0000..=0b1101_1111) => 2,
        Some(0b1110_0000..=0b1110_1111) => 3,
        Some(0b1111_0000..=0b1111_0111) => 4,
        // A whole character, or none at all.
        Some(_) | None => return whole,
    };
    // A line that is nothing but the beginning of a character has to be cut somewhere.
    if at > 0 && at + length > whole { at } else { whole }
}

fn now_us() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
