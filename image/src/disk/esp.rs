//! The EFI system partition: FAT32, made with dosfstools, mtools and syslinux. None of them needs a loop device.

use std::collections::BTreeSet;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use ferrite_layout::disk_layout::{DiskLayout, LayoutPartition};

use super::identity;
use super::parts::{EspFile, Parts};
use super::places::{check_fits, create_sized, number, open, partition};
use super::problem::BuildDisk;
use super::toolbox::{Toolbox, fixed, is_plain, run};

/// Label of the file system.
const LABEL: &str = "EFI-SYSTEM";
/// FAT32 needs 65525 clusters at least; firmware is known to refuse fewer, so keep a distance.
const CLUSTERS_MIN: u64 = 70_000;
/// Bytes that a cluster takes in each of the two tables.
const TABLE_ENTRY_BYTES: u64 = 4;
/// Room for the sectors before the tables (32 of them), the top directory and syslinux' two files (180 KiB).
const RESERVED_BYTES: u64 = 256 * 1024;
/// Sector of the boot sector's copy, where `mkfs.fat` puts it.
const BACKUP_BOOT_SECTOR: u64 = 6;

/// Makes the file system with its files, then the BIOS loader.
pub(super) fn make(
    parts: &Parts,
    layout: &DiskLayout,
    tools: &dyn Toolbox,
    path: &Path,
) -> Result<(), BuildDisk> {
    let place = partition(layout, number::EFI_SYSTEM)?;
    let files = sorted(&parts.esp)?;
    let loader_directory = parts.bios.as_ref().map(|bios| bios.directory.trim_matches('/'));
    let directories = directories(&files, loader_directory)?;
    check_room(&files, directories.len(), place)?;
    let image = create_sized(path, place.size_bytes)?;
    format(place, layout.sector_bytes, tools, path)?;
    for directory in directories {
        let mut command = fixed(tools, "mmd");
        command.arg("-i").arg(path).arg(format!("::/{directory}"));
        run("mmd", command)?;
    }
    for file in files {
        let mut command = fixed(tools, "mcopy");
        command.arg("-i").arg(path).arg(&file.source).arg(format!("::/{}", file.path));
        run("mcopy", command)?;
    }
    if let Some(bios) = &parts.bios {
        let mut command = fixed(tools, "syslinux");
        command.arg("--install").arg("--directory").arg(&bios.directory).arg(path);
        run("syslinux", command)?;
        copy_boot_sector(&image)
            .map_err(|source| BuildDisk::Write { path: path.to_owned(), source })?;
    }
    Ok(())
}

fn format(
    place: &LayoutPartition,
    sector_bytes: u64,
    tools: &dyn Toolbox,
    path: &Path,
) -> Result<(), BuildDisk> {
    let volume_id = identity::constant(LABEL).as_fields().0;
    let mut command = fixed(tools, "mkfs.fat");
    command
        .args(["--invariant", "-F", "32", "-n", LABEL, "-i"])
        .arg(format!("{volume_id:08x}"))
        // Neither UEFI nor the kernel reads a FAT whose sectors are smaller than the disk's.
        .arg("-S")
        .arg(sector_bytes.to_string())
        .arg("-s")
        .arg((cluster_bytes(place) / sector_bytes).max(1).to_string())
        // A BIOS loader adds this to every sector number.
        .arg("-h")
        .arg((place.offset_bytes / sector_bytes).to_string())
        .arg(path);
    run("mkfs.fat", command)?;
    Ok(())
}

/// The largest cluster, up to a page, with which there are enough of them.
fn cluster_bytes(place: &LayoutPartition) -> u64 {
    [4096, 2048, 1024]
        .into_iter()
        .find(|cluster_bytes| place.size_bytes / cluster_bytes >= CLUSTERS_MIN)
        .unwrap_or(512)
}

/// Files in a fixed order, since the order decides which clusters they get.
fn sorted(files: &[EspFile]) -> Result<Vec<&EspFile>, BuildDisk> {
    files.iter().try_for_each(|file| check_path(&file.path))?;
    let mut files: Vec<_> = files.iter().collect();
    files.sort();
    Ok(files)
}

/// Every directory that a file or the BIOS loader needs, parents first.
fn directories(files: &[&EspFile], loader: Option<&str>) -> Result<BTreeSet<String>, BuildDisk> {
    let loader = loader.filter(|directory| !directory.is_empty());
    loader.map_or(Ok(()), check_path)?;
    let of_files = files.iter().filter_map(|file| file.path.rsplit_once('/')).map(|(dir, _)| dir);
    let with_parents = |directory: &'_ str| -> Vec<String> {
        let parents = directory.match_indices('/').filter_map(|(end, _)| directory.get(..end));
        parents.chain([directory]).map(str::to_owned).collect()
    };
    Ok(of_files.chain(loader).flat_map(with_parents).collect())
}

fn check_path(path: &str) -> Result<(), BuildDisk> {
    if path.split('/').all(is_plain) {
        return Ok(());
    }
    Err(BuildDisk::FileName { partition: LABEL, name: path.to_owned() })
}

/// Files and directories in whole clusters, the file system's own tables and the BIOS loader must fit.
fn check_room(
    files: &[&EspFile],
    directories: usize,
    place: &LayoutPartition,
) -> Result<(), BuildDisk> {
    let cluster_bytes = cluster_bytes(place);
    let table_bytes = place.size_bytes / cluster_bytes * TABLE_ENTRY_BYTES;
    let directories = u64::try_from(directories).unwrap_or(u64::MAX);
    let mut total_bytes = RESERVED_BYTES + 2 * table_bytes + directories * cluster_bytes;
    for file in files {
        let reading = |source| BuildDisk::Read { path: file.source.clone(), source };
        let size_bytes = open(&file.source)?.metadata().map_err(reading)?.len();
        total_bytes += size_bytes.next_multiple_of(cluster_bytes);
    }
    check_fits("the files of the EFI system partition", total_bytes, place)
}

/// syslinux changes the boot sector and forgets the copy of it.
fn copy_boot_sector(image: &File) -> std::io::Result<()> {
    let mut sector = [0; 512];
    image.read_exact_at(&mut sector, 0)?;
    // syslinux knows this size only.
    image.write_all_at(&sector, BACKUP_BOOT_SECTOR * 512)
}
