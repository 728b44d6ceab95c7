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

/// `EXT4_IOC_SETFSUUID`: `_IOW('f', 44, struct fsuuid)`, whose size is that of its two numbers.
const SET_UUID: ioctl::Opcode = opcode::write::<[u32; 2]>(b'f', 44);

/// `struct fsuuid` of `<linux/ext4.h>` with room for the identity itself.
#[repr(C)]
struct FsUuid {
    length: u32,
    flags: u32,
    uuid: [u8; 16],
}

/// Gives the mounted ext4 that `file` lies in another identity.
///
/// # Errors
/// `EOPNOTSUPP` without the feature `metadata_csum_seed`, `ENOTTY` for another file system or an old kernel.
pub fn set_uuid(file: BorrowedFd<'_>, uuid: [u8; 16]) -> Result<(), Errno> {
    // SAFETY: `SET_UUID` is the opcode whose argument is a pointer to a `struct fsuuid` that says its own length.
    let request = unsafe { Setter::<SET_UUID, FsUuid>::new(FsUuid { length: 16, flags: 0, uuid }) };
    // SAFETY: the kernel reads the two numbers and then `length` bytes, all of which `FsUuid` has.
    unsafe { ioctl::ioctl(file, request) }
}
