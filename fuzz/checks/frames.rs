//! Frames to the gateway of a network of machines: whatever they hold, it lives and says little.
//!
//! The input is pieces, each behind two bytes: what it is, and how long. Headers that a fuzzer would not find are put in
//! front of it, and checksums are made right.

use std::time::Duration;

use ferrite_vm::switch::Port;
use ferrite_vm::switch::gateway::Gateway;
use ferrite_vm::switch::topology::Network;

/// Ports that the gateway listens at.
const PORTS: [u16; 4] = [53, 67, 80, 123];
/// Pieces at most: a run stays short.
const PIECES_MAX: usize = 32;
/// Datagrams and segments that answer one frame, and an advertisement. More than one segment is said to whom has opened a
/// window and asked for much.
const SAID_MAX: usize = 50;

const UDP: u8 = 17;
const TCP: u8 = 6;

/// Sends `data` to a gateway, and time passes.
pub(crate) fn check(data: &[u8]) {
    let network = Network::of(&["one"], 1);
    let mut gateway = Gateway::new(&network, 7);
    gateway.arrive(arp(&network).into());
    let mut now = Duration::ZERO;
    let mut rest = data;
    for _ in 0..PIECES_MAX {
        let Some(([kind, length], behind)) = rest.split_first_chunk() else { break };
        let (piece, behind) = behind.split_at(usize::from(*length).min(behind.len()));
        rest = behind;
        now += Duration::from_millis(u64::from(kind >> 5) * 100);
        let port = PORTS[usize::from(kind & 3)];
        let frame = match kind >> 2 & 7 {
            0..=2 => ip(&network, UDP, &udp(port, piece)),
            3..=5 => ip(&network, TCP, &tcp(port, piece)),
            6 => [&network.mac(Port::GATEWAY).0[..], &network.mac(Port(1)).0, piece].concat(),
            _ => ip(&network, kind >> 5, piece),
        };
        gateway.arrive(frame.into());
        let said = gateway.poll(now);
        assert!(said.len() <= SAID_MAX, "{} frames for one", said.len());
    }
    // Nothing that is left over keeps it awake without saying anything.
    for _ in 0..3 {
        now += Duration::from_secs(30);
        assert!(gateway.poll(now).len() <= SAID_MAX);
    }
}

fn arp(network: &Network) -> Vec<u8> {
    let (mac, address) = (network.mac(Port(1)).0, network.ipv4(Port(1)).octets());
    let gateway = network.ipv4(Port::GATEWAY).octets();
    let head = [8, 6, 0, 1, 8, 0, 6, 4, 0, 1];
    [&[0xff; 6][..], &mac, &head, &mac, &address, &[0; 6], &gateway].concat()
}

fn udp(port: u16, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(payload.len() + 8).unwrap_or(u16::MAX);
    // DHCP's clients have a port of their own. A checksum of zero is none.
    let words = [68, port, length, 0];
    [&words.map(u16::to_be_bytes).concat(), payload].concat()
}

/// The piece is what follows the ports: sequence, acknowledgement, flags.
fn tcp(port: u16, piece: &[u8]) -> Vec<u8> {
    let mut segment = [&4000_u16.to_be_bytes()[..], &port.to_be_bytes(), piece].concat();
    segment.resize(segment.len().max(20), 0);
    segment
}

fn ip(network: &Network, protocol: u8, payload: &[u8]) -> Vec<u8> {
    let total = u16::try_from(payload.len() + 20).unwrap_or(u16::MAX).to_be_bytes();
    let (from, to) = (network.ipv4(Port(1)).octets(), network.ipv4(Port::GATEWAY).octets());
    let mut head =
        [&[0x45, 0][..], &total, &[0, 0, 0x40, 0, 64, protocol, 0, 0], &from, &to].concat();
    let sum = checksum(&head).to_be_bytes();
    head[10..12].copy_from_slice(&sum);
    let mut payload = payload.to_vec();
    if protocol == TCP && payload.len() >= 20 {
        payload[16..18].fill(0);
        let length = u16::try_from(payload.len()).unwrap_or(u16::MAX).to_be_bytes();
        let sum = checksum(&[&from[..], &to, &[0, protocol], &length, &payload].concat());
        payload[16..18].copy_from_slice(&sum.to_be_bytes());
    }
    let macs = [network.mac(Port::GATEWAY).0, network.mac(Port(1)).0].concat();
    [&macs[..], &[8, 0], &head, &payload].concat()
}

fn checksum(bytes: &[u8]) -> u16 {
    let word = |two: &[u8]| u32::from(two[0]) << 8 | u32::from(two.get(1).copied().unwrap_or(0));
    let sum: u32 = bytes.chunks(2).map(word).sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    !u16::try_from((folded & 0xffff) + (folded >> 16)).unwrap_or(0)
}
