//! Why a table is not read, changed or written.

use std::io;

use super::partition::LABEL_UNITS;

/// What is wrong with a copy.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum CopyProblem {
    #[error("reading it fails: {source}")]
    Read { source: io::Error },
    #[error("there is no header (no signature)")]
    NoHeader,
    #[error("its header is damaged: {source}")]
    Header { source: gptman::Error },
    #[error("its header is meant for sector {found}, but lies in sector {expected}")]
    OwnPlace { expected: u64, found: u64 },
    #[error(
        "it says that the other copy is in sector {found}, where none can be: was the disk cut short?"
    )]
    OtherPlace { found: u64 },
    #[error("it claims {count} entries of {size_bytes} bytes")]
    EntryShape { count: u32, size_bytes: u32 },
    #[error("it claims that its entries start in sector {found}")]
    EntriesPlace { found: u64 },
    #[error("it claims that sectors {first} to {last} are usable")]
    Usable { first: u64, last: u64 },
    #[error("its entries are damaged: {source}")]
    Entries { source: gptman::Error },
    #[error("partition {number} has the impossible extent {first} to {last}")]
    Extent { number: u32, first: u64, last: u64 },
    #[error("partitions {first} and {second} overlap")]
    Overlap { first: u32, second: u32 },
}

/// A disk without a usable table.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum ReadTable {
    #[error("find the size of the disk")]
    Size { source: io::Error },
    #[error("read partition table: sectors of {found} bytes are neither 512 nor 4096")]
    SectorSize { found: u64 },
    #[error("read partition table: a disk of {found} bytes is too small to hold one")]
    TooSmall { found: u64 },
    #[error("read partition table: no valid copy (primary: {primary}; backup: {backup})")]
    NoCopy { primary: CopyProblem, backup: CopyProblem },
    #[error(
        "read partition table: it was made for sectors of {made_for} bytes, and this disk has sectors of {found}. \
         Write an image for such disks: ferrite image build --sector-bytes {found}"
    )]
    OtherSectors { made_for: u64, found: u64 },
}

/// A change that a table does not allow. The table is as it was.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum EditTable {
    #[error("edit partition {number}: there is no such partition")]
    Absent { number: u32 },
    #[error("add partition {number}: the number is taken or not between 1 and {max}")]
    Number { number: u32, max: u32 },
    #[error("add partition {number}: label {label:?} is longer than {LABEL_UNITS} characters")]
    Label { number: u32, label: String },
    #[error(
        "add partition {number}: bytes {offset_bytes} to {end_bytes} are outside of the usable part \
         of the disk, not whole sectors, or taken"
    )]
    Place { number: u32, offset_bytes: u64, end_bytes: u64 },
    #[error("grow partition {number}: partition {after} lies behind it")]
    NotLast { number: u32, after: u32 },
    #[error(
        "move the end of the table: the disk has {disk_bytes} bytes, too few for what the table says"
    )]
    DiskTooSmall { disk_bytes: u64 },
}

/// A table that cannot be encoded.
#[derive(Debug, thiserror::Error)]
#[error("encode partition table")]
pub struct EncodeTable {
    pub(super) source: gptman::Error,
}

/// What re-reading a disk after writing found.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum CheckWritten {
    #[error("read the partition table back")]
    Read {
        #[from]
        source: ReadTable,
    },
    #[error("read the partition table back: the disk holds another table than was written")]
    Different,
    #[error("read the partition table back: its two copies differ or one is bad")]
    OtherCopy,
}
