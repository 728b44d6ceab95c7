//! Work on a disk that takes as long as it takes, beside a loop that feeds the watchdog.
//!
//! A check of a large disk, or the replay of a journal, may take an hour, and a watchdog that nobody feeds for half a
//! minute would reset a node for ever. What is waited for is progress: as long as the device moves, so does the
//! work. A device that does not move for [`STILL_TURNS_MAX`] turns is hung, and so is whoever waits for it.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

/// Time between two looks; far below the watchdog's timeout.
const TURN: Duration = Duration::from_secs(1);
/// Looks without progress until the work counts as hung. Turns are counted, not time, so that a machine that was
/// paused has not used up its patience. Longer than what e2fsck computes between two reads, and than a disk
/// needs to give a sector up.
const STILL_TURNS_MAX: u32 = 300;

/// The work does not get on any more. Its thread is left behind: only a reset ends it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the disk has not moved for {} s", STILL_TURNS_MAX)]
pub struct Stalled;

/// Whom to feed, and what to look at.
#[derive(Debug, Clone)]
pub struct Watch {
    feed: fn(),
    counters: PathBuf,
}

impl Watch {
    /// Watches the block device behind the node `device`.
    #[must_use]
    pub fn new(device: &Path, feed: fn()) -> Self {
        let name = device.file_name().unwrap_or_default();
        Self { feed, counters: Path::new("/sys/class/block").join(name).join("stat") }
    }

    /// Does `work` on a thread of its own and waits for it as long as the device moves.
    ///
    /// # Errors
    /// It hangs. Where not even a thread can be had, the same: there is nothing left to work with.
    pub fn beside<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Stalled> {
        let (done, result) = mpsc::channel();
        let spawned = std::thread::Builder::new().name("state".to_owned()).spawn(move || {
            done.send(work()).ok();
        });
        if spawned.is_err() {
            return Err(Stalled);
        }
        let mut patience = Patience::default();
        loop {
            match result.recv_timeout(TURN) {
                Ok(result) => return Ok(result),
                Err(RecvTimeoutError::Disconnected) => return Err(Stalled),
                Err(RecvTimeoutError::Timeout) => {}
            }
            (self.feed)();
            if patience.is_lost(moved(&fs::read_to_string(&self.counters).unwrap_or_default())) {
                return Err(Stalled);
            }
        }
    }
}

/// Counts the turns in which nothing moved.
#[derive(Debug, Clone, Copy, Default)]
struct Patience {
    last: u64,
    still: u32,
}

impl Patience {
    fn is_lost(&mut self, moved: u64) -> bool {
        self.still = if moved == self.last { self.still.saturating_add(1) } else { 0 };
        self.last = moved;
        self.still >= STILL_TURNS_MAX
    }
}

/// Sectors read, written and discarded, flushes: fields 3, 7, 14 and 16 of
/// `Documentation/block/stat.rst`.
fn moved(counters: &str) -> u64 {
    let fields: Vec<u64> =
        counters.split_ascii_whitespace().filter_map(|field| field.parse().ok()).collect();
    [2, 6, 13, 15].into_iter().filter_map(|index| fields.get(index)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patience_lasts_as_long_as_something_moves() {
        let mut patience = Patience::default();
        for moved in 1..10_000 {
            assert!(!patience.is_lost(moved));
        }
        let turns = (0..).take_while(|_| !patience.is_lost(9_999)).count();
        assert_eq!(turns, usize::try_from(STILL_TURNS_MAX).unwrap() - 1);
        assert!(!patience.is_lost(10_000), "it moves again");
    }

    #[test]
    fn counters_of_a_device() {
        let text = "  10 0 80 5 20 0 160 9 0 12 14 3 0 24 1 7 2\n";
        assert_eq!(moved(text), 80 + 160 + 24 + 7);
        assert_eq!(moved(""), 0);
    }

    #[test]
    fn the_result_comes_back() {
        fn feed() {}
        let watch = Watch::new(Path::new("/dev/nothing"), feed);
        assert_eq!(watch.beside(|| 7), Ok(7));
    }
}
