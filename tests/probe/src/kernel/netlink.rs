//! Kinds of network links and expressions of the packet filter, asked for without what they need: a kernel that knows them
//! asks for it, one that does not says so.
//!
//! # Source
//! linux/rtnetlink.h, linux/if_link.h, linux/netfilter/nfnetlink.h, linux/netfilter/nf_tables.h,
//! linux/netfilter/nfnetlink_conntrack.h

use std::io;

use rustix::io::Errno;
use rustix::net::netlink::{self, SocketAddrNetlink};
use rustix::net::{AddressFamily, Protocol, RecvFlags, SendFlags, SocketType};

const LINKS: [&str; 8] =
    ["bridge", "dummy", "ipvlan", "macvlan", "veth", "vlan", "vxlan", "wireguard"];

/// Expressions of the family `inet`.
const EXPRESSIONS: [&str; 30] = [
    "bitwise",
    "byteorder",
    "cmp",
    "connlimit",
    "counter",
    "ct",
    "dynset",
    "exthdr",
    "fib",
    "flow_offload",
    "hash",
    "immediate",
    "limit",
    "log",
    "lookup",
    "masq",
    "meta",
    "nat",
    "notrack",
    "numgen",
    "objref",
    "payload",
    "queue",
    "quota",
    "range",
    "redir",
    "reject",
    "rt",
    "socket",
    "tproxy",
];
const INET: u8 = 1;
const BRIDGE: u8 = 7;

const REQUEST: u16 = 1;
const ACKNOWLEDGE: u16 = 4;
const EXCLUSIVE: u16 = 0x200;
const CREATE: u16 = 0x400;

/// What was asked for, and what the kernel does not know.
pub(super) fn tried() -> io::Result<Vec<(String, Result<(), String>)>> {
    let mut all = Vec::new();
    for kind in LINKS {
        // Every other answer is one of a kernel that knows it.
        let known = link(kind)? != Some(Errno::OPNOTSUPP);
        all.push((format!("links of kind {kind}"), said(known)));
    }
    for name in EXPRESSIONS {
        all.push((format!("packet filter: {name}"), said(expression(INET, name)?)));
    }
    for name in ["meta", "reject"] {
        all.push((format!("packet filter of bridges: {name}"), said(expression(BRIDGE, name)?)));
    }
    all.push(("connections asked for over netlink".to_owned(), said(forgets_connections()?)));
    // The question is one that can be answered with no.
    if expression(INET, "ferrite")? || link("ferrite")? != Some(Errno::OPNOTSUPP) {
        return Err(io::Error::other("the kernel takes what nobody has written"));
    }
    Ok(all)
}

fn said(known: bool) -> Result<(), String> {
    if known { Ok(()) } else { Err("the kernel does not know it".to_owned()) }
}

fn attribute(kind: u16, content: &[u8]) -> Vec<u8> {
    let length = u16::try_from(4 + content.len()).unwrap_or(u16::MAX);
    let mut bytes = [length.to_ne_bytes(), kind.to_ne_bytes()].concat();
    bytes.extend_from_slice(content);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

fn text(kind: u16, text: &str) -> Vec<u8> {
    attribute(kind, &[text.as_bytes(), &[0]].concat())
}

fn message(kind: u16, flags: u16, sequence: u32, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(16 + body.len()).unwrap_or(u32::MAX);
    let mut bytes = length.to_ne_bytes().to_vec();
    bytes.extend_from_slice(&kind.to_ne_bytes());
    bytes.extend_from_slice(&flags.to_ne_bytes());
    bytes.extend_from_slice(&sequence.to_ne_bytes());
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(body);
    bytes
}

/// Sends `messages` and returns the answer to the one with `sequence`: nothing where it was done.
fn asks(protocol: Option<Protocol>, messages: &[u8], sequence: u32) -> io::Result<Option<Errno>> {
    let socket = rustix::net::socket(AddressFamily::NETLINK, SocketType::RAW, protocol)?;
    rustix::net::sendto(&socket, messages, SendFlags::empty(), &SocketAddrNetlink::new(0, 0))?;
    loop {
        let mut answer = [0; 8192];
        let (length, _) = rustix::net::recv(&socket, &mut answer[..], RecvFlags::empty())?;
        let mut rest = answer.get(..length).unwrap_or_default();
        while let (Some(size), Some(number), Some(code)) = (at(rest, 0), at(rest, 8), at(rest, 16))
        {
            if number == sequence {
                let code = code.cast_signed();
                return Ok((code != 0).then(|| Errno::from_raw_os_error(-code)));
            }
            let next = usize::try_from(size).unwrap_or(usize::MAX).next_multiple_of(4);
            rest = rest.get(next..).unwrap_or_default();
        }
    }
}

fn at(bytes: &[u8], offset: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(offset..offset.checked_add(4)?)?.try_into().ok()?))
}

/// `RTM_NEWLINK` with `IFLA_LINKINFO`, which has `IFLA_INFO_KIND`.
fn link(kind: &str) -> io::Result<Option<Errno>> {
    const NEW_LINK: u16 = 16;
    const LINK_INFO: u16 = 18;
    const INFO_KIND: u16 = 1;
    let mut body = vec![0; 16];
    body.extend(attribute(LINK_INFO, &text(INFO_KIND, kind)));
    let flags = REQUEST | ACKNOWLEDGE | CREATE | EXCLUSIVE;
    asks(None, &message(NEW_LINK, flags, 1, &body), 1)
}

/// A rule with the expression alone, in a new table, all of which is taken back with the refusal. `ENOENT` is the answer
/// to an expression that nobody knows.
fn expression(family: u8, name: &str) -> io::Result<bool> {
    const TABLES: u16 = 10;
    const NEW_TABLE: u16 = TABLES << 8;
    const NEW_CHAIN: u16 = TABLES << 8 | 3;
    const NEW_RULE: u16 = TABLES << 8 | 6;
    const BATCH: (u16, u16) = (16, 17);
    let whole = [0, 0, 0, 10];
    let ours = [family, 0, 0, 0];
    let body = |parts: &[Vec<u8>]| [&ours[..], &parts.concat()].concat();
    // NFTA_LIST_ELEM, NFTA_RULE_EXPRESSIONS, NFTA_EXPR_NAME
    let list = attribute(4 | 0x8000, &attribute(1 | 0x8000, &text(1, name)));
    let rule = body(&[text(1, "probe"), text(2, "probe"), list]);
    let flags = REQUEST | CREATE;
    let batch = [
        message(BATCH.0, REQUEST, 0, &whole),
        message(NEW_TABLE, flags, 1, &body(&[text(1, "probe")])),
        message(NEW_CHAIN, flags, 2, &body(&[text(1, "probe"), text(3, "probe")])),
        // NLM_F_APPEND
        message(NEW_RULE, flags | ACKNOWLEDGE | 0x800, 3, &rule),
        message(BATCH.1, REQUEST, 4, &whole),
    ];
    Ok(asks(Some(netlink::NETFILTER), &batch.concat(), 3)? != Some(Errno::NOENT))
}

/// `IPCTNL_MSG_CT_DELETE` of all connections of this network, which is new and has none: done, or not understood.
fn forgets_connections() -> io::Result<bool> {
    const FORGET: u16 = 1 << 8 | 2;
    let all = message(FORGET, REQUEST | ACKNOWLEDGE, 1, &[0; 4]);
    Ok(asks(Some(netlink::NETFILTER), &all, 1)?.is_none())
}
