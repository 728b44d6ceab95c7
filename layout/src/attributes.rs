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
    /// Boots left for a slot that has not been healthy yet.
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
