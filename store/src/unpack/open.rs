//! How files of a layer are looked at and opened: themselves, never what a link leads to.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;

use super::names::OPAQUE;

/// Longest target of a symlink; `PATH_MAX`.
const LINK_MAX_BYTES: usize = 4096;

/// What has a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Is {
    Folder,
    Link,
    /// Overlayfs's mark for a name that is hidden.
    Whiteout,
    Other,
}

impl Is {
    pub(super) fn of(stat: &Stat) -> Self {
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => Self::Folder,
            FileType::Symlink => Self::Link,
            FileType::CharacterDevice if stat.st_rdev == 0 => Self::Whiteout,
            _ => Self::Other,
        }
    }
}

/// What has this name in a folder.
pub(super) fn look(folder: impl AsFd, name: &[u8]) -> Result<Option<Is>, Errno> {
    match rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(Is::of(&stat))),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(errno),
    }
}

/// Opens what is at `path` below `root` without using it; no link is followed.
pub(super) fn itself(root: BorrowedFd<'_>, path: &[u8]) -> Result<OwnedFd, Errno> {
    let path = if path.is_empty() { b"." } else { path };
    let resolve = ResolveFlags::BENEATH
        | ResolveFlags::NO_SYMLINKS
        | ResolveFlags::NO_MAGICLINKS
        | ResolveFlags::NO_XDEV;
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat2(root, path, flags, Mode::empty(), resolve)
}

/// Opens the folder `name` for use as a parent.
pub(super) fn parent(folder: impl AsFd, name: &[u8]) -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(folder, name, flags, Mode::empty())
}

/// Opens the folder `name` for changes to it, and to read it.
pub(super) fn folder(parent: impl AsFd, name: &[u8]) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(parent, name, flags, Mode::empty())
}

/// Where a symlink leads to.
pub(super) fn target(folder: impl AsFd, name: &[u8]) -> Result<Vec<u8>, Errno> {
    let buffer = Vec::with_capacity(LINK_MAX_BYTES);
    Ok(rustix::fs::readlinkat(folder, name, buffer)?.into_bytes())
}

/// Whether a folder, opened to be used or only to be named, hides what lies below it.
pub(super) fn is_opaque(fd: impl AsFd) -> Result<bool, Errno> {
    let mut value = [0; 8];
    match rustix::fs::fgetxattr(folder(fd, b".")?, OPAQUE, &mut value) {
        Ok(length) => Ok(value.get(..length) == Some(b"y")),
        // Ordinary users do not see it.
        Err(Errno::NODATA | Errno::OPNOTSUPP | Errno::PERM | Errno::RANGE) => Ok(false),
        Err(errno) => Err(errno),
    }
}

/// A name below a path.
pub(super) fn joined(path: &[u8], name: &[u8]) -> Vec<u8> {
    if path.is_empty() { name.to_vec() } else { [path, b"/", name].concat() }
}
