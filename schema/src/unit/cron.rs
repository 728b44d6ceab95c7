//! `crontab(5)` fields: when a unit is started by the clock, in UTC.

use crate::utc::{self, DAY_S};

/// Days that are searched for a match: the rarest, a 29th of February on a given weekday, comes within 40 years.
const SEARCH_DAYS: u64 = 366 * 41;

const MONTHS: [&str; 12] =
    ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const WEEKDAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

/// When something happens again and again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cron {
    minutes: u64,
    hours: u64,
    days: u64,
    months: u64,
    weekdays: u64,
    /// Both day fields are restricted: then one of them is enough, as cron has always had it.
    either_day: bool,
}

/// What a field is about.
struct Field {
    what: &'static str,
    first: u32,
    last: u32,
    names: &'static [&'static str],
}

const FIELDS: [Field; 5] = [
    Field { what: "minute", first: 0, last: 59, names: &[] },
    Field { what: "hour", first: 0, last: 23, names: &[] },
    Field { what: "day of month", first: 1, last: 31, names: &[] },
    Field { what: "month", first: 1, last: 12, names: &MONTHS },
    Field { what: "day of week", first: 0, last: 7, names: &WEEKDAYS },
];

impl Cron {
    /// Reads five fields, `@hourly`, `@daily`, `@weekly`, `@monthly` or `@yearly`.
    ///
    /// # Errors
    /// What is wrong with it and what to do.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = match text.trim() {
            "@hourly" => "0 * * * *",
            "@daily" | "@midnight" => "0 0 * * *",
            "@weekly" => "0 0 * * 0",
            "@monthly" => "0 0 1 * *",
            "@yearly" | "@annually" => "0 0 1 1 *",
            other => other,
        };
        let words: Vec<&str> = text.split_whitespace().collect();
        let [minute, hour, day, month, weekday] = words[..] else {
            return Err(format!(
                "`{text}` has {} fields; write five: minute hour day-of-month month day-of-week, in UTC",
                words.len()
            ));
        };
        let [of_minute, of_hour, of_day, of_month, of_weekday] = &FIELDS;
        let weekdays = of_weekday.set(weekday)?;
        let cron = Self {
            minutes: of_minute.set(minute)?,
            hours: of_hour.set(hour)?,
            days: of_day.set(day)?,
            months: of_month.set(month)?,
            // 7 is Sunday too.
            weekdays: (weekdays | weekdays >> 7) & 0x7f,
            either_day: !day.starts_with('*') && !weekday.starts_with('*'),
        };
        match cron.next_after(0) {
            Some(_) => Ok(cron),
            None => Err(format!("`{text}` never comes: no month has such a day")),
        }
    }

    /// The first moment after `epoch_s`, in seconds since the epoch.
    #[must_use]
    pub fn next_after(&self, epoch_s: u64) -> Option<u64> {
        let from = epoch_s / 60 * 60 + 60;
        (from / DAY_S..from / DAY_S + SEARCH_DAYS)
            .filter(|day| self.has_day(*day))
            .find_map(|day| self.minute_of(day, from.saturating_sub(day * DAY_S) / 60))
    }

    fn has_day(&self, day_number: u64) -> bool {
        let date = utc::date(day_number);
        let of_month = has(self.days, date.day);
        let of_week = has(self.weekdays, utc::weekday(day_number));
        let fits = if self.either_day { of_month || of_week } else { of_month && of_week };
        fits && has(self.months, date.month)
    }

    /// The first matching minute of a day, not before the minute `from`.
    fn minute_of(&self, day_number: u64, from: u64) -> Option<u64> {
        let minute = (from..DAY_S / 60).find(|minute| {
            let in_set = |set: u64, value: u64| set >> value & 1 == 1;
            in_set(self.hours, minute / 60) && in_set(self.minutes, minute % 60)
        })?;
        Some(day_number * DAY_S + minute * 60)
    }
}

const fn has(set: u64, value: u32) -> bool {
    set >> value & 1 == 1
}

impl Field {
    /// The set of values that a field names: `*`, `5`, `1-5`, `*/15`, `1,3,5`, `mon-fri`.
    fn set(&self, text: &str) -> Result<u64, String> {
        let mut set = 0;
        for part in text.split(',') {
            let (range, step) = match part.split_once('/') {
                Some((range, step)) => (range, self.step(step, part)?),
                None => (part, 1),
            };
            let (first, last) = match range.split_once('-') {
                _ if range == "*" => (self.first, self.last),
                Some((first, last)) => (self.value(first)?, self.value(last)?),
                None if part.contains('/') => (self.value(range)?, self.last),
                None => (self.value(range)?, self.value(range)?),
            };
            if first > last {
                return Err(format!("{}: `{part}` runs backwards", self.what));
            }
            for value in (first..=last).step_by(step) {
                set |= 1 << value;
            }
        }
        Ok(set)
    }

    fn step(&self, text: &str, part: &str) -> Result<usize, String> {
        match text.parse::<usize>() {
            Ok(step) if step > 0 => Ok(step),
            Ok(_) | Err(_) => Err(format!("{}: `{part}` must step by a number from 1", self.what)),
        }
    }

    fn value(&self, text: &str) -> Result<u32, String> {
        let lower = text.to_ascii_lowercase();
        let named = self.names.iter().zip(self.first..).find(|(name, _)| **name == lower);
        let number = named.map(|(_, number)| number).or_else(|| text.parse().ok());
        number.filter(|number| (self.first..=self.last).contains(number)).ok_or_else(|| {
            format!("{}: `{text}` is not {} to {}", self.what, self.first, self.last)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The moments that follow 2026-11-23 07:15:02 UTC, a Monday.
    fn check(text: &str, expected: &[&str]) {
        let cron = Cron::parse(text).unwrap();
        let mut now = 1_795_418_102;
        assert_eq!(utc::text(now), "2026-11-23 07:15:02 UTC");
        for moment in expected {
            now = cron.next_after(now).unwrap();
            assert_eq!(utc::text(now), format!("{moment}:00 UTC"), "{text}");
        }
    }

    #[test]
    fn moments() {
        check("* * * * *", &["2026-11-23 07:16", "2026-11-23 07:17"]);
        check("0 3 * * *", &["2026-11-24 03:00", "2026-11-25 03:00"]);
        check("*/20 7 * * *", &["2026-11-23 07:20", "2026-11-23 07:40", "2026-11-24 07:00"]);
        check("30 12 1,15 * *", &["2026-12-01 12:30", "2026-12-15 12:30"]);
        check("0 9 * * mon-fri", &["2026-11-23 09:00", "2026-11-24 09:00"]);
        check("0 0 * * 7", &["2026-11-29 00:00"]);
        check("0 0 29 feb *", &["2028-02-29 00:00", "2032-02-29 00:00"]);
        // Both day fields: either will do.
        check("0 0 1 * mon", &["2026-11-30 00:00", "2026-12-01 00:00", "2026-12-07 00:00"]);
        check("@yearly", &["2027-01-01 00:00"]);
    }

    #[test]
    fn what_is_refused() {
        for (text, words) in [
            ("", "0 fields"),
            ("* * * *", "4 fields"),
            ("60 * * * *", "minute: `60` is not 0 to 59"),
            ("* 24 * * *", "hour"),
            ("* * 0 * *", "day of month"),
            ("* * * foo *", "month: `foo`"),
            ("* * * * 8", "day of week"),
            ("*/0 * * * *", "step"),
            ("5-1 * * * *", "backwards"),
            ("0 0 31 2 *", "never comes"),
        ] {
            let error = Cron::parse(text).unwrap_err();
            assert!(error.contains(words), "{text}: {error}");
        }
    }
}
