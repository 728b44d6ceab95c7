//! Rights and attributes that keep entries from being removed, given back by whoever may.

use std::ffi::CStr;
use std::fs;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::PermissionsExt;

use rustix::fs::{AtFlags, FileType, IFlags, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;

/// Rights without which a folder cannot be emptied.
pub(super) const OWNER: Mode = Mode::RWXU;

/// Runs `act`; where it is not allowed, gives back the rights that were taken from folder and entry, and tries again.
pub(super) fn with_rights<T>(
    folder: BorrowedFd<'_>,
    name: &CStr,
    mut act: impl FnMut() -> Result<T, Errno>,
) -> Result<T, Errno> {
    match act() {
        Err(Errno::PERM | Errno::ACCESS) => {
            clear(folder, PROTECTING);
            give_back(folder, name);
            act()
        }
        other => other,
    }
}

/// Attributes that keep files and folders as they are.
const PROTECTING: IFlags = IFlags::IMMUTABLE.union(IFlags::APPEND);
/// What is made in it, or comes into it, belongs to its project.
pub(super) const PROJECT_INHERITED: IFlags = IFlags::PROJECT_INHERIT;

/// Takes attributes away. Where this fails, the act that it is for fails once more and says why.
pub(super) fn clear(fd: BorrowedFd<'_>, unwanted: IFlags) {
    if let Ok(flags) = rustix::fs::ioctl_getflags(fd)
        && flags.intersects(unwanted)
    {
        rustix::fs::ioctl_setflags(fd, flags.difference(unwanted)).unwrap_or_default();
    }
}

fn give_back(folder: BorrowedFd<'_>, name: &CStr) {
    let seen = rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW);
    // Opening anything else could do something; nor has it such attributes.
    let kind = seen.as_ref().map(|stat: &Stat| FileType::from_raw_mode(stat.st_mode));
    if !matches!(kind, Ok(FileType::Directory | FileType::RegularFile)) {
        return;
    }
    let resolve = ResolveFlags::NO_XDEV | ResolveFlags::NO_SYMLINKS;
    let open = |flags: OFlags| {
        let flags = flags | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        rustix::fs::openat2(folder, name, flags, Mode::empty(), resolve)
    };
    if kind == Ok(FileType::Directory)
        && let Ok(itself) = open(OFlags::PATH | OFlags::DIRECTORY)
    {
        // A descriptor of a folder that must not be read can be changed in this way only.
        let path = format!("/proc/self/fd/{}", itself.as_raw_fd());
        drop(fs::set_permissions(path, fs::Permissions::from_mode(OWNER.as_raw_mode())));
    }
    if let Ok(itself) = open(OFlags::RDONLY) {
        clear(itself.as_fd(), PROTECTING);
    }
}
