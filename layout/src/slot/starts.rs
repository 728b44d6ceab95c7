//! How often a slot that was healthy has started since and not become ready.
//!
//! Chromium OS gives the tries of a successful slot no meaning: its firmware and `cgpt` pass them over. Ferrite counts
//! down in them, from the top, so that what people and tools leave there (0 after success, a handful after a
//! trial) means that nothing has failed:
//!
//! | tries | meaning while `successful` is set |
//! |---|---|
//! | 0 – 11 | no start has failed |
//! | 15, 14, 13 | one, two, three starts since the slot was ready last |
//! | 12 | so many starts failed that it lost its place to the other slot |
//!
//! Becoming ready sets them to 0.

use crate::attributes::{FIELD_MAX, SlotAttributes};

/// Starts without becoming ready after which a slot loses its place, where the other one can boot.
///
/// Two are power cuts; the third is hardly one.
pub const STARTS_MAX: u8 = 3;

/// Tries of a successful slot that lost its place.
const SPENT: u8 = FIELD_MAX - STARTS_MAX;

/// Starts of a successful slot since it was ready last; 0 for a slot on trial, whose tries say it.
#[must_use]
pub const fn failed(attributes: SlotAttributes) -> u8 {
    if attributes.successful && attributes.tries > SPENT {
        FIELD_MAX + 1 - attributes.tries
    } else {
        0
    }
}

/// One more start of a successful slot; stays at [`STARTS_MAX`].
#[must_use]
pub const fn count(attributes: SlotAttributes) -> SlotAttributes {
    if !attributes.successful || is_spent(attributes) {
        return attributes;
    }
    let starts = failed(attributes);
    let starts = if starts < STARTS_MAX { starts + 1 } else { STARTS_MAX };
    SlotAttributes { tries: FIELD_MAX + 1 - starts, ..attributes }
}

/// The slot has had every chance: nobody leaves another one for it.
#[must_use]
pub const fn is_spent(attributes: SlotAttributes) -> bool {
    attributes.tries == if attributes.successful { SPENT } else { 0 }
}

/// Takes the slot's chances away. It keeps its priority and its success, and can still be booted.
#[must_use]
pub const fn spend(attributes: SlotAttributes) -> SlotAttributes {
    let tries = if attributes.successful { SPENT } else { 0 };
    SlotAttributes { tries, ..attributes }
}

/// The slot was healthy once or has tries: it is more than a last resort.
#[must_use]
pub const fn is_bootable(attributes: SlotAttributes) -> bool {
    attributes.priority > 0 && (attributes.successful || attributes.tries > 0)
}

/// The slot can be booted and still has a chance: worth leaving another one for.
#[must_use]
pub const fn has_chance(attributes: SlotAttributes) -> bool {
    is_bootable(attributes) && !is_spent(attributes) && failed(attributes) < STARTS_MAX
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slot(tries: u8, successful: bool) -> SlotAttributes {
        SlotAttributes { priority: 1, tries, successful }
    }

    #[test]
    fn a_successful_slot_has_three_starts() {
        let mut state = slot(0, true);
        for starts in [1, 2, 3, 3] {
            state = count(state);
            assert_eq!((failed(state), is_spent(state)), (starts, false));
            assert_eq!((is_bootable(state), has_chance(state)), (true, starts < 3));
        }
        let spent = spend(state);
        assert!(is_spent(spent) && spent.successful && spent.priority == 1);
        assert_eq!((count(spent), has_chance(spent), failed(spent)), (spent, false, 0));
    }

    #[test]
    fn what_tools_leave_in_the_tries_means_nothing() {
        for tries in 0..SPENT {
            assert_eq!(failed(slot(tries, true)), 0);
            assert!(has_chance(slot(tries, true)));
        }
        for tries in 0..=FIELD_MAX {
            assert_eq!(count(slot(tries, false)), slot(tries, false));
            assert_eq!(has_chance(slot(tries, false)), tries > 0);
        }
    }
}
