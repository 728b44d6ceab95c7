//! systemd's calendar times (`systemd.time(7)`) as cron's, which Ferrite's timers have, in UTC.

use ferrite_schema::unit::cron::Cron;

/// Words for usual times.
const WORDS: [(&str, &str); 9] = [
    ("minutely", "* * * * *"),
    ("hourly", "0 * * * *"),
    ("daily", "0 0 * * *"),
    ("weekly", "0 0 * * 1"),
    ("monthly", "0 0 1 * *"),
    ("quarterly", "0 0 1 1,4,7,10 *"),
    ("semiannually", "0 0 1 1,7 *"),
    ("yearly", "0 0 1 1 *"),
    ("annually", "0 0 1 1 *"),
];
const WEEKDAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

/// The five fields that mean `text`.
///
/// # Errors
/// Why there are none.
pub(crate) fn cron(text: &str) -> Result<String, String> {
    let text = text.trim();
    let lower = text.to_ascii_lowercase();
    if lower.is_empty() {
        return Err("it says nothing".to_owned());
    }
    if let Some((_, cron)) = WORDS.iter().find(|(word, _)| *word == lower) {
        return Ok((*cron).to_owned());
    }
    let (mut weekdays, mut date, mut time) = (None, None, None);
    for word in lower.split_whitespace() {
        if matches!(word, "utc" | "etc/utc") {
        } else if word.contains(':') && time.is_none() {
            time = Some(of_time(word)?);
        } else if word.contains('-') && date.is_none() {
            date = Some(of_date(word)?);
        } else if word.contains('/') && word.starts_with(|c: char| c.is_ascii_alphabetic()) {
            return Err(format!(
                "`{word}` is a time zone, and a node's clock is UTC: say the time in UTC"
            ));
        } else if weekdays.is_none() && date.is_none() && time.is_none() {
            weekdays = Some(of_weekdays(word)?);
        } else {
            return Err(format!("`{word}` is not understood: write `cron` yourself"));
        }
    }
    let (minute, hour) = time.unwrap_or(("0".to_owned(), "0".to_owned()));
    let (month, day) = date.unwrap_or(("*".to_owned(), "*".to_owned()));
    let weekdays = weekdays.unwrap_or("*".to_owned());
    if weekdays != "*" && day != "*" {
        return Err("it is for days that are both in the week and in the month, and cron takes either: say one of them".to_owned());
    }
    let cron = format!("{minute} {hour} {day} {month} {weekdays}");
    Cron::parse(&cron).map_err(|why| format!("{why}: write `cron` yourself"))?;
    Ok(cron)
}

/// Minutes and hours of `HH:MM` or `HH:MM:SS`.
fn of_time(word: &str) -> Result<(String, String), String> {
    let parts: Vec<&str> = word.split(':').collect();
    let (hour, minute) = match parts.as_slice() {
        [hour, minute] => (*hour, *minute),
        [hour, minute, second] if second.bytes().all(|byte| matches!(byte, b'0' | b'.')) => {
            (*hour, *minute)
        }
        _ => return Err("a unit is started at a whole minute: leave out the seconds".to_owned()),
    };
    Ok((field(minute)?, field(hour)?))
}

/// Month and day of `*-MM-DD` or `MM-DD`.
fn of_date(word: &str) -> Result<(String, String), String> {
    let parts: Vec<&str> = word.split('-').collect();
    match parts.as_slice() {
        ["*", month, day] | [month, day] => Ok((field(month)?, field(day)?)),
        _ => Err("it is for some years: leave them out".to_owned()),
    }
}

/// One of cron's fields: `*`, numbers, ranges with `..`, steps with `/`.
fn field(text: &str) -> Result<String, String> {
    let one = |part: &str| {
        let (range, step) = part.split_once('/').map_or((part, None), |(a, b)| (a, Some(b)));
        let (first, last) = range.split_once("..").map_or((range, None), |(a, b)| (a, Some(b)));
        let number = |text: &str| text.parse::<u8>().ok().map(|number| number.to_string());
        let range = match (first, last) {
            ("*", None) => "*".to_owned(),
            (first, None) => number(first)?,
            (first, Some(last)) => format!("{}-{}", number(first)?, number(last)?),
        };
        Some(match step {
            None => range,
            // `5/15` is 5, 20, 35 and 50; cron wants an end.
            Some(step) if range == "0" => format!("*/{}", number(step)?),
            Some(step) => format!("{range}/{}", number(step)?),
        })
    };
    let parts: Option<Vec<String>> = text.split(',').map(one).collect();
    parts
        .map(|parts| parts.join(","))
        .ok_or_else(|| format!("`{text}` is not understood: write `cron` yourself"))
}

/// `mon..fri`, `sat,sun`; whole names as well.
fn of_weekdays(word: &str) -> Result<String, String> {
    if word == "*" {
        return Ok("*".to_owned());
    }
    let number = |name: &str| {
        let at = WEEKDAYS.iter().position(|day| name.starts_with(day))?;
        Some(at + 1)
    };
    let one = |part: &str| match part.split_once("..").or_else(|| part.split_once('-')) {
        Some((first, last)) => Some(format!("{}-{}", number(first)?, number(last)?)),
        None => number(part).map(|day| day.to_string()),
    };
    let parts: Option<Vec<String>> = word.trim_end_matches(',').split(',').map(one).collect();
    parts
        .map(|parts| parts.join(","))
        .ok_or_else(|| format!("`{word}` is not understood: write `cron` yourself"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calendars_that_cron_has() {
        for (text, expected) in [
            ("daily", "0 0 * * *"),
            ("Weekly", "0 0 * * 1"),
            ("*-*-* 03:00:00", "0 3 * * *"),
            ("03:30", "30 3 * * *"),
            ("*:0/15", "*/15 * * * *"),
            ("*:5/15", "5/15 * * * *"),
            ("Mon..Fri 10:00", "0 10 * * 1-5"),
            ("Sat,Sun *-*-* 4:15:00", "15 4 * * 6,7"),
            ("*-*-01,15 04:30 UTC", "30 4 1,15 * *"),
            ("Sunday 06:00", "0 6 * * 7"),
            ("*-1..3-1", "0 0 1 1-3 *"),
        ] {
            let found = cron(text);
            assert_eq!(found.as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn calendars_that_cron_has_not() {
        for (text, words) in [
            ("*-*-* 03:00:30", "whole minute"),
            ("2031-01-01 03:00", "years"),
            ("Mon *-*-01 03:00", "both"),
            ("03:00 Europe/Berlin", "UTC"),
            ("*-*~1 03:00", "not understood"),
            ("whenever", "not understood"),
            ("25:00", "write `cron` yourself"),
            ("", "says nothing"),
        ] {
            let why = cron(text).unwrap_err();
            assert!(why.contains(words), "{text}: {why}");
        }
    }
}
