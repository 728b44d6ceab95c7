//! Requests about interfaces, addresses and routes.
//!
//! # Source
//! rtnetlink(7), linux/rtnetlink.h, linux/if_link.h, linux/if_addr.h

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::addresses::Mac;
use super::netlink::{
    Attributes, Batch, CREATE, DUMP, EXCLUSIVE, NetlinkProblem, REPLACE, Socket, attributes,
};

/// `RTM_NEWLINK`, `RTM_DELLINK`, `RTM_NEWADDR`, `RTM_DELADDR`, `RTM_NEWROUTE`, `RTM_DELROUTE`, `RTM_GETROUTE`.
const NEW_LINK: u16 = 16;
const DELETE_LINK: u16 = 17;
const NEW_ADDRESS: u16 = 20;
const DELETE_ADDRESS: u16 = 21;
const NEW_ROUTE: u16 = 24;
const DELETE_ROUTE: u16 = 25;
const GET_ROUTE: u16 = 26;

/// `IFLA_*`
const LINK_ADDRESS: u16 = 1;
const LINK_NAME: u16 = 3;
const LINK_MTU: u16 = 4;
const LINK_MASTER: u16 = 10;
const LINK_INFO: u16 = 18;
const LINK_NAMESPACE_FD: u16 = 28;
/// `IFLA_INFO_KIND`, `IFLA_INFO_DATA`.
const INFO_KIND: u16 = 1;
const INFO_DATA: u16 = 2;
/// `VETH_INFO_PEER`.
const VETH_PEER: u16 = 1;
/// `IFLA_BR_MCAST_SNOOPING`.
const BRIDGE_SNOOPING: u16 = 23;
/// `IFF_UP`.
const UP: u32 = 1;

/// `IFA_ADDRESS`, `IFA_LOCAL`, `IFA_FLAGS`, and `IFA_F_NODAD`: nobody else can have the address.
const ADDRESS_ADDRESS: u16 = 1;
const ADDRESS_LOCAL: u16 = 2;
const ADDRESS_FLAGS: u16 = 8;
const WITHOUT_DETECTION: u32 = 2;

/// `RTA_DST`, `RTA_OIF`, `RTA_GATEWAY`, `RTA_PRIORITY`, `RTA_PREFSRC`, `RTA_VIA`.
const ROUTE_NETWORK: u16 = 1;
const ROUTE_INTERFACE: u16 = 4;
const ROUTE_GATEWAY: u16 = 5;
const ROUTE_PRIORITY: u16 = 6;
const ROUTE_SOURCE: u16 = 7;
const ROUTE_VIA: u16 = 18;
/// `RTNH_F_ONLINK`: the gateway is a neighbour, whatever other routes say.
const NEIGHBOUR: u32 = 4;
/// What tells routes of the cluster's network from those of others (`rtm_protocol`, rt_protos of iproute2 has nobody there), and how
/// urgent they are: others with the same network stay beside them, and those of leases and routers come after them.
const OURS: u8 = 70;
const URGENCY: u32 = 70;
/// `RT_SCOPE_NOWHERE`: of any scope, for what is to go.
const ANY_SCOPE: u8 = 255;
/// Bytes of `struct rtmsg`.
const ROUTE_HEADER_BYTES: usize = 12;
/// After every other way to the same network, and never in the place of one: the kernel replaces what is as urgent.
const LAST: u32 = u32::MAX;
/// `RT_TABLE_MAIN`, `RTPROT_STATIC`, `RTN_UNICAST`, `RTN_UNREACHABLE`, `RT_SCOPE_LINK`.
const MAIN_TABLE: u8 = 254;
const STATIC: u8 = 4;
const UNICAST: u8 = 1;
const UNREACHABLE: u8 = 7;
const LINK_SCOPE: u8 = 253;

const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;

/// A cable between the bridge and a container.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cable<'a> {
    /// The node's end.
    pub(crate) link: &'a str,
    /// The bridge, which the node's end becomes a port of.
    pub(crate) bridge: u32,
    /// The container's end.
    pub(crate) name: &'a str,
    /// Its Ethernet address.
    pub(crate) mac: Mac,
    /// The container's network namespace.
    pub(crate) namespace: u32,
    /// Longest packet, in bytes; the kernel's choice where absent.
    pub(crate) mtu: Option<u32>,
}

/// Where packets for a network go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// Out of an interface that has no neighbours; what the node itself sends is from this address.
    Out(u32, IpAddr),
    /// Out of an interface, to this neighbour there; likewise.
    Via(u32, IpAddr, IpAddr),
    /// Nowhere: whoever sends them hears so.
    Nowhere,
}

/// `struct ifinfomsg`: family, type, index, flags, mask of flags.
fn link_header(index: u32, flags: u32) -> Vec<u8> {
    let mut header = vec![0; 4];
    for part in [index, flags, flags] {
        header.extend_from_slice(&part.to_ne_bytes());
    }
    header
}

/// Makes the bridge, or changes the one that is there.
pub(crate) fn make_bridge(batch: &mut Batch, name: &str, mac: Mac) {
    batch.request("make the units' bridge", (NEW_LINK, CREATE), &link_header(0, UP), |put| {
        put.text(LINK_NAME, name).put(LINK_ADDRESS, &mac);
        put.nest(LINK_INFO, |info| {
            info.text(INFO_KIND, "bridge");
            info.nest(INFO_DATA, |data| {
                data.put(BRIDGE_SNOOPING, &[0]);
            });
        });
    });
}

/// Lays a cable, the node's end up.
pub(crate) fn lay_cable(batch: &mut Batch, cable: Cable<'_>) {
    let kind = (NEW_LINK, CREATE | EXCLUSIVE);
    let mtu = |put: &mut Attributes<'_>| {
        if let Some(mtu) = cable.mtu {
            put.number(LINK_MTU, mtu);
        }
    };
    let peer = |peer: &mut Attributes<'_>| {
        peer.raw(&link_header(0, 0)).text(LINK_NAME, cable.name);
        mtu(peer);
        peer.put(LINK_ADDRESS, &cable.mac).number(LINK_NAMESPACE_FD, cable.namespace);
    };
    batch.request("connect the container to the bridge", kind, &link_header(0, UP), |put| {
        put.text(LINK_NAME, cable.link).number(LINK_MASTER, cable.bridge);
        mtu(put);
        put.nest(LINK_INFO, |info| {
            info.text(INFO_KIND, "veth");
            info.nest(INFO_DATA, |data| {
                data.nest(VETH_PEER, peer);
            });
        });
    });
}

/// Makes an interface of a kind that needs nothing else, up; the one that is there stays.
pub(crate) fn make(batch: &mut Batch, act: &'static str, (name, kind): (&str, &str)) {
    batch.request(act, (NEW_LINK, CREATE), &link_header(0, UP), |put| {
        put.text(LINK_NAME, name);
        put.nest(LINK_INFO, |info| {
            info.text(INFO_KIND, kind);
        });
    });
}

/// Sets how long an interface's packets may be, in bytes.
pub(crate) fn set_mtu(batch: &mut Batch, index: u32, mtu: u32) {
    let header = link_header(index, UP);
    batch.request("set an interface's longest packet", (NEW_LINK, 0), &header, |put| {
        put.number(LINK_MTU, mtu);
    });
}

/// Removes an interface.
pub(crate) fn remove(batch: &mut Batch, name: &str) {
    batch.request("remove an interface", (DELETE_LINK, 0), &link_header(0, 0), |put| {
        put.text(LINK_NAME, name);
    });
}

/// Sets an interface up.
pub(crate) fn set_up(batch: &mut Batch, index: u32) {
    batch.request("set up an interface", (NEW_LINK, 0), &link_header(index, UP), |_| {});
}

/// Gives an interface an address.
pub(crate) fn add_address(batch: &mut Batch, index: u32, address: IpAddr, prefix: u8) {
    let (family, bytes) = wire(address);
    let mut header = vec![family, prefix, 0, 0];
    header.extend_from_slice(&index.to_ne_bytes());
    let kind = (NEW_ADDRESS, CREATE | REPLACE);
    batch.request("give an interface its address", kind, &header, |put| {
        put.put(ADDRESS_LOCAL, &bytes).put(ADDRESS_ADDRESS, &bytes);
        if address.is_ipv6() {
            put.number(ADDRESS_FLAGS, WITHOUT_DETECTION);
        }
    });
}

/// Takes an interface's address away.
pub(crate) fn remove_address(batch: &mut Batch, index: u32, address: IpAddr, prefix: u8) {
    let (family, bytes) = wire(address);
    let mut header = vec![family, prefix, 0, 0];
    header.extend_from_slice(&index.to_ne_bytes());
    batch.request("take an interface's address away", (DELETE_ADDRESS, 0), &header, |put| {
        put.put(ADDRESS_LOCAL, &bytes).put(ADDRESS_ADDRESS, &bytes);
    });
}

/// Routes a network of the cluster, or changes the route that is there.
pub(crate) fn add_route(batch: &mut Batch, network: (IpAddr, u8), way: Way) {
    let ((family, bytes), prefix) = (wire(network.0), network.1);
    let (scope, what, flags) = match way {
        Way::Out(..) if network.0.is_ipv4() => (LINK_SCOPE, UNICAST, 0),
        Way::Out(..) => (0, UNICAST, 0),
        Way::Via(..) => (0, UNICAST, NEIGHBOUR),
        Way::Nowhere => (0, UNREACHABLE, 0),
    };
    let header = route_header([family, prefix, MAIN_TABLE, OURS, scope, what], flags);
    batch.request("set a route", (NEW_ROUTE, CREATE | REPLACE), &header, |put| {
        put.put(ROUTE_NETWORK, &bytes);
        match way {
            Way::Out(index, source) => {
                put.number(ROUTE_INTERFACE, index).put(ROUTE_SOURCE, &wire(source).1);
                put.number(ROUTE_PRIORITY, URGENCY);
            }
            Way::Via(index, neighbour, source) => {
                let (of, at) = wire(neighbour);
                if of == family {
                    put.put(ROUTE_GATEWAY, &at);
                } else {
                    put.put(ROUTE_VIA, &[&u16::from(of).to_ne_bytes()[..], &at].concat());
                }
                put.number(ROUTE_INTERFACE, index).put(ROUTE_SOURCE, &wire(source).1);
                put.number(ROUTE_PRIORITY, URGENCY);
            }
            Way::Nowhere => drop(put.number(ROUTE_PRIORITY, LAST)),
        }
    });
}

/// Takes the way to a network of the cluster away.
pub(crate) fn remove_route(batch: &mut Batch, network: (IpAddr, u8)) {
    let ((family, bytes), prefix) = (wire(network.0), network.1);
    let header = route_header([family, prefix, MAIN_TABLE, OURS, ANY_SCOPE, UNICAST], 0);
    batch.request("take a route away", (DELETE_ROUTE, 0), &header, |put| {
        put.put(ROUTE_NETWORK, &bytes).number(ROUTE_PRIORITY, URGENCY);
    });
}

/// `struct rtmsg`: family, length of the prefix, that of the source's, TOS, table, protocol, scope, type, flags.
fn route_header(
    [family, prefix, table, protocol, scope, what]: [u8; 6],
    flags: u32,
) -> [u8; ROUTE_HEADER_BYTES] {
    let [a, b, c, d] = flags.to_ne_bytes();
    [family, prefix, 0, 0, table, protocol, scope, what, a, b, c, d]
}

/// The ways to networks of the cluster that are there.
pub(crate) fn own_routes(socket: &Socket) -> Result<BTreeMap<(IpAddr, u8), Way>, NetlinkProblem> {
    let mut found = BTreeMap::new();
    for family in [AF_INET, AF_INET6] {
        let mut batch = Batch::default();
        let header = route_header([family, 0, 0, 0, 0, 0], 0);
        batch.request("look at the routes", (GET_ROUTE, DUMP), &header, |_| {});
        let answers = socket.ask(batch)?;
        found.extend(answers.iter().filter_map(|message| own_route(message)));
    }
    Ok(found)
}

/// A route, if it is one of ours and leads somewhere.
fn own_route(message: &[u8]) -> Option<((IpAddr, u8), Way)> {
    let [family, prefix, _, _, table, protocol, _, what] = *message.first_chunk()?;
    if (table, protocol, what) != (MAIN_TABLE, OURS, UNICAST) {
        return None;
    }
    let (mut network, mut index, mut neighbour, mut source) = (None, None, None, None);
    for (kind, value) in attributes(message.get(ROUTE_HEADER_BYTES..)?) {
        match kind {
            ROUTE_NETWORK => network = address(family, value),
            ROUTE_INTERFACE => index = value.try_into().ok().map(u32::from_ne_bytes),
            ROUTE_GATEWAY => neighbour = address(family, value),
            ROUTE_VIA => {
                let of = value.first_chunk().map(|of| u16::from_ne_bytes(*of));
                let of = of.and_then(|of| u8::try_from(of).ok());
                neighbour = of.and_then(|of| address(of, value.get(2..)?));
            }
            ROUTE_SOURCE => source = address(family, value),
            _ => {}
        }
    }
    let way = match (index, neighbour, source) {
        (Some(index), None, Some(source)) => Way::Out(index, source),
        (Some(index), Some(neighbour), Some(source)) => Way::Via(index, neighbour, source),
        // None that anybody wants.
        _ => Way::Nowhere,
    };
    Some(((network?, prefix), way))
}

fn address(family: u8, bytes: &[u8]) -> Option<IpAddr> {
    match family {
        AF_INET => Some(IpAddr::from(<[u8; 4]>::try_from(bytes).ok()?)),
        AF_INET6 => Some(IpAddr::from(<[u8; 16]>::try_from(bytes).ok()?)),
        _ => None,
    }
}

/// Sends everything that has no better route through `gateway`.
pub(crate) fn add_default_route(batch: &mut Batch, index: u32, gateway: IpAddr) {
    let (family, bytes) = wire(gateway);
    let header = [family, 0, 0, 0, MAIN_TABLE, STATIC, 0, UNICAST, 0, 0, 0, 0];
    batch.request("set the default route", (NEW_ROUTE, CREATE | REPLACE), &header, |put| {
        put.put(ROUTE_GATEWAY, &bytes).number(ROUTE_INTERFACE, index);
    });
}

fn wire(address: IpAddr) -> (u8, Vec<u8>) {
    match address {
        IpAddr::V4(address) => (AF_INET, Ipv4Addr::octets(&address).to_vec()),
        IpAddr::V6(address) => (AF_INET6, Ipv6Addr::octets(&address).to_vec()),
    }
}
