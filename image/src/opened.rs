//! Opening what a user names as a disk image or as a slot payload.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use ferrite_layout::gpt::{Partition, ReadTable, Table};

use crate::kernel_file;
use crate::window::Window;

/// Sizes of sectors that disks have; the first is that of nearly all.
const SECTOR_BYTES: [u64; 2] = [512, 4096];
/// First bytes of a slot payload.
const SLOT_MAGIC: &[u8; 8] = b"FERRSLOT";
/// First bytes of a qcow2 image.
const QCOW2_MAGIC: &[u8; 4] = b"QFI\xfb";

/// An image file that was recognised.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) file: File,
    pub(crate) size_bytes: u64,
    pub(crate) kind: Kind,
}

/// What the file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A raw disk image, as far as its first bytes tell.
    Disk,
    /// The payload of a KERN partition.
    SlotKern,
    /// A Linux kernel.
    Kernel,
}

/// Why a file cannot be looked at.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum OpenImage {
    #[error("open {path}")]
    Open { path: PathBuf, source: io::Error },
    #[error("open {path}: it is not a file")]
    NotAFile { path: PathBuf },
    #[error(
        "open {path}: this is a qcow2 image; look at the raw disk that it was made from, or convert it \
         with `qemu-img convert -O raw`"
    )]
    Qcow2 { path: PathBuf },
    #[error("read {path}")]
    Read { path: PathBuf, source: io::Error },
    #[error("read {path}: it is neither a disk image nor a slot payload")]
    NotAnImage { path: PathBuf, source: ReadTable },
}

impl Opened {
    /// Opens a file for reading and sees what it is.
    pub(crate) fn open(path: &Path) -> Result<Self, OpenImage> {
        Self::recognise(path, File::open(path))
    }

    /// Opens a file for reading and writing and sees what it is.
    pub(crate) fn open_for_writing(path: &Path) -> Result<Self, OpenImage> {
        Self::recognise(path, File::options().read(true).write(true).open(path))
    }

    fn recognise(path: &Path, opened: io::Result<File>) -> Result<Self, OpenImage> {
        let file = opened.map_err(|source| OpenImage::Open { path: path.to_owned(), source })?;
        let reading = |source| OpenImage::Read { path: path.to_owned(), source };
        let metadata = file.metadata().map_err(reading)?;
        if !metadata.is_file() {
            return Err(OpenImage::NotAFile { path: path.to_owned() });
        }
        let size_bytes = metadata.len();
        let start = Window::new(&file, 0, size_bytes).read_array::<8>(0).unwrap_or_default();
        if start.starts_with(QCOW2_MAGIC) {
            return Err(OpenImage::Qcow2 { path: path.to_owned() });
        }
        let kind = if start == *SLOT_MAGIC {
            Kind::SlotKern
        } else if kernel_file::looks_like_one(&Window::new(&file, 0, size_bytes)) {
            Kind::Kernel
        } else {
            Kind::Disk
        };
        Ok(Self { file, size_bytes, kind })
    }

    /// The partition table of a disk.
    pub(crate) fn table(&self, path: &Path) -> Result<Table, OpenImage> {
        let [usual, other] = SECTOR_BYTES;
        Table::read(&mut self.whole(), usual)
            .or_else(|problem| match problem {
                ReadTable::OtherSectors { .. } => Table::read(&mut self.whole(), other),
                problem => Err(problem),
            })
            .map_err(|source| OpenImage::NotAnImage { path: path.to_owned(), source })
    }

    /// All of the file.
    pub(crate) const fn whole(&self) -> Window<'_> {
        Window::new(&self.file, 0, self.size_bytes)
    }

    /// A partition of the disk.
    pub(crate) fn partition(&self, partition: &Partition) -> Window<'_> {
        self.whole().part(partition.offset_bytes, partition.size_bytes)
    }
}
