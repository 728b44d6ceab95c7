//! Another user's view of files: a user namespace nobody lives in, and mounts whose owners are translated by it.

use std::ffi::CStr;
use std::fs;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions};

/// IDs in a row, and what stands for them on the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stretch {
    /// The first one, in the namespace.
    pub inside: u32,
    /// What it is on the node.
    pub first: u32,
    /// How many.
    pub count: u32,
}

/// Makes a user namespace that has these IDs, of users and groups alike; the kernel takes 340 stretches in 4096 bytes.
/// It lives as long as the descriptor or anything made with it.
///
/// # Errors
/// Those of `clone(2)` and of the files in `/proc`. Needs rights over the IDs; the caller must have one thread.
pub fn user_namespace(ids: &[Stretch]) -> io::Result<OwnedFd> {
    let child = waiting_child()?;
    let made = map(child, ids);
    rustix::process::kill_process(child, Signal::KILL)?;
    rustix::io::retry_on_intr(|| rustix::process::waitpid(Some(child), WaitOptions::empty()))?;
    made
}

/// A process in a user namespace of its own that waits to be killed.
fn waiting_child() -> Result<Pid, Errno> {
    let flags = libc::c_long::from(libc::CLONE_NEWUSER | libc::SIGCHLD);
    let none = 0_usize;
    // SAFETY: as `fork` of a process with one thread: the child gets a copy of the memory and only waits in
    // `pause`, so it uses nothing that the copy could have left half done.
    let result = unsafe { libc::syscall(libc::SYS_clone, flags, none, none, none, none) };
    if result == 0 {
        loop {
            // SAFETY: `pause` takes nothing and touches no memory.
            unsafe { libc::pause() };
        }
    }
    let pid = i32::try_from(result).ok().and_then(Pid::from_raw);
    pid.filter(|_| result > 0).ok_or_else(crate::last_errno)
}

fn map(child: Pid, ids: &[Stretch]) -> io::Result<OwnedFd> {
    let line = |Stretch { inside, first, count }: &Stretch| format!("{inside} {first} {count}\n");
    let text: String = ids.iter().map(line).collect();
    let folder = format!("/proc/{}", child.as_raw_nonzero());
    for file in ["uid_map", "gid_map"] {
        // Taken in one piece or not at all.
        fs::write(format!("{folder}/{file}"), &text)?;
    }
    Ok(fs::File::open(format!("{folder}/ns/user"))?.into())
}

/// What is changed about a mount: `struct mount_attr`.
///
/// # Source
/// `mount_setattr(2)`
#[repr(C)]
struct MountAttributes {
    set: u64,
    clear: u64,
    propagation: u64,
    user_namespace: u64,
}

const MOUNT_ATTR_RDONLY: u64 = 0x1;
const MOUNT_ATTR_NOSUID: u64 = 0x2;
const MOUNT_ATTR_NODEV: u64 = 0x4;
const MOUNT_ATTR_NOEXEC: u64 = 0x8;
const MOUNT_ATTR_IDMAP: u64 = 0x0010_0000;

/// Flags of a mount.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Flags(u64);

impl Flags {
    /// Nothing can be written through it.
    pub const READ_ONLY: Self = Self(MOUNT_ATTR_RDONLY);
    /// Set-id bits mean nothing.
    pub const NO_SET_ID: Self = Self(MOUNT_ATTR_NOSUID);
    /// Device nodes cannot be opened.
    pub const NO_DEVICES: Self = Self(MOUNT_ATTR_NODEV);
    /// Nothing can be executed.
    pub const NO_EXECUTION: Self = Self(MOUNT_ATTR_NOEXEC);

    /// Both.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// How a mount is changed.
#[derive(Debug, Clone, Copy)]
pub struct Change<'fd> {
    /// Flags that are set.
    pub set: Flags,
    /// Flags that are cleared.
    pub clear: Flags,
    /// Its files' owners are translated by this user namespace; only of a mount that is attached nowhere yet.
    pub owners: Option<BorrowedFd<'fd>>,
    /// What is mounted below it is changed too.
    pub below: bool,
}

/// Changes the mount that `mount` is the root of.
///
/// # Errors
/// Those of `mount_setattr(2)`: `EINVAL` where the file system cannot translate owners.
pub fn change_mount(mount: BorrowedFd<'_>, change: Change<'_>) -> Result<(), Errno> {
    let Change { set, clear, owners, below } = change;
    let translate = if owners.is_some() { MOUNT_ATTR_IDMAP } else { 0 };
    let attributes = MountAttributes {
        set: set.0 | translate,
        clear: clear.0,
        propagation: 0,
        user_namespace: owners.map_or(0, |fd| u64::from(fd.as_raw_fd().cast_unsigned())),
    };
    let flags = libc::AT_EMPTY_PATH | if below { libc::AT_RECURSIVE } else { 0 };
    let (fd, path): (_, &CStr) = (mount.as_raw_fd(), c"");
    let address = std::ptr::from_ref(&attributes);
    let size = size_of::<MountAttributes>();
    let call = libc::SYS_mount_setattr;
    // SAFETY: the kernel reads an empty string with its NUL and `size` bytes of a live `MountAttributes`; both
    // outlive the call, and it writes nothing.
    let result = unsafe { libc::syscall(call, fd, path.as_ptr(), flags, address, size) };
    if result < 0 { Err(crate::last_errno()) } else { Ok(()) }
}
