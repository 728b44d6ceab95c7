//! A part of a file, read as if it were a file of its own.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;

/// A reader that sees `size_bytes` bytes of a file from `offset_bytes` on, and nothing else.
#[derive(Debug, Clone)]
pub(crate) struct Window<'file> {
    file: &'file File,
    offset_bytes: u64,
    size_bytes: u64,
    position: u64,
}

impl<'file> Window<'file> {
    /// A window that starts reading at its first byte.
    pub(crate) const fn new(file: &'file File, offset_bytes: u64, size_bytes: u64) -> Self {
        Self { file, offset_bytes, size_bytes, position: 0 }
    }

    /// The part of this window that starts at `offset_bytes`, cut off where this one ends.
    pub(crate) fn part(&self, offset_bytes: u64, size_bytes: u64) -> Self {
        let start = offset_bytes.min(self.size_bytes);
        let size_bytes = size_bytes.min(self.size_bytes - start);
        Self::new(self.file, self.offset_bytes + start, size_bytes)
    }

    /// Bytes that can be seen.
    pub(crate) const fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// Exactly `N` bytes from `offset_bytes` of the window.
    pub(crate) fn read_array<const N: usize>(&self, offset_bytes: u64) -> io::Result<[u8; N]> {
        let mut bytes = [0; N];
        let mut part = self.part(offset_bytes, u64::MAX);
        part.read_exact(&mut bytes)?;
        Ok(bytes)
    }
}

impl Read for Window<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.size_bytes.saturating_sub(self.position);
        let wanted = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
        let buffer = buffer.get_mut(..wanted).unwrap_or_default();
        let count = self.file.read_at(buffer, self.offset_bytes + self.position)?;
        self.position += u64::try_from(count).map_err(io::Error::other)?;
        Ok(count)
    }
}

impl Seek for Window<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let position = match to {
            SeekFrom::Start(position) => Some(position),
            SeekFrom::End(offset) => self.size_bytes.checked_add_signed(offset),
            SeekFrom::Current(offset) => self.position.checked_add_signed(offset),
        };
        self.position = position.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.position)
    }
}
