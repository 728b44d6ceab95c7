//! The bridge's table: nobody speaks in another's name.

use std::net::Ipv6Addr;

use super::encode::{BEFORE_TRACKING, Hook, PREROUTING, Transaction};
use super::expression::{Base, Expression, Meta, Verdict};
use super::parts::{address, load, meta_is, meta_is_not};
use super::sets::{BRIDGE, make_sets};
use crate::LINK_PREFIX;

const ICMPV6: u8 = 58;
const ETHERTYPE_IPV4: u16 = 0x0800;
const ETHERTYPE_ARP: u16 = 0x0806;
const ETHERTYPE_IPV6: u16 = 0x86dd;

/// Messages of neighbour discovery (RFC 4861).
const ROUTER_ADVERTISEMENT: u8 = 134;
const NEIGHBOUR_ADVERTISEMENT: u8 = 136;
const REDIRECT: u8 = 137;

/// Makes the table that keeps units from speaking in another's name.
pub(super) fn bridge(transaction: &mut Transaction) {
    transaction.table(BRIDGE);
    make_sets(transaction, BRIDGE);
    let hook = Hook { kind: "filter", number: PREROUTING, priority: BEFORE_TRACKING };
    transaction.chain(BRIDGE, "neighbour", None);
    transaction.chain(BRIDGE, "sender", None);
    transaction.chain(BRIDGE, "prerouting", Some(hook));
    let mut add = |chain: &str, parts: &[&[Expression]], verdict| {
        let mut rule = parts.concat();
        rule.push(Expression::Verdict(verdict));
        transaction.rule(BRIDGE, chain, &rule);
    };
    // Other bridges of the node belong to others.
    add("prerouting", &[&meta_is_not(Meta::InName, LINK_PREFIX.as_bytes())], Verdict::Accept);
    let cable = [Expression::Meta { key: Meta::InName, to: 0 }];
    let member = |base, offset, length, set| {
        [load(base, offset, length, 4), Expression::InSet { register: 0, set }]
    };
    let mac = member(Base::Link, 6, 6, "macs");
    add("prerouting", &[&cable, &mac], Verdict::Goto("sender"));
    add("prerouting", &[], Verdict::Drop);

    let kind = |kind: u16| meta_is(Meta::Protocol, &kind.to_be_bytes());
    let v4 = member(Base::Network, 12, 4, "v4");
    add("sender", &[&kind(ETHERTYPE_IPV4), &cable, &v4], Verdict::Accept);
    let arp = member(Base::Network, 14, 4, "v4");
    add("sender", &[&kind(ETHERTYPE_ARP), &cable, &arp], Verdict::Accept);
    let (ipv6, v6) = (kind(ETHERTYPE_IPV6), member(Base::Network, 8, 16, "v6"));
    add("sender", &[&ipv6, &cable, &v6], Verdict::Goto("neighbour"));
    // Before an interface has an address, and about addresses of the link, only neighbours are spoken to.
    let icmp = meta_is(Meta::Transport, &[ICMPV6]);
    let link_local = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0);
    for (source, prefix) in [(link_local, 10), (Ipv6Addr::UNSPECIFIED, 128)] {
        let source = address(8, &source.octets(), prefix);
        add("sender", &[&ipv6, &icmp, &source], Verdict::Goto("neighbour"));
    }
    add("sender", &[], Verdict::Drop);

    add("neighbour", &[&meta_is_not(Meta::Transport, &[ICMPV6])], Verdict::Accept);
    let message = |number: u8| {
        [load(Base::Transport, 0, 1, 0), Expression::Equal { register: 0, value: vec![number] }]
    };
    add("neighbour", &[&message(ROUTER_ADVERTISEMENT)], Verdict::Drop);
    add("neighbour", &[&message(REDIRECT)], Verdict::Drop);
    let answer = message(NEIGHBOUR_ADVERTISEMENT);
    let target = member(Base::Transport, 8, 16, "v6");
    add("neighbour", &[&answer, &cable, &target], Verdict::Accept);
    let of_link = [
        load(Base::Transport, 8, 2, 0),
        Expression::Mask { register: 0, mask: vec![0xff, 0xc0] },
        Expression::Equal { register: 0, value: vec![0xfe, 0x80] },
    ];
    add("neighbour", &[&answer, &of_link], Verdict::Accept);
    add("neighbour", &[&answer], Verdict::Drop);
    add("neighbour", &[], Verdict::Accept);
}
