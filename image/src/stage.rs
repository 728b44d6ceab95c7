//! Puts a slot's payloads into a disk image that is not running, and sets slots' attributes there.
//!
//! The order is that of an update on a living machine: the slot loses its priority, then it is filled, and only
//! what is complete and flushed becomes the next to boot.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use ferrite_layout::attributes::{FIELD_MAX, SlotAttributes};
use ferrite_layout::gpt::{CheckWritten, EditTable, EncodeTable, Partition, Table};
use ferrite_layout::slot::{self, Slot};
use ferrite_layout::slot_header::{self, HEADER_BYTES, ReadHeader, SlotDocument};

use crate::opened::{OpenImage, Opened};

/// Bytes copied at a time.
const COPY_BYTES: usize = 1024 * 1024;

/// The two files that a build leaves for a slot.
#[derive(Debug, Clone)]
pub struct Payload {
    /// `slot.kern`.
    pub kern: PathBuf,
    /// `slot.root`.
    pub root: PathBuf,
}

/// State of both slots of a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SlotStates {
    /// Slot A.
    pub a: SlotAttributes,
    /// Slot B.
    pub b: SlotAttributes,
}

/// Why a slot was not changed.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum StageSlot {
    #[error(transparent)]
    Open(#[from] OpenImage),
    #[error("find slot {slot} on {path}: it has no partition {number}")]
    NoPartition { path: PathBuf, slot: Slot, number: u32 },
    #[error("read the header of {path}")]
    Header { path: PathBuf, source: ReadHeader },
    #[error("stage {path}: it has {found} bytes, its header says {expected}")]
    Size { path: PathBuf, found: u64, expected: u64 },
    #[error("stage {path}: it has {found} bytes, partition {partition} only {room}")]
    TooLarge { path: PathBuf, found: u64, partition: String, room: u64 },
    #[error("set slot {slot}: priority {} or tries {} is above {FIELD_MAX}", .state.priority, .state.tries)]
    Field { slot: Slot, state: SlotAttributes },
    #[error("copy {path} into the disk")]
    Copy { path: PathBuf, source: io::Error },
    #[error("change the partition table of {path}")]
    Edit { path: PathBuf, source: EditTable },
    #[error("encode the partition table of {path}")]
    Encode { path: PathBuf, source: EncodeTable },
    #[error("write {path}")]
    Write { path: PathBuf, source: io::Error },
    #[error("check what was written to {path}")]
    Check { path: PathBuf, source: CheckWritten },
}

/// Writes a payload into a slot of the disk image and makes it the next to boot, on trial.
///
/// Sizes are checked before anything is written; the signature is not: a disk with a badly signed slot is
/// something that one may want to have, and machines check for themselves.
///
/// # Errors
/// The payload does not fit the disk or itself; the disk cannot be read or written.
pub fn install(disk: &Path, slot: Slot, payload: &Payload) -> Result<SlotDocument, StageSlot> {
    let opened = Opened::open_for_writing(disk)?;
    let mut table = opened.table(disk)?;
    let kern = partition(&table, disk, slot, slot.kern_partition())?;
    let root = partition(&table, disk, slot, slot.root_partition())?;
    let document = check_payload(payload, &kern, &root)?;

    let mut state = state_of(&table, disk, slot)?;
    state.priority = 0;
    set(&mut table, disk, slot, state)?;
    write_table(&opened.file, disk, &table)?;
    copy(&payload.root, &opened.file, root.offset_bytes)?;
    copy(&payload.kern, &opened.file, kern.offset_bytes)?;
    sync(&opened.file, disk)?;

    let (staged, other) = slot::stage(state_of(&table, disk, slot.other())?);
    set(&mut table, disk, slot, staged)?;
    set(&mut table, disk, slot.other(), other)?;
    write_table(&opened.file, disk, &table)?;
    Ok(document)
}

/// State of both slots of a disk image.
///
/// # Errors
/// The file is not a disk image of ours.
pub fn slots(disk: &Path) -> Result<SlotStates, StageSlot> {
    let table = Opened::open(disk)?.table(disk)?;
    Ok(SlotStates { a: state_of(&table, disk, Slot::A)?, b: state_of(&table, disk, Slot::B)? })
}

/// Sets the state of a slot of a disk image.
///
/// # Errors
/// A value is out of range; the disk cannot be read or written.
pub fn set_slot(disk: &Path, slot: Slot, state: SlotAttributes) -> Result<(), StageSlot> {
    if state.priority > FIELD_MAX || state.tries > FIELD_MAX {
        return Err(StageSlot::Field { slot, state });
    }
    let opened = Opened::open_for_writing(disk)?;
    let mut table = opened.table(disk)?;
    set(&mut table, disk, slot, state)?;
    write_table(&opened.file, disk, &table)
}

fn partition(table: &Table, disk: &Path, slot: Slot, number: u32) -> Result<Partition, StageSlot> {
    table.partition(number).ok_or_else(|| StageSlot::NoPartition {
        path: disk.to_owned(),
        slot,
        number,
    })
}

fn state_of(table: &Table, disk: &Path, slot: Slot) -> Result<SlotAttributes, StageSlot> {
    table.slot(slot).ok_or_else(|| StageSlot::NoPartition {
        path: disk.to_owned(),
        slot,
        number: slot.kern_partition(),
    })
}

fn set(table: &mut Table, disk: &Path, slot: Slot, state: SlotAttributes) -> Result<(), StageSlot> {
    table.set_slot(slot, state).map_err(|source| StageSlot::Edit { path: disk.to_owned(), source })
}

/// The two files are as large as the header says and fit into the partitions.
fn check_payload(
    payload: &Payload,
    kern: &Partition,
    root: &Partition,
) -> Result<SlotDocument, StageSlot> {
    let path = &payload.kern;
    let document = Opened::open(path)
        .and_then(|opened| {
            opened
                .whole()
                .read_array::<HEADER_BYTES>(0)
                .map_err(|source| OpenImage::Read { path: path.clone(), source })
        })
        .map_err(StageSlot::Open)
        .and_then(|header| {
            slot_header::decode_unverified(&header)
                .map_err(|source| StageSlot::Header { path: path.clone(), source })
        })?;
    check_size(path, document.kern_bytes(), kern)?;
    check_size(&payload.root, document.root_bytes(), root)?;
    Ok(document)
}

fn check_size(path: &Path, expected: u64, place: &Partition) -> Result<(), StageSlot> {
    let found = Opened::open(path)?.size_bytes;
    let path = path.to_owned();
    if found != expected {
        return Err(StageSlot::Size { path, found, expected });
    }
    if found > place.size_bytes {
        let (partition, room) = (place.label.clone(), place.size_bytes);
        return Err(StageSlot::TooLarge { path, found, partition, room });
    }
    Ok(())
}

/// Copies all of a file to `offset_bytes`, zeros included: the slot held something else before.
fn copy(path: &Path, disk: &File, offset_bytes: u64) -> Result<(), StageSlot> {
    let copying = |source| StageSlot::Copy { path: path.to_owned(), source };
    let mut file = File::open(path).map_err(copying)?;
    let mut chunk = vec![0; COPY_BYTES];
    let mut position = offset_bytes;
    loop {
        let count = file.read(&mut chunk).map_err(copying)?;
        let bytes = chunk.get(..count).unwrap_or_default();
        if bytes.is_empty() {
            return Ok(());
        }
        disk.write_all_at(bytes, position).map_err(copying)?;
        position += u64::try_from(count).map_err(io::Error::other).map_err(copying)?;
    }
}

/// Writes both copies of the table, each flushed before the other is touched, and reads them back.
fn write_table(disk: &File, path: &Path, table: &Table) -> Result<(), StageSlot> {
    let writes =
        table.writes().map_err(|source| StageSlot::Encode { path: path.to_owned(), source })?;
    for write in writes {
        disk.write_all_at(&write.bytes, write.offset_bytes)
            .map_err(|source| StageSlot::Write { path: path.to_owned(), source })?;
        sync(disk, path)?;
    }
    let mut reader = disk;
    table
        .check_written(&mut reader)
        .map_err(|source| StageSlot::Check { path: path.to_owned(), source })
}

fn sync(disk: &File, path: &Path) -> Result<(), StageSlot> {
    disk.sync_data().map_err(|source| StageSlot::Write { path: path.to_owned(), source })
}
