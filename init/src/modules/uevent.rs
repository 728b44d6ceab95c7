//! The kernel's announcements of devices that come, go and change.
//!
//! # Shape
//! One packet: `ACTION@DEVPATH`, then `KEY=VALUE` texts, each ended by a zero byte.
//!
//! # Source
//! Linux `lib/kobject_uevent.c`; netlink family `NETLINK_KOBJECT_UEVENT`, group 1.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::netlink::{KOBJECT_UEVENT, SocketAddrNetlink};
use rustix::net::{
    AddressFamily, RecvFlags, SocketAddrAny, SocketFlags, SocketType, bind, recvfrom, socket_with,
    sockopt,
};

/// The kernel's own buffer for one announcement is 2 KiB of variables and a path.
const PACKET_MAX_BYTES: usize = 8 * 1024;
/// Room for a burst of announcements: a module that finds hundreds of devices.
const RECEIVE_BUFFER_BYTES: usize = 1024 * 1024;
/// Multicast group of the kernel's own announcements; group 2 is udev's.
const KERNEL_GROUP: u32 = 1;

/// An announcement.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Uevent {
    /// `add`, `change`, `remove`, …
    pub action: String,
    /// Path under `/sys`.
    pub device_path: String,
    /// `block`, `virtio`, …
    pub subsystem: String,
    /// Node under `/dev`, where there is one.
    pub device_name: Option<String>,
    /// Of what kind within its subsystem: `disk`, `partition`.
    pub device_type: Option<String>,
    /// What the device says it is.
    pub modalias: Option<String>,
    /// dm-verity found a damaged block: `TYPE,NUMBER`.
    pub verity_block: Option<String>,
}

impl Uevent {
    /// The announcement is about a damaged block of a verity device.
    #[must_use]
    pub const fn is_damage(&self) -> bool {
        self.verity_block.is_some()
    }
}

/// Reads a packet; `None` where it is not the kernel's format.
#[must_use]
pub fn parse(packet: &[u8]) -> Option<Uevent> {
    let text = std::str::from_utf8(packet).ok()?;
    let mut parts = text.split('\0');
    let (action, device_path) = parts.next()?.split_once('@')?;
    let mut uevent = Uevent {
        action: action.to_owned(),
        device_path: device_path.to_owned(),
        ..Uevent::default()
    };
    for (key, value) in parts.filter_map(|part| part.split_once('=')) {
        match key {
            "SUBSYSTEM" => value.clone_into(&mut uevent.subsystem),
            "DEVNAME" => uevent.device_name = Some(value.to_owned()),
            "DEVTYPE" => uevent.device_type = Some(value.to_owned()),
            "MODALIAS" => uevent.modalias = Some(value.to_owned()),
            "DM_VERITY_ERR_BLOCK_NR" => uevent.verity_block = Some(value.to_owned()),
            _ => {}
        }
    }
    Some(uevent)
}

/// What reading from the socket gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Received {
    /// An announcement.
    Uevent(Uevent),
    /// Announcements were lost: look at everything again.
    Lost,
    /// Nothing is waiting.
    Nothing,
}

/// A socket on which the kernel announces. Does not block.
#[derive(Debug)]
pub struct UeventSocket {
    socket: OwnedFd,
}

impl UeventSocket {
    /// Subscribes. Do this before looking at what is there, or something may slip between.
    ///
    /// # Errors
    /// The kernel has no such family or we lack the right.
    pub fn open() -> Result<Self, Errno> {
        let socket = socket_with(
            AddressFamily::NETLINK,
            SocketType::DGRAM,
            SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
            Some(KOBJECT_UEVENT),
        )?;
        // Best effort: a smaller buffer is only a `Lost` more likely.
        sockopt::set_socket_recv_buffer_size_force(&socket, RECEIVE_BUFFER_BYTES).ok();
        bind(&socket, &SocketAddrNetlink::new(0, KERNEL_GROUP))?;
        Ok(Self { socket })
    }

    /// Takes the next announcement. What others than the kernel send is dropped.
    ///
    /// # Errors
    /// The socket is broken.
    pub fn receive(&self) -> Result<Received, Errno> {
        let mut packet = [0; PACKET_MAX_BYTES];
        loop {
            match recvfrom(&self.socket, &mut packet, RecvFlags::empty()) {
                Ok((_, length, sender)) => {
                    let parsed = packet.get(..length).and_then(parse);
                    if let Some(uevent) = parsed.filter(|_| is_kernel(sender.as_ref())) {
                        return Ok(Received::Uevent(uevent));
                    }
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Ok(Received::Nothing),
                Err(Errno::NOBUFS) => return Ok(Received::Lost),
                Err(error) => return Err(error),
            }
        }
    }
}

impl AsFd for UeventSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// The kernel's netlink port is 0; any other is a process.
fn is_kernel(sender: Option<&SocketAddrAny>) -> bool {
    sender
        .and_then(|sender| SocketAddrNetlink::try_from(sender.clone()).ok())
        .is_some_and(|sender| sender.pid() == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_announces_itself() {
        let packet = b"add@/devices/pci0000:00/0000:00:04.0/virtio1/block/vda\0ACTION=add\0DEVPATH=/x\0SUBSYSTEM=block\0MAJOR=254\0DEVNAME=vda\0DEVTYPE=disk\0SEQNUM=9\0";
        let uevent = parse(packet).unwrap();
        assert_eq!(uevent.action, "add");
        assert_eq!(uevent.subsystem, "block");
        assert_eq!(uevent.device_name.as_deref(), Some("vda"));
        assert_eq!(uevent.device_type.as_deref(), Some("disk"));
        assert_eq!(uevent.device_path, "/devices/pci0000:00/0000:00:04.0/virtio1/block/vda");
        assert_eq!(uevent.modalias, None);
    }

    #[test]
    fn what_is_not_the_kernels_format_is_nothing() {
        assert_eq!(parse(b"libudev\0\xfe\xed\xca\xfe"), None);
        assert_eq!(parse(b""), None);
        assert_eq!(parse(&[0xff; 32]), None);
    }

    #[test]
    fn the_socket_opens_and_has_nothing_to_say() {
        let socket = UeventSocket::open().unwrap();
        assert!(socket.receive().is_ok());
    }
}
