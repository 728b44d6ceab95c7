//! Filters of system calls (seccomp(2), Linux `Documentation/userspace-api/seccomp_filter.rst`).

use rustix::io::Errno;

/// An instruction of classic BPF: `struct sock_filter`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct Instruction {
    /// What to do.
    pub code: u16,
    /// Instructions to skip where a comparison holds.
    pub if_true: u8,
    /// Instructions to skip where it does not.
    pub if_false: u8,
    /// Operand.
    pub operand: u32,
}

/// `struct sock_fprog`.
#[repr(C)]
struct Program {
    length: u16,
    instructions: *const Instruction,
}

const SECCOMP_SET_MODE_FILTER: libc::c_long = 1;

/// Instructions from the bytes that compilers write, eight for each in this machine's order; none where there is a
/// part of one, or nothing.
#[must_use]
pub fn instructions(bytes: &[u8]) -> Option<Vec<Instruction>> {
    let (parts, rest) = bytes.as_chunks::<8>();
    let instructions =
        parts.iter().map(|&[code_low, code_high, if_true, if_false, ref operand @ ..]| {
            Instruction {
                code: u16::from_ne_bytes([code_low, code_high]),
                if_true,
                if_false,
                operand: u32::from_ne_bytes(*operand),
            }
        });
    (rest.is_empty() && !parts.is_empty()).then(|| instructions.collect())
}

/// Puts this thread, and whatever it starts, behind a filter for good.
///
/// # Errors
/// Those of `seccomp(2)`: `EACCES` without `no_new_privs` or rights over the user namespace, `EINVAL` for a program
/// that the kernel does not take.
pub fn install(instructions: &[Instruction]) -> Result<(), Errno> {
    let length = u16::try_from(instructions.len()).map_err(|_too_long| Errno::TOOBIG)?;
    let program = Program { length, instructions: instructions.as_ptr() };
    let address = std::ptr::from_ref(&program);
    // SAFETY: the kernel reads a `sock_fprog` at the address of a live one, and its `length` instructions from a
    // slice of that length which outlives the call; it writes nothing.
    let result = unsafe { libc::syscall(libc::SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, address) };
    if result == 0 { Ok(()) } else { Err(crate::last_errno()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_whole_instructions_or_none() {
        let load = Instruction { code: 0x20, if_true: 1, if_false: 2, operand: 0x0403_0201 };
        let bytes = [0x20, 0, 1, 2, 1, 2, 3, 4];
        assert_eq!(instructions(&bytes), Some(vec![load]));
        assert_eq!(instructions(&bytes[..7]), None);
        assert_eq!(instructions(&[]), None);
    }

    #[test]
    fn the_kernel_refuses_what_is_no_program() {
        assert_eq!(install(&[]), Err(Errno::INVAL));
    }
}
