//! Loading the next kernel. `rustix::system::reboot(RebootCommand::Kexec)` then jumps into it.

use std::ffi::CStr;
use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::io::Errno;

/// Loads a bzImage and its initramfs from regular files (a memfd is one), for the next kexec reboot.
///
/// # Errors
/// `ENOSYS` without kexec, `ENOEXEC` for something that is no kernel, `EPERM` under lockdown, `ENOMEM`.
///
/// # Source
/// `kexec_file_load(2)`; neither rustix nor nix has it.
pub fn load(
    kernel: BorrowedFd<'_>,
    initramfs: BorrowedFd<'_>,
    command_line: &CStr,
) -> Result<(), Errno> {
    let bytes = command_line.to_bytes_with_nul();
    let flags: libc::c_ulong = 0;
    // SAFETY: the kernel reads `bytes.len()` bytes at `bytes.as_ptr()`, which `command_line` keeps alive and
    // unchanged until the call returns; both descriptors are borrowed, so they stay open as long.
    let status = unsafe {
        libc::syscall(
            libc::SYS_kexec_file_load,
            kernel.as_raw_fd(),
            initramfs.as_raw_fd(),
            bytes.len(),
            bytes.as_ptr(),
            flags,
        )
    };
    if status == 0 { Ok(()) } else { Err(crate::last_errno()) }
}
