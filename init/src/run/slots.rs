//! What the slot verbs change: pure edits of both slots' attributes.

use std::fmt;

use ferrite_layout::attributes::SlotAttributes;
use ferrite_layout::slot::{self, Slot, choose, starts};

use crate::irreversible::slots;
pub use crate::irreversible::slots::Slots;

/// Why a verb changes nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// Staging now would leave no slot that is known to be good.
    RunningSlotUnproven {
        /// The running slot.
        slot: Slot,
    },
    /// The other slot's header is missing or not signed by a trusted key.
    OtherSlotUnusable {
        /// The other slot.
        slot: Slot,
        /// What is wrong with it.
        problem: String,
    },
    /// The other slot was never healthy and has no tries left.
    OtherSlotFailed {
        /// The other slot.
        slot: Slot,
    },
    /// The kernel that chooses among the slots refuses to load the other one's.
    OtherSlotRefused {
        /// The other slot.
        slot: Slot,
    },
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RunningSlotUnproven { slot } => write!(
                f,
                "the running slot {slot} has not been ready yet: staging now could leave no good slot"
            ),
            Self::OtherSlotUnusable { slot, problem } => {
                write!(f, "slot {slot} cannot boot: {problem}")
            }
            Self::OtherSlotFailed { slot } => write!(
                f,
                "slot {slot} cannot boot: it was never ready and has no tries left; stage it again first"
            ),
            Self::OtherSlotRefused { slot } => write!(
                f,
                "slot {slot} cannot boot here: the kernel refused to load its kernel (lockdown, under Secure Boot)"
            ),
        }
    }
}

/// The edit, or `None` where it is so already.
pub type Edit = Result<Option<Slots>, Refusal>;

impl Slots {
    /// The running slot was healthy.
    ///
    /// Its tries go to 0, as Chromium OS does it: success needs none, and should it ever be taken away, the
    /// slot must be staged anew.
    #[must_use]
    pub fn mark_good(self, running: Slot) -> Option<Self> {
        slots::ready(self, running)
    }

    /// The other slot is next, on trial. `other` says whether its header is good.
    ///
    /// # Errors
    /// Says why it must not be.
    pub fn stage(self, running: Slot, other: Result<(), String>) -> Edit {
        let other_slot = running.other();
        other.map_err(|problem| Refusal::OtherSlotUnusable { slot: other_slot, problem })?;
        if !self.get(running).successful {
            return Err(Refusal::RunningSlotUnproven { slot: running });
        }
        let (staged, behind) = slot::stage(self.get(running));
        let after = self.with(running, behind).with(other_slot, staged);
        let before = self.get(other_slot);
        let is_so = before.priority > self.get(running).priority
            && before == SlotAttributes { priority: before.priority, ..staged };
        Ok((!is_so).then_some(after))
    }

    /// The other slot is next, as it is. The running one stays behind it, as a last resort.
    ///
    /// # Errors
    /// Says why the other slot cannot boot.
    pub fn roll_back(self, running: Slot, other: Result<(), String>) -> Edit {
        let slot = running.other();
        self.can_boot(slot, other)?;
        if choose(self.a, self.b).is_some_and(|choice| choice.slot == slot) {
            return Ok(None);
        }
        Ok(Some(self.first(slot)))
    }

    /// Whether a slot would be booted, were it alone.
    ///
    /// # Errors
    /// Says why not.
    pub fn can_boot(self, slot: Slot, header: Result<(), String>) -> Result<(), Refusal> {
        header.map_err(|problem| Refusal::OtherSlotUnusable { slot, problem })?;
        if starts::is_bootable(self.get(slot)) {
            Ok(())
        } else {
            Err(Refusal::OtherSlotFailed { slot })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ferrite_layout::slot::{FRESH_TRIES, Reason};

    fn attributes(priority: u8, tries: u8, successful: bool) -> SlotAttributes {
        SlotAttributes { priority, tries, successful }
    }

    fn slots(a: (u8, u8, bool), b: (u8, u8, bool)) -> Slots {
        Slots { a: attributes(a.0, a.1, a.2), b: attributes(b.0, b.1, b.2) }
    }

    /// Every combination that two attribute words can hold, thinned to the values that matter.
    fn all() -> impl Iterator<Item = Slots> {
        let some = || {
            [0, 1, 2, 14, 15].into_iter().flat_map(|priority| {
                [0, 1, 3, 15].into_iter().flat_map(move |tries| {
                    [false, true].map(|successful| attributes(priority, tries, successful))
                })
            })
        };
        some().flat_map(move |a| some().map(move |b| Slots { a, b }))
    }

    fn next(slots: Slots) -> Option<(Slot, Reason)> {
        choose(slots.a, slots.b).map(|choice| (choice.slot, choice.reason))
    }

    #[test]
    fn a_fresh_disk_becomes_good() {
        let fresh = slots((1, 2, false), (0, 0, false));
        let good = slots((1, 0, true), (0, 0, false));
        assert_eq!(fresh.mark_good(Slot::A), Some(good));
        assert_eq!(good.mark_good(Slot::A), None);
    }

    #[test]
    fn a_staged_slot_is_next_on_trial() {
        let good = slots((1, 0, true), (0, 0, false));
        let staged = slots((1, 0, true), (2, 3, false));
        assert_eq!(good.stage(Slot::A, Ok(())), Ok(Some(staged)));
        assert_eq!(staged.stage(Slot::A, Ok(())), Ok(None));
        assert_eq!(next(staged), Some((Slot::B, Reason::Trial)));
        // A trial has spent a try: staging again gives it back.
        let tried = slots((1, 0, true), (2, 2, false));
        assert_eq!(tried.stage(Slot::A, Ok(())), Ok(Some(staged)));
    }

    #[test]
    fn full_priorities_are_renumbered() {
        let full = slots((15, 0, true), (14, 0, true));
        assert_eq!(full.stage(Slot::A, Ok(())), Ok(Some(slots((1, 0, true), (2, 3, false)))));
        assert_eq!(full.roll_back(Slot::A, Ok(())), Ok(Some(slots((1, 0, true), (2, 0, true)))));
    }

    #[test]
    fn whatever_the_attributes_say_each_verb_does_what_it_promises_or_nothing() {
        for before in all() {
            for running in Slot::ALL {
                let other = running.other();
                let good = before.mark_good(running).unwrap_or(before);
                assert!(good.get(running).successful && good.get(running).priority > 0);
                assert_eq!(good.mark_good(running), None, "twice is once: {before:?}");

                match before.stage(running, Ok(())) {
                    Ok(edit) => {
                        let after = edit.unwrap_or(before);
                        assert!(before.get(running).successful);
                        assert_eq!(next(after), Some((other, Reason::Trial)), "{before:?}");
                        assert_eq!(after.get(other).tries, FRESH_TRIES);
                        assert!(after.get(running).successful, "the way back is kept: {before:?}");
                        assert_eq!(
                            after.get(running).priority > 0,
                            before.get(running).priority > 0
                        );
                        assert_eq!(after.stage(running, Ok(())), Ok(None), "{before:?}");
                    }
                    Err(refusal) => {
                        assert_eq!(refusal, Refusal::RunningSlotUnproven { slot: running });
                        assert!(!before.get(running).successful);
                    }
                }

                match before.roll_back(running, Ok(())) {
                    Ok(edit) => {
                        let after = edit.unwrap_or(before);
                        assert_eq!(next(after).map(|(slot, _)| slot), Some(other), "{before:?}");
                        assert_eq!(after.get(other).tries, before.get(other).tries);
                        assert_eq!(after.get(other).successful, before.get(other).successful);
                        assert_eq!(after.roll_back(running, Ok(())), Ok(None), "{before:?}");
                    }
                    Err(_) => {
                        let other = before.get(other);
                        assert!(other.priority == 0 || !other.successful && other.tries == 0);
                    }
                }
            }
        }
    }

    #[test]
    fn a_bad_header_is_refused_in_plain_words() {
        let good = slots((1, 0, true), (1, 0, true));
        let bad = || Err("it is empty".to_owned());
        for edit in [good.stage(Slot::A, bad()), good.roll_back(Slot::A, bad())] {
            let refusal = edit.unwrap_err();
            assert_eq!(refusal.to_string(), "slot B cannot boot: it is empty");
        }
    }
}
