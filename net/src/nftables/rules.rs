//! The rules: what is translated, let through, and dropped. `docs/network.md` says it in words.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::encode::{BEFORE_TRACKING, Hook, PREROUTING, Transaction};
use super::expression::{Base, Expression, Meta, Register, Tracked, Verdict};
use super::ground::{Ground, TCP, UDP};
use super::metadata;
use super::parts::{
    IPV4, IPV6, Side, address, any_bit, from_ipv4, from_ipv6, interface, load, meta_is,
    meta_is_not, of_cluster, of_family, to_bits, transport_port,
};
use super::sets::{INET, make_sets};
use crate::mesh;
use ferrite_schema::names::{API_PORT, BEACON_PORT, MESH_PORT};

const ICMP: u8 = 1;
const ICMPV6: u8 = 58;
const DNS_PORT: u16 = 53;
/// What machines of a cluster have for one another, at all their addresses.
const BETWEEN_MACHINES: [(u8, u16); 4] =
    [(TCP, API_PORT), (TCP, ETCD_PEERS), (UDP, MESH_PORT), (UDP, BEACON_PORT)];
const ETCD_PEERS: u16 = 2380;
/// The interface of what the node sends to itself.
const LOOPBACK: &str = "lo";

/// Hooks of this family.
const INPUT: u32 = 1;
const FORWARD: u32 = 2;
const OUTPUT: u32 = 3;
const POSTROUTING: u32 = 4;

/// `NF_IP_PRI_NAT_DST`, `NF_IP_PRI_FILTER`, `NF_IP_PRI_NAT_SRC`.
const NEW_DESTINATION: i32 = -100;
const FILTER: i32 = 0;
const NEW_SOURCE: i32 = 100;

/// `RTN_LOCAL`: an address of the node.
const LOCAL: u32 = 2;
/// `NF_CT_STATE_BIT(IP_CT_ESTABLISHED) | NF_CT_STATE_BIT(IP_CT_RELATED)`.
const KNOWN: u32 = 2 | 4;
/// `IPS_DST_NAT`: a published port was asked for.
const PUBLISHED: u32 = 1 << 5;

/// Makes the table of addresses and ports.
pub(super) fn inet(transaction: &mut Transaction, ground: &Ground) {
    let chain = |kind, number, priority| Some(Hook { kind, number, priority });
    transaction.table(INET);
    make_sets(transaction, INET);
    transaction.chain(INET, "publish", None);
    transaction.chain(INET, "metadata", None);
    transaction.chain(INET, "translated", None);
    transaction.chain(INET, "machines", None);
    if ground.flat.is_some() {
        transaction.chain(INET, "others", None);
    }
    transaction.chain(INET, "strangers", chain("filter", PREROUTING, BEFORE_TRACKING));
    transaction.chain(INET, "prerouting", chain("nat", PREROUTING, NEW_DESTINATION));
    transaction.chain(INET, "output", chain("nat", OUTPUT, NEW_DESTINATION));
    transaction.chain(INET, "postrouting", chain("nat", POSTROUTING, NEW_SOURCE));
    transaction.chain(INET, "forward", chain("filter", FORWARD, FILTER));
    transaction.chain(INET, "input", chain("filter", INPUT, FILTER));
    publish(transaction);
    let rules = Rules { transaction, bridge: interface(&ground.bridge) };
    rules.translate(ground);
}

/// Published ports: those of one address first.
fn publish(transaction: &mut Transaction) {
    for (family, at, length, bound, any) in
        [(IPV4, 16, 4, "bound4", "ports4"), (IPV6, 24, 16, "bound6", "ports6")]
    {
        let words: Register = length / 4;
        let mut rule = of_family(family);
        rule.push(load(Base::Network, at, length, 0));
        rule.extend(transport_port(words));
        rule.extend(new_destination(family, bound, words));
        transaction.rule(INET, "publish", &rule);
        let mut rule = of_family(family);
        rule.extend(transport_port(0));
        rule.extend(new_destination(family, any, words));
        transaction.rule(INET, "publish", &rule);
    }
}

fn new_destination(family: u8, map: &'static str, words: Register) -> [Expression; 2] {
    [
        Expression::FromMap { register: 0, map, to: 0 },
        Expression::Destination { family: family.into(), address: 0, port: words },
    ]
}

/// Questions to the units' resolver, by family and transport.
fn of_resolver(ground: &Ground) -> Vec<Vec<Expression>> {
    let ipv4 = [of_family(IPV4), address(16, &ground.ipv4.0.octets(), 32)].concat();
    let ipv6 =
        ground.ipv6.map(|(own, _)| [of_family(IPV6), address(24, &own.octets(), 128)].concat());
    let port = Expression::Equal { register: 1, value: DNS_PORT.to_be_bytes().to_vec() };
    let mut all = Vec::new();
    for gateway in [Some(ipv4), ipv6].iter().flatten() {
        for protocol in [UDP, TCP] {
            let names = [load(Base::Transport, 2, 2, 1), port.clone()];
            let transport = meta_is(Meta::Transport, &[protocol]);
            all.push([&gateway[..], &transport, &names].concat());
        }
    }
    all
}

struct Rules<'a> {
    transaction: &'a mut Transaction,
    bridge: Vec<u8>,
}

impl Rules<'_> {
    fn add(&mut self, chain: &str, parts: &[&[Expression]], last: Expression) {
        let mut rule = parts.concat();
        rule.push(last);
        self.transaction.rule(INET, chain, &rule);
    }

    fn translate(mut self, ground: &Ground) {
        use Expression::{Masquerade, Verdict as End};
        let (from_units, to_units) =
            (meta_is(Meta::InName, &self.bridge), meta_is(Meta::OutName, &self.bridge));
        let to_others = meta_is_not(Meta::OutName, &self.bridge);
        let loopback = Ipv4Addr::LOCALHOST.octets();
        self.keep_strangers_out(ground);

        let local = [
            Expression::DestinationKind { to: 0 },
            Expression::Equal { register: 0, value: LOCAL.to_ne_bytes().to_vec() },
        ];
        // Nothing that is published comes before the units' resolver.
        for names in of_resolver(ground) {
            self.add("prerouting", &[&from_units, &names], End(Verdict::Accept));
        }
        self.add("prerouting", &[&local], End(Verdict::Goto("publish")));
        // IPv6 has no `route_localnet`: what is asked of ::1 is refused at once instead of lost.
        let to_own = [of_family(IPV6), address(24, &Ipv6Addr::LOCALHOST.octets(), 128)].concat();
        self.add("output", &[&to_own], End(Verdict::Accept));
        self.add("output", &[&local], End(Verdict::Goto("publish")));

        let from_loopback = [of_family(IPV4), address(12, &loopback, 8)].concat();
        self.add("postrouting", &[&to_units, &from_loopback], Masquerade);
        let ipv4 = from_ipv4(ground.ipv4.0, ground.ipv4.1);
        let ipv6 = ground.ipv6.map(|(network, prefix)| from_ipv6(network, prefix));
        // Units of a cluster see one another as they are.
        let to_mesh = meta_is(Meta::OutName, &interface(mesh::NAME));
        self.add("postrouting", &[&from_units, &to_mesh], End(Verdict::Accept));
        for to_cluster in of_cluster(ground, Side::To) {
            let parts: [&[Expression]; 3] = [&from_units, &to_others, &to_cluster];
            self.add("postrouting", &parts, End(Verdict::Accept));
        }
        for network in [Some(ipv4), ipv6].iter().flatten() {
            // A unit's published port, asked for by a unit: the answer must come back through the node.
            let published = any_bit(Tracked::Status, PUBLISHED);
            self.add("postrouting", &[&to_units, network, &published], Masquerade);
            self.add("postrouting", &[&from_units, &to_others, network], Masquerade);
        }

        self.forward(ground);
        self.guard_node(ground);
    }

    /// The kernel takes what is meant for any address of the node by whatever card it comes (the weak host model,
    /// RFC 1122 §3.3.4.2). These addresses mean something on one interface only: the node's loopback, and the bridge's
    /// own, which are for units. This comes before anything is translated: what is published on one of them alone is no
    /// more for strangers than what listens there.
    fn keep_strangers_out(&mut self, ground: &Ground) {
        let not_itself = meta_is_not(Meta::InName, &interface(LOOPBACK));
        let to_loopback = [of_family(IPV4), address(16, &Ipv4Addr::LOCALHOST.octets(), 8)].concat();
        let ipv4 = [of_family(IPV4), address(16, &ground.ipv4.0.octets(), 32)].concat();
        let ipv6 =
            ground.ipv6.map(|(own, _)| [of_family(IPV6), address(24, &own.octets(), 128)].concat());
        let stop = Expression::Verdict(Verdict::Drop);
        self.add("strangers", &[&not_itself, &to_loopback], stop.clone());
        let not_units = meta_is_not(Meta::InName, &self.bridge);
        // What comes through the mesh answers the node, which speaks by these addresses there; `input` lets nothing else in.
        let not_mesh = meta_is_not(Meta::InName, &interface(mesh::NAME));
        let to_bridge = [Some(ipv4), ipv6];
        let from_cluster = of_cluster(ground, Side::From);
        let forged =
            [Expression::WayBack { to: 0 }, Expression::Equal { register: 0, value: vec![0; 4] }];
        for from_cluster in &from_cluster {
            // As far as plain routes can tell who speaks: by the link by which it would be answered.
            let parts: [&[Expression]; 4] = [&not_itself, &not_units, from_cluster, &forged];
            self.add("strangers", &parts, stop.clone());
        }
        for (to_bridge, from_cluster) in to_bridge.iter().flatten().zip(&from_cluster) {
            let parts: [&[Expression]; 4] = [&not_itself, &not_units, to_bridge, from_cluster];
            self.add("strangers", &parts, Expression::Verdict(Verdict::Accept));
        }
        for to_bridge in to_bridge.iter().flatten() {
            let parts: [&[Expression]; 4] = [&not_itself, &not_units, &not_mesh, to_bridge];
            self.add("strangers", &parts, stop.clone());
        }
    }

    /// What passes through the node: what comes from units, and what belongs to that or was published. The node is
    /// no router for its neighbours.
    fn forward(&mut self, ground: &Ground) {
        use Expression::Verdict as End;
        let (from_units, to_units) =
            (meta_is(Meta::InName, &self.bridge), meta_is(Meta::OutName, &self.bridge));
        let (ipv4, ipv6) = (of_family(IPV4), of_family(IPV6));
        for network in metadata::ipv4() {
            let parts: [&[Expression]; 3] = [&from_units, &ipv4, &to_bits(16, &network)];
            self.add("forward", &parts, End(Verdict::Goto("metadata")));
        }
        for network in metadata::ipv6() {
            let parts: [&[Expression]; 3] = [&from_units, &ipv6, &to_bits(24, &network)];
            self.add("forward", &parts, End(Verdict::Goto("metadata")));
        }
        for network in metadata::translated() {
            let parts: [&[Expression]; 3] = [&from_units, &ipv6, &to_bits(24, &network)];
            self.add("forward", &parts, End(Verdict::Jump("translated")));
        }
        for written in metadata::ipv4_in_ipv6() {
            let parts: [&[Expression]; 2] = [&ipv6, &to_bits(24, &written)];
            self.add("translated", &parts, End(Verdict::Goto("metadata")));
        }
        for (family, at, length, set) in [(IPV4, 16, 4, "machines4"), (IPV6, 24, 16, "machines6")] {
            let to_machine =
                [load(Base::Network, at, length, 0), Expression::InSet { register: 0, set }];
            let parts: [&[Expression]; 3] = [&from_units, &of_family(family), &to_machine];
            self.add("forward", &parts, End(Verdict::Goto("machines")));
        }
        self.add("forward", &[&from_units], End(Verdict::Accept));
        // Whose packets these are, WireGuard vouches for.
        let from_mesh = meta_is(Meta::InName, &interface(mesh::NAME));
        self.add("forward", &[&from_mesh, &to_units], End(Verdict::Accept));
        // Likewise, who are on the link with it: `strangers` has looked which one that is.
        for from_cluster in of_cluster(ground, Side::From) {
            self.add("forward", &[&from_cluster, &to_units], End(Verdict::Accept));
        }
        for reason in [any_bit(Tracked::State, KNOWN), any_bit(Tracked::Status, PUBLISHED)] {
            self.add("forward", &[&to_units, &reason], End(Verdict::Accept));
        }
        self.add("forward", &[], End(Verdict::Drop));
        for (family, at, length, set) in [(IPV4, 12, 4, "metadata4"), (IPV6, 8, 16, "metadata6")] {
            let asked =
                [load(Base::Network, at, length, 0), Expression::InSet { register: 0, set }];
            self.add("metadata", &[&of_family(family), &asked], End(Verdict::Accept));
        }
        self.add("metadata", &[], End(Verdict::Drop));
        for (transport, port) in BETWEEN_MACHINES {
            let asked = [
                load(Base::Transport, 2, 2, 1),
                Expression::Equal { register: 1, value: port.to_be_bytes().to_vec() },
            ];
            let transport = meta_is(Meta::Transport, &[transport]);
            self.add("machines", &[&transport, &asked], End(Verdict::Drop));
        }
        self.add("machines", &[], End(Verdict::Accept));
    }

    /// What units may ask of the node itself: names, and whether it is there; those of other nodes, only that.
    fn guard_node(&mut self, ground: &Ground) {
        use Expression::Verdict as End;
        let from_mesh = meta_is(Meta::InName, &interface(mesh::NAME));
        self.add("input", &[&from_mesh, &any_bit(Tracked::State, KNOWN)], End(Verdict::Accept));
        for protocol in [ICMP, ICMPV6] {
            let asked = meta_is(Meta::Transport, &[protocol]);
            self.add("input", &[&from_mesh, &asked], End(Verdict::Accept));
        }
        self.add("input", &[&from_mesh], End(Verdict::Drop));
        let not_units = meta_is_not(Meta::InName, &self.bridge);
        self.guard_from_others(ground, &not_units);
        self.add("input", &[&not_units], End(Verdict::Accept));
        self.add("input", &[&any_bit(Tracked::State, KNOWN)], End(Verdict::Accept));
        for protocol in [ICMP, ICMPV6] {
            self.add("input", &[&meta_is(Meta::Transport, &[protocol])], End(Verdict::Accept));
        }
        for names in of_resolver(ground) {
            self.add("input", &[&names], End(Verdict::Accept));
        }
        self.add("input", &[], End(Verdict::Drop));
    }
}

impl Rules<'_> {
    /// What comes by plain routes to the bridge's own addresses: the same as through the mesh.
    fn guard_from_others(&mut self, ground: &Ground, not_units: &[Expression]) {
        use Expression::Verdict as End;
        if ground.flat.is_none() {
            return;
        }
        let not_itself = meta_is_not(Meta::InName, &interface(LOOPBACK));
        let ipv4 = [of_family(IPV4), address(16, &ground.ipv4.0.octets(), 32)].concat();
        let ipv6 =
            ground.ipv6.map(|(own, _)| [of_family(IPV6), address(24, &own.octets(), 128)].concat());
        for to_bridge in [Some(ipv4), ipv6].iter().flatten() {
            let parts: [&[Expression]; 3] = [&not_itself, not_units, to_bridge];
            self.add("input", &parts, End(Verdict::Goto("others")));
        }
        self.add("others", &[&any_bit(Tracked::State, KNOWN)], End(Verdict::Accept));
        for protocol in [ICMP, ICMPV6] {
            self.add("others", &[&meta_is(Meta::Transport, &[protocol])], End(Verdict::Accept));
        }
        self.add("others", &[], End(Verdict::Drop));
    }
}
