//! The two clocks of a unit's life: time since the machine's boot, and the calendar.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ferrite_schema::unit::Timer;
use ferrite_schema::unit::cron::Cron;
use rustix::time::ClockId;

use super::machine::Moment;

/// Longest sleep until a moment of the calendar: the clock may be set meanwhile.
const NAP_MAX: Duration = Duration::from_secs(30);
/// A clock that is set back by no more than this was corrected; by more, it was wrong.
const CORRECTION_MAX_S: u64 = 60;

/// Now, since the machine's boot.
#[must_use]
pub fn now() -> Moment {
    let time = rustix::time::clock_gettime(ClockId::Boottime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// Now, in seconds since the epoch.
#[must_use]
pub fn epoch_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// Where on the calendar a moment since the boot is.
#[must_use]
pub fn calendar(moment: Moment) -> u64 {
    let now = now();
    match moment.checked_sub(now) {
        Some(ahead) => epoch_s().saturating_add(ahead.as_secs()),
        None => epoch_s().saturating_sub((now - moment).as_secs()),
    }
}

/// Sleeps until a moment since the boot.
pub async fn until(moment: Moment) {
    tokio::time::sleep(moment.saturating_sub(now())).await;
}

/// What ended a sleep until a moment of the calendar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Woken {
    /// The moment has come.
    Due,
    /// The calendar was set back: the moment must be computed anew.
    SetBack,
}

/// Sleeps until a moment of the calendar, in seconds since the epoch.
pub async fn until_epoch(at_s: u64) -> Woken {
    let mut before = (now(), epoch_s());
    loop {
        let left = Duration::from_secs(at_s.saturating_sub(before.1));
        if left.is_zero() {
            return Woken::Due;
        }
        tokio::time::sleep(left.min(NAP_MAX)).await;
        let after = (now(), epoch_s());
        if was_set_back(before, after) {
            return Woken::SetBack;
        }
        before = after;
    }
}

/// Whether the calendar was set back between two readings of both clocks.
fn was_set_back(before: (Moment, u64), after: (Moment, u64)) -> bool {
    let passed = after.0.saturating_sub(before.0).as_secs();
    is_ahead(before.1.saturating_add(passed), after.1)
}

/// Whether a time that has been cannot have been: it was noted under a clock that was wrong. A small correction of the
/// clock is none: a timer must not fire twice because of it.
const fn is_ahead(time_s: u64, now_s: u64) -> bool {
    time_s > now_s.saturating_add(CORRECTION_MAX_S)
}

/// The last time that a timer's next one is counted from. One that was noted under a clock that was ahead counts as
/// now: the timer would be silent until then. The times of a calendar count from when it was first asked for, also
/// those that come while the machine is off.
#[must_use]
pub fn counts_from(timer: &Timer, last: Option<u64>, now: u64) -> Option<u64> {
    match last {
        Some(last) if is_ahead(last, now) => Some(now),
        Some(last) => Some(last),
        None => timer.cron.is_some().then_some(now),
    }
}

/// When a timer fires next, in seconds since the epoch: after its last time, or after it was asked for. What was
/// missed while the machine was off is in the past, and so comes once, at once.
#[must_use]
pub fn next_fire(timer: &Timer, last: Option<u64>, asked: u64) -> Option<u64> {
    match (timer.every_s, &timer.cron) {
        (Some(every), _) => Some(last.map_or(asked, |last| last.saturating_add(every.into()))),
        // Checked when it was submitted.
        (None, Some(cron)) => Cron::parse(cron).ok()?.next_after(last.unwrap_or(asked)),
        (None, None) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn every(every_s: u32) -> Timer {
        Timer { every_s: Some(every_s), cron: None }
    }

    #[test]
    fn the_first_time_is_at_once_and_then_start_to_start() {
        assert_eq!(next_fire(&every(60), None, 1000), Some(1000));
        assert_eq!(next_fire(&every(60), Some(1000), 1030), Some(1060));
    }

    #[test]
    fn a_clock_that_is_set_back_is_noticed_and_a_correction_is_not() {
        let start = (Duration::from_secs(10), 1_924_992_000);
        let after = |passed: u64, epoch_s: u64| (Duration::from_secs(10 + passed), epoch_s);
        assert!(was_set_back(start, after(30, 1_790_000_000)));
        assert!(was_set_back(start, after(30, start.1 - 31)));
        assert!(!was_set_back(start, after(30, start.1 + 30)));
        assert!(!was_set_back(start, after(30, start.1 - 1)));
        assert!(!was_set_back(start, after(30, start.1 + 1_000_000)));
        assert!(
            is_ahead(1_924_992_000, 1_790_000_000) && !is_ahead(1000, 999) && !is_ahead(1, 999)
        );
    }

    #[test]
    fn a_last_time_in_the_future_does_not_silence_a_timer() {
        let (y2031, now) = (1_924_992_000, 1_790_000_000);
        let cron = Timer { every_s: None, cron: Some("0 * * * *".to_owned()) };
        for timer in [every(3600), cron.clone()] {
            let from = counts_from(&timer, Some(y2031), now);
            assert_eq!(from, Some(now));
            assert!(next_fire(&timer, from, now).unwrap() <= now + 3600);
            assert_eq!(counts_from(&timer, Some(now - 5), now), Some(now - 5));
            assert_eq!(counts_from(&timer, Some(now + 5), now), Some(now + 5));
        }
        assert_eq!(counts_from(&cron, None, now), Some(now));
        assert_eq!(counts_from(&every(60), None, now), None);
    }

    #[test]
    fn what_was_missed_comes_once() {
        // Off for an hour: due long ago, and the one after it is counted from when it came.
        let due = next_fire(&every(60), Some(1000), 4600).unwrap();
        assert!(due < 4600);
        assert_eq!(next_fire(&every(60), Some(4600), 4600), Some(4660));
        let cron = Timer { every_s: None, cron: Some("0 * * * *".to_owned()) };
        assert_eq!(next_fire(&cron, Some(3600), 20_000), Some(7200));
        assert_eq!(next_fire(&cron, None, 20_000), Some(21_600));
    }
}
