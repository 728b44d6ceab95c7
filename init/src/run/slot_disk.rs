//! Reads slots from the system disk and writes their attributes back.

use ferrite_layout::attributes::SlotAttributes;
use ferrite_layout::gpt::{EditTable, Table};
use ferrite_layout::slot::Slot;
use ferrite_layout::slot_header::TrustedKey;
use ferrite_schema::chain;
use ferrite_schema::control::SlotStatus;

use super::slots::{Edit, Refusal, Slots};
use crate::boot::header::{self, LoadHeader};
use crate::disk::{DiskError, SystemDisk};
use crate::irreversible::slots::{self, Remedy};

/// The slots of the system disk.
#[derive(Debug)]
pub struct SlotDisk {
    disk: SystemDisk,
    keys: Vec<TrustedKey>,
    refused: Option<Slot>,
}

/// A slot could not be looked at or changed.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum SlotError {
    #[error("look at the slots")]
    ReadTable { source: DiskError },
    #[error("look at the slots: the disk has no KERN partition for slot {slot}")]
    NoPartition { slot: Slot },
    #[error("change the slots' attributes")]
    EditTable { source: EditTable },
    #[error("write the slots' attributes")]
    WriteTable { source: DiskError },
    #[error(transparent)]
    ReadHeader { source: LoadHeader },
}

/// What came of a slot verb.
#[derive(Debug)]
pub enum Outcome {
    /// Written, flushed and read back.
    Done,
    /// It was so already; nothing was written.
    AlreadySo,
    /// Nothing was written.
    Refused(Refusal),
}

impl SlotDisk {
    /// The slots of `disk`, whose headers must be signed by one of `keys`. `refused`: the one whose kernel could not be
    /// loaded in this boot, for a reason that holds in the next as well.
    #[must_use]
    pub const fn new(disk: SystemDisk, keys: Vec<TrustedKey>, refused: Option<Slot>) -> Self {
        Self { disk, keys, refused }
    }

    /// Marks the running slot successful.
    ///
    /// # Errors
    /// The disk cannot be read or written.
    pub fn mark_good(&self, running: Slot) -> Result<Outcome, SlotError> {
        self.edit(|slots| Ok(slots.mark_good(running)))
    }

    /// Makes the other slot the next to boot, on trial.
    ///
    /// # Errors
    /// The disk cannot be read or written.
    pub fn stage(&self, running: Slot) -> Result<Outcome, SlotError> {
        let header = self.check_header(running.other())?;
        self.edit(|slots| slots.stage(running, header))
    }

    /// Makes the other slot the next to boot, as it is.
    ///
    /// # Errors
    /// The disk cannot be read or written.
    pub fn roll_back(&self, running: Slot) -> Result<Outcome, SlotError> {
        let header = self.check_header(running.other())?;
        self.edit(|slots| slots.roll_back(running, header))
    }

    /// What to do now that the running slot has not become ready in its time. `Err` says why the machine stays.
    ///
    /// # Errors
    /// The disk cannot be read.
    pub fn judge_not_ready(&self, running: Slot) -> Result<Result<(), Refusal>, SlotError> {
        let other = running.other();
        let header = self.check_header(other)?;
        let slots = slots_of(&self.read_table()?)?;
        match slots::not_ready(slots, running, self.is_usable(other, &header)) {
            Remedy::Restart(_) => Ok(Ok(())),
            Remedy::RunOn => Ok(Err(self.why_not(slots, other, header))),
        }
    }

    /// Leaves the running slot, which is damaged on the disk, durably, where the other one has a chance. `Err` says why
    /// it has none.
    ///
    /// # Errors
    /// The disk cannot be read or written.
    pub fn leave_damaged(&self, running: Slot) -> Result<Result<(), Refusal>, SlotError> {
        let other = running.other();
        let header = self.check_header(other)?;
        let mut why = None;
        let is_usable = self.is_usable(other, &header);
        self.edit(|slots| match slots::damaged(slots, running, is_usable) {
            Remedy::Restart(edited) => Ok(edited),
            Remedy::RunOn => {
                why = Some(self.why_not(slots, other, header));
                Ok(None)
            }
        })?;
        Ok(why.map_or(Ok(()), Err))
    }

    fn is_usable(&self, slot: Slot, header: &Result<(), String>) -> bool {
        header.is_ok() && self.refused != Some(slot)
    }

    /// Why nobody leaves the running slot for `slot`.
    fn why_not(&self, slots: Slots, slot: Slot, header: Result<(), String>) -> Refusal {
        match slots.can_boot(slot, header) {
            Err(refusal) => refusal,
            Ok(()) if self.refused == Some(slot) => Refusal::OtherSlotRefused { slot },
            Ok(()) => Refusal::OtherSlotFailed { slot },
        }
    }

    /// Both slots, for a client of the control socket.
    ///
    /// # Errors
    /// The partition table cannot be read.
    pub fn status(&self) -> Result<Vec<SlotStatus>, SlotError> {
        let slots = slots_of(&self.read_table()?)?;
        let status = |slot| {
            let (version, problem) = match self.read_header(slot) {
                Ok(Ok(version)) => (Some(version), None),
                Ok(Err(problem)) => (None, Some(problem)),
                Err(error) => (None, Some(chain(&error))),
            };
            SlotStatus { slot, attributes: slots.get(slot), version, problem }
        };
        Ok(Slot::ALL.map(status).into())
    }

    fn edit(&self, edit: impl FnOnce(Slots) -> Edit) -> Result<Outcome, SlotError> {
        let mut table = self.read_table()?;
        let edited = match edit(slots_of(&table)?) {
            Ok(Some(edited)) => edited,
            Ok(None) => return Ok(Outcome::AlreadySo),
            Err(refusal) => return Ok(Outcome::Refused(refusal)),
        };
        for slot in Slot::ALL {
            table
                .set_slot(slot, edited.get(slot))
                .map_err(|source| SlotError::EditTable { source })?;
        }
        self.disk.write_table(&table).map_err(|source| SlotError::WriteTable { source })?;
        Ok(Outcome::Done)
    }

    fn read_table(&self) -> Result<Table, SlotError> {
        self.disk.read_table().map_err(|source| SlotError::ReadTable { source })
    }

    fn check_header(&self, slot: Slot) -> Result<Result<(), String>, SlotError> {
        Ok(self.read_header(slot)?.map(|_| ()))
    }

    /// The version in a slot, or what is wrong with its header.
    fn read_header(&self, slot: Slot) -> Result<Result<String, String>, SlotError> {
        let path = self.disk.partition_path(slot.kern_partition());
        match header::load(&path, 0, &self.keys) {
            Ok(document) => Ok(Ok(document.version)),
            Err(LoadHeader::Check { source, .. }) => Ok(Err(chain(&source))),
            Err(source @ LoadHeader::Read { .. }) => Err(SlotError::ReadHeader { source }),
        }
    }
}

fn slots_of(table: &Table) -> Result<Slots, SlotError> {
    let of = |slot| -> Result<SlotAttributes, SlotError> {
        table.slot(slot).ok_or(SlotError::NoPartition { slot })
    };
    Ok(Slots { a: of(Slot::A)?, b: of(Slot::B)? })
}
