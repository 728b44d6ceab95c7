//! What a file of an archive holds, with its holes, written into a new file.

use std::fs::File;
use std::io::{self, BufRead, Write};
use std::os::unix::fs::FileExt;

use rustix::io::Errno;

use super::entry::Entry;
use super::problem::TarProblem;
use super::stream::Tar;

/// Something of an archive is not on the disk.
#[derive(Debug, thiserror::Error)]
pub enum NotWritten {
    /// The archive does not give it.
    #[error(transparent)]
    Tar(#[from] TarProblem),
    /// The kernel does not take it.
    #[error(transparent)]
    Disk(#[from] io::Error),
}

impl From<Errno> for NotWritten {
    fn from(errno: Errno) -> Self {
        Self::Disk(errno.into())
    }
}

/// Writes the content of `entry`, which is next in `tar`, into `file`, which is new.
///
/// # Errors
/// The file then holds a part of it.
pub fn write<R: BufRead>(
    mut file: &File,
    entry: &Entry,
    tar: &mut Tar<R>,
) -> Result<(), NotWritten> {
    let Some(extents) = &entry.extents else {
        return tar.data(|piece| file.write_all(piece).map_err(NotWritten::from));
    };
    file.set_len(entry.size)?;
    let mut places = extents.iter().map(|extent| (extent.offset, extent.bytes));
    let (mut offset, mut left) = (0, 0);
    tar.data(|mut piece| {
        while !piece.is_empty() {
            while left == 0 {
                // The reader has checked that the extents are as long as the data.
                (offset, left) = places.next().ok_or(Errno::INVAL)?;
            }
            let count = piece.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            let (now, rest) = piece.split_at_checked(count).unwrap_or_default();
            file.write_all_at(now, offset)?;
            offset = offset.saturating_add(count as u64);
            left = left.saturating_sub(count as u64);
            piece = rest;
        }
        Ok(())
    })
}
