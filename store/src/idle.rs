//! How long nobody has used something, under clocks that jump.

use std::time::Duration;

/// An image that was used so recently is about to be started.
pub(super) const FRESH: Duration = Duration::from_secs(60);

/// How long something was not touched, both times since the epoch. One that was touched in the future was so under a clock
/// that was wrong: it counts as idle for ever, since otherwise it would be kept until that time has come.
pub(super) fn idle(now: Duration, touched: Duration) -> Duration {
    match now.checked_sub(touched) {
        Some(idle) => idle,
        None if touched.saturating_sub(now) < FRESH => Duration::ZERO,
        None => Duration::MAX,
    }
}
