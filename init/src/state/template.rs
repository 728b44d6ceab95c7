//! Making STATE anew: the image's own empty file system, written over whatever was there.
//!
//! Whether it may is decided in [`crate::irreversible::state`] and nowhere else.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Seek as _, SeekFrom};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use ferrite_layout::sparse::{self, Block, DecodeSparse, SparseImage};
use rustix::fs::FallocateFlags;
use rustix::io::Errno;

use super::superblock;

const ZEROS_BYTES: usize = 64 * 1024;

/// STATE was not made anew, or not wholly.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum Recreate {
    #[error("read the STATE template {path}")]
    ReadTemplate { path: PathBuf, source: io::Error },
    #[error("read the STATE template {path}")]
    DecodeTemplate { path: PathBuf, source: DecodeSparse },
    #[error("open {path}")]
    Open { path: PathBuf, source: io::Error },
    #[error("use {path}: the template has {template_bytes} bytes, the partition only {size_bytes}")]
    TooSmall { path: PathBuf, template_bytes: u64, size_bytes: u64 },
    #[error("write {path}")]
    Write { path: PathBuf, source: io::Error },
}

/// Writes the file system that `template` holds to `device`, and syncs it. Its first block, with the superblock, is zeros until
/// all the rest is on the disk: what is cut short is no file system, not half of one. Where it was made because there
/// were only zeros, the next boot sees that nothing else came since, and begins again.
///
/// What the template leaves out must be zero: file systems rely on it. Backup superblocks of what was there before
/// are ended as well, so that no later repair takes one of them for its own.
///
/// # Errors
/// Says what could not be done.
pub fn recreate(device: &Path, template: &Path) -> Result<(), Recreate> {
    let path = || template.to_owned();
    let bytes =
        fs::read(template).map_err(|source| Recreate::ReadTemplate { path: path(), source })?;
    let image = sparse::decode(&bytes)
        .map_err(|source| Recreate::DecodeTemplate { path: path(), source })?;
    let path = device.to_owned();
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .open(device)
        .map_err(|source| Recreate::Open { path: path.clone(), source })?;
    let write = |source| Recreate::Write { path: path.clone(), source };
    let size_bytes = file.seek(SeekFrom::End(0)).map_err(write)?;
    let template_bytes = image.size_bytes;
    if size_bytes < template_bytes {
        return Err(Recreate::TooSmall { path, template_bytes, size_bytes });
    }
    zero(&file, 0, template_bytes).map_err(write)?;
    // The old superblock is gone before anything of the new file system is there.
    file.sync_all().map_err(write)?;
    for block_bytes in superblock::BLOCK_SIZES {
        for place in superblock::backup_places(block_bytes, size_bytes) {
            if place.offset_bytes() >= template_bytes {
                zero(&file, place.offset_bytes(), place.block_bytes).map_err(write)?;
            }
        }
    }
    write_blocks(&file, &image).map_err(write)
}

fn write_blocks(file: &File, image: &SparseImage<'_>) -> io::Result<()> {
    let (first, others): (Vec<&Block<'_>>, Vec<_>) =
        image.blocks.iter().partition(|block| block.offset_bytes == 0);
    for blocks in [others, first] {
        for block in blocks {
            file.write_all_at(block.bytes, block.offset_bytes)?;
        }
        file.sync_all()?;
    }
    Ok(())
}

/// ZERO_RANGE lets the device do it where it can; where the kernel cannot at all, zeros are written.
fn zero(file: &File, offset_bytes: u64, length: u64) -> io::Result<()> {
    let flags = FallocateFlags::ZERO_RANGE | FallocateFlags::KEEP_SIZE;
    match rustix::fs::fallocate(file, flags, offset_bytes, length) {
        Err(Errno::OPNOTSUPP | Errno::INVAL) => {}
        result => return Ok(result?),
    }
    let zeros = vec![0; ZEROS_BYTES];
    let mut done = 0;
    while done < length {
        let left = usize::try_from(length - done).unwrap_or(ZEROS_BYTES).min(ZEROS_BYTES);
        file.write_all_at(zeros.get(..left).unwrap_or_default(), offset_bytes + done)?;
        done += u64::try_from(left).unwrap_or(length);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::look::{look, look_with, tests::Image};
    use super::*;
    use crate::irreversible::state::{Content, Ext4};

    fn looked(device: &Path, template: &Path) -> Content {
        look_with(device, template, Duration::from_secs(600))
    }

    #[test]
    fn nothing_of_the_old_file_system_is_left_to_be_taken_for_the_new_one() {
        let (old, new) = (Image::ext4(1024), Image::ext4(256));
        let folder = tempfile::tempdir().unwrap();
        let template = folder.path().join("template");
        let encoded = sparse::encode(&mut File::open(&new.path).unwrap(), 256 << 20).unwrap();
        fs::write(&template, encoded).unwrap();
        recreate(&old.path, &template).unwrap();
        let whole = Content::Ext4(Ext4 { backup: None, flagged: false, top: true });
        assert_eq!(look(&old.path), whole);
        assert!(new.is_sound() && old.is_sound());
        let file = File::open(&old.path).unwrap();
        for place in superblock::backup_places(4096, 1 << 30) {
            let mut bytes = vec![0; superblock::SIZE_BYTES];
            file.read_exact_at(&mut bytes, place.offset_bytes()).unwrap();
            let is_new = place.offset_bytes() < 256 << 20;
            assert_eq!(superblock::parse(&bytes).is_some(), is_new, "{place:?}");
        }
    }

    /// A power cut after any number of writes, which a disk may have done in any order up to the sync before the first block.
    #[test]
    fn what_is_cut_short_is_begun_anew_and_what_was_used_is_not() {
        let (template, new) = (tempfile::NamedTempFile::new().unwrap(), Image::ext4(256));
        let encoded = sparse::encode(&mut File::open(&new.path).unwrap(), 256 << 20).unwrap();
        fs::write(template.path(), &encoded).unwrap();
        let image = sparse::decode(&encoded).unwrap();
        let count = image.blocks.len();
        let others = 1..count;
        let cut = |written: &dyn Fn(usize) -> bool| {
            let partition = Image::empty(1024);
            for number in others.clone().filter(|number| written(*number)) {
                let block = &image.blocks[number];
                partition.write(block.offset_bytes, block.bytes);
            }
            partition
        };
        let ways: [&dyn Fn(usize) -> bool; 5] = [
            &|number| number == 1,
            &|number| number < count / 2,
            &|number| number > count / 2,
            &|number| number % 3 == 0,
            &|_| true,
        ];
        for (number, way) in ways.iter().enumerate() {
            assert_eq!(looked(&cut(way).path, template.path()), Content::Zeros, "way {number}");
        }
        // Half of the superblock, and what follows on the next boot.
        let partition = cut(&|_| true);
        partition.write(1024, &image.blocks[0].bytes[1024..1536]);
        assert_eq!(looked(&partition.path, template.path()), Content::Zeros);
        recreate(&partition.path, template.path()).unwrap();
        let whole = Content::Ext4(Ext4 { backup: None, flagged: false, top: true });
        assert_eq!(looked(&partition.path, template.path()), whole);
        // One byte that nobody's making put there; before the template's end, behind it, and in front.
        for offset_bytes in [3, 5 << 20, (200 << 20) + 7, 256 << 20, 384 << 20, (1 << 30) - 1] {
            let partition = cut(&|_| true);
            partition.write(offset_bytes, &[1]);
            assert_ne!(looked(&partition.path, template.path()), Content::Zeros, "{offset_bytes}");
        }
        // One that was used and has lost all that is before its first backup.
        let used = cut(&|_| true);
        used.write(0, image.blocks[0].bytes);
        let grown =
            std::process::Command::new("/usr/sbin/resize2fs").arg(&used.path).output().unwrap();
        assert!(grown.status.success(), "{grown:?}");
        used.zero(0, 128 << 20);
        assert!(matches!(
            looked(&used.path, template.path()),
            Content::Ext4(Ext4 { top: false, .. })
        ));
    }

    #[test]
    fn a_partition_that_is_too_small_is_not_touched() {
        let (old, new) = (Image::ext4(128), Image::ext4(256));
        let folder = tempfile::tempdir().unwrap();
        let template = folder.path().join("template");
        let encoded = sparse::encode(&mut File::open(&new.path).unwrap(), 256 << 20).unwrap();
        fs::write(&template, encoded).unwrap();
        let refused = recreate(&old.path, &template);
        assert!(matches!(refused, Err(Recreate::TooSmall { .. })), "{refused:?}");
        assert!(old.is_sound());
    }
}
