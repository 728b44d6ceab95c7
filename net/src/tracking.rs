//! Connections that the kernel remembers follow what is published.
//!
//! *Responsible for*: forgetting those that lead elsewhere than the ports that are published now: a connection is translated
//! as its first packet was, for as long as anybody sends. *Never does*: look at connections that have nothing to do with
//! units.
//!
//! # Source
//! linux/netfilter/nfnetlink.h, nfnetlink_conntrack.h

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ferrite_schema::unit::{Port, Protocol};

use super::netlink::{Attributes, Batch, DUMP, Family, NetlinkProblem, Socket, attributes};
use super::nftables::{Ground, Member};
use super::ports;
use super::underlay::in_network;

#[cfg(test)]
mod tests;

/// `NFNL_SUBSYS_CTNETLINK << 8` and `IPCTNL_MSG_CT_GET`, `IPCTNL_MSG_CT_DELETE`.
const GET: u16 = 0x101;
const DELETE: u16 = 0x102;
/// Bytes of `struct nfgenmsg`: family, version, two of a number that is not used here.
const HEADER_BYTES: usize = 4;
/// `CTA_TUPLE_ORIG`, `CTA_TUPLE_REPLY`, `CTA_ID`, `CTA_ZONE`.
const ORIGINAL: u16 = 1;
const REPLY: u16 = 2;
const ID: u16 = 12;
const ZONE: u16 = 18;
/// `CTA_TUPLE_IP`, `CTA_TUPLE_PROTO`.
const TUPLE_ADDRESSES: u16 = 1;
const TUPLE_TRANSPORT: u16 = 2;
/// `CTA_IP_V4_SRC`, `CTA_IP_V4_DST`, `CTA_IP_V6_SRC`, `CTA_IP_V6_DST`.
const SOURCE4: u16 = 1;
const DESTINATION4: u16 = 2;
const SOURCE6: u16 = 3;
const DESTINATION6: u16 = 4;
/// `CTA_PROTO_NUM`, `CTA_PROTO_SRC_PORT`, `CTA_PROTO_DST_PORT`.
const TRANSPORT: u16 = 1;
const SOURCE_PORT: u16 = 2;
const DESTINATION_PORT: u16 = 3;
/// `IPPROTO_TCP`, `IPPROTO_UDP`.
const TCP: u8 = 6;
const UDP: u8 = 17;
/// Port at which the bridge's own address answers for names.
const RESOLVER: u16 = 53;
/// Connections in one request: a socket's buffer holds some 200 KiB.
const AT_ONCE: usize = 500;
/// Connections that are remembered here at a time, and how often as many are looked for: a unit can make as many as it likes.
const IN_MEMORY_MAX: usize = 8 * AT_ONCE;
const ROUNDS_MAX: usize = 100;
/// `ENOENT`: it has ended by itself.
const NO_SUCH: i32 = 2;

/// An address and a port; of a protocol without ports it is 0.
type End = (IpAddr, u16);

/// One direction of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Way {
    transport: u8,
    source: End,
    destination: End,
}

/// A connection: how it was begun, and how it is answered once it is translated.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Connection {
    original: Way,
    reply: Way,
}

/// What is published, as far as it says which connections there may be.
#[derive(Debug)]
pub(crate) struct Published {
    /// Networks of units, each with the bridge's own address in it.
    networks: Vec<(IpAddr, u8)>,
    addresses: BTreeSet<IpAddr>,
    /// By transport and port of the node.
    ports: BTreeMap<(u8, u16), Vec<Target>>,
}

#[derive(Debug)]
struct Target {
    port: Port,
    addresses: Vec<IpAddr>,
}

impl Published {
    pub(crate) fn new<'a>(ground: &Ground, members: impl Iterator<Item = &'a Member>) -> Self {
        let ipv4 = (IpAddr::V4(ground.ipv4.0), ground.ipv4.1);
        let ipv6 = ground.ipv6.map(|(own, prefix)| (IpAddr::V6(own), prefix));
        let networks: Vec<_> = std::iter::once(ipv4).chain(ipv6).collect();
        let mut addresses: BTreeSet<IpAddr> = networks.iter().map(|(own, _)| *own).collect();
        let mut ports: BTreeMap<_, Vec<Target>> = BTreeMap::new();
        for member in members {
            let own = [Some(IpAddr::V4(member.ipv4)), member.ipv6.map(IpAddr::V6)];
            let own: Vec<IpAddr> = own.into_iter().flatten().collect();
            addresses.extend(&own);
            for port in &member.ports {
                let transport = match port.protocol {
                    Protocol::Tcp => TCP,
                    Protocol::Udp => UDP,
                };
                let target = Target { port: port.clone(), addresses: own.clone() };
                ports.entry((transport, port.host)).or_default().push(target);
            }
        }
        Self { networks, addresses, ports }
    }

    /// Whether a connection goes on as none would begin now.
    fn is_stale(&self, connection: &Connection) -> bool {
        let Connection { original, reply } = connection;
        let ends = [original.source, original.destination, reply.source, reply.destination];
        if ends.iter().any(|(address, _)| self.is_of_units(*address) && !self.is_there(*address)) {
            return true;
        }
        let asked = original.destination;
        let wanted = self.target(original.transport, asked);
        if reply.source != asked {
            // It was translated, by us where it leads to a unit.
            return self.is_of_units(reply.source.0) && wanted != Some(reply.source);
        }
        // A connection by TCP ends by itself where nobody answers. By UDP there is none to end: who goes on sending from
        // the same port is not translated for ever. What got another source was sent by a unit to somebody else.
        let is_as_sent = reply.destination == original.source;
        original.transport == UDP && is_as_sent && wanted.is_some()
    }

    /// Where somebody is led who begins to speak to this port of the node.
    fn target(&self, transport: u8, (address, port): End) -> Option<End> {
        // The resolver of units is asked before anything that is published.
        if port == RESOLVER && self.networks.iter().any(|(own, _)| *own == address) {
            return None;
        }
        let targets = self.ports.get(&(transport, port))?;
        let target = targets.iter().find(|target| ports::covers(&target.port, address))?;
        let own = target.addresses.iter().find(|own| own.is_ipv4() == address.is_ipv4())?;
        Some((*own, target.port.container.unwrap_or(target.port.host)))
    }

    fn is_there(&self, address: IpAddr) -> bool {
        self.addresses.contains(&address)
    }

    fn is_of_units(&self, address: IpAddr) -> bool {
        self.networks.iter().any(|(own, prefix)| in_network(address, *own, *prefix))
    }
}

/// Lets the kernel forget connections that lead elsewhere than what is published. Answers with their number.
///
/// # Errors
/// The kernel does not tell of them, or keeps some.
pub(crate) fn follow(published: &Published) -> Result<usize, NetlinkProblem> {
    let socket = Socket::open(Family::Netfilter)?;
    let mut forgotten = 0;
    for _ in 0..ROUNDS_MAX {
        let stale = stale(&socket, published)?;
        for some in stale.chunks(AT_ONCE) {
            forget(&socket, some)?;
        }
        forgotten += stale.len();
        if stale.len() < IN_MEMORY_MAX {
            break;
        }
    }
    Ok(forgotten)
}

/// The connections that are to be forgotten, as the kernel says them; no more than are kept in memory at a time.
fn stale(socket: &Socket, published: &Published) -> Result<Vec<Vec<u8>>, NetlinkProblem> {
    let mut batch = Batch::default();
    batch.request("look at the connections", (GET, DUMP), &[0; HEADER_BYTES], |_| {});
    let mut stale = Vec::new();
    socket.ask_each(batch, |message| {
        let connection = connection(message);
        let is_stale = connection.is_some_and(|connection| published.is_stale(&connection));
        if is_stale && stale.len() < IN_MEMORY_MAX {
            stale.push(message.to_vec());
        }
    })?;
    Ok(stale)
}

fn forget(socket: &Socket, messages: &[Vec<u8>]) -> Result<(), NetlinkProblem> {
    let mut batch = Batch::default();
    for message in messages {
        let Some((header, named)) = message.split_at_checked(HEADER_BYTES) else { continue };
        let header = [*header.first().unwrap_or(&0), 0, 0, 0];
        batch.request("forget a connection", (DELETE, 0), &header, |put| name(put, named));
    }
    match socket.carry_out(batch) {
        Err(problem) if problem.errno() == Some(NO_SUCH) => Ok(()),
        done => done,
    }
}

/// What tells a connection from all others, as the kernel said it.
fn name(put: &mut Attributes<'_>, said: &[u8]) {
    for (kind, value) in attributes(said) {
        match kind {
            ORIGINAL => {
                put.nest(ORIGINAL, |put| {
                    put.raw(value);
                });
            }
            // Another one that is begun meanwhile between the same ends stays.
            ID | ZONE => drop(put.put(kind, value)),
            _ => {}
        }
    }
}

/// A connection as the kernel describes it.
fn connection(message: &[u8]) -> Option<Connection> {
    let (mut original, mut reply) = (None, None);
    for (kind, value) in attributes(message.get(HEADER_BYTES..)?) {
        match kind {
            ORIGINAL => original = way(value),
            REPLY => reply = way(value),
            _ => {}
        }
    }
    Some(Connection { original: original?, reply: reply? })
}

fn way(tuple: &[u8]) -> Option<Way> {
    let (mut source, mut destination) = (None, None);
    let (mut transport, mut from, mut to) = (None, 0, 0);
    for (kind, value) in attributes(tuple) {
        for (part, value) in attributes(value) {
            match (kind, part) {
                (TUPLE_ADDRESSES, SOURCE4 | SOURCE6) => source = address(value),
                (TUPLE_ADDRESSES, DESTINATION4 | DESTINATION6) => destination = address(value),
                (TUPLE_TRANSPORT, TRANSPORT) => transport = value.first().copied(),
                (TUPLE_TRANSPORT, SOURCE_PORT) => from = port(value)?,
                (TUPLE_TRANSPORT, DESTINATION_PORT) => to = port(value)?,
                _ => {}
            }
        }
    }
    Some(Way { transport: transport?, source: (source?, from), destination: (destination?, to) })
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    let ipv4 = <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from);
    ipv4.or_else(|| <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from))
}

fn port(bytes: &[u8]) -> Option<u16> {
    bytes.try_into().ok().map(u16::from_be_bytes)
}
