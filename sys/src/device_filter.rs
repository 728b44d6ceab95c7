//! A program in the kernel that decides which devices the processes of a control group may use.
//!
//! # Source
//! `bpf(2)`, `include/uapi/linux/bpf.h`: `BPF_PROG_TYPE_CGROUP_DEVICE`, `struct bpf_cgroup_dev_ctx`.

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use rustix::io::Errno;

/// Kind of a device node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Block device.
    Block,
    /// Character device.
    Character,
}

/// Devices that may be opened for reading and writing, and whose nodes may be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allowed {
    /// Kind.
    pub kind: Kind,
    /// Major number.
    pub major: u32,
    /// Minor number; all where it is absent.
    pub minor: Option<u32>,
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
struct Instruction {
    code: u8,
    registers: u8,
    offset: i16,
    immediate: i32,
}

const _: () = assert!(size_of::<Instruction>() == 8);

/// `r = *(u32 *)(source + offset)`.
const LOAD_WORD: u8 = 0x61;
/// 32-bit `r &= immediate`.
const AND: u8 = 0x54;
/// 64-bit `r = immediate`.
const MOVE: u8 = 0xb7;
/// 32-bit `if r != immediate, skip offset`.
const JUMP_UNEQUAL: u8 = 0x56;
/// Ends with the value of register 0.
const EXIT: u8 = 0x95;

/// `BPF_DEVCG_DEV_BLOCK`, `BPF_DEVCG_DEV_CHAR`.
const BLOCK: i32 = 1;
const CHARACTER: i32 = 2;

const fn instruction(code: u8, registers: u8, offset: i16, immediate: i32) -> Instruction {
    Instruction { code, registers, offset, immediate }
}

/// The program: context in register 1; access in the upper and kind in the lower half of its first word, then
/// major and minor. Registers 2, 3, 4 hold kind, major, minor.
fn program(allowed: &[Allowed]) -> Vec<Instruction> {
    let mut program = vec![
        instruction(LOAD_WORD, 0x12, 0, 0),
        instruction(AND, 0x02, 0, 0xffff),
        instruction(LOAD_WORD, 0x13, 4, 0),
        instruction(LOAD_WORD, 0x14, 8, 0),
    ];
    for device in allowed {
        let kind = match device.kind {
            Kind::Block => BLOCK,
            Kind::Character => CHARACTER,
        };
        // Each comparison skips what is left of this rule.
        let left = if device.minor.is_some() { 4 } else { 3 };
        program.push(instruction(JUMP_UNEQUAL, 0x02, left, kind));
        program.push(instruction(JUMP_UNEQUAL, 0x03, left - 1, device.major.cast_signed()));
        if let Some(minor) = device.minor {
            program.push(instruction(JUMP_UNEQUAL, 0x04, left - 2, minor.cast_signed()));
        }
        program.push(instruction(MOVE, 0x00, 0, 1));
        program.push(instruction(EXIT, 0, 0, 0));
    }
    program.push(instruction(MOVE, 0x00, 0, 0));
    program.push(instruction(EXIT, 0, 0, 0));
    program
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
}

/// First fields of `union bpf_attr` for `BPF_PROG_ATTACH`.
#[repr(C)]
struct AttachAttributes {
    target: u32,
    program: u32,
    kind: u32,
    flags: u32,
}

const BPF_PROG_LOAD: libc::c_long = 5;
const BPF_PROG_ATTACH: libc::c_long = 8;
const BPF_PROG_TYPE_CGROUP_DEVICE: u32 = 15;
const BPF_CGROUP_DEVICE: u32 = 6;

/// Lets the processes of `cgroup`, a folder of cgroup v2, use `allowed` devices and no others, until the group
/// is removed.
///
/// # Errors
/// Those of `bpf(2)`: no such program type on this kernel, no right to load one.
pub fn attach(cgroup: BorrowedFd<'_>, allowed: &[Allowed]) -> Result<(), Errno> {
    let program = load(&program(allowed))?;
    let attributes = AttachAttributes {
        target: cgroup.as_raw_fd().cast_unsigned(),
        program: program.as_raw_fd().cast_unsigned(),
        kind: BPF_CGROUP_DEVICE,
        flags: 0,
    };
    bpf(BPF_PROG_ATTACH, &attributes).map(drop)
}

fn load(program: &[Instruction]) -> Result<OwnedFd, Errno> {
    let attributes = LoadAttributes {
        kind: BPF_PROG_TYPE_CGROUP_DEVICE,
        instruction_count: u32::try_from(program.len()).map_err(|_too_long| Errno::TOOBIG)?,
        instructions: program.as_ptr().addr() as u64,
        license: c"Apache-2.0".as_ptr().addr() as u64,
        log_level: 0,
        log_size: 0,
        log: 0,
        kernel_version: 0,
        flags: 0,
    };
    let fd = i32::try_from(bpf(BPF_PROG_LOAD, &attributes)?).map_err(|_impossible| Errno::BADF)?;
    // SAFETY: the kernel has just made this descriptor for this call, so nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn bpf<T>(command: libc::c_long, attributes: &T) -> Result<libc::c_long, Errno> {
    let address = std::ptr::from_ref(attributes);
    // SAFETY: the kernel reads `size_of::<T>()` bytes at the address of a live `T`, and what that points to (the
    // instructions and the license of `load`) outlives the call; it writes nothing, since no log is asked for.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, address, size_of::<T>()) };
    if result < 0 { Err(crate::last_errno()) } else { Ok(result) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the program answers, as the kernel would run it.
    fn run(program: &[Instruction], kind: i32, major: i32, minor: i32) -> i32 {
        let context = [kind | 0x2_0000, major, minor];
        let mut registers = [0_i32; 5];
        let mut next = 0;
        loop {
            let Instruction { code, registers: fields, offset, immediate } = program[next];
            let target = usize::from(fields & 0xf);
            next += 1;
            match code {
                LOAD_WORD => {
                    assert_eq!(fields >> 4, 1);
                    registers[target] = context[usize::try_from(offset / 4).unwrap()];
                }
                AND => registers[target] &= immediate,
                MOVE => registers[target] = immediate,
                JUMP_UNEQUAL if registers[target] != immediate => {
                    next += usize::try_from(offset).unwrap();
                }
                JUMP_UNEQUAL => {}
                EXIT => return registers[0],
                other => panic!("{other:#x}"),
            }
        }
    }

    #[test]
    fn only_what_is_listed_is_allowed() {
        let character = |major, minor| Allowed { kind: Kind::Character, major, minor };
        let rules = [
            character(1, Some(3)),
            character(136, None),
            Allowed { kind: Kind::Block, major: 254, minor: Some(1) },
        ];
        let program = program(&rules);
        for (kind, major, minor, expected) in [
            (CHARACTER, 1, 3, 1),
            (CHARACTER, 1, 1, 0),
            (BLOCK, 1, 3, 0),
            (CHARACTER, 136, 77, 1),
            (BLOCK, 254, 1, 1),
            (BLOCK, 254, 0, 0),
            (CHARACTER, 254, 1, 0),
        ] {
            assert_eq!(run(&program, kind, major, minor), expected, "{kind} {major}:{minor}");
        }
        assert_eq!(run(&super::program(&[]), CHARACTER, 1, 3), 0);
    }
}
