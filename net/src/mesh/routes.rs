//! The routes to other machines' networks, in the kernel. They are told from those of others by who has set them.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::flat;
use super::told::{CLUSTER_PREFIX6, Network};
use crate::interface::{self, Way};
use crate::netlink::{Batch, Family, NetlinkProblem, Socket};

/// Routes in one message: it must fit into a socket's buffer.
const ROUTES_AT_ONCE: usize = 500;
/// `ESRCH`: there is no such route.
const NO_ROUTE: i32 = 3;

/// A node's addresses in the cluster's network, by which it speaks itself.
pub(crate) type Own = (Ipv4Addr, Option<Ipv6Addr>);

/// The one of a network's family.
pub(super) fn source(own: Own, (network, _): Network) -> Option<IpAddr> {
    match network {
        IpAddr::V4(_) => Some(IpAddr::V4(own.0)),
        IpAddr::V6(_) => own.1.map(IpAddr::V6),
    }
}

/// Plain routes for the kernel.
pub(crate) fn ways(wanted: &flat::Wanted, own: Own) -> BTreeMap<Network, Way> {
    let ways = wanted.routes.iter().filter_map(|(network, hop)| {
        Some((*network, Way::Via(hop.link, hop.neighbour, source(own, *network)?)))
    });
    ways.collect()
}

/// These are the ways to other machines' networks from now on, and no others, whoever has set those that are there: the kernel
/// drops some by itself where a link goes down or an address goes.
pub(crate) fn set(wanted: &BTreeMap<Network, Way>) -> Result<(), NetlinkProblem> {
    let socket = Socket::open(Family::Route)?;
    let there = interface::own_routes(&socket)?;
    let (fresh, gone) = changes(&there, wanted);
    let mut failed = None;
    // What is nobody's any more goes first, whatever becomes of the others.
    for network in gone {
        let mut batch = Batch::default();
        interface::remove_route(&mut batch, network);
        match socket.carry_out(batch) {
            Err(error) if error.errno() != Some(NO_ROUTE) => failed = Some(error),
            _ => {}
        }
    }
    for routes in fresh.chunks(ROUTES_AT_ONCE) {
        if add(&socket, routes).is_ok() {
            continue;
        }
        // One way that the kernel does not take must not be in that of the others.
        for route in routes {
            if let Err(error) = add(&socket, std::slice::from_ref(route)) {
                tracing::debug!(network = ?route.0, error = ferrite_schema::chain(&error), "route-not-set");
                failed = Some(error);
            }
        }
    }
    failed.map_or(Ok(()), Err)
}

fn add(socket: &Socket, routes: &[(Network, Way)]) -> Result<(), NetlinkProblem> {
    let mut batch = Batch::default();
    for (network, way) in routes {
        interface::add_route(&mut batch, *network, *way);
    }
    socket.carry_out(batch)
}

/// What is to be set, and what is to go.
fn changes(
    there: &BTreeMap<Network, Way>,
    wanted: &BTreeMap<Network, Way>,
) -> (Vec<(Network, Way)>, Vec<Network>) {
    let fresh = wanted.iter().filter(|(network, way)| there.get(network) != Some(way));
    let gone = there.keys().filter(|network| !wanted.contains_key(network));
    (fresh.map(|(network, way)| (*network, *way)).collect(), gone.copied().collect())
}

/// What is nobody's in the cluster's network leads nowhere, whatever carries it: else it would go to whoever is this node's
/// router, in the clear.
pub(crate) fn close(
    (ipv4, ipv6): ((Ipv4Addr, u8), Ipv6Addr),
    with_ipv6: bool,
) -> Result<(), NetlinkProblem> {
    let mut batch = Batch::default();
    interface::add_route(&mut batch, (ipv4.0.into(), ipv4.1), Way::Nowhere);
    if with_ipv6 {
        interface::add_route(&mut batch, (ipv6.into(), CLUSTER_PREFIX6), Way::Nowhere);
    }
    Socket::open(Family::Route)?.carry_out(batch)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::namespace::{self, Room, ip};

    #[test]
    fn a_network_that_the_node_is_in_stays_reachable() {
        let name = "a_network_that_the_node_is_in_stays_reachable";
        namespace::inside(&format!("{}::{name}", module_path!()), || {
            ip("link add lan0 type bridge");
            ip("link set lan0 up");
            ip("address add 10.112.0.1/12 dev lan0");
            let ipv6 = "fd12:3456:789a::".parse().unwrap();
            let ipv4 = ([10, 112, 0, 0].into(), 12);
            for _ in 0..2 {
                close((ipv4, ipv6), true).unwrap();
                let way = ip("route get 10.115.0.9");
                assert!(!way.contains("unreachable") && way.contains("dev lan0"), "{way}");
            }
            ip("address flush dev lan0");
            let left = ip("route show");
            assert!(left.contains("unreachable 10.112.0.0/12"), "{left}");
        });
    }

    fn network(third: u8) -> Network {
        ([10, 112, third, 0].into(), 24)
    }

    #[test]
    fn what_others_set_stays_and_what_the_kernel_dropped_comes_back() {
        let name = "what_others_set_stays_and_what_the_kernel_dropped_comes_back";
        namespace::inside(&format!("{}::{name}", module_path!()), || {
            std::fs::write("/proc/sys/net/ipv6/conf/default/accept_dad", "0").unwrap();
            let room = Room::new();
            room.cable("lan0", "eth0");
            let lay = || {
                ip("link set lan0 up");
                ip("address replace 10.0.0.1/24 dev lan0");
                ip("address replace fd00:9::1/64 dev lan0");
            };
            lay();
            ip("route add 10.112.9.0/24 via 10.0.0.9");
            ip("route add 10.112.3.0/24 via 10.0.0.9");
            let link = Socket::open(Family::Route).unwrap().index_of("lan0").unwrap();
            let (own4, own6) = ("10.0.0.1".parse().unwrap(), "fd00:9::1".parse().unwrap());
            let via = |neighbour: &str, source| Way::Via(link, neighbour.parse().unwrap(), source);
            let six: Network = ("fd12:3456:789a:2::".parse().unwrap(), 64);
            let wanted: BTreeMap<Network, Way> = [
                (network(2), via("10.0.0.2", own4)),
                (network(3), via("10.0.0.3", own4)),
                (network(4), via("fd00:9::4", own4)),
                (six, via("fd00:9::2", own6)),
            ]
            .into();
            let shown = || ip("route show") + &ip("-6 route show");
            let there = || {
                let socket = Socket::open(Family::Route).unwrap();
                interface::own_routes(&socket).unwrap()
            };
            set(&wanted).unwrap();
            assert_eq!(there(), wanted, "{}", shown());
            let now = shown();
            let line =
                "10.112.4.0/24 via inet6 fd00:9::4 dev lan0 proto 70 src 10.0.0.1 metric 70 onlink";
            assert!(now.contains(line), "{now}");
            assert!(now.contains("10.112.3.0/24 via 10.0.0.9 dev lan0 \n"), "another's: {now}");
            set(&wanted).unwrap();
            assert_eq!(shown(), now);

            // With the link goes all that leads over it.
            ip("link set lan0 down");
            lay();
            assert!(there().len() < wanted.len(), "the aid works: {}", shown());
            set(&wanted).unwrap();
            assert_eq!(there(), wanted);

            // A neighbour that is elsewhere, and others that are gone.
            let moved: BTreeMap<Network, Way> = [(network(2), via("10.0.0.7", own4))].into();
            ip("route add 10.112.9.0/24 via 10.0.0.9");
            set(&moved).unwrap();
            assert_eq!(there(), moved);
            assert!(ip("route show").contains("10.112.9.0/24 via 10.0.0.9"), "another's");
            set(&BTreeMap::new()).unwrap();
            assert!(!shown().contains("proto 70"), "{}", shown());
        });
    }

    proptest! {
        /// Whatever is there, afterwards there is what is wanted; what is there already is left alone.
        #[test]
        fn changes_lead_to_what_is_wanted(
            there in proptest::collection::btree_map(0..9_u8, 0..3_u32, 0..6),
            wanted in proptest::collection::btree_map(0..9_u8, 0..3_u32, 0..6),
        ) {
            let source = IpAddr::from([10, 0, 0, 1]);
            let routes = |all: BTreeMap<u8, u32>| -> BTreeMap<Network, Way> {
                all.into_iter().map(|(third, link)| (network(third), Way::Out(link, source))).collect()
            };
            let (there, wanted) = (routes(there), routes(wanted));
            let (fresh, gone) = changes(&there, &wanted);
            prop_assert!(fresh.iter().all(|(network, way)| there.get(network) != Some(way)));
            let mut after = there;
            after.extend(fresh);
            prop_assert!(gone.iter().all(|network| after.remove(network).is_some()));
            prop_assert_eq!(after, wanted);
        }
    }
}
