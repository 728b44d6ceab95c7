//! A partition that is read and never written.

use std::fs::File;
use std::io::{self, Seek as _, SeekFrom};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

/// A partition, open.
#[derive(Debug)]
pub(super) struct Partition {
    file: File,
    pub(super) size_bytes: u64,
}

impl Partition {
    pub(super) fn open(device: &Path) -> io::Result<Self> {
        let mut file = File::open(device)?;
        let size_bytes = file.seek(SeekFrom::End(0))?;
        Ok(Self { file, size_bytes })
    }

    /// `length` bytes at `offset_bytes`, or as many as there are.
    pub(super) fn read(&self, offset_bytes: u64, length: usize) -> io::Result<Vec<u8>> {
        let left = self.size_bytes.saturating_sub(offset_bytes);
        let mut bytes = vec![0; length.min(usize::try_from(left).unwrap_or(length))];
        self.file.read_exact_at(&mut bytes, offset_bytes)?;
        Ok(bytes)
    }

    /// As many bytes as `bytes` has, from `offset_bytes` on.
    pub(super) fn fill(&self, offset_bytes: u64, bytes: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(bytes, offset_bytes)
    }
}

impl AsFd for Partition {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}
