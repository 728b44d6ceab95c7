//! How questions leave and answers come in: beneath the kernel's own IP, so that an answer to an address that is
//! not set yet is heard, and no unit's published port or socket takes it away.

use std::io;
use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::OwnedFd;

use etherparse::{NetSlice, PacketBuilder, SlicedPacket, TransportSlice};
use ferrite_sys::packet::{self, Instruction};
use nix::sys::socket::{setsockopt, sockopt};
use rustix::net::RecvFlags;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::message::Answer;

const SERVER_PORT: u16 = 67;
const CLIENT_PORT: u16 = 68;
const TTL: u8 = 64;
/// More than an Ethernet frame holds.
const PACKET_MAX: usize = 2048;

/// Takes UDP to port 68 that is no later fragment: what is left is little enough for the agent to look at.
///
/// # Source
/// linux/filter.h; offsets of RFC 791 and RFC 768
const FILTER: [Instruction; 9] = [
    (0x30, 0, 0, 9),      // A ← protocol
    (0x15, 0, 6, 17),     // UDP, or drop
    (0x28, 0, 0, 6),      // A ← fragment
    (0x45, 4, 0, 0x1fff), // its offset is 0, or drop
    (0xb1, 0, 0, 0),      // X ← bytes of the IP header
    (0x48, 0, 0, 2),      // A ← destination port
    (0x15, 0, 1, CLIENT_PORT as u32),
    (0x06, 0, 0, 0xffff), // take
    (0x06, 0, 0, 0),      // drop
];

/// Hears answers on one interface, and asks everybody there.
#[derive(Debug)]
pub(super) struct Socket {
    descriptor: AsyncFd<OwnedFd>,
    index: u32,
}

impl Socket {
    pub(super) fn open(index: u32) -> io::Result<Self> {
        let descriptor = packet::open(index, &FILTER)?;
        #[expect(deprecated, reason = "an owned descriptor stays the same as long as it is owned")]
        let descriptor = AsyncFd::with_interest(descriptor, Interest::READABLE)?;
        Ok(Self { descriptor, index })
    }

    /// Waits for an answer, and who it is from.
    pub(super) async fn hear(&self) -> io::Result<(Answer, Ipv4Addr)> {
        loop {
            let mut buffer = [0; PACKET_MAX];
            let receive = |descriptor: &OwnedFd| {
                let received = rustix::net::recv(descriptor, &mut buffer, RecvFlags::empty());
                received.map(|(_, length)| length).map_err(io::Error::from)
            };
            let length = self.descriptor.async_io(Interest::READABLE, receive).await?;
            if let Some(found) = buffer.get(..length).and_then(understand) {
                return Ok(found);
            }
        }
    }

    /// Asks everybody on the link, from no address.
    pub(super) fn broadcast(&self, message: &[u8]) -> io::Result<()> {
        let (nobody, everybody) = (Ipv4Addr::UNSPECIFIED.octets(), Ipv4Addr::BROADCAST.octets());
        let builder = PacketBuilder::ipv4(nobody, everybody, TTL).udp(CLIENT_PORT, SERVER_PORT);
        let mut packet = Vec::with_capacity(builder.size(message.len()));
        builder.write(&mut packet, message).map_err(io::Error::other)?;
        packet::broadcast(&self.descriptor, self.index, &packet)
    }
}

fn understand(packet: &[u8]) -> Option<(Answer, Ipv4Addr)> {
    let packet = SlicedPacket::from_ip(packet).ok()?;
    let (Some(NetSlice::Ipv4(ip)), Some(TransportSlice::Udp(udp))) = (packet.net, packet.transport)
    else {
        return None;
    };
    Some((Answer::decode(udp.payload())?, ip.header().source_addr()))
}

/// Asks one server from our address. The socket that is returned keeps the kernel from refusing the answer, and
/// hears nothing: that is [`Socket`]'s. Where a unit with the node's network has the port, another one serves.
pub(super) fn unicast(
    link: &str,
    from: Ipv4Addr,
    server: Ipv4Addr,
    message: &[u8],
) -> io::Result<UdpSocket> {
    let socket =
        UdpSocket::bind((from, CLIENT_PORT)).or_else(|_taken| UdpSocket::bind((from, 0)))?;
    setsockopt(&socket, sockopt::BindToDevice, &link.into())?;
    socket.set_nonblocking(true)?;
    socket.send_to(message, (server, SERVER_PORT))?;
    Ok(socket)
}
