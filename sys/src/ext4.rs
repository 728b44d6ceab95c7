//! Growing a mounted ext4.

use std::os::fd::BorrowedFd;

use rustix::io::Errno;
use rustix::ioctl::{self, Setter, opcode};

/// `EXT4_IOC_RESIZE_FS`: `_IOW('f', 16, __u64)`.
const RESIZE_FS: ioctl::Opcode = opcode::write::<u64>(b'f', 16);

/// Grows the mounted ext4 that `file` lies in to `blocks` of the file system's own block size.
///
/// # Errors
/// `EINVAL` where the device is smaller, `EPERM` without rights, `EROFS`, `ENOTTY` for another file system.
///
/// # Source
/// Linux `fs/ext4/ioctl.c`; resize2fs uses the same call.
pub fn resize(file: BorrowedFd<'_>, blocks: u64) -> Result<(), Errno> {
    // SAFETY: `RESIZE_FS` is the opcode whose argument is a pointer to one u64, which `Setter` passes.
    let request = unsafe { Setter::<RESIZE_FS, u64>::new(blocks) };
    // SAFETY: the request only reads its argument; a driver that does not know the opcode answers ENOTTY.
    unsafe { ioctl::ioctl(file, request) }
}
