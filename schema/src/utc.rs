//! Moments as people read them: UTC, from seconds since the epoch.

/// Seconds of a day; UTC as computers count it has no leap seconds.
pub const DAY_S: u64 = 24 * 60 * 60;

/// A date of the Gregorian calendar.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Date {
    /// Year.
    pub year: u64,
    /// Month, 1 to 12.
    pub month: u32,
    /// Day, 1 to 31.
    pub day: u32,
}

/// The date of the day with this number; day 0 is 1970-01-01.
#[must_use]
pub fn date(day_number: u64) -> Date {
    let (mut year, mut left) = (1970, day_number);
    while left >= year_days(year) {
        left -= year_days(year);
        year += 1;
    }
    let mut month = 1;
    while left >= u64::from(month_days(year, month)) {
        left -= u64::from(month_days(year, month));
        month += 1;
    }
    // Less than the days of a month.
    Date { year, month, day: u32::try_from(left).unwrap_or(0) + 1 }
}

/// Day of the week of the day with this number: 0 is Sunday.
#[must_use]
pub fn weekday(day_number: u64) -> u32 {
    // 1970-01-01 was a Thursday.
    u32::try_from((day_number + 4) % 7).unwrap_or(0)
}

const fn is_leap(year: u64) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

const fn year_days(year: u64) -> u64 {
    if is_leap(year) { 366 } else { 365 }
}

const fn month_days(year: u64, month: u32) -> u32 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// `2026-11-23 07:15:02 UTC`.
#[must_use]
pub fn text(epoch_s: u64) -> String {
    let Date { year, month, day } = date(epoch_s / DAY_S);
    let (hour, minute, second) = (epoch_s / 3600 % 24, epoch_s / 60 % 60, epoch_s % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02} UTC")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_moments() {
        for (epoch_s, expected) in [
            (0, "1970-01-01 00:00:00 UTC"),
            (951_782_400, "2000-02-29 00:00:00 UTC"),
            (1_000_000_000, "2001-09-09 01:46:40 UTC"),
            (4_107_542_399, "2100-02-28 23:59:59 UTC"),
            (4_107_542_400, "2100-03-01 00:00:00 UTC"),
        ] {
            assert_eq!(text(epoch_s), expected);
        }
        assert_eq!(weekday(0), 4);
        assert_eq!(weekday(1_000_000_000 / DAY_S), 0);
    }
}
