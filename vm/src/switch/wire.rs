//! Frames taken apart and put together, for the services that answer below the gateway's TCP/IP.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{
    EthernetAddress, EthernetFrame, EthernetProtocol, EthernetRepr, HardwareAddress, Icmpv6Packet,
    Icmpv6Repr, IpProtocol, Ipv4Packet, Ipv4Repr, Ipv6Packet, Ipv6Repr, UdpPacket, UdpRepr,
};

use super::mac::Mac;

/// A UDP datagram in a frame.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Datagram<'a> {
    pub(crate) destination: IpAddr,
    pub(crate) source_port: u16,
    pub(crate) destination_port: u16,
    pub(crate) payload: &'a [u8],
}

/// The whole UDP datagram in a frame, if there is one. Fragments are none.
pub(crate) fn datagram(frame: &[u8]) -> Option<Datagram<'_>> {
    let ethernet = EthernetFrame::new_checked(frame).ok()?;
    let checksums = ChecksumCapabilities::default();
    match ethernet.ethertype() {
        EthernetProtocol::Ipv4 => {
            let packet = Ipv4Packet::new_checked(ethernet.payload()).ok()?;
            if packet.more_frags() || packet.frag_offset() != 0 {
                return None;
            }
            let repr = Ipv4Repr::parse(&packet, &checksums).ok()?;
            let addresses = (repr.src_addr.into(), repr.dst_addr.into());
            udp(repr.next_header, addresses, packet.payload())
        }
        EthernetProtocol::Ipv6 => {
            let packet = Ipv6Packet::new_checked(ethernet.payload()).ok()?;
            let repr = Ipv6Repr::parse(&packet).ok()?;
            let addresses = (repr.src_addr.into(), repr.dst_addr.into());
            udp(repr.next_header, addresses, packet.payload())
        }
        _ => None,
    }
}

fn udp(
    protocol: IpProtocol,
    (source, destination): (IpAddr, IpAddr),
    bytes: &[u8],
) -> Option<Datagram<'_>> {
    if protocol != IpProtocol::Udp {
        return None;
    }
    let packet = UdpPacket::new_checked(bytes).ok()?;
    let checksums = ChecksumCapabilities::default();
    let repr = UdpRepr::parse(&packet, &source.into(), &destination.into(), &checksums).ok()?;
    Some(Datagram {
        destination,
        source_port: repr.src_port,
        destination_port: repr.dst_port,
        payload: packet.payload(),
    })
}

/// The ICMPv6 message in a frame is a router solicitation.
pub(crate) fn asks_for_routers(frame: &[u8]) -> bool {
    let act = || -> Option<bool> {
        let ethernet = EthernetFrame::new_checked(frame).ok()?;
        if ethernet.ethertype() != EthernetProtocol::Ipv6 {
            return None;
        }
        let packet = Ipv6Packet::new_checked(ethernet.payload()).ok()?;
        // A lower hop limit has passed a router: it is no neighbour's (RFC 4861, section 6.1.1).
        if packet.next_header() != IpProtocol::Icmpv6 || packet.hop_limit() != 255 {
            return None;
        }
        let message = Icmpv6Packet::new_checked(packet.payload()).ok()?;
        let is_whole = message.verify_checksum(&packet.src_addr(), &packet.dst_addr());
        Some(is_whole && message.msg_type() == smoltcp::wire::Icmpv6Message::RouterSolicit)
    };
    act().unwrap_or(false)
}

/// Both ends of a datagram.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ends {
    pub(crate) source: (Mac, Ipv4Addr, u16),
    pub(crate) destination: (Mac, Ipv4Addr, u16),
}

/// A frame with a UDP datagram.
pub(crate) fn udp_frame(ends: Ends, payload: &[u8]) -> Vec<u8> {
    let ((_, source, src_port), (_, destination, dst_port)) = (ends.source, ends.destination);
    let checksums = ChecksumCapabilities::default();
    let udp = UdpRepr { src_port, dst_port };
    let ip = Ipv4Repr {
        src_addr: source,
        dst_addr: destination,
        next_header: IpProtocol::Udp,
        payload_len: udp.header_len() + payload.len(),
        hop_limit: 64,
    };
    let header_bytes = EthernetFrame::<&[u8]>::header_len() + ip.buffer_len() + udp.header_len();
    let mut bytes = vec![0; header_bytes + payload.len()];
    let mut frame = EthernetFrame::new_unchecked(&mut bytes[..]);
    ethernet(ends.source.0, ends.destination.0, EthernetProtocol::Ipv4).emit(&mut frame);
    let mut packet = Ipv4Packet::new_unchecked(frame.payload_mut());
    ip.emit(&mut packet, &checksums);
    let mut datagram = UdpPacket::new_unchecked(packet.payload_mut());
    let (source, destination) = (source.into(), destination.into());
    let fill = |place: &mut [u8]| place.copy_from_slice(payload);
    udp.emit(&mut datagram, &source, &destination, payload.len(), fill, &checksums);
    bytes
}

/// A frame with an ICMPv6 message that stays on the link.
pub(crate) fn icmpv6_frame(
    (from, source): (Mac, Ipv6Addr),
    (to, destination): (Mac, Ipv6Addr),
    message: &Icmpv6Repr<'_>,
) -> Vec<u8> {
    let ip = Ipv6Repr {
        src_addr: source,
        dst_addr: destination,
        next_header: IpProtocol::Icmpv6,
        payload_len: message.buffer_len(),
        hop_limit: 255,
    };
    let header_bytes = EthernetFrame::<&[u8]>::header_len() + ip.buffer_len();
    let mut bytes = vec![0; header_bytes + message.buffer_len()];
    let mut frame = EthernetFrame::new_unchecked(&mut bytes[..]);
    ethernet(from, to, EthernetProtocol::Ipv6).emit(&mut frame);
    let mut packet = Ipv6Packet::new_unchecked(frame.payload_mut());
    ip.emit(&mut packet);
    let mut body = Icmpv6Packet::new_unchecked(packet.payload_mut());
    message.emit(&source, &destination, &mut body, &ChecksumCapabilities::default());
    bytes
}

fn ethernet(from: Mac, to: Mac, ethertype: EthernetProtocol) -> EthernetRepr {
    EthernetRepr { src_addr: address(from), dst_addr: address(to), ethertype }
}

/// The address as smoltcp has it.
pub(crate) fn address(mac: Mac) -> EthernetAddress {
    EthernetAddress(mac.0)
}

/// The address as smoltcp has it for interfaces.
pub(crate) fn hardware(mac: Mac) -> HardwareAddress {
    HardwareAddress::Ethernet(address(mac))
}

/// The address that a station makes itself on every link.
pub(crate) fn link_local(mac: Mac) -> Ipv6Addr {
    let mut octets = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0).octets();
    for (byte, own) in octets.iter_mut().skip(8).zip(mac.interface_identifier()) {
        *byte = own;
    }
    octets.into()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ends() -> Ends {
        Ends {
            source: (Mac([2; 6]), Ipv4Addr::new(10, 0, 0, 1), 67),
            destination: (Mac([4; 6]), Ipv4Addr::BROADCAST, 68),
        }
    }

    #[test]
    fn a_datagram_is_read_as_it_was_written_and_damage_is_seen() {
        let frame = udp_frame(ends(), b"hello");
        let read = datagram(&frame).unwrap();
        let destination = Ipv4Addr::BROADCAST.into();
        let expected =
            Datagram { destination, source_port: 67, destination_port: 68, payload: b"hello" };
        assert_eq!(read, expected);
        for bit in 8 * 14..8 * frame.len() {
            let mut damaged = frame.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            // Some bits of the IPv4 header are what checksums are made of; none goes unseen.
            assert_eq!(datagram(&damaged), None, "bit {bit}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_upset_it(bytes in proptest::collection::vec(any::<u8>(), 0..200), kind in 0..3_usize) {
            let mut bytes = bytes;
            if let Some(place) = bytes.get_mut(12..15) {
                place.copy_from_slice([&[8, 0, 0x45][..], &[0x86, 0xdd, 0x60], &[8, 6, 0]][kind]);
            }
            datagram(&bytes);
            asks_for_routers(&bytes);
        }

        #[test]
        fn a_cut_datagram_is_none(at in 0..47_usize) {
            let frame = udp_frame(ends(), b"hello");
            prop_assert_eq!(datagram(&frame[..at]), None);
        }
    }
}
