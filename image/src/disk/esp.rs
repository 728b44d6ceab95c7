//! The EFI system partition: FAT32, made with dosfstools, mtools and syslinux. None of them needs a loop device.

use std::collections::BTreeSet;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use ferrite_layout::disk_layout::{DiskLayout, LayoutPartition};

use super::toolbox::{Toolbox, fixed, is_plain, run};
use super::{
    BuildDisk, EspFile, Parts, check_fits, create_sized, identity, number, open, partition,
};

/// Label of the file system.
const LABEL: &str = "EFI-SYSTEM";
/// FAT32 needs 65525 clusters at least; firmware is known to refuse fewer, so keep a distance.
const CLUSTERS_MIN: u64 = 70_000;
/// Bytes of a FAT sector, whatever the disk's.
const FAT_SECTOR_BYTES: u64 = 512;
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
    check_room(&files, place)?;
    let image = create_sized(path, place.size_bytes)?;
    format(place, tools, path)?;
    for directory in directories(&files, parts.bios.as_ref().map(|bios| bios.directory.as_str())) {
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

fn format(place: &LayoutPartition, tools: &dyn Toolbox, path: &Path) -> Result<(), BuildDisk> {
    let cluster_sectors = [8, 4, 2, 1]
        .into_iter()
        .find(|sectors| place.size_bytes / (sectors * FAT_SECTOR_BYTES) >= CLUSTERS_MIN)
        .unwrap_or(1);
    let volume_id = identity::constant(LABEL).as_fields().0;
    let mut command = fixed(tools, "mkfs.fat");
    command
        .args(["--invariant", "-F", "32", "-n", LABEL, "-i"])
        .arg(format!("{volume_id:08x}"))
        .arg("-s")
        .arg(cluster_sectors.to_string())
        // A BIOS loader adds this to every sector number.
        .arg("-h")
        .arg((place.offset_bytes / FAT_SECTOR_BYTES).to_string())
        .arg(path);
    run("mkfs.fat", command)
}

/// Files in a fixed order, since the order decides which clusters they get.
fn sorted(files: &[EspFile]) -> Result<Vec<&EspFile>, BuildDisk> {
    if let Some(file) = files.iter().find(|file| !file.path.split('/').all(is_plain)) {
        return Err(BuildDisk::FileName { partition: LABEL, name: file.path.clone() });
    }
    let mut files: Vec<_> = files.iter().collect();
    files.sort();
    Ok(files)
}

/// Every directory that a file or the BIOS loader needs, parents first.
fn directories(files: &[&EspFile], bios: Option<&str>) -> BTreeSet<String> {
    let of_files = files.iter().filter_map(|file| file.path.rsplit_once('/')).map(|(dir, _)| dir);
    let of_bios = bios.map(|directory| directory.trim_matches('/'));
    of_files
        .chain(of_bios)
        .flat_map(|directory| {
            directory
                .match_indices('/')
                .filter_map(|(end, _)| directory.get(..end))
                .chain([directory])
        })
        .filter(|directory| !directory.is_empty())
        .map(str::to_owned)
        .collect()
}

fn check_room(files: &[&EspFile], place: &LayoutPartition) -> Result<(), BuildDisk> {
    let mut total_bytes = 0;
    for file in files {
        let reading = |source| BuildDisk::Read { path: file.source.clone(), source };
        total_bytes += open(&file.source)?.metadata().map_err(reading)?.len();
    }
    check_fits("the files of the EFI system partition", total_bytes, place)
}

/// syslinux changes the boot sector and forgets the copy of it.
fn copy_boot_sector(image: &File) -> std::io::Result<()> {
    let mut sector = [0; 512];
    image.read_exact_at(&mut sector, 0)?;
    image.write_all_at(&sector, BACKUP_BOOT_SECTOR * FAT_SECTOR_BYTES)
}
