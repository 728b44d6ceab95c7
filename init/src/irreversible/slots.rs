//! When a slot is used up, loses its place, or is left.
//!
//! Nothing here takes a priority or a success away: whatever fails, however often, can still be booted where nothing
//! better is left. A slot whose header is not trusted *here* is passed over and not touched: it may be innocent. So may one whose
//! kernel the running kernel refuses to load (lockdown, under Secure Boot): what its start cost is given back, and nobody
//! leaves the running slot for it in this boot.
//!
//! | slot | a start writes, before anything of the slot is used |
//! |---|---|
//! | on trial | one try less |
//! | healthy before, the other bootable | one start counted; after [`STARTS_MAX`] it is put behind the other, spent |
//! | healthy before, spent, the other bootable | it is put behind the other: two failing slots take turns |
//! | healthy before, alone | nothing |
//! | last resort, the other one too | it is put behind the other |
//! | last resort, alone | nothing |

use ferrite_layout::attributes::{FIELD_MAX, SlotAttributes};
use ferrite_layout::slot::starts::{self, STARTS_MAX};
use ferrite_layout::slot::{self, Reason, Slot};

/// The attributes of both slots.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slots {
    /// Slot A.
    pub a: SlotAttributes,
    /// Slot B.
    pub b: SlotAttributes,
}

/// Which slots may be used now: signed by a key that is trusted here, and not failed in this boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usable {
    /// Slot A.
    pub a: bool,
    /// Slot B.
    pub b: bool,
}

/// A slot to start now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Start {
    /// Which.
    pub slot: Slot,
    /// Why this one.
    pub reason: Reason,
    /// Write this, flushed, before anything of the slot is used.
    pub write: Option<Slots>,
    /// Write this instead once the running kernel has refused to start the slot: nothing of it was used, so its start costs
    /// nothing. `None`: it did not.
    pub unpaid: Option<Slots>,
    /// A slot that loses its place with this, having failed too often.
    pub demoted: Option<Slot>,
}

/// What to do about a running slot that is no good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remedy {
    /// Write this where there is something to write, then restart: the other slot has a chance.
    Restart(Option<Slots>),
    /// Run on: nothing better is there.
    RunOn,
}

impl Slots {
    /// A slot's attributes.
    #[must_use]
    pub const fn get(self, slot: Slot) -> SlotAttributes {
        match slot {
            Slot::A => self.a,
            Slot::B => self.b,
        }
    }

    /// With other attributes for a slot.
    #[must_use]
    pub const fn with(self, slot: Slot, attributes: SlotAttributes) -> Self {
        match slot {
            Slot::A => Self { a: attributes, ..self },
            Slot::B => Self { b: attributes, ..self },
        }
    }

    /// Gives `slot` the highest priority, renumbering where the field is full. Who had a priority keeps one.
    #[must_use]
    pub fn first(self, slot: Slot) -> Self {
        let behind = self.get(slot.other());
        let highest = self.a.priority.max(self.b.priority);
        let (behind_priority, priority) = if highest < FIELD_MAX {
            (behind.priority, highest + 1)
        } else {
            (behind.priority.min(1), 2)
        };
        self.with(slot.other(), SlotAttributes { priority: behind_priority, ..behind })
            .with(slot, SlotAttributes { priority, ..self.get(slot) })
    }

    fn behind(self, slot: Slot) -> Self {
        let other = self.get(slot.other());
        if other.priority > self.get(slot).priority { self } else { self.first(slot.other()) }
    }

    fn lose_place(self, slot: Slot) -> Self {
        self.with(slot, starts::spend(self.get(slot))).behind(slot)
    }

    fn changed_from(self, before: Self) -> Option<Self> {
        (self != before).then_some(self)
    }
}

impl Usable {
    /// Whether a slot may be used.
    #[must_use]
    pub const fn get(self, slot: Slot) -> bool {
        match slot {
            Slot::A => self.a,
            Slot::B => self.b,
        }
    }

    /// Without a slot.
    #[must_use]
    pub const fn without(self, slot: Slot) -> Self {
        match slot {
            Slot::A => Self { a: false, ..self },
            Slot::B => Self { b: false, ..self },
        }
    }
}

/// The slot to start, and what that costs it. `None`: there is none.
#[must_use]
pub fn start(slots: Slots, usable: Usable) -> Option<Start> {
    let eligible =
        |slot| if usable.get(slot) { slots.get(slot) } else { SlotAttributes::default() };
    let slot::Choice { slot, reason } = slot::choose(eligible(Slot::A), eligible(Slot::B))?;
    let (state, other) = (slots.get(slot), eligible(slot.other()));
    let with = |state| slots.with(slot, state);
    let after = match reason {
        Reason::Trial => with(SlotAttributes { tries: state.tries.saturating_sub(1), ..state }),
        Reason::Successful if !starts::is_bootable(other) => slots,
        Reason::Successful if starts::is_spent(state) => slots.behind(slot),
        Reason::Successful if starts::failed(state) < STARTS_MAX => with(starts::count(state)),
        Reason::Successful => {
            let after = slots.lose_place(slot);
            let next = start(after, usable)?;
            let demoted = next.demoted.or(Some(slot));
            // That a slot loses its place for the starts it had is no part of what the other one's costs.
            return Some(Start { write: next.write.or(Some(after)), demoted, ..next });
        }
        Reason::LastResort if other.priority > 0 => slots.behind(slot),
        Reason::LastResort => slots,
    };
    let write = after.changed_from(slots);
    Some(Start { slot, reason, write, unpaid: write.map(|_| slots), demoted: None })
}

/// A slot could not be entered although it is signed by a trusted key. What to write, where its start cost it
/// nothing so far (`counted`): that it failed once more.
#[must_use]
pub fn failed_to_start(slots: Slots, slot: Slot, counted: bool) -> Option<Slots> {
    if counted {
        return None;
    }
    slots.with(slot, starts::count(slots.get(slot))).changed_from(slots)
}

/// The running slot's data are damaged on the disk. It is left where the other one has a chance, and loses
/// its own, so that two damaged slots do not send the machine to and fro. `other_usable`: its header is trusted here, and
/// the kernel did not refuse to start it in this boot.
#[must_use]
pub fn damaged(slots: Slots, running: Slot, other_usable: bool) -> Remedy {
    if other_usable && starts::has_chance(slots.get(running.other())) {
        Remedy::Restart(slots.lose_place(running).changed_from(slots))
    } else {
        Remedy::RunOn
    }
}

/// The running slot has not become ready in its time. Its start was counted before it was used, so a restart is
/// all that is left to do. `other_usable` as for [`damaged`]: a slot that is refused again would send the machine round for
/// ever, since that costs it nothing.
#[must_use]
pub fn not_ready(slots: Slots, running: Slot, other_usable: bool) -> Remedy {
    let other = slots.get(running.other());
    let better = if slots.get(running).successful {
        starts::has_chance(other)
    } else {
        starts::is_bootable(other)
    };
    if other_usable && better { Remedy::Restart(None) } else { Remedy::RunOn }
}

/// The running slot has become ready. It goes before one that has used up its chances.
#[must_use]
pub fn ready(slots: Slots, running: Slot) -> Option<Slots> {
    let state = slots.get(running);
    // A priority of 0 would be a success that never boots again.
    let good = SlotAttributes { priority: state.priority.max(1), tries: 0, successful: true };
    let other = slots.get(running.other());
    let after = slots.with(running, good);
    let goes_first = other.priority > 0 && other.successful && starts::is_spent(other);
    if goes_first { after.behind(running.other()) } else { after }.changed_from(slots)
}

#[cfg(test)]
#[path = "slots_tests.rs"]
mod tests;
