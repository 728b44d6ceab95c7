//! When a server wants to be left alone: what it says about that, and what is remembered of it, so that neither other layers,
//! nor other pulls, nor a unit that is started again ask it meanwhile.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use ferrite_schema::utc;
use hyper::StatusCode;
use hyper::header::{self, HeaderMap};

use super::address::Origin;

/// Longest time that is believed: limits are counted by the hour or the day.
const ASKED_MAX: Duration = Duration::from_secs(7 * 24 * 3600);
/// Longest time that a server is not asked: whoever lifts its limit does not tell us.
const KEPT_MAX: Duration = Duration::from_secs(3600);

/// How long a server wants to be left alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rest {
    /// From now on.
    pub left: Duration,
    /// The end by this node's clock, seconds since the epoch.
    pub until_s: u64,
    /// Because it was asked too often, and not because it is busy with itself.
    pub by_rate: bool,
}

impl Rest {
    fn beginning(left: Duration, now: SystemTime, by_rate: bool) -> Self {
        let now_s = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        // A time in a message never ends before what it speaks of.
        let until = now_s.saturating_add(left).saturating_add(Duration::from_millis(999));
        Self { left, until_s: until.as_secs(), by_rate }
    }
}

impl fmt::Display for Rest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let why = if self.by_rate { "its rate limit is reached, and " } else { "" };
        write!(formatter, "{why}it wants to be left alone until {}", utc::text(self.until_s))
    }
}

/// What an answer asks for: seconds, or a date that counts from the answer's own.
#[must_use]
pub fn asked(status: StatusCode, headers: &HeaderMap, now: SystemTime) -> Option<Rest> {
    // Some limit by 403; others give a date with answers that have nothing to do with how often they are asked.
    if !matches!(status.as_u16(), 403 | 429 | 503) {
        return None;
    }
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let left = if digits(whole) && digits(part) {
        // What does not fit is for ever.
        let whole = Duration::from_secs(whole.parse().unwrap_or(u64::MAX));
        let begun = part.bytes().any(|byte| byte != b'0');
        whole.saturating_add(Duration::from_secs(u64::from(begun)))
    } else {
        let date = |text: &str| httpdate::parse_http_date(text).ok();
        let own = headers.get(header::DATE).and_then(|text| date(text.to_str().ok()?.trim()));
        // What is over asks for nothing.
        date(text)?.duration_since(own.unwrap_or(now)).unwrap_or_default()
    };
    let by_rate = status != StatusCode::SERVICE_UNAVAILABLE;
    Some(Rest::beginning(left.min(ASKED_MAX), now, by_rate))
}

/// Servers that are left alone, and until when.
#[derive(Debug, Default)]
pub(super) struct Rests {
    kept: Mutex<HashMap<Origin, (Instant, Rest)>>,
}

impl Rests {
    pub(super) fn keep(&self, origin: &Origin, rest: Rest) {
        let now = Instant::now();
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|_, (end, _)| *end > now);
        if let Some(end) = now.checked_add(rest.left.min(KEPT_MAX)) {
            kept.insert(origin.clone(), (end, rest));
        }
    }

    pub(super) fn of(&self, origin: &Origin) -> Option<Rest> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let (end, rest) = kept.get(origin)?;
        let left = end.checked_duration_since(Instant::now())?;
        (!left.is_zero()).then_some(Rest { left, ..*rest })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-11-30 12:00:00 UTC.
    const NOW_S: u64 = 1_796_040_000;

    fn check(status: u16, retry: Option<&str>, date: Option<&str>, expected_s: Option<u64>) {
        let mut headers = HeaderMap::new();
        for (name, text) in [(header::RETRY_AFTER, retry), (header::DATE, date)] {
            if let Some(text) = text {
                headers.insert(name, text.parse().unwrap());
            }
        }
        let now = UNIX_EPOCH + Duration::from_secs(NOW_S);
        let rest = asked(StatusCode::from_u16(status).unwrap(), &headers, now);
        assert_eq!(rest.map(|rest| rest.left.as_secs()), expected_s, "{status} {retry:?} {date:?}");
        assert_eq!(rest.map(|rest| rest.until_s - NOW_S), expected_s);
    }

    #[test]
    fn a_rest_is_asked_for_in_seconds_or_by_a_date() {
        let week = Some(7 * 24 * 3600);
        for (text, expected) in [
            ("0", Some(0)),
            ("120", Some(120)),
            (" 7 ", Some(7)),
            ("1.2", Some(2)),
            ("3.0", Some(3)),
            ("99999999999", week),
            ("99999999999999999999999999", week),
            ("Mon, 30 Nov 2026 12:01:30 GMT", Some(90)),
            ("Monday, 30-Nov-26 12:01:30 GMT", Some(90)),
            ("Mon Nov 30 12:01:30 2026", Some(90)),
            ("Mon, 30 Nov 2026 11:00:00 GMT", Some(0)),
            ("Fri, 30 Nov 2096 11:00:00 GMT", week),
            ("", None),
            ("-5", None),
            ("1e3", None),
            ("soon", None),
        ] {
            for status in [403, 429, 503] {
                check(status, Some(text), None, expected);
            }
            check(500, Some(text), None, None);
            check(404, Some(text), None, None);
        }
        check(429, None, None, None);
    }

    #[test]
    fn a_date_counts_from_the_answers_own() {
        let after = Some("Mon, 30 Nov 2026 08:00:10 GMT");
        check(429, after, Some("Mon, 30 Nov 2026 08:00:00 GMT"), Some(10));
        check(429, after, Some("nonsense"), Some(0));
        check(429, Some("5"), Some("Mon, 30 Nov 2026 08:00:00 GMT"), Some(5));
    }

    #[test]
    fn a_rest_is_kept_for_its_server_alone_and_for_an_hour_at_most() {
        let rests = Rests::default();
        let origin = |port| Origin { secure: true, host: "a.example".to_owned(), port };
        let rest = |s| Rest::beginning(Duration::from_secs(s), SystemTime::now(), true);
        rests.keep(&origin(1), rest(7200));
        assert_eq!(rests.of(&origin(2)), None);
        let kept = rests.of(&origin(1)).unwrap();
        assert!(kept.left <= KEPT_MAX && kept.left > KEPT_MAX / 2, "{kept:?}");
        assert_eq!(kept.until_s, rests.of(&origin(1)).unwrap().until_s);
        rests.keep(&origin(1), rest(0));
        assert_eq!(rests.of(&origin(1)), None);
    }
}
