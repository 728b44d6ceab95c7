//! Open files that a process image inherits from the one before it, by number.

use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd};

use rustix::io::{Errno, FdFlags};

/// Takes an inherited open file, which from now on is closed on exec.
///
/// Only for numbers that a process was told at its start, each once: whoever calls twice with the same number
/// has two owners of one file.
///
/// # Errors
/// The number is not an open file beyond the standard streams.
pub fn take(number: i32) -> Result<OwnedFd, Errno> {
    if number < 3 {
        return Err(Errno::BADF);
    }
    // SAFETY: the number is not −1; the borrow is used for the next call only, which fails where it is not open.
    let borrowed = unsafe { BorrowedFd::borrow_raw(number) };
    rustix::io::fcntl_setfd(borrowed, FdFlags::CLOEXEC)?;
    // SAFETY: the call above showed that it is open, and by this function's contract nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Has all open files but the standard streams closed on exec, whoever opened them: libraries forget the flag.
///
/// # Errors
/// The kernel is older than `close_range(2)` with `CLOSE_RANGE_CLOEXEC`, Linux 5.11.
pub fn close_others_on_exec() -> std::io::Result<()> {
    // SAFETY: the call takes three numbers, touches no memory, and with this flag closes nothing yet: every
    // owner keeps what it owns.
    let result = unsafe {
        libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC)
    };
    if result == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
}

/// Closes standard input, output and error, for a program that has no use for them and nothing open that it opened itself:
/// what is opened next would be taken for one of them.
pub fn close_standard_streams() {
    for number in 0..3 {
        // SAFETY: the standard library's handles of these three own nothing, and take it for no error where they are closed.
        unsafe { libc::close(number) };
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::{AsRawFd, IntoRawFd};

    use super::*;

    #[test]
    fn only_open_files_are_taken_and_they_are_not_inherited_further() {
        let file = std::fs::File::open("/dev/null").unwrap();
        rustix::io::fcntl_setfd(&file, FdFlags::empty()).unwrap();
        let number = file.into_raw_fd();
        let taken = take(number).unwrap();
        assert_eq!(taken.as_raw_fd(), number);
        assert!(rustix::io::fcntl_getfd(&taken).unwrap().contains(FdFlags::CLOEXEC));
        assert_eq!(take(1).unwrap_err(), Errno::BADF);
        assert_eq!(take(100_000).unwrap_err(), Errno::BADF);
    }

    #[test]
    fn whatever_is_open_is_not_inherited() {
        let file = std::fs::File::open("/dev/null").unwrap();
        rustix::io::fcntl_setfd(&file, FdFlags::empty()).unwrap();
        close_others_on_exec().unwrap();
        assert!(rustix::io::fcntl_getfd(&file).unwrap().contains(FdFlags::CLOEXEC));
    }
}
