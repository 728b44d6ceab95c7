//! The GPT attribute bits that carry a slot's state, as Chromium OS defines them.

use serde::{Deserialize, Serialize};

/// Largest priority and largest number of tries: both fields are four bits wide.
pub const FIELD_MAX: u8 = 15;

const PRIORITY_SHIFT: u32 = 48;
const TRIES_SHIFT: u32 = 52;
const SUCCESSFUL_BIT: u64 = 1 << 56;
const FIELD_MASK: u64 = 0xf;

/// State of a slot, kept in the attributes of its KERN partition.
///
/// # Shape
/// Bits 48–51 priority, 52–55 tries, 56 successful; the other bits are not ours and stay as they are.
///
/// # Source
/// Chromium OS disk format; `cgpt(1)` reads and writes the same bits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlotAttributes {
    /// 0 is never booted; among bootable slots the highest wins.
    pub priority: u8,
    /// Boots left for a slot that has not been healthy yet. What it means for a successful one says
    /// [`crate::slot::starts`].
    pub tries: u8,
    /// Set once the node was healthy on this slot.
    pub successful: bool,
}

impl SlotAttributes {
    /// Reads the three fields out of a GPT attribute word.
    #[must_use]
    pub fn from_bits(bits: u64) -> Self {
        let field = |shift: u32| u8::try_from((bits >> shift) & FIELD_MASK).unwrap_or(FIELD_MAX);
        Self {
            priority: field(PRIORITY_SHIFT),
            tries: field(TRIES_SHIFT),
            successful: bits & SUCCESSFUL_BIT != 0,
        }
    }

    /// Puts the three fields into `bits`, leaving its other bits alone. Values above
    /// [`FIELD_MAX`] are cut down to it.
    #[must_use]
    pub fn apply_to(self, bits: u64) -> u64 {
        let cleared =
            bits & !((FIELD_MASK << PRIORITY_SHIFT) | (FIELD_MASK << TRIES_SHIFT) | SUCCESSFUL_BIT);
        cleared
            | u64::from(self.priority.min(FIELD_MAX)) << PRIORITY_SHIFT
            | u64::from(self.tries.min(FIELD_MAX)) << TRIES_SHIFT
            | if self.successful { SUCCESSFUL_BIT } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_are_where_cgpt_has_them() {
        for (priority, tries, successful, bits) in [
            (1, 0, false, 0x0001_0000_0000_0000),
            (0, 1, false, 0x0010_0000_0000_0000),
            (0, 0, true, 0x0100_0000_0000_0000),
            (15, 3, true, 0x013f_0000_0000_0000),
        ] {
            let state = SlotAttributes { priority, tries, successful };
            assert_eq!(state.apply_to(0), bits);
            assert_eq!(SlotAttributes::from_bits(bits), state);
        }
    }

    #[test]
    fn other_bits_stay() {
        let ours = 0x01ff_0000_0000_0000;
        let state = SlotAttributes { priority: 5, tries: 10, successful: false };
        assert_eq!(state.apply_to(u64::MAX) & !ours, !ours);
        assert_eq!(SlotAttributes::from_bits(state.apply_to(u64::MAX)), state);
        assert_eq!(SlotAttributes::from_bits(!ours), SlotAttributes::default());
    }

    #[test]
    fn values_out_of_range_do_not_spill() {
        let state = SlotAttributes { priority: 255, tries: 16, successful: false };
        assert_eq!(state.apply_to(0), 0x00ff_0000_0000_0000);
    }
}
