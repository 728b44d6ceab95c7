//! A moment as people write it: so long ago, or a time.

use std::time::{Duration, SystemTime};

/// A moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// So long before now, by the node's clock.
    Ago(Duration),
    /// This time.
    At(SystemTime),
}

/// It is neither a length of time nor a time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("write how long ago, such as `10m` or `2h 30s`, or a time, such as `2026-02-14T09:30:00Z`")]
pub struct NoMoment;

/// Understands `10m`, `2026-02-14T09:30:00Z` and `2026-02-14 09:30:00` (UTC).
///
/// # Errors
/// See [`NoMoment`].
pub fn parse(text: &str) -> Result<Moment, NoMoment> {
    if let Ok(ago) = humantime::parse_duration(text) {
        return Ok(Moment::Ago(ago));
    }
    humantime::parse_rfc3339_weak(text).map(Moment::At).map_err(|_neither| NoMoment)
}

impl Moment {
    /// The moment as a parameter of a request: `since_ago_us=…` or `since_us=…`.
    #[must_use]
    pub fn parameter(&self, name: &str) -> String {
        match self {
            Self::Ago(ago) => format!("{name}_ago_us={}", ago.as_micros()),
            Self::At(time) => {
                let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
                format!("{name}_us={}", since.as_micros())
            }
        }
    }
}

/// Microseconds since the epoch as people and programs read them.
#[must_use]
pub fn timestamp(epoch_us: u64) -> String {
    SystemTime::UNIX_EPOCH
        .checked_add(Duration::from_micros(epoch_us))
        .map_or_else(String::new, |time| humantime::format_rfc3339_micros(time).to_string())
}

#[cfg(test)]
mod tests {
    use super::{parse, timestamp};

    fn check(text: &str, expected: Option<&str>) {
        let found = parse(text).ok().map(|moment| moment.parameter("since"));
        assert_eq!(found.as_deref(), expected, "{text:?}");
    }

    #[test]
    fn moments() {
        check("10m", Some("since_ago_us=600000000"));
        check("1h 1s", Some("since_ago_us=3601000000"));
        check("2001-09-09T01:46:40Z", Some("since_us=1000000000000000"));
        check("2001-09-09 01:46:40", Some("since_us=1000000000000000"));
        check("yesterday", None);
        check("", None);
    }

    #[test]
    fn a_timestamp_is_understood_again() {
        assert_eq!(timestamp(1_000_000_000_000_123), "2001-09-09T01:46:40.000123Z");
        let moment = parse(&timestamp(1_000_000_000_000_123)).unwrap();
        assert_eq!(moment.parameter("until"), "until_us=1000000000000123");
    }
}
