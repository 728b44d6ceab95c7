//! The two clocks of a unit's life: time since the machine's boot, and the calendar.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ferrite_schema::unit::Timer;
use ferrite_schema::unit::cron::Cron;
use rustix::time::ClockId;

use super::machine::Moment;

/// Longest sleep until a moment of the calendar: the clock may be set meanwhile.
const NAP_MAX: Duration = Duration::from_secs(30);

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

/// Sleeps until a moment of the calendar, in seconds since the epoch.
pub async fn until_epoch(at_s: u64) {
    loop {
        let left = Duration::from_secs(at_s.saturating_sub(epoch_s()));
        if left.is_zero() {
            return;
        }
        tokio::time::sleep(left.min(NAP_MAX)).await;
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
