//! Notices that the kernel found damage in STATE while the node runs.
//!
//! From then on STATE is read-only: whatever is written fails, the agent first of all. A mounted file system cannot be
//! checked, so PID 1 marks STATE, outside of it, and restarts in order; the next boot checks it. The kernel counts
//! the errors and wakes whoever polls that count; a look now and then finds what was read-only for another reason.
//! How often that may happen in a row is decided where the check is: [`crate::irreversible::state`].

use std::os::fd::{AsFd as _, BorrowedFd};
use std::time::Duration;

use crate::log;
use crate::state::errors::ErrorCount;
use crate::state::volume;

/// After a check, STATE counts as sound once it has been in use for this long without new damage. A disk that damages
/// its file system more often ends in the rescue state, one that does so less often is checked each time.
pub const SOUND_AFTER: Duration = Duration::from_secs(24 * 60 * 60);

/// Watches STATE, which is mounted.
#[derive(Debug)]
pub struct StateWatch {
    /// The kernel's count of errors, and what it was before.
    count: Option<(ErrorCount, u64)>,
    seen: bool,
    /// When the checks of the past may be forgotten.
    sound_at: Option<Duration>,
}

impl StateWatch {
    /// Begins. `checked_lately`: checks are counted that may be forgotten in time.
    #[must_use]
    pub fn begin(count: Option<(ErrorCount, u64)>, checked_lately: bool, now: Duration) -> Self {
        if count.is_none() {
            log::warn(format_args!(
                "the kernel does not count errors in STATE; damage is noticed late"
            ));
        }
        let sound_at = checked_lately.then(|| now.saturating_add(SOUND_AFTER));
        Self { count, seen: false, sound_at }
    }

    /// What to poll for priority events.
    #[must_use]
    pub fn to_poll(&self) -> Option<BorrowedFd<'_>> {
        self.count.as_ref().map(|(count, _)| count.as_fd())
    }

    /// Says what is wrong, once. Call it when the descriptor is ready, and now and then.
    pub fn damage(&mut self) -> Option<String> {
        let errors =
            self.count.as_ref().map_or(0, |(count, before)| count.read().saturating_sub(*before));
        let damage = verdict(errors, volume::is_read_only())?;
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
    use std::path::Path;

    use super::*;

    fn watch(path: &Path, before: u64, sound_at: Option<Duration>) -> StateWatch {
        let count = ErrorCount::at(path).ok().map(|count| (count, before));
        StateWatch { count, seen: false, sound_at }
    }

    #[test]
    fn damage_is_said_once() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut watch = watch(file.path(), 0, None);
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
        let mut watch = watch(file.path(), 7, None);
        assert_eq!(watch.damage(), None);
    }

    #[test]
    fn checks_are_forgotten_after_a_sound_day_and_never_after_damage() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let at = Duration::from_secs(100);
        let mut sound = watch(file.path(), 0, Some(at));
        assert!(!sound.is_sound_for_long(Duration::from_secs(99)));
        assert!(sound.is_sound_for_long(at));
        assert!(!sound.is_sound_for_long(at), "once");
        let mut damaged = watch(file.path(), 0, Some(at));
        std::fs::write(file.path(), "1\n").unwrap();
        assert!(damaged.damage().is_some());
        assert!(!damaged.is_sound_for_long(at));
    }
}
