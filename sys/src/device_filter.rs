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

/// What may be done to a device: `BPF_DEVCG_ACC_*`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Access(u8);

impl Access {
    /// Everything.
    pub const ALL: Self = Self(0b111);

    /// From the letters of a rule: `r` for reading, `w` for writing, `m` for making its node.
    #[must_use]
    pub fn from_letters(letters: &str) -> Option<Self> {
        let bits = letters.chars().map(|letter| match letter {
            'm' => Some(0b001),
            'r' => Some(0b010),
            'w' => Some(0b100),
            _ => None,
        });
        bits.reduce(|all, bit| Some(all? | bit?))?.map(Self)
    }
}

/// Devices that may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allowed {
    /// Kind.
    pub kind: Kind,
    /// Major number.
    pub major: u32,
    /// Minor number; all where it is absent.
    pub minor: Option<u32>,
    /// What may be done to them.
    pub access: Access,
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
/// 32-bit `r >>= immediate`.
const SHIFT_RIGHT: u8 = 0x74;
/// 32-bit `r = source`.
const COPY: u8 = 0xbc;
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
/// major and minor. Registers 2, 3, 4, 5 hold kind, major, minor, access.
fn program(allowed: &[Allowed]) -> Vec<Instruction> {
    let mut program = vec![
        instruction(LOAD_WORD, 0x12, 0, 0),
        instruction(AND, 0x02, 0, 0xffff),
        instruction(LOAD_WORD, 0x13, 4, 0),
        instruction(LOAD_WORD, 0x14, 8, 0),
        instruction(LOAD_WORD, 0x15, 0, 0),
        instruction(SHIFT_RIGHT, 0x05, 0, 16),
    ];
    for device in allowed {
        let kind = match device.kind {
            Kind::Block => BLOCK,
            Kind::Character => CHARACTER,
        };
        // Each comparison skips what is left of this rule.
        let left = if device.minor.is_some() { 7 } else { 6 };
        program.push(instruction(JUMP_UNEQUAL, 0x02, left, kind));
        program.push(instruction(JUMP_UNEQUAL, 0x03, left - 1, device.major.cast_signed()));
        if let Some(minor) = device.minor {
            program.push(instruction(JUMP_UNEQUAL, 0x04, left - 2, minor.cast_signed()));
        }
        // What is asked for and not among what is allowed has to be nothing.
        program.push(instruction(COPY, 0x50, 0, 0));
        program.push(instruction(AND, 0x00, 0, i32::from(!device.access.0)));
        program.push(instruction(JUMP_UNEQUAL, 0x00, 2, 0));
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
    fn run(program: &[Instruction], access: i32, kind: i32, major: i32, minor: i32) -> i32 {
        let context = [kind | access << 16, major, minor];
        let mut registers = [0_i32; 6];
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
                SHIFT_RIGHT => registers[target] >>= immediate,
                COPY => registers[target] = registers[usize::from(fields >> 4)],
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
        let rule = |kind, major, minor, access: &str| {
            let access = Access::from_letters(access).unwrap();
            Allowed { kind, major, minor, access }
        };
        let rules = [
            rule(Kind::Character, 1, Some(3), "rwm"),
            rule(Kind::Character, 136, None, "rw"),
            rule(Kind::Block, 254, Some(1), "r"),
        ];
        let program = program(&rules);
        let (make, read, write) = (1, 2, 4);
        for (access, kind, major, minor, expected) in [
            (read | write, CHARACTER, 1, 3, 1),
            (make, CHARACTER, 1, 3, 1),
            (read, CHARACTER, 1, 1, 0),
            (read, BLOCK, 1, 3, 0),
            (write, CHARACTER, 136, 77, 1),
            (make, CHARACTER, 136, 77, 0),
            (read, BLOCK, 254, 1, 1),
            (write, BLOCK, 254, 1, 0),
            (read | write, BLOCK, 254, 1, 0),
            (read, BLOCK, 254, 0, 0),
            (read, CHARACTER, 254, 1, 0),
        ] {
            let answer = run(&program, access, kind, major, minor);
            assert_eq!(answer, expected, "{access} {kind} {major}:{minor}");
        }
        assert_eq!(run(&super::program(&[]), read, CHARACTER, 1, 3), 0);
    }

    #[test]
    fn letters_say_what_may_be_done() {
        assert_eq!(Access::from_letters("mrw"), Some(Access::ALL));
        assert_ne!(Access::from_letters("r"), Access::from_letters("w"));
        assert_eq!((Access::from_letters(""), Access::from_letters("rx")), (None, None));
    }
}
