//! What STATE's partition holds: reads and never writes.
//!
//! An ext4 file system with its own superblock is known by that, unless somebody else has signed what is its own front.
//! Where it is gone, a backup says that there was one;
//! whether there still is, say the bytes before the first inode table: they are as ext4 has them, or zeros. Anything
//! else there is somebody else's, who may have come later. "Zeros" is said only after looking at everything that could
//! be a beginning, an end or a backup, and at samples of all the rest, so close together that no file system fits
//! between them. What a power cut has left of making STATE anew counts as zeros: each sector of the template's length
//! has to be read for that, and to be zeros or the template's own.

use std::fs::{self, File};
use std::io::{self, Seek as _, SeekFrom};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use ferrite_layout::sparse::{self, SparseImage};
use ferrite_schema::names;

use super::foreign;
use super::superblock::{self, Superblock};
use crate::irreversible::state::{Backup, Content, Ext4};

/// Bytes at the start and at the end that are looked at as a whole: whatever uses a partition has a beginning or an end.
const START_BYTES: u64 = 64 << 20;
const END_BYTES: u64 = 1 << 20;
/// Samples of what is between, spread evenly: a few hundred MiB to read, whatever the size of the disk.
const SAMPLES: u64 = 4096;
const SAMPLE_BYTES: u64 = 64 * 1024;
/// What one block at the start holds: boot block, superblock, and zeros.
const FIRST_BYTES: usize = 4096;
/// What a disk writes wholly or not at all.
const SECTOR_BYTES: usize = 512;

/// What is in the partition `device`.
#[must_use]
pub fn look(device: &Path) -> Content {
    look_with(device, Path::new(names::STATE_TEMPLATE))
}

/// The same with another template than the image's.
#[must_use]
pub(super) fn look_with(device: &Path, template: &Path) -> Content {
    match File::open(device).and_then(|mut file| {
        let size_bytes = file.seek(SeekFrom::End(0))?;
        content(&Partition { file, size_bytes }, template)
    }) {
        Ok(content) => content,
        Err(error) => Content::Unreadable { why: error.to_string() },
    }
}

/// A partition that is read.
#[derive(Debug)]
struct Partition {
    file: File,
    size_bytes: u64,
}

impl Partition {
    /// `length` bytes at `offset_bytes`, or as many as there are.
    fn read(&self, offset_bytes: u64, length: usize) -> io::Result<Vec<u8>> {
        let left = self.size_bytes.saturating_sub(offset_bytes);
        let mut bytes = vec![0; length.min(usize::try_from(left).unwrap_or(length))];
        self.file.read_exact_at(&mut bytes, offset_bytes)?;
        Ok(bytes)
    }
}

fn content(partition: &Partition, template: &Path) -> io::Result<Content> {
    let first = partition.read(0, FIRST_BYTES)?;
    let front = partition.read(0, foreign::FRONT_BYTES)?;
    let primary = first.get(1024..).and_then(superblock::parse);
    if let Some(primary) = primary {
        // Its own place is whole, but somebody else signed what is beside it: never to be repaired away.
        if let Some(name) = foreign::owner_over(&front, primary.front_bytes()) {
            return Ok(Content::Foreign { name });
        }
        let top = top_is_there(partition, &primary, None);
        return Ok(Content::Ext4(Ext4 { backup: None, flagged: primary.has_errors, top }));
    }
    if let Some(name) = foreign::owner(&front) {
        return Ok(Content::Foreign { name });
    }
    if is_unfinished(partition, &first, template)? {
        return Ok(Content::Zeros);
    }
    match find_backup(partition)? {
        Some((backup, superblock)) => {
            Ok(content_by_backup(partition, &first, backup, &superblock)?)
        }
        None if is_zero(partition)? => Ok(Content::Zeros),
        None => Ok(Content::Unknown),
    }
}

/// The first backup that is whole and where it says that it is.
fn find_backup(partition: &Partition) -> io::Result<Option<(Backup, Superblock)>> {
    for block_bytes in superblock::BLOCK_SIZES {
        for place in superblock::backup_places(block_bytes, partition.size_bytes) {
            let bytes = partition.read(place.offset_bytes(), superblock::SIZE_BYTES)?;
            let Some(found) = superblock::parse(&bytes) else { continue };
            if found.block_bytes == block_bytes && u64::from(found.group) == place.group {
                return Ok(Some((Backup { block: place.block, block_bytes }, found)));
            }
        }
    }
    Ok(None)
}

/// What a backup means, by what is where the first superblock was.
fn content_by_backup(
    partition: &Partition,
    first: &[u8],
    backup: Backup,
    superblock: &Superblock,
) -> io::Result<Content> {
    let length = usize::try_from(superblock.block_bytes).unwrap_or(FIRST_BYTES);
    let ours = partition.read(superblock.descriptors_offset(), length)?;
    let theirs = partition.read((backup.block + 1) * backup.block_bytes, length)?;
    let descriptors_are_whole =
        superblock::same_places(&ours, &theirs, superblock.descriptor_bytes);
    let zero =
        |bytes: Option<&[u8]>| bytes.is_some_and(|bytes| bytes.iter().all(|byte| *byte == 0));
    // With small blocks, descriptors begin right behind the superblock.
    let around_is_zero =
        zero(first.get(..1024)) && (superblock.block_bytes < 4096 || zero(first.get(2048..)));
    let gone_is_zero = zero(first.get(1024..2048)) && zero(Some(&ours));
    if !around_is_zero || !(descriptors_are_whole || gone_is_zero) {
        return Ok(Content::Unknown);
    }
    let top = top_is_there(partition, superblock, Some(backup));
    Ok(Content::Ext4(Ext4 { backup: Some(backup), flagged: superblock.has_errors, top }))
}

/// The top directory's inode is there. What cannot be read is not gone.
fn top_is_there(partition: &Partition, superblock: &Superblock, backup: Option<Backup>) -> bool {
    let backups = superblock::backup_places(superblock.block_bytes, partition.size_bytes);
    let backup = backup.map(|backup| backup.block).or(backups.first().map(|place| place.block));
    let copies = [
        Some(superblock.descriptors_offset()),
        backup.map(|block| (block + 1) * superblock.block_bytes),
    ];
    copies
        .into_iter()
        .flatten()
        .any(|offset_bytes| has_top_by(partition, superblock, offset_bytes).unwrap_or(true))
}

/// Whether the first group descriptor at `offset_bytes` leads to a top directory.
fn has_top_by(
    partition: &Partition,
    superblock: &Superblock,
    offset_bytes: u64,
) -> io::Result<bool> {
    let descriptor = partition.read(offset_bytes, superblock.descriptor_bytes)?;
    let Some(table) = superblock::inode_table(&descriptor, superblock) else { return Ok(false) };
    let inode = table
        .checked_mul(superblock.block_bytes)
        .and_then(|start| start.checked_add(superblock::top_inode_offset(superblock)));
    let Some(inode) = inode else { return Ok(false) };
    Ok(superblock::is_directory(&partition.read(inode, 128)?))
}

fn is_zero(partition: &Partition) -> io::Result<bool> {
    let size_bytes = partition.size_bytes;
    let start = START_BYTES.min(size_bytes);
    let end = size_bytes.saturating_sub(END_BYTES);
    if !range_is_zero(partition, 0, start)? || !range_is_zero(partition, end, size_bytes)? {
        return Ok(false);
    }
    rest_is_zero(partition, start)
}

/// Backups and samples of what is behind `start`.
fn rest_is_zero(partition: &Partition, start: u64) -> io::Result<bool> {
    let size_bytes = partition.size_bytes;
    for block_bytes in superblock::BLOCK_SIZES {
        for place in superblock::backup_places(block_bytes, size_bytes) {
            let offset_bytes = place.offset_bytes();
            if offset_bytes >= start
                && !range_is_zero(partition, offset_bytes, offset_bytes + block_bytes)?
            {
                return Ok(false);
            }
        }
    }
    let step = (size_bytes.saturating_sub(start) / SAMPLES).max(SAMPLE_BYTES);
    let mut offset_bytes = start;
    while offset_bytes < size_bytes {
        if !range_is_zero(partition, offset_bytes, offset_bytes + SAMPLE_BYTES)? {
            return Ok(false);
        }
        offset_bytes += step;
    }
    Ok(true)
}

/// It holds the beginning of the template and nothing else. A file system that was used has other superblocks than the template (it has
/// grown and has an identity of its own), and so has each backup of one.
fn is_unfinished(partition: &Partition, first: &[u8], template: &Path) -> io::Result<bool> {
    // The superblock is written last, and may be cut in two.
    if first.get(..1024).is_none_or(|boot| boot.iter().any(|byte| *byte != 0)) {
        return Ok(false);
    }
    let Ok(bytes) = fs::read(template) else { return Ok(false) };
    let Ok(image) = sparse::decode(&bytes) else { return Ok(false) };
    if image.size_bytes > partition.size_bytes {
        return Ok(false);
    }
    let end = partition.size_bytes;
    Ok(holds_only(partition, &image)?
        && rest_is_zero(partition, image.size_bytes)?
        && range_is_zero(partition, end.saturating_sub(END_BYTES).max(image.size_bytes), end)?)
}

/// Each sector of the template's length is zeros, or as the template has it.
fn holds_only(partition: &Partition, image: &SparseImage<'_>) -> io::Result<bool> {
    let mut offset_bytes = 0;
    for block in &image.blocks {
        if !range_is_zero(partition, offset_bytes, block.offset_bytes)? {
            return Ok(false);
        }
        let found = partition.read(block.offset_bytes, block.bytes.len())?;
        let is_ours =
            |(found, ours): (&[u8], &[u8])| found == ours || found.iter().all(|byte| *byte == 0);
        if !found.chunks(SECTOR_BYTES).zip(block.bytes.chunks(SECTOR_BYTES)).all(is_ours) {
            return Ok(false);
        }
        offset_bytes = block.offset_bytes + block.bytes.len() as u64;
    }
    range_is_zero(partition, offset_bytes, image.size_bytes)
}

fn range_is_zero(partition: &Partition, from: u64, to: u64) -> io::Result<bool> {
    let mut offset_bytes = from;
    while offset_bytes < to.min(partition.size_bytes) {
        let length = (to - offset_bytes).min(SAMPLE_BYTES);
        let bytes = partition.read(offset_bytes, usize::try_from(length).unwrap_or(FIRST_BYTES))?;
        if bytes.iter().any(|byte| *byte != 0) {
            return Ok(false);
        }
        offset_bytes += length;
    }
    Ok(true)
}

#[cfg(test)]
#[path = "look_tests.rs"]
pub(super) mod tests;
