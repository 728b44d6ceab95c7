//! What is remembered about STATE outside of it: in the attribute bits of its own GPT entry.
//!
//! An order about a STATE that cannot be used cannot stand on it, nor can the number of times that it was damaged.
//! The partition table is written in two copies, one whole at every instant, before anything is mounted, and both
//! slots see the same one.

/// Most checks that are counted: the field is four bits wide.
pub const CHECKS_MAX: u8 = 15;

const RECREATE_BIT: u64 = 1 << 48;
const CHECK_BIT: u64 = 1 << 49;
const DAMAGED_BIT: u64 = 1 << 50;
const CHECKS_SHIFT: u32 = 52;
const CHECKS_MASK: u64 = 0xf;

/// What is to be done about STATE at the next boot, because somebody said so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StateOrder {
    /// Make it anew, empty.
    Recreate,
    /// Check and repair it, however hopeless it looks.
    Check,
}

/// The marks.
///
/// # Shape
/// Bits 48 made anew by order, 49 check by order, 50 damage was seen, 52–55 number of checks; the other bits are
/// not ours and stay as they are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StateMarks {
    /// What was ordered.
    pub order: Option<StateOrder>,
    /// Damage was seen, or a check was begun that has not ended: check before it is mounted.
    pub damaged: bool,
    /// Checks begun since STATE was last sound for long.
    pub checks: u8,
}

impl StateMarks {
    /// Reads the marks out of a GPT attribute word. Where both orders stand, the one that loses nothing counts.
    #[must_use]
    pub fn from_bits(bits: u64) -> Self {
        let order = if bits & CHECK_BIT != 0 {
            Some(StateOrder::Check)
        } else if bits & RECREATE_BIT != 0 {
            Some(StateOrder::Recreate)
        } else {
            None
        };
        let checks = u8::try_from((bits >> CHECKS_SHIFT) & CHECKS_MASK).unwrap_or(CHECKS_MAX);
        Self { order, damaged: bits & DAMAGED_BIT != 0, checks }
    }

    /// Puts the marks into `bits`, leaving its other bits alone.
    #[must_use]
    pub fn apply_to(self, bits: u64) -> u64 {
        let cleared =
            bits & !(RECREATE_BIT | CHECK_BIT | DAMAGED_BIT | CHECKS_MASK << CHECKS_SHIFT);
        let order = match self.order {
            Some(StateOrder::Recreate) => RECREATE_BIT,
            Some(StateOrder::Check) => CHECK_BIT,
            None => 0,
        };
        let damaged = if self.damaged { DAMAGED_BIT } else { 0 };
        cleared | order | damaged | u64::from(self.checks.min(CHECKS_MAX)) << CHECKS_SHIFT
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mark_comes_back_and_other_bits_stay() {
        for order in [None, Some(StateOrder::Recreate), Some(StateOrder::Check)] {
            for damaged in [false, true] {
                for checks in 0..=CHECKS_MAX {
                    let marks = StateMarks { order, damaged, checks };
                    for other in [0, !0] {
                        let bits = marks.apply_to(other);
                        assert_eq!(StateMarks::from_bits(bits), marks);
                        let ours = 0x00f7_0000_0000_0000;
                        assert_eq!(bits & !ours, other & !ours);
                    }
                }
            }
        }
    }

    #[test]
    fn nothing_is_ordered_by_an_entry_that_was_never_marked() {
        assert_eq!(StateMarks::from_bits(0), StateMarks::default());
    }

    #[test]
    fn of_two_orders_the_one_that_loses_nothing_counts() {
        let both = RECREATE_BIT | CHECK_BIT;
        assert_eq!(StateMarks::from_bits(both).order, Some(StateOrder::Check));
    }

    #[test]
    fn a_count_out_of_range_does_not_spill() {
        let marks = StateMarks { checks: 200, ..StateMarks::default() };
        assert_eq!(marks.apply_to(0), 0x00f0_0000_0000_0000);
    }
}
