//! Connections of the API that became streams.

use std::future::Future;
use std::sync::{Mutex, PoisonError};

use tokio::task::JoinSet;

/// Most streams at a time; each command costs a process.
pub const STREAMS_MAX: usize = 128;

/// Streams that are carried, until their ends.
#[derive(Debug, Default)]
pub struct Streams(Mutex<JoinSet<()>>);

impl Streams {
    /// Carries one more, unless there are too many.
    pub fn carry(&self, work: impl Future<Output = ()> + Send + 'static) -> bool {
        let mut running = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        while running.try_join_next().is_some() {}
        let room = running.len() < STREAMS_MAX;
        if room {
            running.spawn(work);
        }
        room
    }
}
