//! Project quotas: what all files of a project together may take of a file system.

use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::io::Errno;
use rustix::ioctl::{self, Getter, Setter, opcode};

/// `struct fsxattr` of `<linux/fs.h>`.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
struct FsXattr {
    flags: u32,
    extent_size: u32,
    extents: u32,
    project: u32,
    copy_extent_size: u32,
    padding: [u8; 8],
}

/// `FS_IOC_FSGETXATTR`: `_IOR('X', 31, struct fsxattr)`.
const GET: ioctl::Opcode = opcode::read::<FsXattr>(b'X', 31);
/// `FS_IOC_FSSETXATTR`: `_IOW('X', 32, struct fsxattr)`.
const SET: ioctl::Opcode = opcode::write::<FsXattr>(b'X', 32);
/// `FS_XFLAG_PROJINHERIT`: what is made in the folder belongs to its project.
const INHERITED: u32 = 0x200;

/// `PRJQUOTA` of `<linux/quota.h>`.
const OF_PROJECTS: u32 = 2;
/// `Q_GETQUOTA` and `Q_SETQUOTA`, and where their number is in a command.
const GET_QUOTA: u32 = 0x80_0007;
const SET_QUOTA: u32 = 0x80_0008;
const COMMAND_SHIFT: u32 = 8;
/// `QIF_BLIMITS` and `QIF_ILIMITS`: which numbers count.
const SPACE_LIMITS: u32 = 1;
const INODE_LIMITS: u32 = 4;
/// Limits of space are in blocks of this many bytes, whatever the file system's are.
const BLOCK_BYTES: u64 = 1024;

/// `struct if_dqblk` of `<linux/quota.h>`.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
struct Block {
    space_limit: u64,
    space_soft_limit: u64,
    space: u64,
    inode_limit: u64,
    inode_soft_limit: u64,
    inodes: u64,
    space_time: u64,
    inode_time: u64,
    valid: u32,
}

/// What a project takes, and the most that it may; 0 is unbounded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Bytes on the disk.
    pub bytes: u64,
    /// The most.
    pub bytes_max: u64,
    /// Files, folders and all else.
    pub inodes: u64,
    /// The most.
    pub inodes_max: u64,
    /// Above so many the kernel gives it a week's grace; at or above the most it never counts.
    pub inodes_soft: u64,
}

/// How many inodes a project may take; 0 is unbounded. The kernel does not mind a soft limit above the hard one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Inodes {
    /// The most.
    pub hard: u64,
    /// See [`Usage::inodes_soft`].
    pub soft: u64,
}

/// The project that an open file or folder belongs to; 0 is nobody's.
///
/// # Errors
/// `ENOTTY` or `EOPNOTSUPP` for a file system without projects.
pub fn project(file: BorrowedFd<'_>) -> Result<u32, Errno> {
    Ok(attributes(file)?.project)
}

fn attributes(file: BorrowedFd<'_>) -> Result<FsXattr, Errno> {
    // SAFETY: `GET` is the opcode that fills one `struct fsxattr`, for which `Getter` has room.
    let request = unsafe { Getter::<GET, FsXattr>::new() };
    // SAFETY: the request only writes its own result; a driver that does not know the opcode answers ENOTTY.
    unsafe { ioctl::ioctl(file, request) }
}

/// Gives a folder to a project, and with it all that is made in it from now on.
///
/// # Errors
/// `EOPNOTSUPP` or `ENOTTY` for a file system without projects, `EINVAL` outside the first user namespace.
pub fn set_project(folder: BorrowedFd<'_>, project: u32) -> Result<(), Errno> {
    let now = attributes(folder)?;
    let wanted = FsXattr { project, flags: now.flags | INHERITED, ..now };
    // SAFETY: `SET` is the opcode whose argument is a pointer to one `struct fsxattr`, which `Setter` passes.
    let request = unsafe { Setter::<SET, FsXattr>::new(wanted) };
    // SAFETY: the request only reads its argument; a driver that does not know the opcode answers ENOTTY.
    unsafe { ioctl::ioctl(folder, request) }
}

/// What a project takes of the file system that `file` lies in.
///
/// # Errors
/// `ESRCH` where quotas are off, `ENOSYS` where this kernel has none.
pub fn usage(file: BorrowedFd<'_>, project: u32) -> Result<Usage, Errno> {
    let mut block = Block::default();
    control(file, GET_QUOTA, project, &mut block)?;
    Ok(Usage {
        bytes: block.space,
        bytes_max: block.space_limit.saturating_mul(BLOCK_BYTES),
        inodes: block.inodes,
        inodes_max: block.inode_limit,
        inodes_soft: block.inode_soft_limit,
    })
}

/// Sets the most that a project may take of the file system that `file` lies in; 0 is unbounded.
///
/// # Errors
/// As [`usage`], and `EPERM` without rights.
pub fn limit(file: BorrowedFd<'_>, project: u32, bytes: u64, inodes: Inodes) -> Result<(), Errno> {
    let mut block = Block {
        space_limit: bytes.div_ceil(BLOCK_BYTES),
        inode_limit: inodes.hard,
        inode_soft_limit: inodes.soft,
        valid: SPACE_LIMITS | INODE_LIMITS,
        ..Block::default()
    };
    control(file, SET_QUOTA, project, &mut block)
}

/// Sets how many inodes a project may take, and leaves its space as it is.
///
/// # Errors
/// As [`limit`].
pub fn limit_inodes(file: BorrowedFd<'_>, project: u32, inodes: Inodes) -> Result<(), Errno> {
    let mut block = Block {
        inode_limit: inodes.hard,
        inode_soft_limit: inodes.soft,
        valid: INODE_LIMITS,
        ..Block::default()
    };
    control(file, SET_QUOTA, project, &mut block)
}

/// `quotactl_fd(2)`
fn control(
    file: BorrowedFd<'_>,
    command: u32,
    project: u32,
    block: &mut Block,
) -> Result<(), Errno> {
    let command = command << COMMAND_SHIFT | OF_PROJECTS;
    // SAFETY: both commands take a pointer to one `struct if_dqblk`, which `block` is; the kernel reads or fills it
    // during the call and keeps nothing. `file` is open for as long.
    let result = unsafe {
        libc::syscall(
            libc::SYS_quotactl_fd,
            file.as_raw_fd(),
            command,
            project,
            std::ptr::from_mut(block),
        )
    };
    if result == 0 { Ok(()) } else { Err(crate::last_errno()) }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn the_kernels_structures_have_their_sizes() {
        assert_eq!((size_of::<FsXattr>(), size_of::<Block>()), (28, 72));
    }

    #[test]
    fn a_file_system_without_quotas_says_so() {
        let proc = File::open("/proc/self").unwrap();
        assert!(project(proc.as_fd()).is_err());
        assert!(set_project(proc.as_fd(), 7).is_err());
        assert!(usage(proc.as_fd(), 7).is_err());
        assert!(limit(proc.as_fd(), 7, 1, Inodes::default()).is_err());
        assert!(limit_inodes(proc.as_fd(), 7, Inodes::default()).is_err());
    }
}
