//! When a certificate is good.

use std::time::Duration;

use ferrite_schema::utc;

/// Clocks of two machines differ: a certificate is good since before it was made.
pub const BACKDATED: Duration = Duration::from_secs(24 * 60 * 60);
/// The last second of 9999 is how X.509 says "without end" (RFC 5280, 4.1.2.5).
pub(crate) const WITHOUT_END_S: u64 = 253_402_300_799;

/// From when until when, in seconds since the epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dates {
    /// First second.
    pub from_s: u64,
    /// Last second.
    pub until_s: u64,
}

impl Dates {
    /// Whatever the clock says.
    pub const ALWAYS: Self = Self { from_s: 0, until_s: WITHOUT_END_S };

    /// From a day before `now_s` until `life` after it.
    #[must_use]
    pub const fn lasting(now_s: u64, life: Duration) -> Self {
        let until_s = now_s.saturating_add(life.as_secs());
        Self { from_s: now_s.saturating_sub(BACKDATED.as_secs()), until_s }
    }

    /// Whether this second is within.
    #[must_use]
    pub const fn contain(&self, now_s: u64) -> bool {
        self.from_s <= now_s && now_s <= self.until_s
    }

    /// What a person is told of a certificate with these dates on a machine whose clock says `now_s`.
    #[must_use]
    pub fn sentence(&self, now_s: u64) -> String {
        let [from, until, now] = [self.from_s, self.until_s, now_s].map(utc::text);
        format!("it is valid from {from} to {until}, and this node's clock says {now}")
    }

    /// From a day before `now_s`, without end.
    #[must_use]
    pub const fn since(now_s: u64) -> Self {
        Self { until_s: WITHOUT_END_S, ..Self::lasting(now_s, Duration::ZERO) }
    }
}
