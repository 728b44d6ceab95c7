//! What an archive says of one of its entries.

use super::header::Kind;

/// A stretch of a sparse file that the archive has data for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// Where it is in the file.
    pub offset: u64,
    /// Its length.
    pub bytes: u64,
}

/// An entry, all extensions applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Path as it was written.
    pub path: Vec<u8>,
    /// Target of a link as it was written.
    pub link: Vec<u8>,
    /// What it is.
    pub kind: Kind,
    /// Permission bits, set-id bits and sticky bit.
    pub mode: u32,
    /// Owner.
    pub uid: u64,
    /// Group.
    pub gid: u64,
    /// Modification, seconds since the epoch.
    pub mtime_s: i64,
    /// And nanoseconds.
    pub mtime_ns: i64,
    /// Bytes of the file when it is unpacked.
    pub size: u64,
    /// Major and minor number of a device.
    pub device: (u32, u32),
    /// Where its data go; `None` for a file without holes.
    pub extents: Option<Vec<Extent>>,
    /// Extended attributes, as PAX headers hold them.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}
