//! Slots and the rule that picks one.

pub mod starts;

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::attributes::{FIELD_MAX, SlotAttributes};

/// Tries that a freshly written slot gets before it counts as bad.
///
/// Two would survive one unlucky power cut; three leaves room for a cut during the second look as well.
pub const FRESH_TRIES: u8 = 3;

/// One of the two bootable slots of a disk: a KERN and a ROOT partition that belong together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Slot {
    /// KERN-A and ROOT-A, partitions 2 and 3.
    A,
    /// KERN-B and ROOT-B, partitions 4 and 5.
    B,
}

impl Slot {
    /// Both slots, in the order in which ties are broken.
    pub const ALL: [Self; 2] = [Self::A, Self::B];

    /// The other slot.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }

    /// GPT partition number of the slot's KERN partition.
    #[must_use]
    pub const fn kern_partition(self) -> u32 {
        match self {
            Self::A => 2,
            Self::B => 4,
        }
    }

    /// GPT partition number of the slot's ROOT partition.
    #[must_use]
    pub const fn root_partition(self) -> u32 {
        match self {
            Self::A => 3,
            Self::B => 5,
        }
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::A => "A",
            Self::B => "B",
        })
    }
}

/// A slot name that is neither `A` nor `B`.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("read slot name {0:?}: it must be A or B")]
pub struct ParseSlot(String);

impl FromStr for Slot {
    type Err = ParseSlot;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "A" | "a" => Ok(Self::A),
            "B" | "b" => Ok(Self::B),
            _ => Err(ParseSlot(text.to_owned())),
        }
    }
}

/// Why a slot is picked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// It has been healthy before.
    Successful,
    /// It is new and has tries left; one of them must be spent, durably, before it is used.
    Trial,
    /// Nothing better is left: it has a priority but neither success nor tries. Booting it once more
    /// beats a machine that nobody can reach.
    LastResort,
}

/// The slot to boot and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Choice {
    /// The slot.
    pub slot: Slot,
    /// What made it eligible.
    pub reason: Reason,
}

/// Picks the slot to boot.
///
/// The highest priority among slots that are successful or have tries left wins, A before B on a tie.
/// Where no such slot exists, the highest priority above 0 wins as a last resort. Priority 0 is never
/// booted. `None` means that the disk has no slot to boot.
#[must_use]
pub fn choose(a: SlotAttributes, b: SlotAttributes) -> Option<Choice> {
    let candidates = [(Slot::A, a), (Slot::B, b)];
    let best = |eligible: fn(SlotAttributes) -> bool| {
        candidates
            .into_iter()
            .filter(|(_, attributes)| attributes.priority > 0 && eligible(*attributes))
            .max_by_key(|(slot, attributes)| (attributes.priority, std::cmp::Reverse(*slot)))
    };
    if let Some((slot, attributes)) =
        best(|attributes| attributes.successful || attributes.tries > 0)
    {
        let reason = if attributes.successful { Reason::Successful } else { Reason::Trial };
        return Some(Choice { slot, reason });
    }
    best(|_| true).map(|(slot, _)| Choice { slot, reason: Reason::LastResort })
}

/// Attributes of the staged slot and of the other one after something new was written into the first: it is
/// booted next, on trial. The other keeps its place behind it; priorities start again from 1 where the field
/// is full.
#[must_use]
pub fn stage(other: SlotAttributes) -> (SlotAttributes, SlotAttributes) {
    let trial = |priority| SlotAttributes { priority, tries: FRESH_TRIES, successful: false };
    if other.priority < FIELD_MAX {
        return (trial(other.priority + 1), other);
    }
    (trial(2), SlotAttributes { priority: 1, ..other })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every state that a slot can have.
    fn every_state() -> impl Iterator<Item = SlotAttributes> + Clone {
        (0..=FIELD_MAX).flat_map(|priority| {
            (0..=FIELD_MAX).flat_map(move |tries| {
                [false, true]
                    .map(|successful| SlotAttributes { priority, tries, successful })
                    .into_iter()
            })
        })
    }

    /// The rule as a person would carry it out: go down the priorities and take the first that will do.
    fn by_hand(a: SlotAttributes, b: SlotAttributes) -> Option<Choice> {
        for last_resort in [false, true] {
            for priority in (1..=FIELD_MAX).rev() {
                for (slot, state) in [(Slot::A, a), (Slot::B, b)] {
                    let reason = match (state.successful, state.tries, last_resort) {
                        (true, _, false) => Reason::Successful,
                        (false, 1.., false) => Reason::Trial,
                        (_, _, true) => Reason::LastResort,
                        (false, 0, false) => continue,
                    };
                    if state.priority == priority {
                        return Some(Choice { slot, reason });
                    }
                }
            }
        }
        None
    }

    #[test]
    fn choice_is_the_rule_in_every_state() {
        let mut cells = 0;
        for a in every_state() {
            for b in every_state() {
                assert_eq!(choose(a, b), by_hand(a, b), "A {a:?}, B {b:?}");
                cells += 1;
            }
        }
        assert_eq!(cells, 512 * 512);
    }

    #[test]
    fn a_staged_slot_is_next_and_the_other_is_behind_it() {
        for other in every_state() {
            let (staged, behind) = stage(other);
            let trial = Some(Choice { slot: Slot::B, reason: Reason::Trial });
            assert_eq!(choose(behind, staged), trial, "other {other:?}");
            assert_eq!((behind.tries, behind.successful), (other.tries, other.successful));
            assert_eq!(behind.priority == 0, other.priority == 0, "other {other:?}");
            let failed = SlotAttributes { tries: 0, ..staged };
            let fallback = choose(behind, failed).map(|choice| choice.slot);
            let can_boot = behind.priority > 0 && (behind.successful || behind.tries > 0);
            assert_eq!(fallback, Some(if can_boot { Slot::A } else { Slot::B }), "{other:?}");
        }
    }

    #[test]
    fn names_are_read_as_they_are_written() {
        for slot in Slot::ALL {
            assert_eq!(slot.to_string().parse(), Ok(slot));
            assert_eq!(slot.other().other(), slot);
        }
        assert_eq!("C".parse::<Slot>(), Err(ParseSlot("C".to_owned())));
    }
}
