//! The time that a leader goes by.

use std::future::Future;
use std::time::Instant;

use crate::presence::Moment;

/// The time that a leader goes by; tests have their own.
pub trait Clock: Send + Sync {
    /// Now.
    fn now(&self) -> Moment;

    /// Ends when the moment has come.
    fn until(&self, moment: Moment) -> impl Future<Output = ()> + Send;
}

/// The kernel's monotonic clock.
#[derive(Debug, Clone, Copy)]
pub struct Monotonic {
    start: Instant,
}

impl Monotonic {
    /// Its moments count from now.
    #[must_use]
    pub fn start() -> Self {
        Self { start: Instant::now() }
    }
}

impl Clock for Monotonic {
    fn now(&self) -> Moment {
        self.start.elapsed()
    }

    async fn until(&self, moment: Moment) {
        tokio::time::sleep(moment.saturating_sub(self.now())).await;
    }
}
