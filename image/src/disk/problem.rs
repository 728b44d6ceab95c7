//! Why a disk is not built.

use std::io;
use std::path::PathBuf;

use ferrite_layout::gpt::{EditTable, EncodeTable, ReadTable};
use ferrite_layout::slot_header::WriteHeader;
use ferrite_layout::sparse::EncodeSparse;
use ferrite_layout::verity::BuildTree;

/// Why a disk was not built. Nothing of it is left behind.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum BuildDisk {
    #[error("read {path}")]
    Read { path: PathBuf, source: io::Error },
    #[error("write {path}")]
    Write { path: PathBuf, source: io::Error },
    #[error("fit {part} into {partition}: it has {}, the partition {}", exact(*.found), exact(*.room))]
    TooLarge { part: String, partition: String, found: u64, room: u64 },
    #[error("use {path} as root file system: {found} bytes are not whole blocks of 4096, or none")]
    RootSize { path: PathBuf, found: u64 },
    #[error("use {path} as boot code: it has {found} bytes, 440 fit into the MBR")]
    BootCode { path: PathBuf, found: usize },
    #[error(
        "put {name:?} onto {partition}: the name is empty, or has parts that are not plain names"
    )]
    FileName { partition: &'static str, name: String },
    #[error("lay out the disk: the layout has no partition {number}")]
    NoPartition { number: u32 },
    #[error("build the verity tree of {path}")]
    Verity { path: PathBuf, source: BuildTree },
    #[error("make the slot header")]
    Header { source: WriteHeader },
    #[error("lay out the partition table")]
    NewTable { source: ReadTable },
    #[error("lay out the partition table")]
    Table { source: EditTable },
    #[error("encode the partition table")]
    EncodeTable { source: EncodeTable },
    #[error("encode the STATE template")]
    Template { source: EncodeSparse },
    #[error("write {name} onto OEM: debugfs says {message:?}")]
    WriteOemFile { name: String, message: String },
    #[error("run {tool}")]
    StartTool { tool: &'static str, source: io::Error },
    #[error("run {tool}: {status}: {message}")]
    Tool { tool: &'static str, status: std::process::ExitStatus, message: String },
}

/// A size for a person who has to compare it with another one.
pub(super) fn exact(bytes: u64) -> String {
    format!("{bytes} bytes ({} MiB)", bytes.div_ceil(1024 * 1024))
}
