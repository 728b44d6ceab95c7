//! The hardware watchdog.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::path::Path;

use rustix::io::Errno;
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

    /// Stops the countdown, where the driver can, and closes the device.
    ///
    /// # Errors
    /// The driver refuses the write.
    pub fn disarm(mut self) -> io::Result<()> {
        self.device.write_all(MAGIC_CLOSE)
    }
}
