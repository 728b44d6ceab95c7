//! Programs that the kernel runs when processes of a control group ask for something: their instructions, and the
//! calls that load and attach them.
//!
//! # Source
//! `bpf(2)`, `include/uapi/linux/bpf.h`, `Documentation/bpf/standardization/instruction-set.rst`.

#[cfg(test)]
pub(crate) mod interpreter;

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use rustix::io::Errno;

/// What a program is asked about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hook {
    /// The use of a device: `BPF_PROG_TYPE_CGROUP_DEVICE`.
    Device,
    /// A socket's address, IPv4: `BPF_PROG_TYPE_CGROUP_SOCK_ADDR` for `BPF_CGROUP_INET4_BIND`.
    Bind4,
    /// The same, IPv6.
    Bind6,
}

impl Hook {
    /// `enum bpf_prog_type`.
    const fn kind(self) -> u32 {
        match self {
            Self::Device => 15,
            Self::Bind4 | Self::Bind6 => 18,
        }
    }

    /// `enum bpf_attach_type`.
    const fn place(self) -> u32 {
        match self {
            Self::Device => 6,
            Self::Bind4 => 8,
            Self::Bind6 => 9,
        }
    }
}

/// One instruction.
///
/// | offset | size | meaning |
/// |---|---|---|
/// | 0 | 1 | code |
/// | 1 | 1 | registers: target in the low half, source in the high one |
/// | 2 | 2 | offset, signed |
/// | 4 | 4 | immediate value, signed |
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct Instruction {
    code: u8,
    registers: u8,
    offset: i16,
    immediate: i32,
}

const _: () = assert!(size_of::<Instruction>() == 8);

/// `r = *(u32 *)(source + offset)`.
pub(crate) const LOAD_WORD: u8 = 0x61;
/// 32-bit `r &= immediate`.
pub(crate) const AND: u8 = 0x54;
/// 32-bit `r >>= immediate`.
pub(crate) const SHIFT_RIGHT: u8 = 0x74;
/// 32-bit `r = source`.
pub(crate) const COPY_WORD: u8 = 0xbc;
/// 64-bit `r = source`.
pub(crate) const COPY: u8 = 0xbf;
/// 64-bit `r = immediate`.
pub(crate) const MOVE: u8 = 0xb7;
/// 32-bit `if r != immediate, skip offset`.
pub(crate) const JUMP_UNEQUAL: u8 = 0x56;
/// 64-bit `if r != source, skip offset`.
pub(crate) const JUMP_UNLIKE: u8 = 0x5d;
/// `r0 = function(r1, …)`; the function's number is the immediate value, registers 1 to 5 are lost.
pub(crate) const CALL: u8 = 0x85;
/// Ends with the value of register 0.
pub(crate) const EXIT: u8 = 0x95;

pub(crate) const fn instruction(
    code: u8,
    registers: u8,
    offset: i16,
    immediate: i32,
) -> Instruction {
    Instruction { code, registers, offset, immediate }
}

/// First fields of `union bpf_attr` for `BPF_PROG_LOAD`.
#[repr(C)]
struct LoadAttributes {
    kind: u32,
    instruction_count: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
    kernel_version: u32,
    flags: u32,
    name: [u8; 16],
    interface: u32,
    place: u32,
}

/// First fields of `union bpf_attr` for `BPF_PROG_ATTACH` and `BPF_PROG_DETACH`.
#[repr(C)]
struct AttachAttributes {
    target: u32,
    program: u32,
    place: u32,
    flags: u32,
}

/// First fields of `union bpf_attr` for `BPF_PROG_QUERY`.
#[repr(C)]
struct QueryAttributes {
    target: u32,
    place: u32,
    query_flags: u32,
    attach_flags: u32,
    programs: u64,
    count: u32,
    padding: u32,
}

const BPF_PROG_LOAD: libc::c_long = 5;
const BPF_PROG_ATTACH: libc::c_long = 8;
const BPF_PROG_DETACH: libc::c_long = 9;
const BPF_PROG_QUERY: libc::c_long = 16;
/// Programs of the groups below are asked beside this one, and only who holds the program itself can detach it.
/// Without, whoever can open the group's folder could, with no right at all.
const BPF_F_ALLOW_MULTI: u32 = 2;

/// Has the kernel check and take a program.
pub(crate) fn load(hook: Hook, program: &[Instruction]) -> Result<OwnedFd, Errno> {
    let mut attributes = LoadAttributes {
        kind: hook.kind(),
        instruction_count: u32::try_from(program.len()).map_err(|_too_long| Errno::TOOBIG)?,
        instructions: program.as_ptr().addr() as u64,
        license: c"Apache-2.0".as_ptr().addr() as u64,
        log_level: 0,
        log_size: 0,
        log: 0,
        kernel_version: 0,
        flags: 0,
        name: [0; 16],
        interface: 0,
        place: hook.place(),
    };
    let fd =
        i32::try_from(bpf(BPF_PROG_LOAD, &mut attributes)?).map_err(|_impossible| Errno::BADF)?;
    // SAFETY: the kernel has just made this descriptor for this call, so nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Has a program asked for all processes of `cgroup` and of the groups below, until the group is removed.
pub(crate) fn attach(
    cgroup: BorrowedFd<'_>,
    hook: Hook,
    program: BorrowedFd<'_>,
) -> Result<(), Errno> {
    let mut attributes = AttachAttributes {
        target: cgroup.as_raw_fd().cast_unsigned(),
        program: program.as_raw_fd().cast_unsigned(),
        place: hook.place(),
        flags: BPF_F_ALLOW_MULTI,
    };
    bpf(BPF_PROG_ATTACH, &mut attributes).map(drop)
}

/// Has whatever program is attached to `cgroup` itself asked no longer; refused where it takes the program to do that.
pub(crate) fn detach(cgroup: BorrowedFd<'_>, hook: Hook) -> Result<(), Errno> {
    let mut attributes = AttachAttributes {
        target: cgroup.as_raw_fd().cast_unsigned(),
        program: 0,
        place: hook.place(),
        flags: 0,
    };
    bpf(BPF_PROG_DETACH, &mut attributes).map(drop)
}

/// How many programs are attached to `cgroup` itself.
pub(crate) fn attached(cgroup: BorrowedFd<'_>, hook: Hook) -> Result<u32, Errno> {
    let mut attributes = QueryAttributes {
        target: cgroup.as_raw_fd().cast_unsigned(),
        place: hook.place(),
        query_flags: 0,
        attach_flags: 0,
        programs: 0,
        count: 0,
        padding: 0,
    };
    bpf(BPF_PROG_QUERY, &mut attributes).map(|_nothing| attributes.count)
}

fn bpf<T>(command: libc::c_long, attributes: &mut T) -> Result<libc::c_long, Errno> {
    let address = std::ptr::from_mut(attributes);
    // SAFETY: the kernel reads and writes at most `size_of::<T>()` bytes at the address of a live `T` of integers
    // that nobody else sees meanwhile. What these point to (the instructions and the license of `load`) outlives the
    // call and is only read: neither a log nor the programs' numbers are asked for.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, address, size_of::<T>()) };
    if result < 0 { Err(crate::last_errno()) } else { Ok(result) }
}
