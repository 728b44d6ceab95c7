//! A program in the kernel that decides which devices the processes of a control group may use.
//!
//! # Source
//! `bpf(2)`, `include/uapi/linux/bpf.h`: `BPF_PROG_TYPE_CGROUP_DEVICE`, `struct bpf_cgroup_dev_ctx`.

use std::os::fd::{AsFd, BorrowedFd};

use rustix::io::Errno;

use crate::bpf::{
    self, AND, COPY_WORD, EXIT, Hook, Instruction, JUMP_UNEQUAL, LOAD_WORD, MOVE, SHIFT_RIGHT,
    instruction,
};

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

/// `BPF_DEVCG_DEV_BLOCK`, `BPF_DEVCG_DEV_CHAR`.
const BLOCK: i32 = 1;
const CHARACTER: i32 = 2;

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
        program.push(instruction(COPY_WORD, 0x50, 0, 0));
        program.push(instruction(AND, 0x00, 0, i32::from(!device.access.0)));
        program.push(instruction(JUMP_UNEQUAL, 0x00, 2, 0));
        program.push(instruction(MOVE, 0x00, 0, 1));
        program.push(instruction(EXIT, 0, 0, 0));
    }
    program.push(instruction(MOVE, 0x00, 0, 0));
    program.push(instruction(EXIT, 0, 0, 0));
    program
}

/// Lets the processes of `cgroup`, a folder of cgroup v2, use `allowed` devices and no others, until the group
/// is removed.
///
/// # Errors
/// Those of `bpf(2)`: no such program type on this kernel, no right to load one.
pub fn attach(cgroup: BorrowedFd<'_>, allowed: &[Allowed]) -> Result<(), Errno> {
    let program = bpf::load(Hook::Device, &program(allowed))?;
    bpf::attach(cgroup, Hook::Device, program.as_fd())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bpf::interpreter;

    fn run(program: &[Instruction], access: i32, kind: i32, major: i32, minor: i32) -> u64 {
        let context = [kind | access << 16, major, minor].map(i32::cast_unsigned);
        interpreter::run(program, &context, |_, _| panic!("it asks for nothing"))
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
