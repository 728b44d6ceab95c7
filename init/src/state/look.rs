//! What STATE's partition holds: reads and never writes.
//!
//! An ext4 file system with its own superblock is known by that, unless somebody else has signed what is its own front.
//! Where it is gone, a backup says that there was one;
//! whether there still is, say the bytes before the first inode table: they are as ext4 has them, or zeros. Anything
//! else there is somebody else's, who may have come later. "Zeros" is said only after every byte was read. What a power
//! cut has left of making STATE anew counts as zeros: each sector of the template's length has to be zeros or the
//! template's own.

use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use ferrite_layout::sparse::{self, SparseImage};
use ferrite_schema::names;

use super::foreign;
use super::partition::Partition;
use super::superblock::{self, Superblock};
use super::zeros::{self, Allowance, Seen};
use crate::irreversible::state::{Backup, Content, Ext4};

/// What one block at the start holds: boot block, superblock, and zeros.
const FIRST_BYTES: usize = 4096;
/// What a disk writes wholly or not at all.
const SECTOR_BYTES: usize = 512;

/// How long reading a partition that seems to hold nothing may take. It is no matter for disks whose STATE was made by an image:
/// who has wiped it waits once. A disk with flash is read within minutes; half a terabyte of a slow one is not, and then the node
/// is to be reachable some time.
const READ_WITHIN: Duration = Duration::from_secs(30 * 60);

/// What is in the partition `device`.
#[must_use]
pub fn look(device: &Path) -> Content {
    look_with(device, Path::new(names::STATE_TEMPLATE), READ_WITHIN)
}

/// The same with another template than the image's, and another time for reading all of it.
#[must_use]
pub(super) fn look_with(device: &Path, template: &Path, within: Duration) -> Content {
    let mut allowance = Allowance::begin(within);
    let looked =
        Partition::open(device).and_then(|partition| content(&partition, template, &mut allowance));
    match looked {
        Ok(content) => content,
        Err(error) => Content::Unreadable { why: error.to_string() },
    }
}

fn content(
    partition: &Partition,
    template: &Path,
    allowance: &mut Allowance,
) -> io::Result<Content> {
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
    match unfinished(partition, &first, template, allowance)? {
        Seen::Something => {}
        zeros => return Ok(nothing_but(zeros, partition)),
    }
    match find_backup(partition)? {
        Some((backup, superblock)) => {
            Ok(content_by_backup(partition, &first, backup, &superblock)?)
        }
        None => Ok(nothing_but(zeros::behind(partition, 0, allowance)?, partition)),
    }
}

fn nothing_but(seen: Seen, partition: &Partition) -> Content {
    match seen {
        Seen::Zeros => Content::Zeros,
        Seen::Something => Content::Unknown,
        Seen::NotAll { seen_bytes } => {
            Content::NotAllSeen { seen_bytes, of_bytes: partition.size_bytes }
        }
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

/// Whether it holds the beginning of the template and nothing else, which is as good as zeros. A file system that was used has other superblocks than the template (it has
/// grown and has an identity of its own), and so has each backup of one.
fn unfinished(
    partition: &Partition,
    first: &[u8],
    template: &Path,
    allowance: &mut Allowance,
) -> io::Result<Seen> {
    // The superblock is written last, and may be cut in two.
    if first.get(..1024).is_none_or(|boot| boot.iter().any(|byte| *byte != 0)) {
        return Ok(Seen::Something);
    }
    let Ok(bytes) = fs::read(template) else { return Ok(Seen::Something) };
    let Ok(image) = sparse::decode(&bytes) else { return Ok(Seen::Something) };
    if image.size_bytes > partition.size_bytes || !holds_only(partition, &image)? {
        return Ok(Seen::Something);
    }
    zeros::behind(partition, image.size_bytes, allowance)
}

/// Each sector of the template's length is zeros, or as the template has it.
fn holds_only(partition: &Partition, image: &SparseImage<'_>) -> io::Result<bool> {
    let mut offset_bytes = 0;
    for block in &image.blocks {
        if !zeros::between(partition, offset_bytes, block.offset_bytes)? {
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
    zeros::between(partition, offset_bytes, image.size_bytes)
}

#[cfg(test)]
#[path = "look_tests.rs"]
pub(super) mod tests;
