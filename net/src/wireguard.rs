//! Requests about the kernel's WireGuard, and what it answers.
//!
//! # Source
//! linux/wireguard.h, linux/genetlink.h, wireguard.com/xplatform

use std::net::{IpAddr, SocketAddr};

use super::netlink::{Attributes, Batch, DUMP, Family, NetlinkProblem, Socket, attributes};

/// Bytes of a key.
pub(crate) const KEY_BYTES: usize = 32;
/// A private or a public key.
pub(crate) type Key = [u8; KEY_BYTES];

/// `GENL_ID_CTRL`, `CTRL_CMD_GETFAMILY`, `CTRL_ATTR_FAMILY_ID`, `CTRL_ATTR_FAMILY_NAME`.
const CONTROL: u16 = 0x10;
const GET_FAMILY: u8 = 3;
const FAMILY_ID: u16 = 1;
const FAMILY_NAME: u16 = 2;
/// `WG_CMD_GET_DEVICE`, `WG_CMD_SET_DEVICE`.
const GET_DEVICE: u8 = 0;
const SET_DEVICE: u8 = 1;
/// `WGDEVICE_A_*`
const DEVICE_NAME: u16 = 2;
const DEVICE_PRIVATE_KEY: u16 = 3;
const DEVICE_PUBLIC_KEY: u16 = 4;
const DEVICE_PORT: u16 = 6;
const DEVICE_PEERS: u16 = 8;
/// `WGPEER_A_*`
const PEER_KEY: u16 = 1;
const PEER_FLAGS: u16 = 3;
const PEER_ENDPOINT: u16 = 4;
const PEER_HANDSHAKE: u16 = 6;
const PEER_RECEIVED: u16 = 7;
const PEER_SENT: u16 = 8;
const PEER_ALLOWED: u16 = 9;
/// `WGPEER_F_REMOVE_ME`, `WGPEER_F_REPLACE_ALLOWEDIPS`.
const REMOVE: u32 = 1;
const REPLACE_ALLOWED: u32 = 2;
/// `WGALLOWEDIP_A_*`
const ALLOWED_FAMILY: u16 = 1;
const ALLOWED_ADDRESS: u16 = 2;
const ALLOWED_PREFIX: u16 = 3;

const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;

/// Peers in one message: it must fit into a socket's buffer.
const PEERS_AT_ONCE: usize = 100;

/// A peer as it is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Peer {
    pub(crate) key: Key,
    /// Where it is; `None` leaves what the kernel has learnt.
    pub(crate) endpoint: Option<SocketAddr>,
    /// Networks that are behind it, and that its packets may come from.
    pub(crate) allowed: Vec<(IpAddr, u8)>,
}

/// What the kernel says of a device.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Device {
    /// Absent where it has no private key.
    pub(crate) public_key: Option<Key>,
    /// Its peers.
    pub(crate) peers: Vec<(Key, Seen)>,
}

/// What the kernel says of a peer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    /// Time of the last handshake in seconds since the epoch; 0 where there was none.
    pub(crate) handshake_s: u64,
    /// What was sent to it, handshakes that were begun among it.
    pub(crate) sent_bytes: u64,
    /// What has come from it.
    pub(crate) received_bytes: u64,
}

/// The kernel's WireGuard.
#[derive(Debug)]
pub(crate) struct WireGuard {
    socket: Socket,
    family: u16,
}

impl WireGuard {
    /// Finds it: it is there once a device is.
    pub(crate) fn open() -> Result<Self, NetlinkProblem> {
        let socket = Socket::open(Family::Generic)?;
        let mut batch = Batch::default();
        let header = [GET_FAMILY, 1, 0, 0];
        batch.request("find WireGuard in the kernel", (CONTROL, 0), &header, |put| {
            put.text(FAMILY_NAME, "wireguard");
        });
        let mut family = None;
        for answer in socket.ask(batch)? {
            for (kind, value) in attributes(answer.get(4..).unwrap_or_default()) {
                if kind == FAMILY_ID {
                    family = value.get(..2).and_then(|value| value.try_into().ok());
                }
            }
        }
        let family = family.map(u16::from_ne_bytes).ok_or_else(NetlinkProblem::nonsense)?;
        Ok(Self { socket, family })
    }

    /// Gives the device its key and its port.
    pub(crate) fn set_device(
        &self,
        name: &str,
        private: &Key,
        port: u16,
    ) -> Result<(), NetlinkProblem> {
        let batch = self.request("give the mesh its key", (SET_DEVICE, 0), |put| {
            put.text(DEVICE_NAME, name).put(DEVICE_PRIVATE_KEY, private);
            put.put(DEVICE_PORT, &port.to_ne_bytes());
        });
        self.socket.carry_out(batch)
    }

    /// Makes or changes peers, and removes others.
    pub(crate) fn set_peers(
        &self,
        name: &str,
        peers: &[Peer],
        gone: &[Key],
    ) -> Result<(), NetlinkProblem> {
        for peers in peers.chunks(PEERS_AT_ONCE) {
            self.peers(name, peers.len(), |index, put| {
                if let Some(peer) = peers.get(index) {
                    write(peer, put);
                }
            })?;
        }
        for gone in gone.chunks(PEERS_AT_ONCE) {
            self.peers(name, gone.len(), |index, put| {
                if let Some(key) = gone.get(index) {
                    put.put(PEER_KEY, key).number(PEER_FLAGS, REMOVE);
                }
            })?;
        }
        Ok(())
    }

    fn peers(
        &self,
        name: &str,
        count: usize,
        fill: impl Fn(usize, &mut Attributes<'_>),
    ) -> Result<(), NetlinkProblem> {
        let batch = self.request("give the mesh its peers", (SET_DEVICE, 0), |put| {
            put.text(DEVICE_NAME, name).nest(DEVICE_PEERS, |all| {
                for index in 0..count {
                    all.nest(0, |peer| fill(index, peer));
                }
            });
        });
        self.socket.carry_out(batch)
    }

    /// What the device is like.
    pub(crate) fn device(&self, name: &str) -> Result<Device, NetlinkProblem> {
        let batch = self.request("look at the mesh", (GET_DEVICE, DUMP), |put| {
            put.text(DEVICE_NAME, name);
        });
        let mut device = Device::default();
        for answer in self.socket.ask(batch)? {
            read(answer.get(4..).unwrap_or_default(), &mut device);
        }
        Ok(device)
    }

    fn request(
        &self,
        act: &'static str,
        (command, flags): (u8, u16),
        fill: impl FnOnce(&mut Attributes<'_>),
    ) -> Batch {
        let mut batch = Batch::default();
        batch.request(act, (self.family, flags), &[command, 1, 0, 0], fill);
        batch
    }
}

/// Makes a device, if there is none of this name.
pub(crate) fn make_device(batch: &mut Batch, name: &str) {
    super::interface::make(batch, "make the mesh", (name, "wireguard"));
}

fn write(peer: &Peer, put: &mut Attributes<'_>) {
    put.put(PEER_KEY, &peer.key).number(PEER_FLAGS, REPLACE_ALLOWED);
    if let Some(endpoint) = peer.endpoint {
        put.put(PEER_ENDPOINT, &socket_address(endpoint));
    }
    put.nest(PEER_ALLOWED, |all| {
        for (address, prefix) in &peer.allowed {
            let (family, bytes) = match address {
                IpAddr::V4(address) => (AF_INET, address.octets().to_vec()),
                IpAddr::V6(address) => (AF_INET6, address.octets().to_vec()),
            };
            all.nest(0, |allowed| {
                allowed.put(ALLOWED_FAMILY, &family.to_ne_bytes());
                allowed.put(ALLOWED_ADDRESS, &bytes).put(ALLOWED_PREFIX, &[*prefix]);
            });
        }
    });
}

/// `struct sockaddr_in`, `struct sockaddr_in6`.
fn socket_address(address: SocketAddr) -> Vec<u8> {
    let port = address.port().to_be_bytes();
    match address.ip() {
        IpAddr::V4(ip) => [&AF_INET.to_ne_bytes()[..], &port, &ip.octets(), &[0; 8]].concat(),
        IpAddr::V6(ip) => {
            [&AF_INET6.to_ne_bytes()[..], &port, &[0; 4], &ip.octets(), &[0; 4]].concat()
        }
    }
}

/// A number of 64 bits, or the first of a pair of them.
fn long(value: &[u8]) -> u64 {
    let bytes = value.get(..8).and_then(|bytes| bytes.try_into().ok());
    bytes.map_or(0, u64::from_ne_bytes)
}

/// One message of an answer; a device with many peers has several, and a peer may be cut in two.
fn read(message: &[u8], device: &mut Device) {
    for (kind, value) in attributes(message) {
        match kind {
            DEVICE_PUBLIC_KEY => device.public_key = value.try_into().ok(),
            DEVICE_PEERS => {
                for (_, peer) in attributes(value) {
                    let (mut key, mut seen) = (None, Seen::default());
                    for (kind, value) in attributes(peer) {
                        match kind {
                            PEER_KEY => key = Key::try_from(value).ok(),
                            PEER_HANDSHAKE => seen.handshake_s = long(value),
                            PEER_RECEIVED => seen.received_bytes = long(value),
                            PEER_SENT => seen.sent_bytes = long(value),
                            _ => {}
                        }
                    }
                    let known = |key| device.peers.iter().any(|(other, _)| *other == key);
                    if let Some(key) = key.filter(|key| !known(*key)) {
                        device.peers.push((key, seen));
                    }
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_is_written_as_the_kernel_reads_it() {
        let mut bytes = Vec::new();
        let peer = Peer {
            key: [7; KEY_BYTES],
            endpoint: Some("10.0.0.2:51820".parse().unwrap()),
            allowed: vec![("10.112.3.0".parse().unwrap(), 24)],
        };
        write(&peer, &mut Attributes::of(&mut bytes));
        let found: Vec<(u16, Vec<u8>)> =
            attributes(&bytes).map(|(kind, value)| (kind, value.to_vec())).collect();
        assert_eq!(found[0], (PEER_KEY, vec![7; KEY_BYTES]));
        assert_eq!(found[1], (PEER_FLAGS, vec![2, 0, 0, 0]));
        let endpoint = [&[2, 0, 0xca, 0x6c, 10, 0, 0, 2][..], &[0; 8]].concat();
        assert_eq!(found[2], (PEER_ENDPOINT, endpoint));
        let allowed: Vec<_> = attributes(&found[3].1).collect();
        let parts: Vec<_> = attributes(allowed[0].1).collect();
        let expected: [(u16, &[u8]); 3] = [(1, &[2, 0]), (2, &[10, 112, 3, 0]), (3, &[24])];
        assert_eq!(parts, expected);
        let v6 = socket_address("[fe80::1]:1".parse().unwrap());
        assert_eq!((v6.len(), v6[8], v6[23]), (28, 0xfe, 1));
    }

    #[test]
    fn what_the_kernel_says_of_a_device_is_read_over_several_messages() {
        let mut device = Device::default();
        for (key, seconds) in [(1, 0_u64), (2, 1_700_000_000), (2, 0)] {
            let mut bytes = Vec::new();
            let mut put = Attributes::of(&mut bytes);
            put.put(DEVICE_PUBLIC_KEY, &[9; KEY_BYTES]).nest(DEVICE_PEERS, |all| {
                all.nest(0, |peer| {
                    peer.put(PEER_KEY, &[key; KEY_BYTES]);
                    peer.put(PEER_HANDSHAKE, &[seconds.to_ne_bytes(), [0; 8]].concat());
                });
            });
            read(&bytes, &mut device);
        }
        assert_eq!(device.public_key, Some([9; KEY_BYTES]));
        let shaken = Seen { handshake_s: 1_700_000_000, ..Seen::default() };
        assert_eq!(device.peers, [([1; KEY_BYTES], Seen::default()), ([2; KEY_BYTES], shaken)]);
        read(&[5, 0, 8], &mut device);
    }
}
