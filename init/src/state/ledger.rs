//! What is remembered about STATE without STATE: see [`ferrite_layout::state_marks`].

use ferrite_layout::gpt::{EditTable, Table};
use ferrite_layout::state_marks::StateMarks;

use crate::disk::{DiskError, STATE_PARTITION, SystemDisk};

/// The marks cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum LedgerError {
    #[error("read what is remembered about STATE")]
    Read { source: DiskError },
    #[error("remember something about STATE")]
    Edit { source: EditTable },
    #[error("remember something about STATE")]
    Write { source: DiskError },
}

/// Reads the marks.
///
/// # Errors
/// The partition table cannot be read, or has no STATE.
pub fn read(disk: &SystemDisk) -> Result<StateMarks, LedgerError> {
    let table = disk.read_table().map_err(|source| LedgerError::Read { source })?;
    Ok(StateMarks::from_bits(attributes(&table)?))
}

/// Writes the marks, flushed and in both copies; nothing where they are so already.
///
/// # Errors
/// The partition table cannot be read or written, or has no STATE.
pub fn write(disk: &SystemDisk, marks: StateMarks) -> Result<(), LedgerError> {
    let mut table = disk.read_table().map_err(|source| LedgerError::Read { source })?;
    let before = attributes(&table)?;
    let after = marks.apply_to(before);
    if before == after {
        return Ok(());
    }
    table.set_attributes(STATE_PARTITION, after).map_err(|source| LedgerError::Edit { source })?;
    disk.write_table(&table).map_err(|source| LedgerError::Write { source })
}

fn attributes(table: &Table) -> Result<u64, LedgerError> {
    let absent = LedgerError::Edit { source: EditTable::Absent { number: STATE_PARTITION } };
    table.partition(STATE_PARTITION).map(|partition| partition.attributes).ok_or(absent)
}
