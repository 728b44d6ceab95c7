//! Which lines of a log someone asks for.

use ferrite_schema::api::{LogLine, Stream};

/// Which lines someone asks for. All conditions must hold.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Filter {
    /// Not before this time, microseconds since the epoch.
    pub since_us: Option<u64>,
    /// Before this time.
    pub until_us: Option<u64>,
    /// Of this stream.
    pub stream: Option<Stream>,
    /// Of this run.
    pub run: Option<u64>,
    /// Of any run but this.
    pub not_run: Option<u64>,
}

impl Filter {
    /// The line is asked for.
    #[must_use]
    pub fn takes(&self, line: &LogLine) -> bool {
        self.since_us.is_none_or(|since| line.time_us >= since)
            && self.until_us.is_none_or(|until| line.time_us < until)
            && self.stream.is_none_or(|stream| line.stream == stream)
            && self.run.is_none_or(|run| line.run == run)
            && self.not_run.is_none_or(|run| line.run != run)
    }

    /// Like [`Self::takes`], for a line as it stands in a file. One that cannot be understood, because a power
    /// cut tore it, is nobody's.
    #[must_use]
    pub fn takes_bytes(&self, line: &[u8]) -> bool {
        serde_json::from_slice(line).is_ok_and(|line| self.takes(&line))
    }
}
