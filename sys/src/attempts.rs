//! System calls that a container must not make, made with arguments that do nothing where they are let through:
//! what comes back tells a filter from the kernel's own answer.

use std::os::fd::BorrowedFd;

use rustix::io::Errno;

use crate::bpf::{self, Hook};

/// Name, number, arguments.
pub(crate) type Attempt = (&'static str, libc::c_long, [libc::c_long; 3]);

/// `READ_IMPLIES_EXEC`: what a personality must not switch on.
const READ_IMPLIES_EXEC: libc::c_long = 0x40_0000;
/// `CLONE_NEWUSER | CLONE_FS`.
const NEW_USER_BUT_SAME_ROOT: libc::c_long = 0x1000_0200;
/// A descriptor that is none.
pub(crate) const NO_FILE: libc::c_long = -1;

/// Each of them gets along without a privilege, so that `EPERM` can only be a filter's. Null pointers are all
/// that the kernel is given to read or write.
const ATTEMPTS: [Attempt; 19] = [
    // Numbers of no call: programs of the future try them, and fall back where they hear that there is none.
    ("call 600", 600, [0, 0, 0]),
    ("call 1000", 1000, [0, 0, 0]),
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
    // Of the family the kernel takes the lower half.
    ("socket vsock in the lower half", libc::SYS_socket, [(1 << 32) | 40, 1, 0]),
    ("sysfs", libc::SYS_sysfs, [3, 0, 0]),
    ("unshare", libc::SYS_unshare, [1, 0, 0]),
];

/// The same by the numbers of 32-bit programs, through the entry that is theirs. `socketcall` finds no memory at its
/// second argument, where it would look for a socket's family.
const ATTEMPTS_32: [(&str, u32, [u32; 2]); 2] =
    [("32-bit socket vsock", 359, [40, 1]), ("32-bit socketcall", 102, [1, 0])];

/// Makes each call. It may leave a socket open and change this process's personality: not for a process that
/// goes on to do anything else.
#[must_use]
pub fn make() -> Vec<(&'static str, Result<(), Errno>)> {
    let native =
        ATTEMPTS.into_iter().map(|(name, number, arguments)| (name, call(number, arguments)));
    let takes = takes_32_bits();
    let of_32_bits = ATTEMPTS_32.into_iter().map(|(name, number, arguments)| {
        (name, if takes { call_32(number, arguments) } else { Err(Errno::NOSYS) })
    });
    native.chain(of_32_bits).collect()
}

/// Whether the kernel has an entry for 32-bit programs at all: where it has not, using it ends the process. The setting is
/// made by the same option (`CONFIG_IA32_EMULATION`).
fn takes_32_bits() -> bool {
    std::path::Path::new("/proc/sys/abi/vsyscall32").exists()
}

/// Tries to take away programs that the kernel asks for the processes of `cgroup`, one for each thing that they decide
/// about, without having the program itself. The kernel wants no right for that, only a folder that can be opened.
pub fn detach_programs(cgroup: BorrowedFd<'_>) -> [(&'static str, Result<(), Errno>); 3] {
    [("devices", Hook::Device), ("ipv4 ports", Hook::Bind4), ("ipv6 ports", Hook::Bind6)]
        .map(|(name, hook)| (name, bpf::detach(cgroup, hook)))
}

/// Makes a call as 32-bit programs make them; 64-bit ones may use their entry too.
fn call_32(number: u32, [first, second]: [u32; 2]) -> Result<(), Errno> {
    let mut result = u64::from(number);
    // SAFETY: the table above is all that is called: its calls take no pointers, or null ones, which the kernel refuses.
    // The entry changes rax, and r8 to r11 on older kernels, which are named; rbx, which the compiler keeps for itself,
    // is put back.
    unsafe {
        std::arch::asm!(
            "xchg rbx, {first}",
            "int 0x80",
            "xchg rbx, {first}",
            first = inout(reg) u64::from(first) => _,
            inout("rax") result,
            in("rcx") u64::from(second),
            in("rdx") 0_u64,
            in("rsi") 0_u64,
            in("rdi") 0_u64,
            out("r8") _,
            out("r9") _,
            out("r10") _,
            out("r11") _,
        );
    }
    // Negative in 32 bits or in 64, as the kernel's version has it.
    let low = (result & 0xffff_ffff) as u32;
    let code = low.cast_signed();
    if (-4095..0).contains(&code) { Err(Errno::from_raw_os_error(-code)) } else { Ok(()) }
}

pub(crate) fn call(
    number: libc::c_long,
    [first, second, third]: [libc::c_long; 3],
) -> Result<(), Errno> {
    let none: libc::c_long = 0;
    // SAFETY: the table above and that of `expected` are all that is called: their calls take no pointers, or null ones, which the kernel
    // refuses or passes over; none of them starts a thread or process, or unmaps memory.
    let result = unsafe { libc::syscall(number, first, second, third, none, none) };
    if result < 0 { Err(crate::last_errno()) } else { Ok(()) }
}
