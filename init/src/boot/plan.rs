//! Which slot to try next: the boot's decisions, apart from anything that touches a disk.
//!
//! ```text
//! next() ──Some(attempt)──▶ spend the try, durably ──▶ read header ──▶ way() ─▶ root, or kexec
//!   ▲                                                     │                      │
//!   └──────────────── failed(slot, verdict) ◀─────────────┴──────────────────────┘
//! next() ──None──▶ nothing to boot: say so, wait, reset
//! ```
//!
//! Every failure takes a slot out of this boot, so there are at most two attempts.

use ferrite_layout::attributes::SlotAttributes;
use ferrite_layout::slot::{self, Reason, Slot};

/// What is known about both slots during one boot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    slots: [Known; 2],
    pinned: Option<Slot>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Known {
    slot: Slot,
    attributes: SlotAttributes,
    out: bool,
}

/// A slot to try now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attempt {
    /// Which.
    pub slot: Slot,
    /// Why this one.
    pub reason: Reason,
    /// Write these attributes, flushed, before anything of the slot is used.
    pub spend: Option<SlotAttributes>,
    /// The command line names it: the kernel before this one chose it, or a person did.
    pub pinned: bool,
}

/// How sure it is that a slot is bad.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Its content is wrong and stays so: never boot it again.
    Bad,
    /// Something else may be the cause (a device error, no memory): not in this boot.
    Doubtful,
}

/// How to get into a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// The running kernel is the slot's: open its root.
    Root,
    /// Jump into the slot's kernel.
    Kexec,
    /// We jumped already, and this is still not the slot's kernel.
    Stray,
}

impl Plan {
    /// A plan for the slots of a disk; a slot that the disk does not have has priority 0. `pinned` is what
    /// `ferrite.slot=` says.
    #[must_use]
    pub const fn new(a: SlotAttributes, b: SlotAttributes, pinned: Option<Slot>) -> Self {
        let slots = [
            Known { slot: Slot::A, attributes: a, out: false },
            Known { slot: Slot::B, attributes: b, out: false },
        ];
        Self { slots, pinned }
    }

    /// The slot to try now; `None` when none is left.
    #[must_use]
    pub fn next(&self) -> Option<Attempt> {
        if let Some(pinned) = self.pinned
            && let Some(known) = self.slots.iter().find(|known| known.slot == pinned && !known.out)
        {
            let reason =
                if known.attributes.successful { Reason::Successful } else { Reason::Trial };
            return Some(Attempt { slot: pinned, reason, spend: None, pinned: true });
        }
        let choice = slot::choose(self.eligible(Slot::A), self.eligible(Slot::B))?;
        let attributes = self.eligible(choice.slot);
        let spend = match choice.reason {
            Reason::Trial => {
                Some(SlotAttributes { tries: attributes.tries.saturating_sub(1), ..attributes })
            }
            Reason::Successful | Reason::LastResort => None,
        };
        Some(Attempt { slot: choice.slot, reason: choice.reason, spend, pinned: false })
    }

    /// Takes a slot out of this boot. Returns the attributes to write, durably, where it is to stay out.
    pub fn failed(&mut self, slot: Slot, verdict: Verdict) -> Option<SlotAttributes> {
        let known = self.slots.iter_mut().find(|known| known.slot == slot)?;
        known.out = true;
        match verdict {
            Verdict::Bad => Some(SlotAttributes { priority: 0, ..known.attributes }),
            Verdict::Doubtful => None,
        }
    }

    /// The other slot is neither out nor at priority 0.
    #[must_use]
    pub fn can_fall_back_from(&self, slot: Slot) -> bool {
        self.eligible(slot.other()).priority > 0
    }

    fn eligible(&self, slot: Slot) -> SlotAttributes {
        self.slots
            .iter()
            .find(|known| known.slot == slot && !known.out)
            .map(|known| known.attributes)
            .unwrap_or_default()
    }
}

/// How to get into a slot whose boot ID is `slot_boot_id`, from the initramfs with `running`. `jumped`: an earlier
/// kernel jumped here for this slot. A person who pins a slot has not jumped, and gets its kernel.
#[must_use]
pub fn way(jumped: bool, slot_boot_id: &str, running: &str) -> Way {
    match (slot_boot_id == running, jumped) {
        (true, _) => Way::Root,
        (false, false) => Way::Kexec,
        (false, true) => Way::Stray,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const OFF: SlotAttributes = SlotAttributes { priority: 0, tries: 0, successful: false };
    const GOOD: SlotAttributes = SlotAttributes { priority: 1, tries: 0, successful: true };
    const STAGED: SlotAttributes = SlotAttributes { priority: 2, tries: 3, successful: false };

    #[test]
    fn a_trial_spends_a_try_and_falls_back() {
        let mut plan = Plan::new(GOOD, STAGED, None);
        let attempt = plan.next().unwrap();
        assert_eq!((attempt.slot, attempt.reason), (Slot::B, Reason::Trial));
        assert_eq!(attempt.spend, Some(SlotAttributes { tries: 2, ..STAGED }));
        assert!(plan.can_fall_back_from(Slot::B));
        assert_eq!(plan.failed(Slot::B, Verdict::Bad).map(|bad| bad.priority), Some(0));
        let attempt = plan.next().unwrap();
        assert_eq!((attempt.slot, attempt.spend), (Slot::A, None));
        assert!(!plan.can_fall_back_from(Slot::A));
        assert_eq!(plan.failed(Slot::A, Verdict::Doubtful), None);
        assert_eq!(plan.next(), None);
    }

    #[test]
    fn a_pinned_slot_spends_nothing_and_is_tried_once() {
        let mut plan = Plan::new(GOOD, STAGED, Some(Slot::B));
        let attempt = plan.next().unwrap();
        assert_eq!((attempt.slot, attempt.spend, attempt.pinned), (Slot::B, None, true));
        plan.failed(Slot::B, Verdict::Doubtful);
        assert_eq!(plan.next().map(|next| (next.slot, next.pinned)), Some((Slot::A, false)));
    }

    #[test]
    fn a_pinned_slot_whose_tries_ran_out_with_this_boot_is_still_booted() {
        let spent = SlotAttributes { tries: 0, ..STAGED };
        let plan = Plan::new(GOOD, spent, Some(Slot::B));
        assert_eq!(plan.next().map(|next| next.slot), Some(Slot::B));
    }

    #[test]
    fn the_last_resort_spends_nothing() {
        let spent = SlotAttributes { tries: 0, ..STAGED };
        let attempt = Plan::new(OFF, spent, None).next().unwrap();
        assert_eq!(
            (attempt.slot, attempt.reason, attempt.spend),
            (Slot::B, Reason::LastResort, None)
        );
    }

    #[test]
    fn kexec_happens_once() {
        assert_eq!(way(false, "x", "x"), Way::Root);
        assert_eq!(way(true, "x", "x"), Way::Root);
        assert_eq!(way(false, "x", "y"), Way::Kexec);
        assert_eq!(way(true, "x", "y"), Way::Stray);
    }

    fn attributes() -> impl Strategy<Value = SlotAttributes> {
        (0u8..16, 0u8..16, any::<bool>()).prop_map(|(priority, tries, successful)| SlotAttributes {
            priority,
            tries,
            successful,
        })
    }

    proptest! {
        #[test]
        fn every_boot_ends_after_at_most_two_attempts(
            a in attributes(), b in attributes(),
            pinned in prop_oneof![Just(None), Just(Some(Slot::A)), Just(Some(Slot::B))],
            bad in any::<[bool; 2]>(),
        ) {
            let mut plan = Plan::new(a, b, pinned);
            let mut tried = Vec::new();
            for bad in bad {
                let Some(attempt) = plan.next() else { break };
                prop_assert!(!tried.contains(&attempt.slot), "{:?} tried twice", attempt.slot);
                let before = if attempt.slot == Slot::A { a } else { b };
                prop_assert!(before.priority > 0 || attempt.pinned);
                match attempt.spend {
                    Some(spent) => prop_assert_eq!(spent.tries + 1, before.tries),
                    None => prop_assert!(before.successful || attempt.pinned || attempt.reason == Reason::LastResort),
                }
                tried.push(attempt.slot);
                plan.failed(attempt.slot, if bad { Verdict::Bad } else { Verdict::Doubtful });
            }
            if tried.len() == 2 {
                prop_assert_eq!(plan.next(), None);
            }
        }
    }
}
