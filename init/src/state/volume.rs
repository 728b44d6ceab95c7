//! STATE: from a partition that may hold anything to a mounted file system.
//!
//! Mount it; where that fails, let e2fsck repair it and mount again. Only where e2fsck gives up, or there is no ext4
//! at all, it is made anew from the template in the root. What cannot be mounted for another reason (a kernel
//! without ext4, a disk that cannot be read) is left as it is and ends the boot: another slot may do better.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use ferrite_layout::sparse::{self, DecodeSparse};
use ferrite_schema::names;
use ferrite_sys::block;
use rustix::fs::FallocateFlags;
use rustix::io::Errno;
use rustix::mount::{MountFlags, mount};

use crate::fatal::chain;
use crate::log;
use crate::state::superblock::{self, Superblock};

/// Exit codes of `e2fsck(8)` from here on: errors are left, or it could not work.
const E2FSCK_ERRORS_LEFT: i32 = 4;
/// Lines of e2fsck that are worth the console; a wrecked file system gives thousands.
const E2FSCK_LINES_MAX: usize = 20;

/// STATE cannot be had.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum StateError {
    #[error("open {path}")]
    Open { path: PathBuf, source: io::Error },
    #[error("read the STATE template {path}")]
    ReadTemplate { path: PathBuf, source: io::Error },
    #[error("read the STATE template {path}")]
    DecodeTemplate { path: PathBuf, source: DecodeSparse },
    #[error("make STATE anew: the template has {template_bytes} bytes, {path} only {size_bytes}")]
    TooSmall { path: PathBuf, template_bytes: u64, size_bytes: u64 },
    #[error("make STATE anew in {path}")]
    Write { path: PathBuf, source: io::Error },
    #[error("mount STATE from {path}, although it was just made anew")]
    Mount { path: PathBuf, source: Errno },
    #[error("mount STATE from {path}, which is left as it is: {why}")]
    Keep { path: PathBuf, why: String },
}

/// Why STATE is not mounted.
#[derive(Debug, PartialEq, Eq)]
enum Unmounted {
    /// Nothing in it can be saved.
    Lost(String),
    /// It may hold everything; something else is wrong.
    Kept(String),
}

/// What e2fsck made of it.
#[derive(Debug, PartialEq, Eq)]
enum Repair {
    Sound,
    GaveUp { exit_status: i32 },
    NotDone(String),
}

impl Repair {
    fn problem(&self) -> String {
        match self {
            Self::Sound => "e2fsck finds it sound".to_owned(),
            Self::GaveUp { exit_status } => {
                format!("e2fsck could not repair everything (exit status {exit_status})")
            }
            Self::NotDone(problem) => problem.clone(),
        }
    }

    /// What a mount that fails even after this means.
    fn verdict(&self, first: &str, then: &str) -> Unmounted {
        let why = format!("{first}; {}; then mount: {then}", self.problem());
        match self {
            Self::GaveUp { .. } => Unmounted::Lost(why),
            Self::Sound | Self::NotDone(_) => Unmounted::Kept(why),
        }
    }
}

/// Mounts STATE on /var, whatever it takes. Returns why it had to be made anew, where it had to.
///
/// # Errors
/// It may hold data and cannot be mounted, or even a new file system cannot be made or mounted.
pub fn mount_state(device: &Path) -> Result<Option<String>, StateError> {
    let why = match try_mount(device) {
        Ok(()) => return Ok(None),
        Err(Unmounted::Kept(why)) => return Err(StateError::Keep { path: device.to_owned(), why }),
        Err(Unmounted::Lost(why)) => why,
    };
    log::error(format_args!(
        "STATE on {} is lost ({why}); making it anew, EMPTY: configuration, images and units of this node are gone",
        device.display()
    ));
    recreate(device)?;
    mount_ext4(device).map_err(|source| StateError::Mount { path: device.to_owned(), source })?;
    Ok(Some(why))
}

/// Mounts what is there, repairing it where necessary.
fn try_mount(device: &Path) -> Result<(), Unmounted> {
    let superblock = read_superblock(device)
        .map_err(|error| Unmounted::Kept(format!("it cannot be read: {error}")))?
        .ok_or_else(|| Unmounted::Lost("it holds no ext4 file system".to_owned()))?;
    let first = if superblock.has_errors {
        "the kernel found errors in it before".to_owned()
    } else {
        match mount_ext4(device) {
            Ok(()) => return Ok(()),
            Err(error) => format!("mount: {error}"),
        }
    };
    log::warn(format_args!("STATE needs repair ({first}); running e2fsck"));
    let repair = repair(device);
    match mount_ext4(device) {
        Ok(()) if repair == Repair::Sound => log::warn(format_args!("STATE is repaired")),
        Ok(()) => log::error(format_args!("STATE can be used, but {}", repair.problem())),
        Err(error) => return Err(repair.verdict(&first, &error.to_string())),
    }
    Ok(())
}

/// `/var` has no device nodes, no set-user-ID files and no programs of the system's. What containers execute
/// is seen through their own overlay mounts, which have their own flags.
fn mount_ext4(device: &Path) -> Result<(), Errno> {
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC | MountFlags::RELATIME;
    mount(device, names::STATE_DIR, "ext4", flags, c"errors=remount-ro")
}

fn repair(device: &Path) -> Repair {
    let output = match Command::new(names::E2FSCK).arg("-y").arg(device).output() {
        Ok(output) => output,
        Err(error) => return Repair::NotDone(format!("e2fsck cannot be run: {error}")),
    };
    let text = String::from_utf8_lossy(&output.stdout);
    for line in text.lines().filter(|line| !line.trim().is_empty()).take(E2FSCK_LINES_MAX) {
        log::warn(format_args!("e2fsck: {line}"));
    }
    match output.status.code() {
        Some(code) if code < E2FSCK_ERRORS_LEFT => Repair::Sound,
        Some(exit_status) => Repair::GaveUp { exit_status },
        None => Repair::NotDone("e2fsck was killed".to_owned()),
    }
}

/// Writes the template. What it leaves out must be zero: file systems rely on it.
fn recreate(device: &Path) -> Result<(), StateError> {
    let template_path = || PathBuf::from(names::STATE_TEMPLATE);
    let template = fs::read(names::STATE_TEMPLATE)
        .map_err(|source| StateError::ReadTemplate { path: template_path(), source })?;
    let image = sparse::decode(&template)
        .map_err(|source| StateError::DecodeTemplate { path: template_path(), source })?;
    let path = device.to_owned();
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .open(device)
        .map_err(|source| StateError::Open { path: path.clone(), source })?;
    let write = |source: io::Error| StateError::Write { path: path.clone(), source };
    let size_bytes = block::size_bytes(file.as_fd()).map_err(|errno| write(errno.into()))?;
    let template_bytes = image.size_bytes;
    if size_bytes < template_bytes {
        return Err(StateError::TooSmall { path, template_bytes, size_bytes });
    }
    // ZERO_RANGE lets the device do it where it can, and writes zeros where it cannot.
    let zero = FallocateFlags::ZERO_RANGE | FallocateFlags::KEEP_SIZE;
    rustix::fs::fallocate(&file, zero, 0, template_bytes).map_err(|errno| write(errno.into()))?;
    for block in &image.blocks {
        file.seek(SeekFrom::Start(block.offset_bytes)).map_err(write)?;
        file.write_all(block.bytes).map_err(write)?;
    }
    file.sync_all().map_err(write)
}

/// Grows the mounted file system to its partition. A failure costs space and nothing else.
pub fn grow(device: &Path) {
    match try_grow(device) {
        Ok(None) => {}
        Ok(Some((from, to))) => {
            log::info(format_args!("STATE grew from {} to {} MiB", from >> 20, to >> 20));
        }
        Err(error) => log::warn(format_args!("STATE stays smaller than its partition: {error}")),
    }
}

fn try_grow(device: &Path) -> io::Result<Option<(u64, u64)>> {
    let Some(superblock) = read_superblock(device)? else { return Ok(None) };
    let partition_bytes = block::size_bytes(File::open(device)?.as_fd())?;
    let Some(blocks) = blocks_to_grow_to(superblock, partition_bytes) else { return Ok(None) };
    let root = File::open(names::STATE_DIR)?;
    ferrite_sys::ext4::resize(root.as_fd(), blocks)?;
    let bytes = |blocks| blocks * superblock.block_bytes;
    Ok(Some((bytes(superblock.blocks), bytes(blocks))))
}

/// Growing by less than this is not worth a write: the last group of blocks may be unusable anyway.
const GROW_MIN_BYTES: u64 = 1024 * 1024;

fn blocks_to_grow_to(superblock: Superblock, partition_bytes: u64) -> Option<u64> {
    let blocks = partition_bytes / superblock.block_bytes;
    let more = blocks.checked_sub(superblock.blocks)?;
    (more * superblock.block_bytes >= GROW_MIN_BYTES).then_some(blocks)
}

/// Images are all alike, to the last bit; the file systems of two nodes must not be.
pub fn give_own_identity() {
    let mut uuid = [0; 16];
    let result = rustix::rand::getrandom(&mut uuid, rustix::rand::GetRandomFlags::empty())
        .map_err(io::Error::from)
        .and_then(|_| File::open(names::STATE_DIR))
        .and_then(|root| {
            // Version 4, variant 1, as RFC 9562 wants a random identity.
            let [_, _, _, _, _, _, version, _, variant, ..] = &mut uuid;
            *version = *version & 0x0f | 0x40;
            *variant = *variant & 0x3f | 0x80;
            Ok(ferrite_sys::ext4::set_uuid(root.as_fd(), uuid)?)
        });
    if let Err(error) = result {
        log::debug(format_args!("STATE keeps the identity of the image: {}", chain(&error)));
    }
}

fn read_superblock(device: &Path) -> io::Result<Option<Superblock>> {
    let mut file = File::open(device)?;
    let mut bytes = vec![0; superblock::SIZE_BYTES];
    file.seek(SeekFrom::Start(superblock::OFFSET_BYTES))?;
    file.read_exact(&mut bytes)?;
    Ok(superblock::parse(&bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_e2fsck_gives_up_is_lost() {
        let lost = |repair: Repair| {
            matches!(repair.verdict("mount: EUCLEAN", "ENODEV"), Unmounted::Lost(_))
        };
        assert!(lost(Repair::GaveUp { exit_status: 4 }));
        assert!(!lost(Repair::Sound));
        assert!(!lost(Repair::NotDone("e2fsck cannot be run".to_owned())));
    }

    #[test]
    fn a_file_system_grows_only_when_it_is_worth_it() {
        let superblock = Superblock { block_bytes: 4096, blocks: 1000, has_errors: false };
        let check = |blocks: u64, expected| {
            assert_eq!(blocks_to_grow_to(superblock, blocks * 4096), expected);
        };
        check(1000, None);
        check(1255, None);
        check(1256, Some(1256));
        check(999, None);
    }
}
