//! The ext4 file systems: OEM with its files, and STATE, empty.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Stdio;

use ferrite_layout::disk_layout::{DiskLayout, LayoutPartition};
use ferrite_layout::sparse;

use super::identity;
use super::parts::{OemFile, Parts};
use super::places::{check_fits, create_sized, number, open, partition};
use super::problem::BuildDisk;
use super::toolbox::{Toolbox, fixed, is_plain, run};

/// Space that only the node's own programs can use: containers have other users, so that what fills STATE leaves
/// enough to write down that a unit is to be stopped.
const RESERVED_PERCENT: &str = "4";
/// Features of both file systems, named one by one so that no host's configuration has a say.
///
/// `metadata_csum_seed` lets the UUID change without rewriting everything.
const FEATURES: &str = "none,ext_attr,dir_index,filetype,extent,64bit,flex_bg,sparse_super,large_file,\
     huge_file,dir_nlink,extra_isize,metadata_csum,metadata_csum_seed";
/// What STATE has in addition: a journal, quick clean-up after a cut, room to grow while it is mounted, and projects,
/// by which what each container and volume takes is counted and bounded.
const STATE_FEATURES: &str = "has_journal,orphan_file,resize_inode,quota,project";
/// `resize_inode` keeps descriptor blocks up to this size; beyond it the kernel switches to `meta_bg` by itself.
const GROW_TO: &str = "4T";
/// The journal's part of STATE in an image: it stays as large as it is when the file system grows, and etcd
/// syncs often, so it is larger than mke2fs would make it.
const JOURNAL_DIVISOR: u64 = 8;
const JOURNAL_MIN_MIB: u64 = 4;
const BLOCK_BYTES: u64 = 4096;
const INODE_BYTES: u64 = 256;
const BYTES_PER_INODE: u64 = 16 * 1024;
/// Room for superblock, descriptors, bitmaps, the top directory and `lost+found`.
const RESERVED_BYTES: u64 = 128 * 1024;
const MIB: u64 = 1024 * 1024;

/// The STATE template that the root carries: the very file system that a new disk has.
///
/// # Errors
/// The file system cannot be made or read.
pub fn state_template(
    layout: &DiskLayout,
    tools: &dyn Toolbox,
    scratch: &Path,
) -> Result<Vec<u8>, BuildDisk> {
    let path = scratch.join("state.template.ext4");
    make_state(layout, tools, &path)?;
    let size_bytes = partition(layout, number::STATE)?.size_bytes;
    let template = sparse::encode(&mut open(&path)?, size_bytes)
        .map_err(|source| BuildDisk::Template { source })?;
    fs::remove_file(&path).map_err(|source| BuildDisk::Write { path, source })?;
    Ok(template)
}

/// Makes STATE. Nothing in it depends on the image, so that the template in the root can be the same bytes.
pub(super) fn make_state(
    layout: &DiskLayout,
    tools: &dyn Toolbox,
    path: &Path,
) -> Result<(), BuildDisk> {
    format(partition(layout, number::STATE)?, tools, path)
}

/// Makes OEM with its files.
pub(super) fn make_oem(
    parts: &Parts,
    layout: &DiskLayout,
    tools: &dyn Toolbox,
    path: &Path,
) -> Result<(), BuildDisk> {
    let place = partition(layout, number::OEM)?;
    check_room(&parts.oem, place)?;
    format(place, tools, path)?;
    let mut files: Vec<_> = parts.oem.iter().collect();
    files.sort();
    for file in files {
        if !is_plain(&file.name) {
            return Err(BuildDisk::FileName { partition: "OEM", name: file.name.clone() });
        }
        write_file(tools, path, &file.name, &file.content)?;
    }
    Ok(())
}

/// Files in whole blocks and what the file system needs for itself must fit.
fn check_room(files: &[OemFile], place: &LayoutPartition) -> Result<(), BuildDisk> {
    let content = files.iter().map(|file| {
        u64::try_from(file.content.len()).unwrap_or(u64::MAX).next_multiple_of(BLOCK_BYTES)
    });
    let inodes = place.size_bytes / BYTES_PER_INODE * INODE_BYTES;
    let total_bytes = content.sum::<u64>() + inodes + RESERVED_BYTES;
    check_fits("the files of the OEM partition", total_bytes, place)
}

fn format(place: &LayoutPartition, tools: &dyn Toolbox, path: &Path) -> Result<(), BuildDisk> {
    drop(create_sized(path, place.size_bytes)?);
    let uuid = identity::constant(&place.label);
    let mut features = FEATURES.to_owned();
    let mut extended =
        format!("hash_seed={uuid},root_owner=0:0,lazy_itable_init=0,lazy_journal_init=0,nodiscard");
    let reserved = if place.grow { RESERVED_PERCENT } else { "0" };
    let mut command = fixed(tools, "mke2fs");
    command
        .args(["-q", "-F", "-t", "ext4", "-m", reserved, "-e", "remount-ro"])
        .args(["-b", &BLOCK_BYTES.to_string(), "-I", &INODE_BYTES.to_string()])
        .args(["-i", &BYTES_PER_INODE.to_string()]);
    if place.grow {
        let journal_mib = (place.size_bytes / JOURNAL_DIVISOR / MIB).max(JOURNAL_MIN_MIB);
        command.arg("-J").arg(format!("size={journal_mib}"));
        features = format!("{FEATURES},{STATE_FEATURES}");
        extended = format!("{extended},resize={GROW_TO},quotatype=prjquota");
    }
    command
        .args(["-O", &features, "-E", &extended])
        .args(["-L", &place.label, "-U", &uuid.to_string()])
        .arg(path);
    run("mke2fs", command)?;
    Ok(())
}

/// Writes a file into the top directory, owned by root: `debugfs` takes neither owner nor times from the host.
fn write_file(
    tools: &dyn Toolbox,
    image: &Path,
    name: &str,
    content: &[u8],
) -> Result<(), BuildDisk> {
    let directory = image.parent().unwrap_or(image);
    let writing = |source| BuildDisk::Write { path: directory.to_owned(), source };
    let mut file = tempfile::NamedTempFile::new_in(directory).map_err(writing)?;
    file.write_all(content).map_err(writing)?;
    let source = file.path().display();
    let script = format!("write \"{source}\" {name}\nset_inode_field {name} mode 0100644\n");
    let mut script_file = tempfile::NamedTempFile::new_in(directory).map_err(writing)?;
    script_file.write_all(script.as_bytes()).map_err(writing)?;
    let mut command = fixed(tools, "debugfs");
    command.arg("-w").arg("-f").arg(script_file.path()).arg(image).stdout(Stdio::null());
    // It exits with 0 whatever happens; after its version, any word is a complaint.
    let said = run("debugfs", command)?;
    match said.split_once("; ") {
        None => Ok(()),
        Some((_version, message)) => {
            let (name, message) = (name.to_owned(), message.to_owned());
            Err(BuildDisk::WriteOemFile { name, message })
        }
    }
}
