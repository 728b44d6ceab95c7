//! Whether there is nothing but zeros in STATE's partition, which is what it may be made anew over.
//!
//! A "no" is found quickly: first at every place that a backup of a superblock may have, at the end, and at samples of all
//! the rest. A "yes" needs every byte. Reading takes as long as the disk moves, beside a loop that feeds the watchdog
//! ([`super::patience`]); a person at the console sees how far it is, and after the time that is allowed
//! it is said that nobody knows.

use std::io;
use std::num::NonZeroU64;
use std::time::{Duration, Instant};

use rustix::fs::Advice;

use super::partition::Partition;
use super::superblock;
use crate::log;

/// Bytes at the end that are looked at early: whatever uses a partition has a beginning or an end.
const END_BYTES: u64 = 1 << 20;
/// Samples of what is between, spread evenly: a few hundred MiB to read, whatever the size of the disk.
const SAMPLES: u64 = 4096;
const SAMPLE_BYTES: u64 = 64 * 1024;
/// What is read at once, and is not kept in memory any longer.
const PIECE_BYTES: usize = 4 << 20;
/// Between two lines on the console.
const SAY_EVERY: Duration = Duration::from_secs(60);
static ZEROS: [u8; 64 * 1024] = [0; 64 * 1024];

/// What was seen of a range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Seen {
    /// Every byte of it, and each is zero.
    Zeros,
    /// A byte that is not zero.
    Something,
    /// Zeros, as far as the time allowed.
    NotAll { seen_bytes: u64 },
}

/// How long reading may go on.
#[derive(Debug)]
pub(super) struct Allowance {
    until: Instant,
    say_at: Instant,
}

impl Allowance {
    pub(super) fn begin(within: Duration) -> Self {
        let now = Instant::now();
        Self { until: now + within, say_at: now + SAY_EVERY }
    }

    fn is_over(&mut self, seen_bytes: u64, of_bytes: u64) -> bool {
        let now = Instant::now();
        if now >= self.say_at {
            self.say_at = now + SAY_EVERY;
            log::warn(format_args!(
                "STATE seems to hold nothing; reading all of it before it is made anew: {} of {} GiB",
                seen_bytes >> 30,
                of_bytes >> 30
            ));
        }
        now >= self.until
    }
}

/// What a partition holds from `start` on.
pub(super) fn behind(
    partition: &Partition,
    start: u64,
    allowance: &mut Allowance,
) -> io::Result<Seen> {
    let size_bytes = partition.size_bytes;
    let end = size_bytes.saturating_sub(END_BYTES).max(start);
    if !between(partition, end, size_bytes)? || !samples_are(partition, start)? {
        return Ok(Seen::Something);
    }
    let mut piece = vec![0; PIECE_BYTES];
    let mut offset_bytes = start;
    // It is advice: a kernel that takes none reads all the same.
    rustix::fs::fadvise(partition, 0, None, Advice::Sequential).ok();
    while offset_bytes < size_bytes {
        if allowance.is_over(offset_bytes, size_bytes) {
            return Ok(Seen::NotAll { seen_bytes: offset_bytes });
        }
        let left = usize::try_from(size_bytes - offset_bytes).unwrap_or(usize::MAX);
        let room = piece.get_mut(..left.min(PIECE_BYTES)).unwrap_or_default();
        partition.fill(offset_bytes, room)?;
        if !is_zero(room) {
            return Ok(Seen::Something);
        }
        let length = NonZeroU64::new(room.len() as u64);
        rustix::fs::fadvise(partition, offset_bytes, length, Advice::DontNeed).ok();
        offset_bytes += room.len() as u64;
    }
    Ok(Seen::Zeros)
}

/// Backups and samples of what is behind `start`.
fn samples_are(partition: &Partition, start: u64) -> io::Result<bool> {
    let size_bytes = partition.size_bytes;
    for block_bytes in superblock::BLOCK_SIZES {
        for place in superblock::backup_places(block_bytes, size_bytes) {
            let offset_bytes = place.offset_bytes();
            if offset_bytes >= start
                && !between(partition, offset_bytes, offset_bytes + block_bytes)?
            {
                return Ok(false);
            }
        }
    }
    let step = (size_bytes.saturating_sub(start) / SAMPLES).max(SAMPLE_BYTES);
    let mut offset_bytes = start;
    while offset_bytes < size_bytes {
        if !between(partition, offset_bytes, offset_bytes + SAMPLE_BYTES)? {
            return Ok(false);
        }
        offset_bytes += step;
    }
    Ok(true)
}

/// Whether all bytes from one place to another are zeros, as far as there are any.
pub(super) fn between(partition: &Partition, from: u64, to: u64) -> io::Result<bool> {
    let mut offset_bytes = from;
    while offset_bytes < to.min(partition.size_bytes) {
        let length = (to - offset_bytes).min(SAMPLE_BYTES);
        let bytes = partition.read(offset_bytes, usize::try_from(length).unwrap_or(ZEROS.len()))?;
        if !is_zero(&bytes) {
            return Ok(false);
        }
        offset_bytes += length;
    }
    Ok(true)
}

fn is_zero(bytes: &[u8]) -> bool {
    bytes.chunks(ZEROS.len()).all(|chunk| ZEROS.get(..chunk.len()) == Some(chunk))
}
