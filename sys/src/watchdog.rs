//! A watchdog, of the hardware or the kernel's own.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::{AsFd, IntoRawFd};
use std::path::Path;

use rustix::io::{Errno, FdFlags};
use rustix::ioctl::{self, NoArg, Updater, opcode};

/// `WDIOC_KEEPALIVE`: `_IOR('W', 5, int)`; the argument is not used.
const KEEPALIVE: ioctl::Opcode = opcode::read::<libc::c_int>(b'W', 5);
/// `WDIOC_SETTIMEOUT`: `_IOWR('W', 6, int)`.
const SET_TIMEOUT: ioctl::Opcode = opcode::read_write::<libc::c_int>(b'W', 6);
/// Written before closing, it disarms a driver that supports "magic close".
const MAGIC_CLOSE: &[u8] = b"V";

/// An armed watchdog. Dropping it without [`Watchdog::disarm`] leaves it running, on purpose: a PID 1 that
/// dies must not take the watchdog with it.
#[derive(Debug)]
pub struct Watchdog {
    device: File,
}

impl Watchdog {
    /// Opens the device, which starts the countdown.
    ///
    /// # Errors
    /// There is no such device, or somebody has it open.
    pub fn open(path: &Path) -> io::Result<Self> {
        OpenOptions::new().write(true).open(path).map(|device| Self { device })
    }

    /// Sets the seconds until the reset and returns what the driver made of it.
    ///
    /// # Errors
    /// The driver cannot change it or the value is out of its range.
    pub fn set_timeout(&self, seconds: i32) -> Result<i32, Errno> {
        let mut value: libc::c_int = seconds;
        {
            // SAFETY: `SET_TIMEOUT` is the opcode whose argument is a pointer to one int that is read and written.
            let request = unsafe { Updater::<SET_TIMEOUT, libc::c_int>::new(&mut value) };
            // SAFETY: `value` outlives the call and nobody else refers to it.
            unsafe { ioctl::ioctl(self.device.as_fd(), request) }?;
        }
        Ok(value)
    }

    /// Starts the countdown anew.
    ///
    /// # Errors
    /// The driver does not answer.
    pub fn keep_alive(&self) -> Result<(), Errno> {
        // SAFETY: watchdog drivers ignore the argument of `KEEPALIVE`, so none is passed.
        let request = unsafe { NoArg::<KEEPALIVE>::new() };
        // SAFETY: the request touches no memory of ours.
        unsafe { ioctl::ioctl(self.device.as_fd(), request) }
    }

    /// Has the open file outlive the next `execve(2)`, and returns its number. The countdown goes on.
    ///
    /// # Errors
    /// The file is not open any more.
    pub fn hand_over(self) -> Result<i32, Errno> {
        rustix::io::fcntl_setfd(&self.device, FdFlags::empty())?;
        Ok(self.device.into_raw_fd())
    }

    /// Takes over what [`Watchdog::hand_over`] gave to this program: each number once.
    ///
    /// # Errors
    /// There is no such open file.
    pub fn inherit(number: i32) -> Result<Self, Errno> {
        Ok(Self { device: crate::inherited::take(number)?.into() })
    }

    /// Stops the countdown, where the driver can, and closes the device.
    ///
    /// # Errors
    /// The driver refuses the write.
    pub fn disarm(mut self) -> io::Result<()> {
        self.device.write_all(MAGIC_CLOSE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_open_file_is_handed_over_by_its_number() {
        let watchdog = Watchdog::open(Path::new("/dev/null")).unwrap();
        let number = watchdog.hand_over().unwrap();
        let device = Watchdog::inherit(number).unwrap().device;
        assert!(rustix::io::fcntl_getfd(&device).unwrap().contains(FdFlags::CLOEXEC));
        assert_eq!(Watchdog::inherit(-1).unwrap_err(), Errno::BADF);
    }
}
