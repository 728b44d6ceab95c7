//! A named volume's first content: what the image has at its place, with owners, modes, users'
//! attributes and file capabilities, as Docker does it.
//!
//! The copy is made beside the volume and renamed, so that a volume is never half filled; what is not finished is removed.
//! It takes what the image takes and no more: holes and hard links stay what they are. It is made within the volume's bounds
//! and within what STATE has for containers. Devices, sockets and FIFOs stay behind: a volume holds data.

use std::ffi::CStr;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

use ferrite_files::holes;
use ferrite_files::quarantine::{Quarantine, Stays};
use ferrite_files::walk::{self, Next, Place, Step};
use ferrite_schema::names;
use rustix::fs::{AtFlags, FileType, FlockOperation, Mode, OFlags, Stat, Timespec, Timestamps};
use rustix::io::Errno;
use rustix::process::{Gid, Uid};

use self::links::Links;
use super::inside::Root;
use super::owners::Owners;
use super::privilege;
use super::quota::{self, Claim, QuotaProblem};

mod links;
mod xattrs;

/// The user and group that the kernel shows for those that a namespace does not have (`/proc/sys/kernel/overflowuid`).
const NOBODY: u32 = 65_534;

/// A volume could not be filled.
#[derive(Debug, thiserror::Error)]
pub(super) enum SeedProblem {
    #[error("make volume {}", path.display())]
    Make { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Remove(#[from] Stays),
    #[error(transparent)]
    Quota(#[from] QuotaProblem),
    #[error("copy what the image has in {target} into volume {}", path.display())]
    Copy { target: String, path: PathBuf, source: io::Error },
    #[error(
        "volume {name}: no space for what the image has in {target}, within resources.disk and resources.inodes and what is \
         free on STATE"
    )]
    NoSpace { name: String, target: String, source: io::Error },
}

/// Makes the volume `path` unless it is there, filled with what `root` has at `target`.
pub(super) fn seed(
    path: &Path,
    root: &Root,
    target: &str,
    owners: &Owners,
    claim: Claim<'_>,
) -> Result<(), SeedProblem> {
    if path.exists() {
        // A file that was made for the container has no bound of its own.
        return if path.is_dir() { Ok(quota::volume(path, claim)?) } else { Ok(()) };
    }
    let failed = |source| SeedProblem::Make { path: path.to_owned(), source };
    let parent = path.parent().unwrap_or(Path::new("/"));
    fs::create_dir_all(parent).map_err(failed)?;
    let lock = File::open(parent).map_err(failed)?;
    // Two units may use it for the first time at once; the lock goes with the file.
    rustix::fs::flock(&lock, FlockOperation::LockExclusive)
        .map_err(|error| failed(error.into()))?;
    if path.exists() {
        return Ok(());
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let beside = parent.join(format!("{}{name}", names::VOLUME_UNFINISHED));
    let quarantine = Quarantine::at(Path::new(names::QUARANTINE_DIR));
    quarantine.remove(&beside)?;
    let made = make(&beside, (root, target), owners, claim)
        .and_then(|()| fs::rename(&beside, path).map_err(Unmade::Make));
    if made.is_err() {
        // Reported is why there is no volume; what stays is removed when the agent starts.
        drop(quarantine.remove(&beside));
    }
    made.map_err(|unmade| unmade.of(path, target))?;
    lock.sync_all().map_err(failed)
}

/// A volume was not made.
enum Unmade {
    Make(io::Error),
    Quota(QuotaProblem),
    Copy(io::Error),
}

impl Unmade {
    fn of(self, path: &Path, target: &str) -> SeedProblem {
        let (path, target) = (path.to_owned(), target.to_owned());
        match self {
            Self::Make(source) | Self::Copy(source) if is_full(&source) => {
                let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                SeedProblem::NoSpace { name, target, source }
            }
            Self::Make(source) => SeedProblem::Make { path, source },
            Self::Quota(problem) => problem.into(),
            Self::Copy(source) => SeedProblem::Copy { target, path, source },
        }
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::NOSPC | Errno::DQUOT))
}

fn make(
    beside: &Path,
    from: (&Root, &str),
    owners: &Owners,
    claim: Claim<'_>,
) -> Result<(), Unmade> {
    fs::create_dir(beside).map_err(Unmade::Make)?;
    quota::new_volume(beside, claim).map_err(Unmade::Quota)?;
    let _bounded = privilege::keep_to_bounds().map_err(Unmade::Copy)?;
    fill(beside, from, owners).map_err(Unmade::Copy)
}

fn fill(beside: &Path, (root, target): (&Root, &str), owners: &Owners) -> io::Result<()> {
    let from = root.look(target, OFlags::RDONLY | OFlags::DIRECTORY)?;
    let to = File::open(beside)?;
    let copied = folder(&from, &to, owners)?;
    if copied > 0 {
        // Once for everything, before it gets its name.
        rustix::fs::syncfs(&to)?;
    }
    Ok(())
}

/// Copies what is in a folder, and its own properties. Returns how many entries. However deep it is, one folder of
/// either side is open.
fn folder(from: &File, to: &File, owners: &Owners) -> io::Result<u64> {
    let (mut copied, mut made) = (0_u64, Place::at(to.as_fd().try_clone_to_owned()?));
    let mut links = Links::default();
    walk::walk(from.as_fd().try_clone_to_owned()?, |step| match step {
        Step::Entry { folder, name, stat } => {
            let next = entry(folder, (name, stat), (&mut made, &mut links), owners)?;
            copied += u64::from(next.is_some());
            Ok(next.unwrap_or(Next::Past))
        }
        Step::Leave { folder } => {
            let left = made.as_fd().try_clone_to_owned()?;
            // First the way back: the folder's own mode may forbid it.
            made.up()?;
            properties(folder, left.as_fd(), owners)?;
            Ok(Next::Past)
        }
    })?;
    properties(from.as_fd(), to.as_fd(), owners)?;
    Ok(copied)
}

/// Copies one entry, and goes into it where it is a folder. `None` for what stays behind.
fn entry(
    from: BorrowedFd<'_>,
    (name, stat): (&CStr, &Stat),
    (to, links): (&mut Place, &mut Links),
    owners: &Owners,
) -> io::Result<Option<Next>> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => {
            rustix::fs::mkdirat(&*to, name, Mode::RWXU)?;
            to.down(name)?;
            return Ok(Some(Next::Down));
        }
        FileType::RegularFile if links.link(stat, to.as_fd(), name)? => {}
        FileType::RegularFile => {
            let inner: File =
                rustix::fs::openat(from, name, flags | OFlags::NONBLOCK, Mode::empty())?.into();
            let new = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
            let made: File = rustix::fs::openat(&*to, name, new, Mode::RUSR | Mode::WUSR)?.into();
            holes::copy(&inner, &made)?;
            properties(inner.as_fd(), made.as_fd(), owners)?;
            links.remember(stat, made);
        }
        FileType::Symlink => {
            let link = rustix::fs::readlinkat(from, name, Vec::new())?;
            rustix::fs::symlinkat(&link, &*to, name)?;
            let Owner { user, group, .. } = on_disk(stat, owners);
            let (user, group) = (Some(user), Some(group));
            rustix::fs::chownat(&*to, name, user, group, AtFlags::SYMLINK_NOFOLLOW)?;
        }
        _ => return Ok(None),
    }
    Ok(Some(Next::Past))
}

/// Owner, mode, attributes and times. The owner first: changing it drops set-id bits and file capabilities.
fn properties(from: BorrowedFd<'_>, to: BorrowedFd<'_>, owners: &Owners) -> io::Result<()> {
    let stat = rustix::fs::fstat(from)?;
    let Owner { user, group, mode, is_own } = on_disk(&stat, owners);
    rustix::fs::fchown(to, Some(user), Some(group))?;
    rustix::fs::fchmod(to, mode)?;
    xattrs::copy(from, to, owners, is_own)?;
    let time = |seconds, nanoseconds: u64| Timespec {
        tv_sec: seconds,
        tv_nsec: i64::try_from(nanoseconds).unwrap_or_default(),
    };
    let times = Timestamps {
        last_access: time(stat.st_atime, stat.st_atime_nsec),
        last_modification: time(stat.st_mtime, stat.st_mtime_nsec),
    };
    Ok(rustix::fs::futimens(to, &times)?)
}

/// Whom a file of a volume belongs to on disk, in the container's own IDs, and what it may therefore be.
#[derive(Debug, PartialEq, Eq)]
struct Owner {
    user: Uid,
    group: Gid,
    mode: Mode,
    /// Both are the container's own.
    is_own: bool,
}

/// An owner whom the container does not have becomes nobody, as the kernel shows him in the container's layers, never its
/// root; and what the kernel does not grant in his name there (set-id bits, file capabilities) is not granted in a volume.
fn on_disk(stat: &Stat, owners: &Owners) -> Owner {
    let (user, group) = (owners.inside(stat.st_uid), owners.inside(stat.st_gid));
    let mut mode = Mode::from_raw_mode(stat.st_mode & 0o7777);
    let is_own = user.is_some() && group.is_some();
    let is_folder = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
    if !is_own && !is_folder {
        mode.remove(Mode::SUID | Mode::SGID);
    }
    let user = Uid::from_raw(user.unwrap_or(NOBODY));
    Owner { user, group: Gid::from_raw(group.unwrap_or(NOBODY)), mode, is_own }
}

#[cfg(test)]
mod tests;
