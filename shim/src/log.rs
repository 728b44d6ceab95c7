//! The container's log on STATE: what it wrote, a [`LogLine`] as JSON per line, in two files of bounded size.
//!
//! A full disk never blocks the container: what cannot be written is counted, and the count is written once
//! there is room again.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use ferrite_files::small::read_small;
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
            DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
            // What a program writes is not for other containers to read.
            let file =
                File::options().mode(0o600).create(true).read(true).append(true).open(&path)?;
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
        let next = self.folder.join(format!("{LOG_RUNS}.next"));
        let note = || -> io::Result<()> {
            let mut file =
                File::options().mode(0o600).create(true).write(true).truncate(true).open(&next)?;
            file.write_all(&serde_json::to_vec(&runs)?)?;
            fs::rename(&next, &path)
        };
        if note().is_err() {
            // What is out of date would hide runs; without it, the log says which runs wrote something.
            drop(fs::remove_file(&path));
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
        let next = fs::rename(&current, &previous)
            .and_then(|()| File::options().mode(0o600).create(true).append(true).open(&current));
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
mod tests {
    use super::*;

    fn lines(path: &Path) -> Vec<LogLine> {
        let text = fs::read_to_string(path).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    #[test]
    fn lines_of_both_streams_are_framed_apart() {
        let folder = tempfile::tempdir().unwrap();
        let mut log = Log::open(folder.path(), LIMITS).unwrap();
        log.take(Stream::Stdout, b"one\ntw");
        log.take(Stream::Stderr, b"bad \xff\n");
        log.take(Stream::Stdout, b"o\n\nend");
        log.finish();
        let found: Vec<_> = lines(&folder.path().join(CURRENT))
            .into_iter()
            .map(|line| (line.stream, line.line))
            .collect();
        let expected = [
            (Stream::Stdout, "one"),
            (Stream::Stderr, "bad \u{fffd}"),
            (Stream::Stdout, "two"),
            (Stream::Stdout, ""),
            (Stream::Stdout, "end"),
        ];
        assert_eq!(found, expected.map(|(stream, line)| (stream, line.to_owned())));
    }

    #[test]
    fn long_lines_are_cut() {
        let folder = tempfile::tempdir().unwrap();
        let limits = Limits { line_max_bytes: 4, ..LIMITS };
        let mut log = Log::open(folder.path(), limits).unwrap();
        log.take(Stream::Stdout, b"12345678\n9\n");
        let found: Vec<_> = lines(&folder.path().join(CURRENT))
            .into_iter()
            .map(|line| (line.line, line.partial))
            .collect();
        let expected = [("1234", true), ("5678", false), ("9", false)];
        assert_eq!(found, expected.map(|(line, partial)| (line.to_owned(), partial)));
        let text = fs::read_to_string(folder.path().join(CURRENT)).unwrap();
        assert_eq!(text.lines().filter(|line| line.contains("partial")).count(), 1);
    }

    #[test]
    fn long_lines_are_cut_between_characters() {
        for before in 0..12 {
            let folder = tempfile::tempdir().unwrap();
            let limits = Limits { line_max_bytes: 4, ..LIMITS };
            let mut log = Log::open(folder.path(), limits).unwrap();
            let text = format!("{}a\u{e4}\u{20ac}\u{1f600}\u{1f600}", "x".repeat(before));
            // However it is cut on its way here.
            let (first, rest) = text.as_bytes().split_at(before.min(5));
            log.take(Stream::Stdout, first);
            log.take(Stream::Stdout, rest);
            log.take(Stream::Stdout, b"\n");
            let found = lines(&folder.path().join(CURRENT));
            let whole: String = found.iter().map(|line| line.line.as_str()).collect();
            assert_eq!(whole, text);
            let (last, pieces) = found.split_last().unwrap();
            assert!(!last.partial && pieces.iter().all(|piece| piece.partial), "{found:?}");
        }
    }

    #[test]
    fn bytes_that_are_no_characters_are_cut_all_the_same() {
        for bytes in [&[0xff; 9][..], &[0x80; 9], &[0xf0; 9], &[0xf0, 0x80, 0x80, 0xf0, 0xf0]] {
            let folder = tempfile::tempdir().unwrap();
            let limits = Limits { line_max_bytes: 4, ..LIMITS };
            let mut log = Log::open(folder.path(), limits).unwrap();
            log.take(Stream::Stdout, bytes);
            log.finish();
            let found = lines(&folder.path().join(CURRENT));
            assert!(found.iter().all(|line| !line.line.is_empty()), "{found:?}");
            assert!(log.partial.iter().all(|partial| partial.len() <= 4));
        }
    }

    #[test]
    fn the_last_two_runs_are_known_whatever_they_wrote() {
        let folder = tempfile::tempdir().unwrap();
        let known = || -> LogRuns {
            serde_json::from_slice(&fs::read(folder.path().join(LOG_RUNS)).unwrap()).unwrap()
        };
        let first = Log::open(folder.path(), LIMITS).unwrap();
        first.note_run();
        assert_eq!(known(), LogRuns { latest: first.run, before: None });
        let second = Log { run: first.run + 1, ..Log::open(folder.path(), LIMITS).unwrap() };
        second.note_run();
        assert_eq!(known(), LogRuns { latest: second.run, before: Some(first.run) });
        fs::write(folder.path().join(LOG_RUNS), "torn").unwrap();
        second.note_run();
        assert_eq!(known(), LogRuns { latest: second.run, before: None });
        // Where it cannot be noted, nothing is better than what is wrong.
        fs::create_dir(folder.path().join(format!("{LOG_RUNS}.next"))).unwrap();
        second.note_run();
        assert!(!folder.path().join(LOG_RUNS).exists());
    }

    #[test]
    fn two_files_of_bounded_size_hold_the_newest_lines() {
        let folder = tempfile::tempdir().unwrap();
        let limits = Limits { file_max_bytes: 1000, ..LIMITS };
        let mut log = Log::open(folder.path(), limits).unwrap();
        for number in 0..200 {
            log.take(Stream::Stdout, format!("{number}\n").as_bytes());
        }
        drop(log);
        // A shim that goes on does so in the same file.
        let mut log = Log::open(folder.path(), limits).unwrap();
        log.take(Stream::Stdout, b"200\n");
        let mut all = lines(&folder.path().join(PREVIOUS));
        all.extend(lines(&folder.path().join(CURRENT)));
        let numbers: Vec<u32> = all.iter().map(|line| line.line.parse().unwrap()).collect();
        assert_eq!(numbers.last(), Some(&200));
        assert!(numbers.windows(2).all(|pair| pair[0] + 1 == pair[1]));
        for name in [CURRENT, PREVIOUS] {
            assert!(fs::metadata(folder.path().join(name)).unwrap().len() < 1100);
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    }

    #[test]
    fn a_line_that_a_power_cut_tore_is_taken_away() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(CURRENT);
        for torn in ["{\"time_us\":1,\"str".to_owned(), "\0".repeat(10_000)] {
            let mut log = Log::open(folder.path(), LIMITS).unwrap();
            log.take(Stream::Stdout, b"whole\n");
            let whole = fs::read(&path).unwrap();
            fs::write(&path, [&whole, torn.as_bytes()].concat()).unwrap();
            let mut log = Log::open(folder.path(), LIMITS).unwrap();
            assert_eq!(fs::read(&path).unwrap(), whole);
            log.take(Stream::Stdout, b"next\n");
            assert_eq!(lines(&path).pop().unwrap().line, "next");
            assert_eq!(log.bytes, fs::metadata(&path).unwrap().len());
        }
        fs::write(&path, "torn from the first byte on").unwrap();
        Log::open(folder.path(), LIMITS).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"");
    }

    #[test]
    fn what_a_full_disk_cannot_keep_is_counted() {
        let folder = tempfile::tempdir().unwrap();
        let mut log = Log::open(folder.path(), LIMITS).unwrap();
        log.file = File::options().write(true).open("/dev/full").unwrap();
        log.take(Stream::Stdout, b"a\nb\n");
        assert_eq!(log.lost, 2);
        log.file = File::options().append(true).open(folder.path().join(CURRENT)).unwrap();
        log.take(Stream::Stdout, b"c\n");
        let found: Vec<_> =
            lines(&folder.path().join(CURRENT)).into_iter().map(|line| line.line).collect();
        assert_eq!(found, ["ferrite: 2 lines before this one could not be kept", "c"]);
    }
}
