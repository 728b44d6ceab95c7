//! Device mapper: creating, loading, looking at and removing mapped devices, without udev.
//!
//! # Source
//! `<linux/dm-ioctl.h>`: every call passes `struct dm_ioctl` (312 bytes) followed by its payload in one buffer.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;

use rustix::io::Errno;

/// The node through which the device mapper is spoken to; devtmpfs makes it when the driver is there.
pub const CONTROL: &str = "/dev/mapper/control";

const HEADER_BYTES: usize = 312;
const TARGET_BYTES: usize = 40;
/// Room for the longest verity table with hexadecimal salt and options, many times over.
const BUFFER_BYTES: usize = 16 * 1024;
const NAME_OFFSET: usize = 48;
const NAME_MAX_BYTES: usize = 127;
const TARGET_TYPE_MAX_BYTES: usize = 15;

/// `_IOWR(0xfd, command, struct dm_ioctl)` without the command.
const REQUEST: libc::c_ulong = 0xc138_fd00;
const DEV_CREATE: libc::c_ulong = 3;
const DEV_REMOVE: libc::c_ulong = 4;
const DEV_SUSPEND: libc::c_ulong = 6;
const TABLE_LOAD: libc::c_ulong = 9;
const TABLE_STATUS: libc::c_ulong = 12;

const READ_ONLY: u32 = 1;

/// Device number of a mapped device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeviceNumber {
    /// Major number.
    pub major: u32,
    /// Minor number: the `N` of `/dev/dm-N`.
    pub minor: u32,
}

/// One target of a table that starts at sector 0.
#[derive(Debug, Clone)]
pub struct Target<'text> {
    /// Length in sectors of 512 bytes.
    pub sectors: u64,
    /// Name of the target type, such as `verity`.
    pub kind: &'text str,
    /// The target's parameters.
    pub parameters: &'text str,
}

/// The opened control node.
#[derive(Debug)]
pub struct DeviceMapper {
    control: File,
}

#[repr(C, align(8))]
struct Buffer([u8; BUFFER_BYTES]);

impl DeviceMapper {
    /// Opens `control`, usually [`CONTROL`].
    ///
    /// # Errors
    /// The kernel has no device mapper (or its module is not loaded).
    pub fn open(control: &Path) -> io::Result<Self> {
        OpenOptions::new().read(true).write(true).open(control).map(|control| Self { control })
    }

    /// Creates a device without a table.
    ///
    /// # Errors
    /// `EBUSY` where the name is taken, `EINVAL` where it is not usable.
    pub fn create(&self, name: &str) -> Result<DeviceNumber, Errno> {
        let mut buffer = Buffer::new(name, 0, 0)?;
        self.call(DEV_CREATE, &mut buffer)?;
        let device = buffer.word(40)?;
        Ok(DeviceNumber {
            major: (device >> 8) & 0xfff,
            minor: (device & 0xff) | ((device >> 12) & 0xf_ff00),
        })
    }

    /// Loads a read-only table of one target; [`DeviceMapper::resume`] makes it the live one.
    ///
    /// # Errors
    /// `EINVAL` for a table that the target refuses; the kernel log says why. `ENXIO` without such a device.
    pub fn load_read_only(&self, name: &str, target: &Target<'_>) -> Result<(), Errno> {
        let mut buffer = Buffer::new(name, READ_ONLY, 1)?;
        if target.kind.len() > TARGET_TYPE_MAX_BYTES || target.parameters.contains('\0') {
            return Err(Errno::INVAL);
        }
        buffer.put(HEADER_BYTES + 8, &target.sectors.to_ne_bytes())?;
        buffer.put(HEADER_BYTES + 24, target.kind.as_bytes())?;
        buffer.put(HEADER_BYTES + TARGET_BYTES, target.parameters.as_bytes())?;
        // The parameters end with a zero byte, which must be inside as well.
        buffer.put(HEADER_BYTES + TARGET_BYTES + target.parameters.len(), &[0])?;
        self.call(TABLE_LOAD, &mut buffer)
    }

    /// Makes the loaded table the live one.
    ///
    /// # Errors
    /// `ENXIO` without such a device, `EINVAL` without a table.
    pub fn resume(&self, name: &str) -> Result<(), Errno> {
        self.call(DEV_SUSPEND, &mut Buffer::new(name, 0, 0)?)
    }

    /// Removes a device that nobody has open.
    ///
    /// # Errors
    /// `EBUSY` while it is in use, `ENXIO` without such a device.
    pub fn remove(&self, name: &str) -> Result<(), Errno> {
        self.call(DEV_REMOVE, &mut Buffer::new(name, 0, 0)?)
    }

    /// Status text of the device's first target; for verity `V` (all blocks read were good) or `C` (corruption).
    ///
    /// # Errors
    /// `ENXIO` without such a device.
    pub fn status(&self, name: &str) -> Result<String, Errno> {
        let mut buffer = Buffer::new(name, 0, 0)?;
        self.call(TABLE_STATUS, &mut buffer)?;
        let start = usize::try_from(buffer.word(16)?).ok().ok_or(Errno::OVERFLOW)?;
        let text = buffer.0.get(start + TARGET_BYTES..).ok_or(Errno::OVERFLOW)?;
        let length = text.iter().position(|byte| *byte == 0).unwrap_or(text.len());
        Ok(String::from_utf8_lossy(text.get(..length).unwrap_or_default()).into_owned())
    }

    fn call(&self, command: libc::c_ulong, buffer: &mut Buffer) -> Result<(), Errno> {
        // SAFETY: the kernel reads and writes at most `data_size` bytes at the pointer; `Buffer::new` sets
        // `data_size` to the buffer's length and nothing overwrites it. The buffer is 8-aligned and borrowed
        // mutably until the call returns.
        let status = unsafe {
            libc::ioctl(self.control.as_raw_fd(), REQUEST | command, buffer.0.as_mut_ptr())
        };
        if status < 0 { Err(crate::last_errno()) } else { Ok(()) }
    }
}

impl Buffer {
    fn new(name: &str, flags: u32, target_count: u32) -> Result<Self, Errno> {
        if name.is_empty() || name.len() > NAME_MAX_BYTES || name.contains(['\0', '/']) {
            return Err(Errno::INVAL);
        }
        let length = u32::try_from(BUFFER_BYTES).ok().ok_or(Errno::OVERFLOW)?;
        let start = u32::try_from(HEADER_BYTES).ok().ok_or(Errno::OVERFLOW)?;
        let mut buffer = Self([0; BUFFER_BYTES]);
        // Interface version 4.0.0: the oldest of the one major version there is.
        buffer.put(0, &4_u32.to_ne_bytes())?;
        buffer.put(12, &length.to_ne_bytes())?;
        buffer.put(16, &start.to_ne_bytes())?;
        buffer.put(20, &target_count.to_ne_bytes())?;
        buffer.put(28, &flags.to_ne_bytes())?;
        buffer.put(NAME_OFFSET, name.as_bytes())?;
        Ok(buffer)
    }

    fn put(&mut self, offset: usize, bytes: &[u8]) -> Result<(), Errno> {
        let place = self.0.get_mut(offset..offset + bytes.len()).ok_or(Errno::NAMETOOLONG)?;
        place.copy_from_slice(bytes);
        Ok(())
    }

    fn word(&self, offset: usize) -> Result<u32, Errno> {
        self.0
            .get(offset..offset + 4)
            .and_then(|word| word.try_into().ok())
            .map(u32::from_ne_bytes)
            .ok_or(Errno::OVERFLOW)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_the_kernel_would_refuse_are_refused_before_the_call() {
        for name in ["", "a/b", "a\0b", &"x".repeat(128)] {
            assert_eq!(Buffer::new(name, 0, 0).err(), Some(Errno::INVAL), "{name:?}");
        }
        assert!(Buffer::new(&"x".repeat(127), 0, 0).is_ok());
    }

    #[test]
    fn header_has_the_kernels_offsets() {
        let buffer = Buffer::new("root", READ_ONLY, 1).unwrap();
        assert_eq!(buffer.word(12), Ok(16384));
        assert_eq!(buffer.word(16), Ok(312));
        assert_eq!(buffer.word(20), Ok(1));
        assert_eq!(buffer.word(28), Ok(1));
        assert_eq!(&buffer.0[48..53], b"root\0");
    }

    #[test]
    fn text_beyond_the_buffer_is_an_error() {
        let mut buffer = Buffer::new("root", 0, 0).unwrap();
        assert_eq!(buffer.put(BUFFER_BYTES - 1, b"ab"), Err(Errno::NAMETOOLONG));
    }
}
