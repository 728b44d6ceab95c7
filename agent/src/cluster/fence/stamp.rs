//! A moment by two clocks, of which each misses something. A machine that sleeps, or whose program was stopped, finds that `BOOTTIME` has
//! gone on. One whose processors were stopped from outside finds that none of the kernel's clocks has moved: only the battery's has.

use std::fs;
use std::path::Path;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

/// Where the kernel shows the battery's clock, in seconds since the epoch.
const RTC: &str = "/sys/class/rtc/rtc0/since_epoch";

/// A moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Stamp {
    /// Since the kernel started, by `BOOTTIME`.
    pub(super) boot: Duration,
    /// The battery's clock, in whole seconds since the epoch; absent where there is none.
    pub(super) battery_s: Option<u64>,
}

impl Stamp {
    /// Now.
    pub(crate) fn now() -> Self {
        let time = clock_gettime(ClockId::Boottime);
        let boot = Duration::new(
            u64::try_from(time.tv_sec).unwrap_or(0),
            u32::try_from(time.tv_nsec).unwrap_or(0),
        );
        Self { boot, battery_s: battery_s(Path::new(RTC)) }
    }

    /// How long ago `earlier` was: by the clock that says more. The battery's is read in whole seconds, so that it may say up to one more
    /// or less. One that was set meanwhile may say far too much, which ends something for nothing, once.
    pub(super) fn since(self, earlier: Self) -> Duration {
        let by_kernel = self.boot.saturating_sub(earlier.boot);
        let by_battery = match (self.battery_s, earlier.battery_s) {
            (Some(now), Some(then)) => Duration::from_secs(now.saturating_sub(then)),
            (_, None) | (None, Some(_)) => Duration::ZERO,
        };
        by_kernel.max(by_battery)
    }
}

fn battery_s(path: &Path) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp(boot_s: u64, battery_s: Option<u64>) -> Stamp {
        Stamp { boot: Duration::from_secs(boot_s), battery_s }
    }

    #[test]
    fn the_clock_counts_that_says_more() {
        for (earlier, now, expected_s) in [
            (stamp(10, Some(1000)), stamp(13, Some(1003)), 3),
            // Stopped from outside.
            (stamp(10, Some(1000)), stamp(11, Some(1031)), 31),
            // The battery's clock was set back, is away, or came later.
            (stamp(10, Some(1000)), stamp(13, Some(7)), 3),
            (stamp(10, Some(1000)), stamp(13, None), 3),
            (stamp(10, None), stamp(13, Some(1003)), 3),
            // Another boot: nobody asks, and nothing is below nothing.
            (stamp(10, None), stamp(3, None), 0),
        ] {
            assert_eq!(now.since(earlier), Duration::from_secs(expected_s), "{earlier:?} {now:?}");
        }
    }

    #[test]
    fn what_the_kernel_shows_is_read_and_nonsense_is_no_clock() {
        let place = tempfile::tempdir().unwrap();
        let file = place.path().join("since_epoch");
        assert_eq!(battery_s(&file), None);
        for (text, expected) in [("1795000000\n", Some(1_795_000_000)), ("", None), ("-3", None)] {
            fs::write(&file, text).unwrap();
            assert_eq!(battery_s(&file), expected, "{text:?}");
        }
        assert!(Stamp::now().boot > Duration::ZERO);
    }
}
