//! Amounts and times as systemd, Docker and rkt write them.

use ferrite_schema::unit::Bytes;

/// A length of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Span {
    /// It has no end.
    Infinite,
    /// Milliseconds.
    Ms(u64),
}

impl Span {
    /// Whole seconds, a begun one counted, at most `most`; `None` where it has no end.
    pub(crate) fn seconds(self, most: u32) -> Option<u32> {
        match self {
            Self::Infinite => None,
            Self::Ms(ms) => Some(u32::try_from(ms.div_ceil(1000)).unwrap_or(u32::MAX).min(most)),
        }
    }
}

/// systemd's units of time, in microseconds; seconds where there is none.
const TIMES: [(&[&str], u64); 9] = [
    (&["us", "usec", "µs"], 1),
    (&["ms", "msec"], 1000),
    (&["", "s", "sec", "second", "seconds"], 1_000_000),
    (&["m", "min", "minute", "minutes"], 60_000_000),
    (&["h", "hr", "hour", "hours"], 3_600_000_000),
    (&["d", "day", "days"], 86_400_000_000),
    (&["w", "week", "weeks"], 604_800_000_000),
    (&["M", "month", "months"], 2_629_800_000_000),
    (&["y", "year", "years"], 31_557_600_000_000),
];

/// `5min 20s`, `1.5h`, `30`, `infinity`, as in `systemd.time(7)`.
pub(crate) fn time_span(text: &str) -> Option<Span> {
    let text = text.trim();
    if text == "infinity" {
        return Some(Span::Infinite);
    }
    let mut rest = text;
    let mut micros = 0_u64;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, after) = rest.split_at(end);
        let after = after.trim_start();
        let end = after.find(|c: char| !c.is_alphabetic()).unwrap_or(after.len());
        let (unit, after) = after.split_at(end);
        let (_, each) = TIMES.iter().find(|(names, _)| names.contains(&unit))?;
        micros = micros.checked_add(times(number, *each)?)?;
        rest = after.trim_start();
    }
    (!text.is_empty()).then_some(Span::Ms(micros.div_ceil(1000)))
}

/// Go's durations, `1m30s` or `1.5h`; a number without a unit is refused, but for `0`.
pub(crate) fn go_duration(text: &str) -> Option<Span> {
    let unit = |c: char| c.is_alphabetic();
    if text != "0" && (!text.ends_with(unit) || text.contains(char::is_whitespace)) {
        return None;
    }
    let known = |part: &str| matches!(part, "" | "h" | "m" | "s" | "ms" | "us" | "µs");
    text.split(|c: char| c.is_ascii_digit() || c == '.').all(known).then(|| time_span(text))?
}

/// `512m`, `1.5g`, `1024`, `2GiB`: powers of 1024, as Docker has it.
pub(crate) fn docker_bytes(text: &str) -> Option<Bytes> {
    let lower = text.trim().to_ascii_lowercase();
    let word = lower.strip_suffix('b').unwrap_or(&lower);
    let word = word.strip_suffix('i').unwrap_or(word);
    let (number, shift) = match word.chars().next_back()? {
        'k' => (word.strip_suffix('k')?, 10),
        'm' => (word.strip_suffix('m')?, 20),
        'g' => (word.strip_suffix('g')?, 30),
        't' => (word.strip_suffix('t')?, 40),
        _ => (word, 0),
    };
    times(number.trim_end(), 1_u64 << shift).map(Bytes)
}

/// A decimal number of so many, whole.
fn times(number: &str, each: u64) -> Option<u64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !digits(whole) || !digits(fraction) {
        return None;
    }
    // Six digits are more than any amount that is written with a point has.
    let fraction = fraction.get(..6).unwrap_or(fraction);
    let scale = 10_u128.pow(u32::try_from(fraction.len()).ok()?);
    let part = if fraction.is_empty() { 0 } else { fraction.parse::<u128>().ok()? };
    let all =
        u128::from(whole.parse::<u64>().ok()?) * u128::from(each) + part * u128::from(each) / scale;
    u64::try_from(all).ok()
}

/// Docker's and systemd's shares of processors, of which everybody has 1024, as Ferrite's weights, of which everybody has 100.
pub(crate) fn weight_of_shares(shares: u64) -> u16 {
    weight(shares, 1024)
}

/// A weight of which everybody has `usual`, as one of which everybody has 100.
pub(crate) fn weight(given: u64, usual: u64) -> u16 {
    let weight = given.saturating_mul(100) / usual.max(1);
    u16::try_from(weight.clamp(1, 10_000)).unwrap_or(100)
}

/// `50%`, of one processor.
pub(crate) fn percent(text: &str) -> Option<f64> {
    let percent: f64 = text.trim().strip_suffix('%')?.trim().parse().ok()?;
    percent.is_finite().then_some(percent / 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_systemd() {
        for (text, ms) in [
            ("30", Some(30_000)),
            ("0", Some(0)),
            ("5min 20s", Some(320_000)),
            ("1h30m", Some(5_400_000)),
            ("1.5h", Some(5_400_000)),
            ("100ms", Some(100)),
            ("1us", Some(1)),
            ("2 days", Some(172_800_000)),
            ("", None),
            ("soon", None),
            ("-5", None),
            ("5 parsecs", None),
            ("99999999999999999999y", None),
        ] {
            assert_eq!(time_span(text), ms.map(Span::Ms), "{text}");
        }
        assert_eq!(time_span("infinity"), Some(Span::Infinite));
        assert_eq!(Span::Ms(1).seconds(10), Some(1));
        assert_eq!(Span::Ms(20_000).seconds(10), Some(10));
    }

    #[test]
    fn times_of_go() {
        for (text, ms) in
            [("1m30s", Some(90_000)), ("0", Some(0)), ("30", None), ("1 m", None), ("3d", None)]
        {
            assert_eq!(go_duration(text), ms.map(Span::Ms), "{text}");
        }
    }

    #[test]
    fn amounts_of_docker() {
        for (text, bytes) in [
            ("512m", Some(512 << 20)),
            ("512M", Some(512 << 20)),
            ("512mb", Some(512 << 20)),
            ("1.5g", Some(1536 << 20)),
            ("2GiB", Some(2 << 30)),
            ("1024", Some(1024)),
            ("1024b", Some(1024)),
            ("", None),
            ("m", None),
            ("-1", None),
            ("9999999999999t", None),
            ("ä", None),
        ] {
            assert_eq!(docker_bytes(text), bytes.map(Bytes), "{text}");
        }
    }

    #[test]
    fn shares_are_weights() {
        assert_eq!(
            (weight_of_shares(1024), weight_of_shares(512), weight_of_shares(2)),
            (100, 50, 1)
        );
        assert_eq!((weight(u64::MAX, 1024), weight(500, 500)), (10_000, 100));
        assert_eq!((percent("50%"), percent("x%"), percent("50")), (Some(0.5), None, None));
    }
}
