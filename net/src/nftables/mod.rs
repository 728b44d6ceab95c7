//! The node's packet filter for its units: what it holds, as transactions for the kernel.
//!
//! *Responsible for*: the tables `inet ferrite` (published ports, address translation, what units may reach) and
//! `bridge ferrite` (nobody speaks in another's name). *Never does*: I/O; look at tables of others.
//!
//! A unit that comes or goes adds or removes elements of sets; the rules stay as they are.

mod bits;
mod encode;
mod expression;
mod ground;
mod metadata;
mod parts;
mod rules;
mod senders;
mod sets;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use encode::{Element, Transaction};
use ferrite_schema::unit::{Port, Protocol};

use super::addresses::Mac;
use super::netlink::Batch;
use ground::{NAME_BYTES, TCP, UDP};

pub(crate) use ground::Ground;

/// Members in one transaction: a message must fit in a socket's buffer of some 200 KiB.
const MEMBERS_AT_ONCE: usize = 200;
/// Addresses of machines in one transaction, likewise.
const ADDRESSES_AT_ONCE: usize = 1000;
/// A unit on the bridge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Member {
    /// The node's end of its cable.
    pub(crate) link: String,
    /// Its own end's Ethernet address.
    pub(crate) mac: Mac,
    /// Its addresses.
    pub(crate) ipv4: Ipv4Addr,
    pub(crate) ipv6: Option<Ipv6Addr>,
    /// Its published ports.
    pub(crate) ports: Vec<Port>,
    /// It reaches the cloud's metadata.
    pub(crate) metadata: bool,
}

/// Addresses of the cluster's machines, which change.
pub(crate) fn replace_machines(old: &BTreeSet<IpAddr>, new: &BTreeSet<IpAddr>) -> Vec<Batch> {
    let come: Vec<IpAddr> = new.difference(old).copied().collect();
    let gone: Vec<IpAddr> = old.difference(new).copied().collect();
    // Those that come first: no moment has less than what stays.
    let add: fn(&mut Transaction, encode::Table, &str, &[Element]) = Transaction::add;
    let acts = [(come, add), (gone, Transaction::remove)];
    let batches = acts.iter().flat_map(|(addresses, act)| {
        addresses.chunks(ADDRESSES_AT_ONCE).map(|addresses| {
            let mut transaction = Transaction::begin();
            machines(&mut transaction, addresses, *act);
            transaction.end()
        })
    });
    batches.collect()
}

fn machines(
    transaction: &mut Transaction,
    addresses: &[IpAddr],
    act: fn(&mut Transaction, encode::Table, &str, &[Element]),
) {
    let of = |wanted: fn(&IpAddr) -> bool| {
        let keys =
            addresses.iter().filter(|address| wanted(address)).map(|address| match address {
                IpAddr::V4(v4) => v4.octets().to_vec(),
                IpAddr::V6(v6) => v6.octets().to_vec(),
            });
        keys.map(|key| Element { key, data: None }).collect::<Vec<_>>()
    };
    act(transaction, sets::INET, "machines4", &of(IpAddr::is_ipv4));
    act(transaction, sets::INET, "machines6", &of(IpAddr::is_ipv6));
}

/// Both tables, as new, with these members. More members than fit in one message follow in transactions of their
/// own. Of `addresses`, those of the cluster's machines, the ports between machines are closed to units.
pub(crate) fn install(
    ground: &Ground,
    members: &[Member],
    addresses: &BTreeSet<IpAddr>,
) -> Vec<Batch> {
    let mut transaction = Transaction::begin();
    rules::inet(&mut transaction, ground);
    senders::bridge(&mut transaction);
    let mut batches = Vec::new();
    for members in members.chunks(MEMBERS_AT_ONCE) {
        for (table, set) in sets::sets() {
            let elements: Vec<Element> = members
                .iter()
                .flat_map(elements)
                .filter(|(name, _)| *name == set.name)
                .map(second)
                .collect();
            transaction.add(table, set.name, &elements);
        }
        batches.push(std::mem::replace(&mut transaction, Transaction::begin()).end());
    }
    if batches.is_empty() {
        batches.push(transaction.end());
    }
    batches.extend(replace_machines(&BTreeSet::new(), addresses));
    batches
}

/// A member comes, goes, or changes.
pub(crate) fn replace(old: Option<&Member>, new: Option<&Member>) -> Batch {
    let mut transaction = Transaction::begin();
    for (table, set) in sets::sets() {
        let of = |member: Option<&Member>| -> Vec<Element> {
            member
                .into_iter()
                .flat_map(elements)
                .filter(|(name, _)| *name == set.name)
                .map(second)
                .collect()
        };
        transaction.remove(table, set.name, &of(old));
        transaction.add(table, set.name, &of(new));
    }
    transaction.end()
}

fn second((_, element): (&'static str, Element)) -> Element {
    element
}

/// What a member is in each set.
fn elements(member: &Member) -> Vec<(&'static str, Element)> {
    let mut name = member.link.clone().into_bytes();
    name.resize(NAME_BYTES, 0);
    let mac = [&member.mac[..], &[0; 2]].concat();
    let key = |parts: &[&[u8]]| Element { key: parts.concat(), data: None };
    let mut all = vec![("macs", key(&[&name, &mac])), ("v4", key(&[&name, &member.ipv4.octets()]))];
    if let Some(ipv6) = member.ipv6 {
        all.push(("v6", key(&[&name, &ipv6.octets()])));
    }
    if member.metadata {
        all.push(("metadata4", key(&[&member.ipv4.octets()])));
        let ipv6 = member.ipv6.map(|ipv6| ("metadata6", key(&[&ipv6.octets()])));
        all.extend(ipv6);
    }
    for port in &member.ports {
        published(member, port, &mut all);
    }
    all
}

fn published(member: &Member, port: &Port, all: &mut Vec<(&'static str, Element)>) {
    let protocol = match port.protocol {
        Protocol::Tcp => [TCP, 0, 0, 0],
        Protocol::Udp => [UDP, 0, 0, 0],
    };
    let padded = |port: u16| {
        let [high, low] = port.to_be_bytes();
        [high, low, 0, 0]
    };
    let inside = padded(port.container.unwrap_or(port.host));
    let to_ipv4 = Some([member.ipv4.octets(), inside].concat());
    let to_ipv6 = member.ipv6.map(|ipv6| [&ipv6.octets()[..], &inside].concat());
    let key = [protocol, padded(port.host)].concat();
    let mut put = |name, key: Vec<u8>, data: Option<Vec<u8>>| {
        // Without an address of this family it cannot be reached there.
        if data.is_some() {
            all.push((name, Element { key, data }));
        }
    };
    match port.address {
        None => {
            put("ports4", key.clone(), to_ipv4);
            put("ports6", key, to_ipv6);
        }
        Some(IpAddr::V4(address)) if address.is_unspecified() => put("ports4", key, to_ipv4),
        Some(IpAddr::V6(address)) if address.is_unspecified() => put("ports6", key, to_ipv6),
        Some(IpAddr::V4(address)) => put("bound4", [&address.octets()[..], &key].concat(), to_ipv4),
        Some(IpAddr::V6(address)) => put("bound6", [&address.octets()[..], &key].concat(), to_ipv6),
    }
}
