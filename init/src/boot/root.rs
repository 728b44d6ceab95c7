//! The slot's root: dm-verity over ROOT, mounted read-only.
//!
//! A damaged block is an I/O error to whoever reads it, never data. Verity neither panics nor
//! restarts by itself: a machine whose proven slot has a damaged block in a file that every boot reads would
//! then reset for ever. Instead the damage is *told*: stage 1 reads what stage 2 needs before it goes there, and
//! later the kernel announces each damaged block to PID 1, which gives the slot up durably where the other
//! can boot (see [`crate::irreversible::slots`]).

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use ferrite_layout::slot_header::Root;
use ferrite_layout::verity;
use ferrite_schema::names;
use ferrite_sys::device_mapper::{CONTROL, DeviceMapper, DeviceNumber, Target};
use rustix::fs::{FileType, Mode};
use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

use crate::boot::handover::ROOT_DEVICE;
use crate::boot::mounts::NEW_ROOT;
use crate::watchdog;

const SECTOR_BYTES: u64 = 512;

/// Why a slot's root cannot be used.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum OpenRoot {
    #[error("open the device mapper")]
    Control { source: io::Error },
    #[error("set up dm-verity over {path}")]
    Verity { path: PathBuf, source: Errno },
    #[error("make the node {path}")]
    Node { path: PathBuf, source: Errno },
    #[error("mount the root from {path}: the file system is damaged")]
    Damaged { path: PathBuf, source: io::Error },
    #[error("mount the root from {path}")]
    Mount { path: PathBuf, source: io::Error },
    #[error("make the mount point for the root")]
    MountPoint { source: io::Error },
}

/// Sets up verity over the ROOT partition `path`, mounts it on [`NEW_ROOT`] and reads PID 1's second stage once,
/// as a whole, so that damage in it is found here.
///
/// # Errors
/// Says what failed and whether damage is the cause. Nothing stays mounted or mapped then.
pub fn open(path: &Path, root: &Root) -> Result<(), OpenRoot> {
    let mapper =
        DeviceMapper::open(Path::new(CONTROL)).map_err(|source| OpenRoot::Control { source })?;
    let device = map(&mapper, path, root).inspect_err(|_| {
        mapper.remove(ROOT_DEVICE).ok();
    })?;
    mount_and_read(&device).map_err(|source| {
        let damaged = is_damaged(&mapper);
        unmount(NEW_ROOT, UnmountFlags::DETACH).ok();
        mapper.remove(ROOT_DEVICE).ok();
        let path = path.to_owned();
        match source {
            OpenRoot::Mount { source, .. } if damaged => OpenRoot::Damaged { path, source },
            OpenRoot::Mount { source, .. } => OpenRoot::Mount { path, source },
            other => other,
        }
    })
}

/// Verity has seen a damaged block of the root.
#[must_use]
pub fn is_root_damaged() -> bool {
    DeviceMapper::open(Path::new(CONTROL)).is_ok_and(|mapper| is_damaged(&mapper))
}

fn is_damaged(mapper: &DeviceMapper) -> bool {
    mapper.status(ROOT_DEVICE).is_ok_and(|status| status.trim_start().starts_with('C'))
}

fn map(mapper: &DeviceMapper, path: &Path, root: &Root) -> Result<PathBuf, OpenRoot> {
    let verity = |source| OpenRoot::Verity { path: path.to_owned(), source };
    let number = mapper.create(ROOT_DEVICE).map_err(verity)?;
    let parameters = verity::table_line(&path.display().to_string(), root);
    let target =
        Target { sectors: root.data_bytes / SECTOR_BYTES, kind: "verity", parameters: &parameters };
    mapper.load_read_only(ROOT_DEVICE, &target).map_err(verity)?;
    mapper.resume(ROOT_DEVICE).map_err(verity)?;
    node(number)
}

/// devtmpfs makes the node; where it did not, we do.
fn node(number: DeviceNumber) -> Result<PathBuf, OpenRoot> {
    let path = PathBuf::from(format!("/dev/dm-{}", number.minor));
    let device = rustix::fs::makedev(number.major, number.minor);
    let mode = Mode::RUSR | Mode::WUSR;
    match rustix::fs::mknodat(rustix::fs::CWD, &path, FileType::BlockDevice, mode, device) {
        Ok(()) | Err(Errno::EXIST) => Ok(path),
        Err(source) => Err(OpenRoot::Node { path, source }),
    }
}

fn mount_and_read(device: &Path) -> Result<(), OpenRoot> {
    let mount_error = |source| OpenRoot::Mount { path: device.to_owned(), source };
    fs::create_dir_all(NEW_ROOT).map_err(|source| OpenRoot::MountPoint { source })?;
    let flags = MountFlags::RDONLY | MountFlags::NODEV | MountFlags::NOSUID;
    mount(device, NEW_ROOT, "erofs", flags, c"").map_err(|source| mount_error(source.into()))?;
    read_whole(Path::new(&format!("{NEW_ROOT}{}", names::INIT))).map_err(mount_error)
}

fn read_whole(path: &Path) -> io::Result<()> {
    let mut file = File::open(path)?;
    let mut chunk = vec![0; 128 * 1024];
    while file.read(&mut chunk)? > 0 {
        watchdog::feed();
    }
    Ok(())
}
