//! DHCP messages as bytes: questions that we ask, answers as servers give them.
//!
//! # Source
//! RFC 2131, RFC 2132; RFC 3396 for options in several pieces.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use crate::addresses::Mac;

/// Options by their numbers.
pub(super) mod option {
    pub(in super::super) const PAD: u8 = 0;
    pub(in super::super) const SUBNET_MASK: u8 = 1;
    pub(in super::super) const ROUTERS: u8 = 3;
    pub(in super::super) const NAME_SERVERS: u8 = 6;
    pub(in super::super) const HOST_NAME: u8 = 12;
    pub(in super::super) const DOMAIN_NAME: u8 = 15;
    pub(in super::super) const MTU: u8 = 26;
    pub(in super::super) const REQUESTED_ADDRESS: u8 = 50;
    pub(in super::super) const LEASE_TIME: u8 = 51;
    pub(in super::super) const OVERLOAD: u8 = 52;
    pub(in super::super) const MESSAGE_TYPE: u8 = 53;
    pub(in super::super) const SERVER: u8 = 54;
    pub(in super::super) const PARAMETERS: u8 = 55;
    pub(in super::super) const MESSAGE: u8 = 56;
    pub(in super::super) const SIZE_MAX: u8 = 57;
    pub(in super::super) const RENEWAL_TIME: u8 = 58;
    pub(in super::super) const REBINDING_TIME: u8 = 59;
    pub(in super::super) const CLIENT: u8 = 61;
    pub(in super::super) const DOMAIN_SEARCH: u8 = 119;
    pub(in super::super) const CLASSLESS_ROUTES: u8 = 121;
    pub(in super::super) const MICROSOFT_ROUTES: u8 = 249;
    pub(in super::super) const END: u8 = 255;
}

/// What we want to be told. Classless routes before routers, as RFC 3442 asks.
const PARAMETERS: [u8; 10] = [
    option::SUBNET_MASK,
    option::CLASSLESS_ROUTES,
    option::ROUTERS,
    option::NAME_SERVERS,
    option::DOMAIN_NAME,
    option::MTU,
    option::RENEWAL_TIME,
    option::REBINDING_TIME,
    option::DOMAIN_SEARCH,
    option::MICROSOFT_ROUTES,
];
/// The largest message that we take: what an Ethernet frame holds without its IP and UDP headers.
const SIZE_MAX: u16 = 1472;
/// Some relays pass nothing shorter on (RFC 1542 §2.1).
const SIZE_MIN: usize = 300;
const ETHERNET: u8 = 1;
const REQUEST: u8 = 1;
const REPLY: u8 = 2;
const COOKIE: [u8; 4] = [99, 130, 83, 99];
/// Bytes of the fields `sname` and `file`, which may hold options.
const SNAME_BYTES: usize = 64;
const FILE_BYTES: usize = 128;

/// What a message of ours asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ask {
    Discover = 1,
    Request = 3,
}

/// A message of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Question {
    pub(super) ask: Ask,
    /// Number of the exchange, which answers repeat.
    pub(super) xid: u32,
    /// Seconds that we have been asking for.
    pub(super) seconds: u16,
    pub(super) mac: Mac,
    /// The address that we have and use; only while a lease is renewed.
    pub(super) ours: Option<Ipv4Addr>,
    /// The address that we would like.
    pub(super) requested: Option<Ipv4Addr>,
    /// The server whose offer is accepted.
    pub(super) server: Option<Ipv4Addr>,
    pub(super) host_name: Option<String>,
}

impl Question {
    /// The message's bytes. The client identifier is the hardware's type and address, as RFC 2132 §9.14 suggests
    /// and as reservations expect: it is the same after reboots and in both slots. The broadcast flag is not set:
    /// we hear answers to an address that we do not have yet.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![REQUEST, ETHERNET, 6, 0];
        bytes.extend(self.xid.to_be_bytes());
        bytes.extend(self.seconds.to_be_bytes());
        bytes.extend([0; 2]);
        bytes.extend(self.ours.unwrap_or(Ipv4Addr::UNSPECIFIED).octets());
        bytes.extend([0; 12]);
        bytes.extend(self.mac);
        bytes.extend([0; 10 + SNAME_BYTES + FILE_BYTES]);
        bytes.extend(COOKIE);
        let mut put = |number: u8, value: &[u8]| {
            if let Ok(length) = u8::try_from(value.len()) {
                bytes.extend([number, length]);
                bytes.extend(value);
            }
        };
        put(option::MESSAGE_TYPE, &[self.ask as u8]);
        put(option::CLIENT, &[&[ETHERNET][..], &self.mac].concat());
        if let Some(server) = self.server {
            put(option::SERVER, &server.octets());
        }
        if let Some(requested) = self.requested {
            put(option::REQUESTED_ADDRESS, &requested.octets());
        }
        put(option::SIZE_MAX, &SIZE_MAX.to_be_bytes());
        if let Some(name) = &self.host_name {
            put(option::HOST_NAME, name.as_bytes());
        }
        put(option::PARAMETERS, &PARAMETERS);
        bytes.push(option::END);
        bytes.resize(bytes.len().max(SIZE_MIN), option::PAD);
        bytes
    }
}

/// What kind of answer a server gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Offer,
    Acknowledgement,
    Refusal,
}

/// A server's message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) kind: Kind,
    pub(super) xid: u32,
    pub(super) mac: Mac,
    /// The address that is given.
    pub(super) yours: Ipv4Addr,
    options: BTreeMap<u8, Vec<u8>>,
}

impl Answer {
    /// Understands a message; nothing where it is none, or no server's.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut rest = bytes;
        let [reply, hardware, length, _hops] = *take(&mut rest)?;
        let xid = u32::from_be_bytes(*take(&mut rest)?);
        let _seconds_flags_ours: &[u8; 8] = take(&mut rest)?;
        let yours = Ipv4Addr::from(*take::<4>(&mut rest)?);
        let _next_server_and_relay: &[u8; 8] = take(&mut rest)?;
        let mac = *take(&mut rest)?;
        let _padding: &[u8; 10] = take(&mut rest)?;
        let sname: &[u8; SNAME_BYTES] = take(&mut rest)?;
        let file: &[u8; FILE_BYTES] = take(&mut rest)?;
        let cookie: &[u8; 4] = take(&mut rest)?;
        if (reply, hardware, length) != (REPLY, ETHERNET, 6) || *cookie != COOKIE {
            return None;
        }
        let mut options = BTreeMap::new();
        read_options(rest, &mut options);
        // Which of the two fields hold options too.
        let overload = options.get(&option::OVERLOAD).and_then(|value| value.first()).copied();
        let overload = overload.unwrap_or(0);
        if overload & 1 != 0 {
            read_options(file, &mut options);
        }
        if overload & 2 != 0 {
            read_options(sname, &mut options);
        }
        let kind = match options.get(&option::MESSAGE_TYPE)?.as_slice() {
            [2] => Kind::Offer,
            [5] => Kind::Acknowledgement,
            [6] => Kind::Refusal,
            _ => return None,
        };
        Some(Self { kind, xid, mac, yours, options })
    }

    /// An option's bytes.
    pub(super) fn option(&self, number: u8) -> Option<&[u8]> {
        self.options.get(&number).map(Vec::as_slice)
    }

    /// An option that is a number of four bytes.
    pub(super) fn number(&self, number: u8) -> Option<u32> {
        self.option(number)?.try_into().ok().map(u32::from_be_bytes)
    }

    /// An option that is addresses, without those that are nobody's.
    pub(super) fn addresses(&self, number: u8) -> impl Iterator<Item = Ipv4Addr> + '_ {
        let bytes = self.option(number).unwrap_or_default();
        let (whole, _rest) = bytes.as_chunks::<4>();
        whole.iter().map(|bytes| Ipv4Addr::from(*bytes)).filter(is_somebody)
    }

    /// Why a server refuses, in its own words, as far as they can be shown.
    pub(super) fn words(&self) -> String {
        let words = String::from_utf8_lossy(self.option(option::MESSAGE).unwrap_or_default());
        words.chars().filter(|letter| !letter.is_control()).take(100).collect()
    }
}

/// An address that one machine can have.
pub(super) fn is_somebody(address: &Ipv4Addr) -> bool {
    let [first, ..] = address.octets();
    first != 0 && first < 224 && !address.is_loopback()
}

fn take<'a, const LENGTH: usize>(rest: &mut &'a [u8]) -> Option<&'a [u8; LENGTH]> {
    let (taken, left) = rest.split_first_chunk()?;
    *rest = left;
    Some(taken)
}

/// Reads options until their end; what is broken off there is left out. An option that comes again goes on.
fn read_options(mut bytes: &[u8], options: &mut BTreeMap<u8, Vec<u8>>) {
    while let Some((&number, rest)) = bytes.split_first() {
        match number {
            option::PAD => bytes = rest,
            option::END => return,
            _ => {
                let Some((&length, rest)) = rest.split_first() else { return };
                let Some((value, rest)) = rest.split_at_checked(length.into()) else { return };
                options.entry(number).or_default().extend(value);
                bytes = rest;
            }
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in super::super) const MAC: Mac = [2, 0, 0, 0, 0, 2];

    /// A server's message with these options.
    pub(in super::super) fn answer(kind: u8, xid: u32, yours: [u8; 4], options: &[u8]) -> Vec<u8> {
        let mut bytes = vec![2, 1, 6, 0];
        bytes.extend(xid.to_be_bytes());
        bytes.extend([0; 8]);
        bytes.extend(yours);
        bytes.extend([0; 8]);
        bytes.extend(MAC);
        bytes.extend([0; 10 + SNAME_BYTES + FILE_BYTES]);
        bytes.extend(COOKIE);
        bytes.extend([53, 1, kind]);
        bytes.extend(options);
        bytes.push(option::END);
        bytes
    }

    fn question() -> Question {
        Question {
            ask: Ask::Discover,
            xid: 7,
            seconds: 3,
            mac: MAC,
            ours: None,
            requested: None,
            server: None,
            host_name: Some("node".to_owned()),
        }
    }

    #[test]
    fn a_question_says_who_asks() {
        let bytes = question().encode();
        assert!(bytes.len() >= SIZE_MIN);
        let mut options = BTreeMap::new();
        read_options(&bytes[240..], &mut options);
        assert_eq!(options[&option::CLIENT], [1, 2, 0, 0, 0, 0, 2], "never empty");
        assert_eq!(options[&option::HOST_NAME], b"node");
        assert_eq!(bytes[10..12], [0, 0], "no broadcast asked for");
        assert_eq!(bytes[28..34], MAC);
        assert!(!options.contains_key(&option::SERVER), "no option is sent empty");
        assert!(options.values().all(|value| !value.is_empty()));
    }

    #[test]
    fn options_in_pieces_and_in_other_fields_are_found() {
        let mut bytes =
            answer(5, 7, [10, 9, 0, 5], &[52, 1, 3, 6, 4, 10, 0, 0, 1, 6, 4, 10, 0, 0, 2]);
        // `sname` is at 44, `file` at 108.
        bytes[44..51].copy_from_slice(&[3, 4, 10, 9, 0, 1, 255]);
        bytes[108..115].copy_from_slice(&[1, 4, 255, 255, 255, 0, 255]);
        let found = Answer::decode(&bytes).unwrap();
        let servers: Vec<Ipv4Addr> = found.addresses(option::NAME_SERVERS).collect();
        assert_eq!(servers, [Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 2)]);
        assert_eq!(found.option(option::ROUTERS), Some(&[10, 9, 0, 1][..]));
        assert_eq!(found.number(option::SUBNET_MASK), Some(0xffff_ff00));
    }

    #[test]
    fn what_is_no_answer_is_none() {
        let good = answer(5, 7, [10, 9, 0, 5], &[]);
        for length in 0..243 {
            assert_eq!(Answer::decode(&good[..length]), None, "{length} bytes");
        }
        for (place, value) in [(0, 1), (1, 6), (2, 8), (236, 0), (242, 1), (242, 99)] {
            let mut bad = good.clone();
            bad[place] = value;
            assert_eq!(Answer::decode(&bad), None, "{value} at {place}");
        }
        // An option that says more than there is.
        let torn = answer(2, 7, [10, 9, 0, 5], &[3, 200, 1]);
        assert_eq!(Answer::decode(&torn).unwrap().option(option::ROUTERS), None);
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_break_it(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..600)) {
            let whole = answer(2, 7, [10, 9, 0, 5], &bytes);
            for bytes in [bytes, whole] {
                if let Some(found) = Answer::decode(&bytes) {
                    drop(super::super::lease::Lease::of(&found, Ipv4Addr::new(10, 9, 0, 1)));
                    found.words();
                }
            }
        }
    }
}
