//! Which slot to try next in this boot, apart from anything that touches a disk.
//!
//! ```text
//! next_attempt() ──Some(attempt)──▶ write what the start costs, durably ──▶ way() ─▶ root, or kexec
//!   ▲                                                                  │
//!   └──────────── failed(attempt), or refused(attempt) ◀───────────────┘
//! next_attempt() ──None──▶ nothing to boot: say so, wait, reset
//! ```
//!
//! Every failure takes a slot out of this boot, so there are at most two attempts. What a start costs, and who loses
//! its place, decides [`crate::irreversible::slots`].

use ferrite_layout::slot::{Reason, Slot};

use crate::irreversible::slots::{self, Slots, Usable};

/// What is known about both slots during one boot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    slots: Slots,
    usable: Usable,
    pinned: Option<Slot>,
}

/// A slot to try now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attempt {
    /// Which.
    pub slot: Slot,
    /// Why this one.
    pub reason: Reason,
    /// Write these attributes, flushed, before anything of the slot is used.
    pub write: Option<Slots>,
    /// Write these where the running kernel refuses the slot's: see [`slots::Start::unpaid`].
    pub unpaid: Option<Slots>,
    /// The slot that loses its place with this.
    pub demoted: Option<Slot>,
    /// The command line names it: the kernel before this one chose it, or a person did.
    pub pinned: bool,
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
    /// A plan for the slots of a disk; a slot that the disk does not have has priority 0. `usable` says whose header
    /// is trusted here, `pinned` what `ferrite.slot=` says.
    #[must_use]
    pub const fn new(slots: Slots, usable: Usable, pinned: Option<Slot>) -> Self {
        Self { slots, usable, pinned }
    }

    /// The slot to try now; `None` when none is left.
    pub fn next_attempt(&mut self) -> Option<Attempt> {
        if let Some(slot) = self.pinned.take()
            && self.usable.get(slot)
        {
            let successful = self.slots.get(slot).successful;
            let reason = if successful { Reason::Successful } else { Reason::Trial };
            let (write, unpaid, demoted) = (None, None, None);
            return Some(Attempt { slot, reason, write, unpaid, demoted, pinned: true });
        }
        let start = slots::start(self.slots, self.usable)?;
        self.slots = start.write.unwrap_or(self.slots);
        let slots::Start { slot, reason, write, unpaid, demoted } = start;
        Some(Attempt { slot, reason, write, unpaid, demoted, pinned: false })
    }

    /// Takes a slot that could not be entered out of this boot. Returns what to write, durably.
    pub fn failed(&mut self, attempt: Attempt) -> Option<Slots> {
        self.usable = self.usable.without(attempt.slot);
        // A pinned start was counted by the kernel before this one, or is a person's.
        let counted = attempt.pinned || attempt.write.is_some();
        let after = slots::failed_to_start(self.slots, attempt.slot, counted);
        self.slots = after.unwrap_or(self.slots);
        after
    }

    /// Takes a slot out of this boot whose kernel the running one refuses to load, which says nothing against the slot.
    /// Returns what to write, durably.
    pub fn refused(&mut self, attempt: Attempt) -> Option<Slots> {
        self.usable = self.usable.without(attempt.slot);
        self.slots = attempt.unpaid.unwrap_or(self.slots);
        attempt.unpaid
    }

    /// Both slots as they are after what was to be written so far.
    #[must_use]
    pub const fn slots(&self) -> Slots {
        self.slots
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
    use ferrite_layout::attributes::SlotAttributes;
    use proptest::prelude::*;

    const OFF: SlotAttributes = SlotAttributes { priority: 0, tries: 0, successful: false };
    const GOOD: SlotAttributes = SlotAttributes { priority: 1, tries: 0, successful: true };
    const STAGED: SlotAttributes = SlotAttributes { priority: 2, tries: 3, successful: false };
    const BOTH: Usable = Usable { a: true, b: true };

    fn plan(a: SlotAttributes, b: SlotAttributes, pinned: Option<Slot>) -> Plan {
        Plan::new(Slots { a, b }, BOTH, pinned)
    }

    #[test]
    fn a_trial_spends_a_try_and_falls_back() {
        let mut plan = plan(GOOD, STAGED, None);
        let attempt = plan.next_attempt().unwrap();
        assert_eq!((attempt.slot, attempt.reason), (Slot::B, Reason::Trial));
        let spent = SlotAttributes { tries: 2, ..STAGED };
        assert_eq!(attempt.write, Some(Slots { a: GOOD, b: spent }));
        assert_eq!(plan.failed(attempt), None);
        let attempt = plan.next_attempt().unwrap();
        // B is out of this boot, so there is nobody for whom to leave A.
        assert_eq!((attempt.slot, attempt.write), (Slot::A, None));
        let counted = plan.failed(attempt).unwrap();
        assert_eq!(counted.a, SlotAttributes { tries: 15, ..GOOD });
        assert_eq!(plan.next_attempt(), None);
    }

    #[test]
    fn a_slot_that_the_kernel_refuses_to_start_gets_back_what_it_cost_and_is_not_tried_again() {
        let proven = SlotAttributes { priority: 2, ..GOOD };
        for other in [STAGED, proven] {
            let before = Slots { a: GOOD, b: other };
            let mut plan = plan(before.a, before.b, None);
            let attempt = plan.next_attempt().unwrap();
            assert_eq!(attempt.slot, Slot::B);
            assert!(attempt.write.is_some_and(|paid| paid != before), "{other:?}");
            assert_eq!(plan.refused(attempt), Some(before), "{other:?}");
            // B is out of this boot, so A's start costs nothing either.
            let attempt = plan.next_attempt().unwrap();
            assert_eq!((attempt.slot, attempt.write), (Slot::A, None));
            assert_eq!(plan.slots(), before);
        }
        // A person's choice cost nothing to begin with.
        let mut plan = plan(GOOD, STAGED, Some(Slot::B));
        let attempt = plan.next_attempt().unwrap();
        assert_eq!(plan.refused(attempt), None);
        assert_eq!(plan.slots(), Slots { a: GOOD, b: STAGED });
    }

    #[test]
    fn a_slot_that_is_not_trusted_here_costs_nobody_anything() {
        let usable = BOTH.without(Slot::B);
        let mut plan = Plan::new(Slots { a: GOOD, b: STAGED }, usable, None);
        let attempt = plan.next_attempt().unwrap();
        assert_eq!((attempt.slot, attempt.write), (Slot::A, None));
        let none = Usable { a: false, b: false };
        for pinned in [None, Some(Slot::A), Some(Slot::B)] {
            assert_eq!(Plan::new(Slots { a: GOOD, b: STAGED }, none, pinned).next_attempt(), None);
        }
    }

    #[test]
    fn a_pinned_slot_spends_nothing_and_is_tried_once() {
        let mut plan = plan(GOOD, STAGED, Some(Slot::B));
        let attempt = plan.next_attempt().unwrap();
        assert_eq!((attempt.slot, attempt.write, attempt.pinned), (Slot::B, None, true));
        assert_eq!(plan.failed(attempt), None);
        assert_eq!(
            plan.next_attempt().map(|next| (next.slot, next.pinned)),
            Some((Slot::A, false))
        );
    }

    #[test]
    fn a_pinned_slot_whose_tries_ran_out_with_this_boot_is_still_booted() {
        let spent = SlotAttributes { tries: 0, ..STAGED };
        assert_eq!(
            plan(GOOD, spent, Some(Slot::B)).next_attempt().map(|next| next.slot),
            Some(Slot::B)
        );
        assert_eq!(
            plan(GOOD, OFF, Some(Slot::B)).next_attempt().map(|next| next.slot),
            Some(Slot::B)
        );
    }

    #[test]
    fn the_last_resort_spends_nothing() {
        let spent = SlotAttributes { tries: 0, ..STAGED };
        let attempt = plan(OFF, spent, None).next_attempt().unwrap();
        let found = (attempt.slot, attempt.reason, attempt.write);
        assert_eq!(found, (Slot::B, Reason::LastResort, None));
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
            usable in any::<[bool; 2]>(),
        ) {
            let usable = Usable { a: usable[0], b: usable[1] };
            let mut plan = Plan::new(Slots { a, b }, usable, pinned);
            let mut tried = Vec::new();
            while let Some(attempt) = plan.next_attempt() {
                prop_assert!(!tried.contains(&attempt.slot), "{:?} tried twice", attempt.slot);
                prop_assert!(usable.get(attempt.slot));
                let before = if attempt.slot == Slot::A { a } else { b };
                prop_assert!(before.priority > 0 || attempt.pinned);
                tried.push(attempt.slot);
                plan.failed(attempt);
            }
            prop_assert!(tried.len() <= 2);
            for slot in Slot::ALL {
                let before = if slot == Slot::A { a } else { b };
                prop_assert_eq!(before.priority > 0, plan.slots().get(slot).priority > 0);
            }
        }
    }
}
