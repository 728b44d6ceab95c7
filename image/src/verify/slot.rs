//! Checks what a slot holds against its signed header.

use std::io::{self, Read};

use ferrite_layout::slot_header::{
    self, BLOB_ALIGN_BYTES, Blob, HEADER_BYTES, ReadHeader, SlotDocument, TrustedKey,
};
use ferrite_layout::verity::{self, VerifyTree};
use sha2::{Digest, Sha256};

use crate::file_system::{self, CheckFileSystem, FileSystemType};
use crate::window::Window;

/// Bytes hashed at a time.
const READ_BYTES: usize = 1024 * 1024;

/// What is wrong with a slot.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum CheckSlot {
    #[error("read the slot")]
    Read { source: io::Error },
    #[error("check its header: it is empty, but the slot has a priority")]
    Empty,
    #[error("check its header")]
    Header { source: ReadHeader },
    #[error(
        "check the {blob}: bytes {start} to {end} are not inside the {room} bytes of KERN, or taken"
    )]
    BlobPlace { blob: &'static str, start: u64, end: u64, room: u64 },
    #[error("check the {blob}: its SHA-256 is {found}, the header says {expected}")]
    BlobHash { blob: &'static str, expected: String, found: String },
    #[error("check the root: {found} bytes with its verity tree do not fit ROOT, which has {room}")]
    RootPlace { found: u64, room: u64 },
    #[error("check the root")]
    Root { source: VerifyTree },
    #[error("check the root")]
    RootFileSystem { source: CheckFileSystem },
}

/// Checks a slot in its partitions; `None`: it is empty, as it may be while it is not `bootable`.
pub(super) fn check(
    kern: &Window<'_>,
    root: &Window<'_>,
    bootable: bool,
    trusted: &[TrustedKey],
) -> Result<Option<SlotDocument>, CheckSlot> {
    let header = read_header(kern)?;
    if header == [0; HEADER_BYTES] {
        return if bootable { Err(CheckSlot::Empty) } else { Ok(None) };
    }
    check_content(kern, root, trusted).map(Some)
}

pub(super) fn check_content(
    kern: &Window<'_>,
    root: &Window<'_>,
    trusted: &[TrustedKey],
) -> Result<SlotDocument, CheckSlot> {
    let document = slot_header::decode(&read_header(kern)?, trusted)
        .map_err(|source| CheckSlot::Header { source })?;
    let header_end = u64::try_from(HEADER_BYTES).unwrap_or(u64::MAX);
    check_blob("kernel", &document.kernel, header_end, kern)?;
    check_blob("initramfs", &document.initramfs, document.kernel.end_bytes(), kern)?;

    let (found, room) = (document.root_bytes(), root.size_bytes());
    if found > room || document.root.hash_offset_bytes < document.root.data_bytes {
        return Err(CheckSlot::RootPlace { found, room });
    }
    let mut data = root.part(0, document.root.data_bytes);
    let mut tree = root.part(document.root.hash_offset_bytes, u64::MAX);
    verity::verify(&mut data, &mut tree, &document.root)
        .map_err(|source| CheckSlot::Root { source })?;
    file_system::check(FileSystemType::Erofs, &root.part(0, document.root.data_bytes))
        .map_err(|source| CheckSlot::RootFileSystem { source })?;
    Ok(document)
}

/// The blob lies behind `free_from`, inside the partition, and has the hash that the header says.
fn check_blob(
    name: &'static str,
    blob: &Blob,
    free_from: u64,
    kern: &Window<'_>,
) -> Result<(), CheckSlot> {
    let (start, room) = (blob.offset_bytes, kern.size_bytes());
    let end = start.saturating_add(blob.size_bytes);
    let in_place = start >= free_from && start.is_multiple_of(BLOB_ALIGN_BYTES) && end <= room;
    if !in_place {
        return Err(CheckSlot::BlobPlace { blob: name, start, end, room });
    }
    let found = hash(&mut kern.part(start, blob.size_bytes))
        .map_err(|source| CheckSlot::Read { source })?;
    if found == blob.sha256 {
        return Ok(());
    }
    Err(CheckSlot::BlobHash { blob: name, expected: blob.sha256.clone(), found })
}

fn read_header(kern: &Window<'_>) -> Result<[u8; HEADER_BYTES], CheckSlot> {
    kern.read_array(0).map_err(|source| CheckSlot::Read { source })
}

fn hash(reader: &mut impl Read) -> io::Result<String> {
    let mut hash = Sha256::new();
    let mut chunk = vec![0; READ_BYTES];
    loop {
        let count = reader.read(&mut chunk)?;
        if count == 0 {
            return Ok(hex::encode(hash.finalize()));
        }
        hash.update(chunk.get(..count).unwrap_or_default());
    }
}
