//! The node's clock: read once, held against what is known, set where it must be, and remembered for the next boot.
//! [`crate::irreversible::clock`] decides.

use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ferrite_schema::{names, utc};
use rustix::fs::{AtFlags, CWD, Timestamps, UTIME_OMIT};
use rustix::time::{ClockId, Timespec, clock_settime};

use crate::irreversible::clock::{self, Doubt, Evidence, Verdict};
use crate::log;
use crate::state::memory::Memory;

/// Its time of modification is the time remembered: one `utimensat(2)` without a block of data, so no power cut tears it.
const FILE: &str = "/var/lib/ferrite/clock";

/// The clock of this boot.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    image_s: u64,
    /// What the clock said before it was touched, less what the kernel had run by then.
    kernel_start_s: u64,
}

impl Clock {
    /// Reads the machine's clock, and sets one that cannot be right to the image's date: what is mounted next would
    /// keep its time. Call it before anything is written.
    #[must_use]
    pub fn read() -> Self {
        let image_s =
            fs::metadata(names::OS_RELEASE).ok().as_ref().and_then(of_metadata).unwrap_or_default();
        let clock = Self { image_s, kernel_start_s: now_s().saturating_sub(running_s()) };
        let verdict = clock.judge(None);
        if matches!(verdict.doubt, Some(Doubt::BeforeImage | Doubt::BeyondLife)) {
            // It is said once, with the time remembered.
            set(verdict.now_s).ok();
        }
        clock
    }

    /// Judges the clock again, now that STATE says what earlier boots knew, and remembers the outcome. Returns what a
    /// person should know.
    ///
    /// # Errors
    /// STATE does not take it.
    pub fn settle(&self, memory: &mut Memory) -> io::Result<Option<String>> {
        memory.free(Path::new(FILE));
        let remembered_s = modified_s(Path::new(FILE));
        let verdict = self.judge(remembered_s);
        if verdict.now_s.abs_diff(now_s()) > 1
            && let Err(error) = set(verdict.now_s)
        {
            log::error(format_args!("the clock is wrong and cannot be set: {error}"));
        }
        let words = verdict.doubt.map(|doubt| self.words(doubt, verdict.now_s, remembered_s));
        if let Some(words) = &words {
            log::warn(format_args!("{words}"));
        }
        self.keep(Path::new(FILE), clock::AHEAD_MAX_S)?;
        Ok(words)
    }

    fn judge(&self, remembered_s: Option<u64>) -> Verdict {
        let clock_s = self.kernel_start_s.saturating_add(running_s());
        clock::judge(Evidence { image_s: self.image_s, clock_s, remembered_s })
    }

    /// Remembers the time for the next boot. For the end of this one.
    ///
    /// # Errors
    /// STATE does not take it.
    pub fn remember(&self) -> io::Result<()> {
        self.keep(Path::new(FILE), running_s())
    }

    fn keep(&self, file: &Path, allowance_s: u64) -> io::Result<()> {
        let kept = clock::to_remember(self.image_s, modified_s(file), now_s(), allowance_s);
        let Some(kept_s) = kept else { return Ok(()) };
        if let Some(folder) = file.parent() {
            fs::create_dir_all(folder)?;
        }
        // By its name and without opening it: whatever has the name now, nobody waits for it.
        if modified_s(file).is_some() {
            return set_modified(file, kept_s);
        }
        let file = File::options().write(true).create_new(true).open(file)?;
        file.set_modified(UNIX_EPOCH + Duration::from_secs(kept_s))
    }

    fn words(&self, doubt: Doubt, now_s: u64, remembered_s: Option<u64>) -> String {
        let clock = utc::text(self.kernel_start_s);
        let (now, image) = (utc::text(now_s), utc::text(self.image_s));
        let remembered = remembered_s.map(utc::text).unwrap_or_default();
        match doubt {
            Doubt::BeforeImage => format!(
                "the machine's clock said {clock}, before the date of this image ({image}); it is set to {now}: \
                 set the hardware's clock right"
            ),
            Doubt::BeyondLife => format!(
                "the machine's clock said {clock}, which this image of {image} cannot live to see (it is believed until \
                 {}); it is set to {now}: set the hardware's clock right",
                utc::text(clock::ceiling_s(self.image_s))
            ),
            Doubt::Behind => format!(
                "the machine's clock said {clock}, a little before the time remembered from the last boot; it is set to \
                 {now}"
            ),
            Doubt::MemoryAhead => format!(
                "the last boot remembered {remembered}, but the machine's clock says {clock}, which is believed: the \
                 clock must have been wrong then"
            ),
        }
    }
}

fn set(time_s: u64) -> io::Result<()> {
    let tv_sec = i64::try_from(time_s).map_err(io::Error::other)?;
    Ok(clock_settime(ClockId::Realtime, Timespec { tv_sec, tv_nsec: 0 })?)
}

/// Seconds since the kernel's start, which no setting of the clock changes.
fn running_s() -> u64 {
    let time = rustix::time::clock_gettime(ClockId::Boottime);
    u64::try_from(time.tv_sec).unwrap_or_default()
}

fn now_s() -> u64 {
    seconds(SystemTime::now())
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// Of a file; nothing else remembers a time.
fn modified_s(path: &Path) -> Option<u64> {
    fs::symlink_metadata(path).ok().filter(fs::Metadata::is_file).as_ref().and_then(of_metadata)
}

fn of_metadata(found: &fs::Metadata) -> Option<u64> {
    found.modified().ok().map(seconds)
}

fn set_modified(path: &Path, time_s: u64) -> io::Result<()> {
    let tv_sec = i64::try_from(time_s).map_err(io::Error::other)?;
    let times = Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        last_modification: Timespec { tv_sec, tv_nsec: 0 },
    };
    Ok(rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW)?)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use ferrite_files::quarantine::Quarantine;
    use rustix::fs::{Mode, mkfifoat};

    use super::*;

    fn clock(image_s: u64) -> Clock {
        Clock { image_s, kernel_start_s: now_s() }
    }

    #[test]
    fn the_time_is_kept_as_the_files_own_and_grows_boundedly() {
        let folder = tempfile::tempdir().unwrap();
        // On the first boot, STATE is empty.
        let file = folder.path().join("lib/ferrite/clock");
        let clock = clock(now_s() - 1000);
        clock.keep(&file, 0).unwrap();
        assert!(now_s() - modified_s(&file).unwrap() <= 2);
        let earlier = UNIX_EPOCH + Duration::from_secs(now_s() - 900);
        File::options().write(true).open(&file).unwrap().set_modified(earlier).unwrap();
        clock.keep(&file, 10).unwrap();
        assert_eq!(modified_s(&file), Some(seconds(earlier) + 10));
        assert_eq!(fs::metadata(&file).unwrap().len(), 0);
    }

    #[test]
    fn what_is_no_file_remembers_no_time_and_holds_nobody_up() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("clock");
        let clock = clock(now_s() - 1000);
        let makes: [&dyn Fn(&Path); 3] = [
            &|path| mkfifoat(CWD, path, Mode::RUSR | Mode::WUSR).unwrap(),
            &|path| symlink("/dev/console", path).unwrap(),
            &|path| fs::create_dir(path).unwrap(),
        ];
        for (number, make) in makes.iter().enumerate() {
            make(&file);
            assert_eq!(modified_s(&file), None, "{number}");
            assert!(clock.keep(&file, 0).is_err(), "{number}");
            let mut memory = Memory::with(Quarantine::at(&folder.path().join("quarantine")));
            memory.free(&file);
            assert_eq!(memory.said().len(), 1, "{number}");
            clock.keep(&file, 0).unwrap();
            assert!(modified_s(&file).is_some(), "{number}");
            let mut memory = Memory::with(Quarantine::at(&folder.path().join("quarantine")));
            memory.free(&file);
            assert!(memory.said().is_empty() && file.exists(), "{number}");
            fs::remove_file(&file).unwrap();
        }
    }

    #[test]
    fn a_time_that_cannot_be_is_not_remembered() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("clock");
        clock(now_s() + 1000).keep(&file, 0).unwrap();
        assert!(!file.exists());
    }

    #[test]
    fn messages_have_dates() {
        let clock = Clock { image_s: 1_754_697_600, kernel_start_s: 4_070_908_800 };
        let words = clock.words(Doubt::BeyondLife, 1_790_000_000, None);
        for date in ["2099-01-01 00:00:00 UTC", "2025-08-09", "2040-08-", "2026-09-21"] {
            assert!(words.contains(date), "{date}: {words}");
        }
        let words = clock.words(Doubt::MemoryAhead, 0, Some(1_924_992_000));
        assert!(words.contains("2031-01-01"), "{words}");
    }
}
