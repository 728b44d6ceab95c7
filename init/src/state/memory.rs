//! What a node remembers of itself across boots: its ID, some randomness, how late it is.

use std::fs;
use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ferrite_schema::names;
use rustix::rand::{GetRandomFlags, getrandom};
use rustix::time::{ClockId, Timespec, clock_settime};

use crate::log;
use crate::state::durable;

/// Randomness for the next boot.
const SEED_FILE: &str = "/var/lib/ferrite/random-seed";
/// As much as the kernel's pool holds, twice.
const SEED_BYTES: usize = 512;
/// Its time of modification is the latest time that the node knows of.
const CLOCK_FILE: &str = "/var/lib/ferrite/clock";

/// Makes the machine's ID on the first boot; `true` when it was new.
///
/// # Errors
/// There is no randomness or STATE does not take it.
pub fn ensure_machine_id() -> io::Result<bool> {
    let path = Path::new(names::MACHINE_ID_FILE);
    if fs::read_to_string(path).is_ok_and(|text| is_machine_id(text.trim())) {
        return Ok(false);
    }
    let mut id = [0; 16];
    getrandom(&mut id, GetRandomFlags::empty())?;
    durable::replace(path, format!("{}\n", hex::encode(id)).as_bytes())?;
    Ok(true)
}

/// Stirs the last boot's seed into the kernel's pool and writes another: a seed is used once. It is not
/// credited as entropy, since somebody may have copied the disk.
///
/// # Errors
/// STATE does not take the new seed.
pub fn refresh_seed() -> io::Result<()> {
    if let Ok(seed) = fs::read(SEED_FILE) {
        fs::write("/dev/urandom", seed)?;
    }
    let mut seed = vec![0; SEED_BYTES];
    getrandom(&mut seed, GetRandomFlags::empty())?;
    durable::replace(Path::new(SEED_FILE), &seed)
}

/// Sets a clock that is earlier than the image or the last time remembered, which no clock can rightly be.
pub fn raise_clock() {
    let known = [names::OS_RELEASE, CLOCK_FILE].into_iter().filter_map(modified);
    let Some(floor) = floor(SystemTime::now(), known) else { return };
    let Ok(seconds) = floor.duration_since(UNIX_EPOCH).map(|since| since.as_secs()) else { return };
    let time = Timespec { tv_sec: i64::try_from(seconds).unwrap_or(0), tv_nsec: 0 };
    match clock_settime(ClockId::Realtime, time) {
        Ok(()) => log::warn(format_args!(
            "the clock was behind what is known to have passed; it is now at {seconds} s since 1970"
        )),
        Err(error) => log::warn(format_args!("the clock is wrong and cannot be set: {error}")),
    }
}

/// Remembers the time for [`raise_clock`] of the next boot. Cheap: call it from time to time and at shutdown.
///
/// # Errors
/// STATE does not take it.
pub fn remember_clock() -> io::Result<()> {
    fs::write(CLOCK_FILE, b"")
}

fn modified(path: &str) -> Option<SystemTime> {
    fs::metadata(path).and_then(|metadata| metadata.modified()).ok()
}

/// The latest of `known`, where `now` is earlier by more than a moment.
fn floor(now: SystemTime, known: impl Iterator<Item = SystemTime>) -> Option<SystemTime> {
    known.max().filter(|latest| now + Duration::from_secs(1) < *latest)
}

fn is_machine_id(text: &str) -> bool {
    text.len() == 32 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_is_only_ever_moved_forward() {
        let at = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
        assert_eq!(floor(at(100), [at(200), at(300)].into_iter()), Some(at(300)));
        assert_eq!(floor(at(300), [at(200), at(300)].into_iter()), None);
        assert_eq!(floor(at(100), std::iter::empty()), None);
    }

    #[test]
    fn a_torn_machine_id_is_none() {
        assert!(is_machine_id("0123456789abcdef0123456789abcdef"));
        assert!(!is_machine_id("0123456789abcdef0123456789abcde"));
        assert!(!is_machine_id("0123456789ABCDEF0123456789ABCDEF"));
        assert!(!is_machine_id(""));
    }
}
