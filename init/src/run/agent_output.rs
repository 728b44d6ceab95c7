//! Forwards what the agent prints to the kernel's log, and no more of it than a console can take.
//!
//! A line may start with `<N>`, N being a `syslog(3)` priority, as in `sd-daemon(3)`.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::fs::{OFlags, fcntl_setfl};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};

use crate::log::{self, Level};

/// Lines that may come at once: the agent says a few dozen when it starts.
const BURST_LINES: u32 = 200;
/// One line more per this time, in the long run: a serial console prints about a hundred per second.
const LINE_EVERY: Duration = Duration::from_millis(50);
/// While too much comes, the pipe is looked at this often, so that a flood costs PID 1 next to nothing.
const FLOOD_PAUSE: Duration = Duration::from_millis(100);
/// Read at once; a pipe holds as much.
const READ_MAX_BYTES: usize = 64 * 1024;
/// A line without an end is cut here.
const LINE_MAX_BYTES: usize = 1024;

/// The pipe that the agent prints to. It outlives each of the agent's processes.
#[derive(Debug)]
pub struct AgentOutput {
    read: OwnedFd,
    write: OwnedFd,
    lines: Lines,
    paused_until: Option<Duration>,
}

impl AgentOutput {
    /// Makes the pipe.
    ///
    /// # Errors
    /// There are too many open files.
    pub fn new(now: Duration) -> Result<Self, Errno> {
        let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
        // Only our end: the agent's prints wait for room as anybody's do.
        fcntl_setfl(&read, OFlags::NONBLOCK)?;
        Ok(Self { read, write, lines: Lines::new(now), paused_until: None })
    }

    /// The agent's end.
    #[must_use]
    pub fn write_end(&self) -> BorrowedFd<'_> {
        self.write.as_fd()
    }

    /// Our end, when it is to be polled.
    #[must_use]
    pub fn to_poll(&self) -> Option<BorrowedFd<'_>> {
        self.paused_until.is_none().then(|| self.read.as_fd())
    }

    /// When [`AgentOutput::forward`] is to be called even if nothing can be read.
    #[must_use]
    pub const fn deadline(&self) -> Option<Duration> {
        self.paused_until
    }

    /// Reads what is there and logs it.
    pub fn forward(&mut self, now: Duration) {
        if self.paused_until.is_some_and(|until| now < until) {
            return;
        }
        let mut buffer = vec![0; READ_MAX_BYTES];
        let bytes = match rustix::io::read(&self.read, &mut buffer) {
            Ok(length) => buffer.get(..length).unwrap_or_default(),
            Err(_) => &[],
        };
        let (lines, flooded) = self.lines.take(bytes, now);
        for (level, line) in lines {
            log::write_as("agent", level, format_args!("{line}"));
        }
        self.paused_until = flooded.then(|| now.saturating_add(FLOOD_PAUSE));
    }
}

/// Cuts bytes into lines and keeps to the rate.
#[derive(Debug)]
struct Lines {
    partial: Vec<u8>,
    /// Set after a line was cut: the rest of it is skipped.
    skipping: bool,
    tokens: u32,
    refilled: Duration,
    dropped: u64,
}

impl Lines {
    const fn new(now: Duration) -> Self {
        Self {
            partial: Vec::new(),
            skipping: false,
            tokens: BURST_LINES,
            refilled: now,
            dropped: 0,
        }
    }

    /// The lines to log, and whether some were dropped that are still to be told of.
    fn take(&mut self, bytes: &[u8], now: Duration) -> (Vec<(Level, String)>, bool) {
        self.refill(now);
        let mut lines = Vec::new();
        for byte in bytes {
            if *byte == b'\n' {
                let line = std::mem::take(&mut self.partial);
                if !std::mem::take(&mut self.skipping) {
                    self.accept(&line, &mut lines);
                }
            } else if self.skipping {
                // The rest of a line that was too long.
            } else if self.partial.len() == LINE_MAX_BYTES {
                let line = std::mem::take(&mut self.partial);
                self.accept(&line, &mut lines);
                self.skipping = true;
            } else {
                self.partial.push(*byte);
            }
        }
        self.tell_of_dropped(&mut lines);
        (lines, self.dropped > 0)
    }

    fn accept(&mut self, line: &[u8], lines: &mut Vec<(Level, String)>) {
        if line.is_empty() {
            return;
        }
        self.tell_of_dropped(lines);
        match self.tokens.checked_sub(1) {
            Some(tokens) if self.dropped == 0 => {
                self.tokens = tokens;
                let text = String::from_utf8_lossy(line);
                let (level, text) = split_priority(&text);
                lines.push((level, text.to_owned()));
            }
            Some(_) | None => self.dropped += 1,
        }
    }

    /// Needs two tokens, so that a line can follow the news of those that were lost.
    fn tell_of_dropped(&mut self, lines: &mut Vec<(Level, String)>) {
        if self.dropped > 0
            && let Some(tokens) = self.tokens.checked_sub(2)
        {
            self.tokens = tokens + 1;
            let text = format!("{} lines dropped: too many at once", self.dropped);
            lines.push((Level::Warning, text));
            self.dropped = 0;
        }
    }

    fn refill(&mut self, now: Duration) {
        while self.tokens < BURST_LINES && self.refilled + LINE_EVERY <= now {
            self.tokens += 1;
            self.refilled += LINE_EVERY;
        }
        if self.tokens == BURST_LINES {
            self.refilled = now;
        }
    }
}

fn split_priority(line: &str) -> (Level, &str) {
    let split = line.strip_prefix('<').and_then(|rest| rest.split_once('>'));
    match split {
        Some(("0" | "1" | "2", text)) => (Level::Critical, text),
        Some(("3", text)) => (Level::Error, text),
        Some(("4", text)) => (Level::Warning, text),
        Some(("5" | "6", text)) => (Level::Info, text),
        Some(("7", text)) => (Level::Debug, text),
        Some(_) | None => (Level::Info, line),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(1);

    fn texts(lines: Vec<(Level, String)>) -> Vec<String> {
        lines.into_iter().map(|(_, text)| text).collect()
    }

    #[test]
    fn lines_are_put_together_across_reads() {
        let mut lines = Lines::new(NOW);
        assert_eq!(lines.take(b"one\ntw", NOW).0, [(Level::Info, "one".to_owned())]);
        let (rest, flooded) = lines.take(b"o\n\n<3>bad\n<9>odd\n", NOW);
        assert_eq!(
            rest,
            [
                (Level::Info, "two".to_owned()),
                (Level::Error, "bad".to_owned()),
                (Level::Info, "<9>odd".to_owned())
            ]
        );
        assert!(!flooded);
    }

    #[test]
    fn a_line_without_end_takes_no_memory() {
        let mut lines = Lines::new(NOW);
        let mut out = Vec::new();
        for _ in 0..100 {
            out.extend(lines.take(&[b'x'; 4096], NOW).0);
            assert!(lines.partial.len() <= LINE_MAX_BYTES);
        }
        out.extend(lines.take(b"\nnext\n", NOW).0);
        let lengths: Vec<usize> = texts(out).iter().map(String::len).collect();
        assert_eq!(lengths, [LINE_MAX_BYTES, 4]);
    }

    #[test]
    fn a_flood_is_dropped_and_counted() {
        let mut lines = Lines::new(NOW);
        let flood = b"x\n".repeat(1_000);
        let (logged, flooded) = lines.take(&flood, NOW);
        assert_eq!(logged.len(), 200);
        assert!(flooded);
        // Still flooded a moment later: nothing is logged, everything is counted.
        let (logged, flooded) = lines.take(b"y\n", NOW + Duration::from_millis(60));
        assert_eq!((logged.len(), flooded), (0, true));
        let (logged, flooded) = lines.take(b"", NOW + Duration::from_millis(100));
        assert_eq!(texts(logged), ["801 lines dropped: too many at once"]);
        assert!(!flooded);
    }

    #[test]
    fn in_the_long_run_the_rate_holds() {
        let mut lines = Lines::new(NOW);
        let mut count = 0;
        for step in 0..600u32 {
            let now = NOW + Duration::from_millis(100) * step;
            count += lines.take(&b"x\n".repeat(50), now).0.len();
        }
        assert!((1_200..=1_420).contains(&count), "{count} lines in a minute");
    }
}
