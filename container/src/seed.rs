//! A named volume's first content: what the image has at its place, with owners, modes, users'
//! attributes and file capabilities, as Docker does it.
//!
//! The copy is made beside the volume and renamed, so that a volume is never half filled. Devices, sockets and FIFOs
//! stay behind: a volume holds data.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, FlockOperation, Mode, OFlags, Stat, Timespec, Timestamps};
use rustix::process::{Gid, Uid};

use super::inside::Root;
use super::owners::Owners;

mod xattrs;

/// Folders in one another that are copied; deeper trees are no data that a container starts with.
const DEPTH_MAX: usize = 128;

/// A volume could not be filled.
#[derive(Debug, thiserror::Error)]
pub(super) enum SeedProblem {
    #[error("make volume {}", path.display())]
    Make { path: PathBuf, source: io::Error },
    #[error("copy what the image has in {target} into volume {}", path.display())]
    Copy { target: String, path: PathBuf, source: io::Error },
}

/// Makes the volume `path` unless it is there, filled with what `root` has at `target`.
pub(super) fn seed(
    path: &Path,
    root: &Root,
    target: &str,
    owners: &Owners,
) -> Result<(), SeedProblem> {
    if path.exists() {
        return Ok(());
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
    match fs::remove_dir_all(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        Ok(()) | Err(_) => {}
    }
    fs::create_dir(&beside).map_err(failed)?;
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
    let copied = folder(&from, &to, owners, DEPTH_MAX)?;
    if copied > 0 {
        // Once for everything, before it gets its name.
        rustix::fs::syncfs(&to)?;
    }
    Ok(())
}

/// Copies the entries of a folder and then its own properties. Returns how many entries.
fn folder(from: &File, to: &File, owners: &Owners, depth_left: usize) -> io::Result<u64> {
    let mut copied = 0;
    let listing = rustix::fs::Dir::read_from(from)?;
    for entry in listing {
        let entry = entry?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        let stat = rustix::fs::statat(from, name, AtFlags::SYMLINK_NOFOLLOW)?;
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => {
                let depth_left = depth_left.checked_sub(1).ok_or(io::ErrorKind::InvalidInput)?;
                let flags = flags | OFlags::DIRECTORY;
                rustix::fs::mkdirat(to, name, Mode::RWXU)?;
                let inner = rustix::fs::openat(from, name, flags, Mode::empty())?;
                let made = rustix::fs::openat(to, name, flags, Mode::empty())?;
                copied += folder(&inner.into(), &made.into(), owners, depth_left)?;
            }
            FileType::RegularFile => {
                let mut inner: File =
                    rustix::fs::openat(from, name, flags | OFlags::NONBLOCK, Mode::empty())?.into();
                let new = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
                let mut made: File =
                    rustix::fs::openat(to, name, new, Mode::RUSR | Mode::WUSR)?.into();
                io::copy(&mut inner, &mut made)?;
                properties(&inner, &made, owners)?;
            }
            FileType::Symlink => {
                let link = rustix::fs::readlinkat(from, name, Vec::new())?;
                rustix::fs::symlinkat(&link, to, name)?;
                let (user, group) = on_disk(&stat, owners);
                rustix::fs::chownat(to, name, user, group, AtFlags::SYMLINK_NOFOLLOW)?;
            }
            _ => continue,
        }
        copied += 1;
    }
    properties(from, to, owners)?;
    Ok(copied)
}

/// Owner, mode, attributes and times. The owner first: changing it drops set-id bits and file capabilities.
fn properties(from: &File, to: &File, owners: &Owners) -> io::Result<()> {
    let stat = rustix::fs::fstat(from)?;
    let (user, group) = on_disk(&stat, owners);
    rustix::fs::fchown(to, user, group)?;
    rustix::fs::fchmod(to, Mode::from_raw_mode(stat.st_mode & 0o7777))?;
    xattrs::copy(from.as_fd(), to.as_fd(), owners.root())?;
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

/// The container's own IDs, which volumes have on disk.
fn on_disk(stat: &Stat, owners: &Owners) -> (Option<Uid>, Option<Gid>) {
    let own = |id: u32| id.saturating_sub(owners.root());
    (Some(Uid::from_raw(own(stat.st_uid))), Some(Gid::from_raw(own(stat.st_gid))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    #[test]
    fn a_volume_starts_with_what_the_image_has_and_is_never_filled_twice() {
        let folder = tempfile::tempdir().unwrap();
        let image = folder.path().join("image");
        fs::create_dir_all(image.join("data/deep")).unwrap();
        fs::write(image.join("data/deep/file"), "text").unwrap();
        fs::set_permissions(image.join("data/deep"), fs::Permissions::from_mode(0o711)).unwrap();
        symlink("/etc/passwd", image.join("data/link")).unwrap();
        let (root, owners) = (Root::open(&image).unwrap(), Owners::new(None).unwrap());
        let volume = folder.path().join("volumes/one");
        seed(&volume, &root, "/data", &owners).unwrap();
        assert_eq!(fs::read_to_string(volume.join("deep/file")).unwrap(), "text");
        let mode = fs::metadata(volume.join("deep")).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o711);
        assert_eq!(fs::read_link(volume.join("link")).unwrap(), Path::new("/etc/passwd"));
        fs::remove_file(volume.join("link")).unwrap();
        seed(&volume, &root, "/data", &owners).unwrap();
        assert!(!volume.join("link").exists());
        assert_eq!(fs::read_dir(folder.path().join("volumes")).unwrap().count(), 1);
    }
}
