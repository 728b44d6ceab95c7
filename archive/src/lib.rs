//! Tar as layers are written in: ustar, PAX, GNU's long names and sparse files. Reading alone, strict, bounded, without
//! I/O of its own: everybody here who reads an archive of somebody else reads it with this.
//!
//! The format is old and its readers differ; what two of them would read differently is refused here: data behind a
//! link or a folder, global headers that rename, a lone block of zeros with more behind it.

pub mod extract;
pub mod header;
pub mod pax;
mod sparse;
pub mod stream;

pub use self::header::Kind;
pub use self::stream::Tar;

/// Bytes of a block, the unit of everything.
pub const BLOCK_BYTES: usize = 512;

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
    /// Where its data go; `None` for a file without holes.
    pub extents: Option<Vec<Extent>>,
    /// Extended attributes, as PAX headers hold them.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

/// A stream is no tar that is read here.
#[derive(Debug, thiserror::Error)]
pub enum TarProblem {
    /// It could not be read.
    #[error("read the tar")]
    Read(#[source] std::io::Error),
    /// It ends within an entry.
    #[error("read the tar: it ends within an entry")]
    Truncated,
    /// It says something that is wrong or that others would read otherwise.
    #[error("read the tar: {why}")]
    Refused {
        /// What.
        why: &'static str,
    },
}

const fn refused(why: &'static str) -> TarProblem {
    TarProblem::Refused { why }
}
