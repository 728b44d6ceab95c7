//! A named volume's first content: what the image has at its place, with owners, modes, users'
//! attributes and file capabilities, as Docker does it.
//!
//! The copy is made beside the volume and renamed, so that a volume is never half filled. Devices, sockets and FIFOs
//! stay behind: a volume holds data.

use std::ffi::CStr;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

use ferrite_files::quarantine::{Quarantine, Stays};
use ferrite_files::walk::{self, Next, Place, Step};
use ferrite_schema::names;
use rustix::fs::{AtFlags, FileType, FlockOperation, Mode, OFlags, Stat, Timespec, Timestamps};
use rustix::process::{Gid, Uid};

use super::inside::Root;
use super::owners::Owners;
use super::quota::{self, Claim, QuotaProblem};

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
    // Names of volumes never start with a dot.
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let beside = parent.join(format!(".new-{name}"));
    Quarantine::at(Path::new(names::QUARANTINE_DIR)).remove(&beside)?;
    fs::create_dir(&beside).map_err(failed)?;
    quota::new_volume(&beside, claim)?;
    fill(&beside, root, target, owners).map_err(|source| SeedProblem::Copy {
        target: target.to_owned(),
        path: path.to_owned(),
        source,
    })?;
    fs::rename(&beside, path).and_then(|()| lock.sync_all()).map_err(failed)
}

fn fill(beside: &Path, root: &Root, target: &str, owners: &Owners) -> io::Result<()> {
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
    walk::walk(from.as_fd().try_clone_to_owned()?, |step| match step {
        Step::Entry { folder, name, stat } => {
            let next = entry(folder, name, stat, &mut made, owners)?;
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
    name: &CStr,
    stat: &Stat,
    to: &mut Place,
    owners: &Owners,
) -> io::Result<Option<Next>> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => {
            rustix::fs::mkdirat(&*to, name, Mode::RWXU)?;
            to.down(name)?;
            return Ok(Some(Next::Down));
        }
        FileType::RegularFile => {
            let mut inner: File =
                rustix::fs::openat(from, name, flags | OFlags::NONBLOCK, Mode::empty())?.into();
            let new = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
            let mut made: File =
                rustix::fs::openat(&*to, name, new, Mode::RUSR | Mode::WUSR)?.into();
            io::copy(&mut inner, &mut made)?;
            properties(inner.as_fd(), made.as_fd(), owners)?;
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
mod tests {
    use ferrite_schema::unit::Resources;

    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use ferrite_schema::shim::IdRange;

    #[test]
    fn an_owner_whom_the_container_does_not_have_is_nobody_and_grants_nothing() {
        let ids = IdRange { first: 1_048_576, count: 65_536 };
        let (own, all) = (Owners::without_namespace(ids, &[]), Owners::nodes());
        let folder = tempfile::tempdir().unwrap();
        let mut stat = rustix::fs::stat(folder.path()).unwrap();
        for (seen, kind, owners, user, expected) in [
            // Its root, its last user, and the first of its neighbour.
            (1_048_576, 0o100_000, &own, 0, 0o6755),
            (1_114_111, 0o100_000, &own, 65_535, 0o6755),
            (1_114_112, 0o100_000, &own, NOBODY, 0o755),
            // The kernel's word for an owner that the layers' mount does not have.
            (65_534, 0o100_000, &own, NOBODY, 0o755),
            (0, 0o100_000, &own, NOBODY, 0o755),
            (u32::MAX - 1, 0o100_000, &own, NOBODY, 0o755),
            // A folder's bit says whose group its files get.
            (65_534, 0o040_000, &own, NOBODY, 0o6755),
            // One that shares the node's users has them all.
            (70_000, 0o100_000, &all, 70_000, 0o6755),
        ] {
            (stat.st_uid, stat.st_gid, stat.st_mode) = (seen, seen, kind | 0o6755);
            let owner = on_disk(&stat, owners);
            let found = (owner.user.as_raw(), owner.group.as_raw(), owner.mode.as_raw_mode());
            assert_eq!(found, (user, user, expected), "{seen}");
            assert_eq!(owner.is_own, user != NOBODY, "{seen}");
        }
    }

    #[test]
    fn any_depth_is_copied_with_its_modes() {
        let folder = tempfile::tempdir().unwrap();
        let image = folder.path().join("image");
        let levels = 300;
        fs::create_dir_all(image.join("data").join("d/".repeat(levels))).unwrap();
        fs::write(image.join("data").join("d/".repeat(levels)).join("file"), "text").unwrap();
        for sealed in ["data/d/d", "data/d"] {
            fs::set_permissions(image.join(sealed), fs::Permissions::from_mode(0o555)).unwrap();
        }
        let (root, owners) = (Root::open(&image).unwrap(), Owners::nodes());
        let volume = folder.path().join("volumes/one");
        let nothing = Claim { resources: &Resources::default(), volumes: 1 };
        seed(&volume, &root, "/data", &owners, nothing).unwrap();
        let deepest = volume.join("d/".repeat(levels)).join("file");
        assert_eq!(fs::read_to_string(deepest).unwrap(), "text");
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
        assert_eq!((mode(&volume.join("d/d")), mode(&volume.join("d/d/d"))), (0o555, 0o755));
        for tree in [&image, &volume] {
            ferrite_files::removal::remove(tree).unwrap();
        }
    }

    #[test]
    fn a_volume_starts_with_what_the_image_has_and_is_never_filled_twice() {
        let folder = tempfile::tempdir().unwrap();
        let image = folder.path().join("image");
        fs::create_dir_all(image.join("data/deep")).unwrap();
        fs::write(image.join("data/deep/file"), "text").unwrap();
        fs::set_permissions(image.join("data/deep"), fs::Permissions::from_mode(0o711)).unwrap();
        symlink("/etc/passwd", image.join("data/link")).unwrap();
        let (root, owners) = (Root::open(&image).unwrap(), Owners::nodes());
        let volume = folder.path().join("volumes/one");
        let nothing = Claim { resources: &Resources::default(), volumes: 1 };
        seed(&volume, &root, "/data", &owners, nothing).unwrap();
        assert_eq!(fs::read_to_string(volume.join("deep/file")).unwrap(), "text");
        let mode = fs::metadata(volume.join("deep")).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o711);
        assert_eq!(fs::read_link(volume.join("link")).unwrap(), Path::new("/etc/passwd"));
        fs::remove_file(volume.join("link")).unwrap();
        seed(&volume, &root, "/data", &owners, nothing).unwrap();
        assert!(!volume.join("link").exists());
        assert_eq!(fs::read_dir(folder.path().join("volumes")).unwrap().count(), 1);
    }
}
