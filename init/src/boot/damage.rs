//! Damage in the running root, found after the boot.
//!
//! The kernel's announcement of a damaged block (or verity's status, for what was before anybody listened) comes
//! here. Where the other slot can boot, the running one gets priority 0 on the disk, and the caller resets the
//! machine. Where it cannot, the node runs on: the damaged block is an I/O error and no wrong data.

use ferrite_layout::attributes::SlotAttributes;
use ferrite_layout::slot::Slot;

use crate::disk::{DiskError, SystemDisk};
use crate::modules::uevent::Uevent;

/// What to do about damage in the running root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remedy {
    /// The other slot boots next, that is on the disk: reset.
    Restart,
    /// Nothing better is there: run on and say so.
    RunOn,
}

/// The announcement is about a damaged block of a verity device.
#[must_use]
pub const fn is_damage(uevent: &Uevent) -> bool {
    uevent.verity_block.is_some()
}

/// Gives the running slot up, durably, where the other one can boot.
///
/// # Errors
/// The partition table cannot be read or written.
pub fn give_up(disk: &SystemDisk, running: Slot) -> Result<Remedy, DiskError> {
    let mut table = disk.read_table()?;
    let attributes = |slot| table.slot(slot).unwrap_or_default();
    let remedy = remedy(attributes(running.other()));
    if remedy == Remedy::Restart {
        let given_up = SlotAttributes { priority: 0, ..attributes(running) };
        if table.set_slot(running, given_up).is_ok() {
            disk.write_table(&table)?;
        }
    }
    Ok(remedy)
}

/// A slot that would be only a last resort has failed before and is no better.
const fn remedy(other: SlotAttributes) -> Remedy {
    if other.priority > 0 && (other.successful || other.tries > 0) {
        Remedy::Restart
    } else {
        Remedy::RunOn
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_slot_that_can_boot_is_worth_a_restart() {
        let check = |priority, tries, successful, expected| {
            assert_eq!(remedy(SlotAttributes { priority, tries, successful }), expected);
        };
        check(0, 3, true, Remedy::RunOn);
        check(1, 0, false, Remedy::RunOn);
        check(1, 1, false, Remedy::Restart);
        check(1, 0, true, Remedy::Restart);
    }
}
