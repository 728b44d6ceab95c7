//! What a file holds, with its holes.

use std::io::{self, BufRead};
use std::os::fd::OwnedFd;

use ferrite_archive::{Entry, Tar};
use rustix::io::Errno;

use super::problem::Problem;

/// Writes the content of `entry`, which is next in `tar`, into a new file.
pub(super) fn write<R: BufRead>(
    fd: &OwnedFd,
    entry: &Entry,
    tar: &mut Tar<R>,
) -> Result<(), Problem> {
    match &entry.extents {
        None => tar.data(|piece| write_all(fd, piece))?,
        Some(extents) => {
            rustix::fs::ftruncate(fd, entry.size)?;
            let mut places = extents.iter().copied().filter(|extent| extent.bytes > 0);
            let mut current = places.next();
            tar.data(|mut piece| {
                while let (Some(extent), false) = (&mut current, piece.is_empty()) {
                    let room = usize::try_from(extent.bytes).unwrap_or(usize::MAX);
                    let (now, later) =
                        piece.split_at_checked(room.min(piece.len())).unwrap_or((piece, b""));
                    write_all_at(fd, now, extent.offset)?;
                    extent.offset = extent.offset.saturating_add(now.len() as u64);
                    extent.bytes = extent.bytes.saturating_sub(now.len() as u64);
                    piece = later;
                    if extent.bytes == 0 {
                        current = places.next();
                    }
                }
                Ok::<(), Problem>(())
            })?;
        }
    }
    Ok(())
}

fn write_all(fd: &OwnedFd, mut bytes: &[u8]) -> Result<(), Problem> {
    while !bytes.is_empty() {
        match rustix::io::write(fd, bytes) {
            Ok(0) => return Err(io::Error::from(io::ErrorKind::WriteZero).into()),
            Ok(count) => bytes = bytes.get(count..).unwrap_or_default(),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn write_all_at(fd: &OwnedFd, mut bytes: &[u8], mut offset: u64) -> Result<(), Problem> {
    while !bytes.is_empty() {
        match rustix::io::pwrite(fd, bytes, offset) {
            Ok(0) => return Err(io::Error::from(io::ErrorKind::WriteZero).into()),
            Ok(count) => {
                bytes = bytes.get(count..).unwrap_or_default();
                offset = offset.saturating_add(count as u64);
            }
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
