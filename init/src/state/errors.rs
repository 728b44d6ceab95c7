//! The kernel's count of the errors that it found in a mounted ext4.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

/// Where the kernel shows its mounted ext4 file systems.
const FILE_SYSTEMS: &str = "/sys/fs/ext4";

/// The count. Its descriptor has a priority event when it changes; reading arms that anew.
#[derive(Debug)]
pub struct ErrorCount {
    file: File,
}

impl ErrorCount {
    /// The count of the file system that is mounted from `device`.
    ///
    /// # Errors
    /// It is not mounted, or not ext4.
    pub fn open(device: &Path) -> io::Result<Self> {
        let name = device.file_name().unwrap_or_default();
        Self::at(&Path::new(FILE_SYSTEMS).join(name).join("errors_count"))
    }

    /// The count in the file `path`.
    ///
    /// # Errors
    /// There is no such file.
    pub fn at(path: &Path) -> io::Result<Self> {
        Ok(Self { file: File::open(path)? })
    }

    /// Reads it; what cannot be read counts as none.
    #[must_use]
    pub fn read(&self) -> u64 {
        let mut text = [0; 32];
        let length = self.file.read_at(&mut text, 0).unwrap_or(0);
        let text = String::from_utf8_lossy(text.get(..length).unwrap_or_default());
        text.trim().parse().unwrap_or(0)
    }
}

impl AsFd for ErrorCount {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}
