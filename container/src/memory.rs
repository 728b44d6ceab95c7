//! File systems in memory that containers are given.

use std::os::fd::{AsFd, OwnedFd};

use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags};

/// An empty folder in memory of at most `bytes`, attached nowhere: its mode in octal digits, and whose it is on the node.
pub(super) fn folder(bytes: u64, mode: &str, owner: u32) -> Result<OwnedFd, rustix::io::Errno> {
    let context = rustix::mount::fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    let (owner, size) = (owner.to_string(), bytes.to_string());
    for (key, value) in
        [("size", size.as_str()), ("mode", mode), ("uid", owner.as_str()), ("gid", owner.as_str())]
    {
        rustix::mount::fsconfig_set_string(context.as_fd(), key, value)?;
    }
    rustix::mount::fsconfig_create(context.as_fd())?;
    let flags = MountAttrFlags::MOUNT_ATTR_NODEV | MountAttrFlags::MOUNT_ATTR_NOSUID;
    rustix::mount::fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, flags)
}
