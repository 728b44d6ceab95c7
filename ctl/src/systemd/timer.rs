//! A `.timer` file beside a service: when it is started.

use ferrite_schema::document::Problem;
use ferrite_schema::unit::Timer;

use super::calendar;
use super::findings::{Finding, Findings};
use super::ini::{self, Entry};
use super::values::{Span, time_span};

/// The longest time from start to start that a document may say: a year.
const EVERY_MAX_S: u32 = 366 * 86_400;

/// When the file says that its service is started, and what of it could not be carried over.
///
/// # Errors
/// The file is no unit file, or nothing in it says when.
pub(crate) fn read(text: &str) -> Result<(Timer, Vec<Finding>), Problem> {
    let mut findings = Findings::default();
    let entries = ini::read(text)?;
    let mut timer: Option<Timer> = None;
    let mut last = 1;
    for entry in &entries {
        last = entry.line;
        match entry.section.as_str() {
            "Timer" => of_timer(&mut timer, entry, &mut findings),
            "Unit" | "Install" => {}
            _ => findings.lost(entry.line, entry.key.clone(), "it is not a timer's"),
        }
    }
    let findings = findings.sorted();
    timer.map(|timer| (timer, findings.clone())).ok_or_else(|| {
        let said = findings.iter().map(|one| format!("; {}: {}", one.what, one.why));
        let why = "nothing in it says when the unit is started, as `OnCalendar=` and `OnUnitActiveSec=` do";
        ini::problem(last, why.to_owned() + &said.collect::<String>())
    })
}

fn of_timer(timer: &mut Option<Timer>, entry: &Entry, findings: &mut Findings) {
    let text = entry.value.text.as_str();
    let what = format!("{}={text}", entry.key);
    match entry.key.as_str() {
        "Unit" | "AccuracySec" | "RemainAfterElapse" => {}
        "Persistent" => {
            let why = "what was missed while the node was off comes once, at once";
            findings.not_needed(entry.line, what, why);
        }
        "OnCalendar" if text.is_empty() => *timer = None,
        "OnCalendar" => match (calendar::cron(text), &timer) {
            (Ok(_), Some(_)) => findings.lost(
                entry.line,
                what,
                "a unit has one time: make another unit for the second",
            ),
            (Ok(cron), None) => *timer = Some(Timer { every_s: None, cron: Some(cron) }),
            (Err(why), _) => findings.lost(entry.line, what, why),
        },
        "OnUnitActiveSec" | "OnUnitInactiveSec" => {
            let every = time_span(text).filter(|span| *span != Span::Ms(0));
            match (every.and_then(|span| span.seconds(EVERY_MAX_S)), &timer) {
                (_, Some(_)) => findings.lost(
                    entry.line,
                    what,
                    "a unit has one time: make another unit for the second",
                ),
                (Some(every), None) => {
                    *timer = Some(Timer { every_s: Some(every.max(1)), cron: None });
                    if entry.key == "OnUnitInactiveSec" {
                        findings.changed(entry.line, what, "it is counted from start to start");
                    }
                }
                (None, None) => findings.lost(entry.line, what, "this is no length of time"),
            }
        }
        "OnBootSec" | "OnActiveSec" | "OnStartupSec" => {
            let why = "with `every_s` the first start is at once; nothing is started once after a boot alone";
            findings.changed(entry.line, what, why);
        }
        "RandomizedDelaySec" | "FixedRandomDelay" => {
            findings.lost(entry.line, what, "give units different minutes");
        }
        _ => findings.lost(entry.line, what, "Ferrite has nothing like it"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, every_s: Option<u32>, cron: Option<&str>, said: &[&str]) {
        let (timer, findings) = read(text).unwrap();
        assert_eq!((timer.every_s, timer.cron.as_deref()), (every_s, cron), "{text}");
        let what: Vec<&str> = findings.iter().map(|one| one.what.as_str()).collect();
        assert_eq!(what, said, "{text}");
    }

    #[test]
    fn when_a_unit_is_started() {
        check(
            "[Unit]\nDescription=x\n[Timer]\nOnCalendar=*-*-* 03:00:00\nPersistent=true\n",
            None,
            Some("0 3 * * *"),
            &["Persistent=true"],
        );
        check(
            "[Timer]\nOnBootSec=5min\nOnUnitActiveSec=1h\n",
            Some(3600),
            None,
            &["OnBootSec=5min"],
        );
        check(
            "[Timer]\nOnCalendar=daily\nOnCalendar=\nOnCalendar=hourly\nOnCalendar=daily\n",
            None,
            Some("0 * * * *"),
            &["OnCalendar=daily"],
        );
        check(
            "[Timer]\nOnUnitInactiveSec=90\nRandomizedDelaySec=5\n",
            Some(90),
            None,
            &["OnUnitInactiveSec=90", "RandomizedDelaySec=5"],
        );
    }

    #[test]
    fn a_timer_that_says_no_time_is_refused_with_what_it_said() {
        let problem = read("[Timer]\nOnCalendar=2031-01-01\n").unwrap_err();
        assert_eq!(problem.line, 2);
        assert!(
            problem.message.contains("OnCalendar=2031-01-01: it is for some years"),
            "{problem}"
        );
        assert!(read("").is_err());
    }
}
