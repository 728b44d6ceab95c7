//! Notices that the kernel found damage in STATE while the node runs.
//!
//! From then on STATE is read-only: whatever is written fails, the agent first of all. A mounted file system cannot be
//! checked, so PID 1 marks STATE, outside of it, and restarts in order; the next boot checks it. The kernel counts
//! the errors and wakes whoever polls that count; a look now and then finds what was read-only for another reason.
//! How often that may happen in a row is decided where the check is: [`crate::irreversible::state`].

use std::fs::File;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::Duration;

use crate::disk::{STATE_PARTITION, SystemDisk};
use crate::log;
use crate::state::volume;

/// After a check, STATE counts as sound once it has been in use for this long without new damage. A disk that damages
/// its file system more often ends in the rescue state, one that does so less often is checked each time.
pub const SOUND_AFTER: Duration = Duration::from_secs(24 * 60 * 60);

/// Watches STATE, which is mounted.
#[derive(Debug)]
pub struct StateWatch {
    /// The kernel's count of errors.
    count: Option<File>,
    before: u64,
    seen: bool,
    /// When the checks of the past may be forgotten.
    sound_at: Option<Duration>,
}

impl StateWatch {
    /// Begins. `checked_lately`: checks are counted that may be forgotten in time.
    #[must_use]
    pub fn begin(disk: &SystemDisk, checked_lately: bool, now: Duration) -> Self {
        let path = Path::new("/sys/fs/ext4")
            .join(disk.partition_path(STATE_PARTITION).file_name().unwrap_or_default())
            .join("errors_count");
        let count = File::open(&path)
            .inspect_err(|error| {
                log::warn(format_args!("{}: {error}; damage is noticed late", path.display()));
            })
            .ok();
        let sound_at = checked_lately.then(|| now.saturating_add(SOUND_AFTER));
        let mut watch = Self { count, before: 0, seen: false, sound_at };
        // What a check left standing is no news.
        watch.before = watch.errors();
        watch
    }

    /// What to poll for priority events.
    #[must_use]
    pub fn to_poll(&self) -> Option<BorrowedFd<'_>> {
        self.count.as_ref().map(File::as_fd)
    }

    /// Says what is wrong, once. Call it when the descriptor is ready, and now and then.
    pub fn damage(&mut self) -> Option<String> {
        let errors = self.errors();
        let damage = verdict(errors.saturating_sub(self.before), volume::is_read_only())?;
        (!std::mem::replace(&mut self.seen, true)).then_some(damage)
    }

    /// It is time to forget the checks of the past; said once.
    pub fn is_sound_for_long(&mut self, now: Duration) -> bool {
        let is_sound = !self.seen && self.sound_at.is_some_and(|at| now >= at);
        if is_sound {
            self.sound_at = None;
        }
        is_sound
    }

    /// Reading arms the poll anew.
    fn errors(&self) -> u64 {
        let mut text = [0; 32];
        let length =
            self.count.as_ref().and_then(|count| count.read_at(&mut text, 0).ok()).unwrap_or(0);
        let text = String::from_utf8_lossy(text.get(..length).unwrap_or_default());
        text.trim().parse().unwrap_or(0)
    }
}

fn verdict(new_errors: u64, is_read_only: bool) -> Option<String> {
    match (new_errors, is_read_only) {
        (0, false) => None,
        (0, true) => Some("STATE has become read-only".to_owned()),
        (errors, read_only) => Some(format!(
            "the kernel found damage in STATE (errors: {errors}){}",
            if read_only { ", which is read-only now" } else { "" }
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watch(path: &Path, sound_at: Option<Duration>) -> StateWatch {
        let count = File::open(path).ok();
        StateWatch { count, before: 0, seen: false, sound_at }
    }

    #[test]
    fn damage_is_said_once() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut watch = watch(file.path(), None);
        assert_eq!(watch.damage(), None);
        std::fs::write(file.path(), "2\n").unwrap();
        assert!(watch.damage().unwrap().contains("errors: 2"));
        assert_eq!(watch.damage(), None);
    }

    #[test]
    fn errors_of_before_are_no_news_and_read_only_is() {
        assert_eq!(verdict(0, false), None);
        assert!(verdict(0, true).unwrap().contains("read-only"));
        assert!(verdict(1, true).unwrap().contains("read-only"));
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "7\n").unwrap();
        let mut watch = StateWatch { before: 7, ..watch(file.path(), None) };
        assert_eq!(watch.damage(), None);
    }

    #[test]
    fn checks_are_forgotten_after_a_sound_day_and_never_after_damage() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let at = Duration::from_secs(100);
        let mut sound = watch(file.path(), Some(at));
        assert!(!sound.is_sound_for_long(Duration::from_secs(99)));
        assert!(sound.is_sound_for_long(at));
        assert!(!sound.is_sound_for_long(at), "once");
        let mut damaged = watch(file.path(), Some(at));
        std::fs::write(file.path(), "1\n").unwrap();
        assert!(damaged.damage().is_some());
        assert!(!damaged.is_sound_for_long(at));
    }
}
