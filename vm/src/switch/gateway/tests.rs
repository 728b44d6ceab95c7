//! Tests of the gateway as machines see it: frames in, frames out, whatever they hold.

use std::net::Ipv4Addr;

use proptest::prelude::*;
use smoltcp::wire::{
    EthernetFrame, EthernetProtocol, IpProtocol, Ipv4Packet, TcpPacket, UdpPacket,
};

use super::super::topology::Network;
use super::super::wire::{Ends, datagram, udp_frame};
use super::*;

fn network() -> Network {
    Network::of(&["one", "two"], 1)
}

fn gateway() -> (Gateway, Mac, Ipv4Addr) {
    let network = network();
    let mut gateway = Gateway::new(&network, 7);
    // The advertisement that is due at the start.
    assert_eq!(gateway.poll(Duration::ZERO).len(), 1);
    (gateway, network.mac(Port::GATEWAY), network.ipv4(Port::GATEWAY))
}

/// A datagram from the machine "one" to the gateway.
fn sent(port: u16, payload: &[u8]) -> Frame {
    let network = network();
    let source = (network.mac(Port(1)), network.ipv4(Port(1)), 4000);
    let to = (network.mac(Port::GATEWAY), network.ipv4(Port::GATEWAY), port);
    udp_frame(Ends { source, destination: to }, payload).into()
}

/// An ARP request or reply of the machine "one" about itself, so that the gateway knows where it is.
fn announcement() -> Frame {
    let network = network();
    let (mac, [a, b, c, d]) = (network.mac(Port(1)).0, network.ipv4(Port(1)).octets());
    let gateway = network.ipv4(Port::GATEWAY).octets();
    let head = [8, 6, 0, 1, 8, 0, 6, 4, 0, 1];
    [&[0xff; 6][..], &mac, &head, &mac, &[a, b, c, d], &[0; 6], &gateway].concat().into()
}

#[test]
fn a_question_is_answered_and_the_answer_is_a_datagram_back() {
    let (mut gateway, mac, address) = gateway();
    gateway.arrive(announcement());
    assert_eq!(gateway.poll(Duration::from_millis(1)).len(), 1, "ARP's answer");
    let question = b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x03two\x00\x00\x01\x00\x01";
    gateway.arrive(sent(53, question));
    let frames = gateway.poll(Duration::from_millis(2));
    let [frame] = &frames[..] else { panic!("{frames:?}") };
    assert_eq!(frame[6..12], mac.0);
    let reply = datagram(frame).unwrap();
    assert_eq!((reply.source_port, reply.destination_port), (53, 4000));
    assert_eq!(Ipv4Packet::new_checked(&frame[14..]).unwrap().src_addr(), address);
    assert!(reply.payload.ends_with(&[192, 168, 1, 11]));
}

#[test]
fn nothing_is_forwarded() {
    let (mut gateway, mac, _) = gateway();
    gateway.arrive(announcement());
    gateway.poll(Duration::from_millis(1));
    for address in [[192, 168, 1, 11], [8, 8, 8, 8], [127, 0, 0, 1]] {
        let source = (network().mac(Port(1)), network().ipv4(Port(1)), 4000);
        let destination = (mac, address.into(), 53);
        gateway.arrive(udp_frame(Ends { source, destination }, b"hello").into());
        assert_eq!(gateway.poll(Duration::from_millis(2)), [] as [Frame; 0], "{address:?}");
    }
}

#[test]
fn what_is_due_again_is_only_the_advertisement() {
    let (mut gateway, ..) = gateway();
    let now = Duration::from_secs(1);
    assert_eq!(gateway.poll(now).len(), 0);
    assert_eq!(gateway.next(now), router::EVERY, "it sleeps until then");
    assert_eq!(gateway.poll(router::EVERY).len(), 1);
}

/// Frames of every protocol that the gateway speaks, with rubbish in all places that are not needed to get there.
fn any_frame() -> impl Strategy<Value = Vec<u8>> {
    let bytes = proptest::collection::vec(any::<u8>(), 0..120);
    let protocol = prop_oneof![
        Just(IpProtocol::Udp),
        Just(IpProtocol::Tcp),
        Just(IpProtocol::Icmp),
        any::<u8>().prop_map(IpProtocol::from)
    ];
    let port = prop_oneof![Just(53_u16), Just(67), Just(80), Just(123), any::<u16>()];
    let kind = prop_oneof![
        Just(EthernetProtocol::Ipv4),
        Just(EthernetProtocol::Ipv6),
        Just(EthernetProtocol::Arp)
    ];
    (bytes, kind, protocol, port, 0..200_usize).prop_map(|(bytes, kind, protocol, port, cut)| {
        let mut frame = sent(port, &bytes).to_vec();
        let mut ethernet = EthernetFrame::new_unchecked(&mut frame[..]);
        ethernet.set_ethertype(kind);
        let payload = ethernet.payload_mut();
        if kind == EthernetProtocol::Ipv4 {
            let mut packet = Ipv4Packet::new_unchecked(payload);
            packet.set_next_header(protocol);
            packet.fill_checksum();
            if protocol != IpProtocol::Udp {
                let inner = packet.payload_mut();
                let length = inner.len().min(bytes.len());
                inner[..length].copy_from_slice(&bytes[..length]);
                let mut ports = UdpPacket::new_unchecked(&mut *inner);
                ports.set_dst_port(port);
                let (from, to) = (network().ipv4(Port(1)), network().ipv4(Port::GATEWAY));
                if protocol == IpProtocol::Tcp && length >= 20 {
                    TcpPacket::new_unchecked(inner).fill_checksum(&from.into(), &to.into());
                }
            }
        } else {
            let length = payload.len().min(bytes.len());
            payload[..length].copy_from_slice(&bytes[..length]);
        }
        frame.truncate(cut.max(14));
        frame
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn whatever_machines_send_it_lives_and_says_little(
        frames in proptest::collection::vec(any_frame(), 0..40)
    ) {
        let (mut gateway, ..) = gateway();
        gateway.arrive(announcement());
        gateway.poll(Duration::from_millis(1));
        for (number, frame) in (2..).zip(frames) {
            gateway.arrive(frame.into());
            let said = gateway.poll(Duration::from_millis(number));
            prop_assert!(said.len() <= 2, "{said:?}");
        }
    }
}
