//! The two payloads of a slot: what goes into KERN and what goes into ROOT.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};
use std::path::Path;

use ferrite_layout::disk_layout::DiskLayout;
use ferrite_layout::slot::Slot;
use ferrite_layout::slot_header::{self, Blob, HEADER_BYTES, Root, SlotDocument};
use ferrite_layout::verity;
use sha2::{Digest, Sha256};

use super::identity;
use super::parts::Parts;
use super::places::{check_fits, create, open, partition};
use super::problem::BuildDisk;

const COPY_BYTES: usize = 1024 * 1024;

/// Writes the ROOT payload: the file system and the tree over it.
pub(super) fn write_root(
    parts: &Parts,
    layout: &DiskLayout,
    path: &Path,
) -> Result<Root, BuildDisk> {
    let mut source = open(&parts.root)?;
    let reading = |source| BuildDisk::Read { path: parts.root.clone(), source };
    let writing = |source| BuildDisk::Write { path: path.to_owned(), source };
    let data_bytes = source.metadata().map_err(reading)?.len();
    if data_bytes == 0 || !data_bytes.is_multiple_of(verity::BLOCK_BYTES) {
        return Err(BuildDisk::RootSize { path: parts.root.clone(), found: data_bytes });
    }
    let room = partition(layout, Slot::A.root_partition())?;
    check_fits(
        "root file system with its verity tree",
        data_bytes + verity::tree_bytes(data_bytes),
        room,
    )?;

    let salt = identity::salt(&parts.version, &parts.variant, &parts.boot_id);
    let uuid = identity::constant("verity tree").into_bytes();
    let tree = verity::build(&mut source, data_bytes, &salt, uuid)
        .map_err(|source| BuildDisk::Verity { path: parts.root.clone(), source })?;
    source.rewind().map_err(reading)?;
    let mut target = create(path)?;
    io::copy(&mut source, &mut target).map_err(writing)?;
    target.write_all(&tree.bytes).map_err(writing)?;
    Ok(Root {
        data_bytes,
        hash_offset_bytes: data_bytes,
        root_hash: hex::encode(tree.root_hash),
        salt: hex::encode(salt),
    })
}

/// Writes the KERN payload: kernel and initramfs at their places, then the signed header before them.
pub(super) fn write_kern(
    parts: &Parts,
    layout: &DiskLayout,
    root: Root,
    path: &Path,
) -> Result<SlotDocument, BuildDisk> {
    let mut target = create(path)?;
    let kernel = append(&parts.kernel, header_bytes(), &mut target, path)?;
    let initramfs = append(&parts.initramfs, kernel.end_bytes(), &mut target, path)?;
    let total_bytes = initramfs.end_bytes();
    check_fits(
        "slot header, kernel and initramfs",
        total_bytes,
        partition(layout, Slot::A.kern_partition())?,
    )?;
    let document = SlotDocument {
        version: parts.version.clone(),
        variant: parts.variant.clone(),
        boot_id: parts.boot_id.clone(),
        kernel,
        initramfs,
        cmdline: parts.cmdline.clone(),
        root,
        key: parts.key.name().to_owned(),
        development: parts.key.is_development(),
    };
    let header = slot_header::encode(&document, parts.key.signing_key())
        .map_err(|source| BuildDisk::Header { source })?;
    let writing = |source| BuildDisk::Write { path: path.to_owned(), source };
    target.rewind().map_err(writing)?;
    target.write_all(&header).map_err(writing)?;
    target.set_len(total_bytes).map_err(writing)?;
    Ok(document)
}

/// Copies a file to `offset_bytes` of the payload.
fn append(
    source: &Path,
    offset_bytes: u64,
    target: &mut File,
    target_path: &Path,
) -> Result<Blob, BuildDisk> {
    let reading = |error| BuildDisk::Read { path: source.to_owned(), source: error };
    let writing = |error| BuildDisk::Write { path: target_path.to_owned(), source: error };
    let mut reader = BufReader::with_capacity(COPY_BYTES, open(source)?);
    let mut hash = Sha256::new();
    let mut size_bytes = 0;
    let mut chunk = vec![0; COPY_BYTES];
    target.seek(SeekFrom::Start(offset_bytes)).map_err(writing)?;
    loop {
        let count = reader.read(&mut chunk).map_err(reading)?;
        let bytes = chunk.get(..count).unwrap_or_default();
        if bytes.is_empty() {
            break;
        }
        hash.update(bytes);
        target.write_all(bytes).map_err(writing)?;
        size_bytes += u64::try_from(count).unwrap_or(u64::MAX);
    }
    Ok(Blob { offset_bytes, size_bytes, sha256: hex::encode(hash.finalize()) })
}

fn header_bytes() -> u64 {
    u64::try_from(HEADER_BYTES).unwrap_or(u64::MAX)
}
