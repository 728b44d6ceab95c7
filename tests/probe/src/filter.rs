//! What the packet filter of the node holds, asked over netlink.
//!
//! # Source
//! linux/netfilter/nf_tables.h

use std::collections::BTreeMap;
use std::io;

use rustix::net::{AddressFamily, Protocol, RecvFlags, SendFlags, SocketType};

/// Sets of the product's tables, each with its table's family.
const SETS: [(u8, &str); 6] =
    [(1, "ports4"), (1, "ports6"), (1, "bound4"), (7, "macs"), (7, "v4"), (7, "v6")];
/// Every family at once.
const ANY: u8 = 0;
const GET_TABLE: u8 = 1;
const GET_CHAIN: u8 = 4;
const GET_RULE: u8 = 7;
const GET_SET: u8 = 10;
const GET_ELEMENTS: u8 = 13;
/// Bytes of a message before its attributes.
const HEAD: usize = 20;

/// How many of everything there are, whoever made it, and how large the sets' content is.
pub(crate) fn counts() -> io::Result<BTreeMap<String, usize>> {
    let mut counts = BTreeMap::new();
    for (name, command) in
        [("tables", GET_TABLE), ("chains", GET_CHAIN), ("rules", GET_RULE), ("sets", GET_SET)]
    {
        let found = dump(command, ANY, &[])?.map_or(0, |messages| messages.len());
        counts.insert(format!("packet filter's {name}"), found);
    }
    counts.insert("bytes in the packet filter's sets".to_owned(), sets()?.values().sum());
    Ok(counts)
}

/// Bytes of elements in each of the product's sets; a set that does not exist is absent.
pub(crate) fn sets() -> io::Result<BTreeMap<String, usize>> {
    let mut sets = BTreeMap::new();
    for (family, name) in SETS {
        let mut attributes = Vec::new();
        for (kind, text) in [(1_u16, "ferrite"), (2, name)] {
            let length = u16::try_from(5 + text.len()).unwrap_or(0);
            attributes.extend_from_slice(&length.to_ne_bytes());
            attributes.extend_from_slice(&kind.to_ne_bytes());
            attributes.extend_from_slice(text.as_bytes());
            attributes.push(0);
            attributes.resize(attributes.len().next_multiple_of(4), 0);
        }
        if let Some(messages) = dump(GET_ELEMENTS, family, &attributes)? {
            let bytes = messages
                .iter()
                .map(|message| elements_of(message.get(HEAD..).unwrap_or_default()))
                .sum();
            sets.insert(name.to_owned(), bytes);
        }
    }
    Ok(sets)
}

/// The messages of a dump (`NLM_F_REQUEST | NLM_F_DUMP`); nothing where the kernel answers with an error.
fn dump(command: u8, family: u8, attributes: &[u8]) -> io::Result<Option<Vec<Vec<u8>>>> {
    let length = u32::try_from(HEAD + attributes.len()).unwrap_or(0);
    let mut request = length.to_ne_bytes().to_vec();
    request.extend_from_slice(&[command, 10, 1, 3, 0, 0, 0, 0, 0, 0, 0, 0, family, 0, 0, 0]);
    request.extend_from_slice(attributes);
    let netfilter = std::num::NonZeroU32::new(12).map(Protocol::from_raw);
    let socket = rustix::net::socket(AddressFamily::NETLINK, SocketType::RAW, netfilter)?;
    rustix::net::send(&socket, &request, SendFlags::empty())?;
    let mut all = Vec::new();
    loop {
        let mut answer = vec![0; 65536];
        let (length, _) = rustix::net::recv(&socket, &mut answer[..], RecvFlags::empty())?;
        let mut rest = answer.get(..length).unwrap_or_default();
        while let Some((kind, message, others)) = split(rest) {
            match kind {
                // NLMSG_ERROR, NLMSG_DONE
                2 => return Ok(None),
                3 => return Ok(Some(all)),
                _ => all.push(message.to_vec()),
            }
            rest = others;
        }
    }
}

fn split(bytes: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let length = u32::from_ne_bytes(bytes.get(..4)?.try_into().ok()?);
    let length = usize::try_from(length).ok().filter(|length| *length >= 16)?;
    let kind = u16::from_ne_bytes(bytes.get(4..6)?.try_into().ok()?);
    let others = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    Some((kind, bytes.get(..length)?, others))
}

/// Bytes within `NFTA_SET_ELEM_LIST_ELEMENTS`.
fn elements_of(mut attributes: &[u8]) -> usize {
    let mut all = 0;
    while let Some(head) = attributes.get(..4) {
        let number = |at: usize| {
            let bytes = head.get(at..at + 2).and_then(|bytes| bytes.try_into().ok());
            usize::from(bytes.map_or(0, u16::from_ne_bytes))
        };
        let (length, kind) = (number(0).max(4), number(2) & 0x3fff);
        if kind == 3 {
            all += length - 4;
        }
        attributes = attributes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    all
}
