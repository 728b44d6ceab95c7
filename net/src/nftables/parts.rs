//! Parts of rules: what a packet is asked for.

use std::net::{Ipv4Addr, Ipv6Addr};

use ferrite_schema::cluster_network::CLUSTER_PREFIX6;

use super::bits::Bits;
use super::expression::{Base, Expression, Meta, Register, Tracked};
use super::ground::{Ground, NAME_BYTES};

/// `NFPROTO_IPV4`, `NFPROTO_IPV6`.
pub(super) const IPV4: u8 = 2;
pub(super) const IPV6: u8 = 10;

/// Transport and destination port, in two registers.
pub(super) fn transport_port(register: Register) -> [Expression; 2] {
    [
        Expression::Meta { key: Meta::Transport, to: register },
        load(Base::Transport, 2, 2, register + 1),
    ]
}

pub(super) const fn load(base: Base, offset: u32, length: u32, to: Register) -> Expression {
    Expression::Payload { base, offset, length, to }
}

pub(super) fn meta_is(key: Meta, value: &[u8]) -> [Expression; 2] {
    [Expression::Meta { key, to: 0 }, Expression::Equal { register: 0, value: value.to_vec() }]
}

pub(super) fn meta_is_not(key: Meta, value: &[u8]) -> [Expression; 2] {
    [Expression::Meta { key, to: 0 }, Expression::Different { register: 0, value: value.to_vec() }]
}

pub(super) fn of_family(family: u8) -> Vec<Expression> {
    meta_is(Meta::Family, &[family]).to_vec()
}

pub(super) fn interface(name: &str) -> Vec<u8> {
    let mut name = name.as_bytes().to_vec();
    name.resize(NAME_BYTES, 0);
    name
}

/// Bytes at `offset` of the network header are in a network.
pub(super) fn address(offset: u32, address: &[u8], prefix: u8) -> Vec<Expression> {
    to_bits(offset, &Bits::network(address, prefix))
}

/// Bytes at `offset` of the network header have these bits.
pub(super) fn to_bits(offset: u32, bits: &Bits) -> Vec<Expression> {
    let length = u32::try_from(bits.value.len()).unwrap_or(0);
    let mut part = vec![load(Base::Network, offset, length, 0)];
    if bits.mask.iter().any(|byte| *byte != 0xff) {
        part.push(Expression::Mask { register: 0, mask: bits.mask.clone() });
    }
    part.push(Expression::Equal { register: 0, value: bits.value.clone() });
    part
}

pub(super) fn from_ipv4(network: Ipv4Addr, prefix: u8) -> Vec<Expression> {
    [of_family(IPV4), address(12, &network.octets(), prefix)].concat()
}

pub(super) fn from_ipv6(network: Ipv6Addr, prefix: u8) -> Vec<Expression> {
    [of_family(IPV6), address(8, &network.octets(), prefix)].concat()
}

pub(super) fn any_bit(key: Tracked, bits: u32) -> [Expression; 3] {
    [
        Expression::Tracked { key, to: 0 },
        Expression::Mask { register: 0, mask: bits.to_ne_bytes().to_vec() },
        Expression::Different { register: 0, value: vec![0; 4] },
    ]
}

/// An end of a packet's way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    From,
    To,
}

/// Packets of units that are reached by plain routes, by family; none where there are no such.
pub(super) fn of_cluster(ground: &Ground, side: Side) -> Vec<Vec<Expression>> {
    let Some(flat) = ground.flat else { return Vec::new() };
    let (at4, at6) = match side {
        Side::From => (12, 8),
        Side::To => (16, 24),
    };
    let ipv4 = [of_family(IPV4), address(at4, &flat.ipv4.0.octets(), flat.ipv4.1)].concat();
    let ipv6 = || [of_family(IPV6), address(at6, &flat.ipv6.octets(), CLUSTER_PREFIX6)].concat();
    std::iter::once(ipv4).chain(ground.ipv6.map(|_| ipv6())).collect()
}
