//! Block devices: partitions that the kernel knows, sizes, buffers.

use std::ffi::{c_int, c_longlong, c_void};
use std::os::fd::BorrowedFd;

use rustix::io::Errno;
use rustix::ioctl::{self, Getter, NoArg, Setter, opcode};

/// `BLKRRPART`: `_IO(0x12, 95)`.
const REREAD_PARTITIONS: ioctl::Opcode = opcode::none(0x12, 95);
/// `BLKFLSBUF`: `_IO(0x12, 97)`.
const FLUSH_BUFFERS: ioctl::Opcode = opcode::none(0x12, 97);
/// `BLKPG`: `_IO(0x12, 105)`, although it takes a pointer.
const PARTITION: ioctl::Opcode = opcode::none(0x12, 105);
/// `BLKGETSIZE64`: `_IOR(0x12, 114, size_t)`.
const SIZE: ioctl::Opcode = opcode::read::<usize>(0x12, 114);

const ADD: c_int = 1;
const DELETE: c_int = 2;
const RESIZE: c_int = 3;

/// `struct blkpg_partition` of `<linux/blkpg.h>`.
#[repr(C)]
struct BlkpgPartition {
    start: c_longlong,
    length: c_longlong,
    number: c_int,
    device_name: [u8; 64],
    volume_name: [u8; 64],
}

/// `struct blkpg_ioctl_arg` of `<linux/blkpg.h>`.
#[repr(C)]
struct BlkpgArgument {
    operation: c_int,
    flags: c_int,
    data_length: c_int,
    data: *mut c_void,
}

const _: () = assert!(size_of::<BlkpgPartition>() == 152 && size_of::<BlkpgArgument>() == 24);

/// Where a partition lies on its disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// First byte.
    pub start_bytes: u64,
    /// Length.
    pub size_bytes: u64,
}

/// Tells the kernel that partition `number` of `disk` now has another size. Works while it is in use.
///
/// # Errors
/// `ENXIO` where the kernel does not know the partition, `EBUSY` where it would overlap another.
pub fn resize_partition(disk: BorrowedFd<'_>, number: u32, extent: Extent) -> Result<(), Errno> {
    partition_call(disk, RESIZE, number, extent)
}

/// Tells the kernel of a partition that it does not know yet.
///
/// # Errors
/// `EBUSY` where the number is taken or the extent overlaps another.
pub fn add_partition(disk: BorrowedFd<'_>, number: u32, extent: Extent) -> Result<(), Errno> {
    partition_call(disk, ADD, number, extent)
}

/// Makes the kernel forget a partition that nobody uses.
///
/// # Errors
/// `EBUSY` while it is in use, `ENXIO` where there is none.
pub fn delete_partition(disk: BorrowedFd<'_>, number: u32) -> Result<(), Errno> {
    partition_call(disk, DELETE, number, Extent { start_bytes: 0, size_bytes: 0 })
}

/// Makes the kernel read the partition table again.
///
/// # Errors
/// `EBUSY` while a partition is in use.
pub fn reread_partitions(disk: BorrowedFd<'_>) -> Result<(), Errno> {
    no_argument::<REREAD_PARTITIONS>(disk)
}

/// Writes dirty buffers of the device out and drops the clean ones, so that the next read comes from the disk.
///
/// # Errors
/// The device failed to take the data.
pub fn flush_buffers(device: BorrowedFd<'_>) -> Result<(), Errno> {
    no_argument::<FLUSH_BUFFERS>(device)
}

/// Size of the device in bytes.
///
/// # Errors
/// `ENOTTY` for something that is no block device.
pub fn size_bytes(device: BorrowedFd<'_>) -> Result<u64, Errno> {
    // SAFETY: `SIZE` is the opcode whose argument is a pointer to a u64 to be written.
    let request = unsafe { Getter::<SIZE, u64>::new() };
    // SAFETY: the request writes only the u64 that `Getter` owns.
    unsafe { ioctl::ioctl(device, request) }
}

fn no_argument<const OPCODE: ioctl::Opcode>(device: BorrowedFd<'_>) -> Result<(), Errno> {
    // SAFETY: instantiated only for opcodes of this file that take no argument.
    let request = unsafe { NoArg::<OPCODE>::new() };
    // SAFETY: the request touches no memory of ours.
    unsafe { ioctl::ioctl(device, request) }
}

fn partition_call(
    disk: BorrowedFd<'_>,
    operation: c_int,
    number: u32,
    extent: Extent,
) -> Result<(), Errno> {
    let signed = |bytes: u64| c_longlong::try_from(bytes).ok().ok_or(Errno::OVERFLOW);
    let mut partition = BlkpgPartition {
        start: signed(extent.start_bytes)?,
        length: signed(extent.size_bytes)?,
        number: c_int::try_from(number).ok().ok_or(Errno::OVERFLOW)?,
        device_name: [0; 64],
        volume_name: [0; 64],
    };
    let argument = BlkpgArgument {
        operation,
        flags: 0,
        data_length: 152,
        data: std::ptr::from_mut(&mut partition).cast(),
    };
    // SAFETY: BLKPG reads one `blkpg_ioctl_arg`, which `Setter` passes by pointer.
    let request = unsafe { Setter::<PARTITION, BlkpgArgument>::new(argument) };
    // SAFETY: `argument.data` points to `partition`, which has the layout of `struct blkpg_partition` (its size
    // is asserted above) and lives until the end of this function.
    unsafe { ioctl::ioctl(disk, request) }
}
