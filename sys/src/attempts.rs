//! System calls that a container must not make, made with arguments that do nothing where they are let through:
//! what comes back tells a filter from the kernel's own answer.

use rustix::io::Errno;

/// Name, number, arguments.
type Attempt = (&'static str, libc::c_long, [libc::c_long; 3]);

/// `READ_IMPLIES_EXEC`: what a personality must not switch on.
const READ_IMPLIES_EXEC: libc::c_long = 0x40_0000;
/// `CLONE_NEWUSER | CLONE_FS`.
const NEW_USER_BUT_SAME_ROOT: libc::c_long = 0x1000_0200;
/// A descriptor that is none.
const NO_FILE: libc::c_long = -1;

/// Each of them gets along without a privilege, so that `EPERM` can only be a filter's. Null pointers are all
/// that the kernel is given to read or write.
const ATTEMPTS: [Attempt; 16] = [
    ("add_key", libc::SYS_add_key, [0, 0, 0]),
    // The kernel refuses a user namespace to one that shares its root folder, so that this never makes a process.
    ("clone", libc::SYS_clone, [NEW_USER_BUT_SAME_ROOT, 0, 0]),
    ("clone3", libc::SYS_clone3, [0, 0, 0]),
    ("get_mempolicy", libc::SYS_get_mempolicy, [0, 0, 0]),
    ("io_uring_setup", libc::SYS_io_uring_setup, [0, 0, 0]),
    ("iopl", libc::SYS_iopl, [0, 0, 0]),
    ("kcmp", libc::SYS_kcmp, [0, 0, 0]),
    ("keyctl", libc::SYS_keyctl, [0, -3, 0]),
    ("personality", libc::SYS_personality, [READ_IMPLIES_EXEC, 0, 0]),
    ("pidfd_getfd", libc::SYS_pidfd_getfd, [NO_FILE, NO_FILE, 0]),
    ("request_key", libc::SYS_request_key, [0, 0, 0]),
    ("set_mempolicy", libc::SYS_set_mempolicy, [0, 0, 0]),
    ("setns", libc::SYS_setns, [NO_FILE, 0, 0]),
    ("socket vsock", libc::SYS_socket, [40, 1, 0]),
    ("sysfs", libc::SYS_sysfs, [3, 0, 0]),
    ("unshare", libc::SYS_unshare, [1, 0, 0]),
];

/// Makes each call. It may leave a socket open and change this process's personality: not for a process that
/// goes on to do anything else.
#[must_use]
pub fn make() -> Vec<(&'static str, Result<(), Errno>)> {
    ATTEMPTS.into_iter().map(|(name, number, arguments)| (name, call(number, arguments))).collect()
}

fn call(number: libc::c_long, [first, second, third]: [libc::c_long; 3]) -> Result<(), Errno> {
    let none: libc::c_long = 0;
    // SAFETY: the table above is all that is called: its calls take no pointers, or null ones, which the kernel
    // refuses or passes over; none of them starts a thread or process, or unmaps memory.
    let result = unsafe { libc::syscall(number, first, second, third, none, none) };
    if result < 0 { Err(crate::last_errno()) } else { Ok(()) }
}
