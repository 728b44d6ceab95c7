//! Reads answers as strictly as any client might, for tests.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::message::{A, AAAA, HEADER_BYTES, OPT, PTR, SOA, SRV};

/// A whole message.
#[derive(Debug)]
pub(super) struct Message {
    pub(super) flags: u16,
    pub(super) answers: Vec<Read>,
    pub(super) authority: Vec<Read>,
    pub(super) additional: Vec<Read>,
}

/// A record.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Read {
    pub(super) owner: String,
    pub(super) kind: u16,
    /// Of an OPT record, the size of packets.
    pub(super) class: u16,
    pub(super) seconds: u32,
    pub(super) data: Data,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Data {
    Address(IpAddr),
    Name(String),
    Service(u16, String),
    /// Its five numbers.
    Zone(Vec<u32>),
    Bytes(Vec<u8>),
}

impl Message {
    pub(super) fn code(&self) -> u16 {
        let opt = self.additional.iter().find(|record| record.kind == OPT);
        let high = opt.map_or(0, |record| u16::try_from(record.seconds >> 24).unwrap());
        high << 4 | self.flags & 15
    }

    pub(super) fn is_truncated(&self) -> bool {
        self.flags & 0x0200 != 0
    }
}

pub(super) fn read(message: &[u8]) -> Message {
    let number = |at: usize| u16::from_be_bytes([message[at], message[at + 1]]);
    assert_eq!(number(4), 1, "one question");
    let mut at = HEADER_BYTES;
    name(message, &mut at, true);
    at += 4;
    let mut section = |count| (0..count).map(|_| record(message, &mut at)).collect();
    let sections = (section(number(6)), section(number(8)), section(number(10)));
    assert_eq!(at, message.len(), "nothing follows");
    let (answers, authority, additional) = sections;
    Message { flags: number(2), answers, authority, additional }
}

fn record(message: &[u8], at: &mut usize) -> Read {
    let owner = name(message, at, true);
    let field =
        |offset: usize| u16::from_be_bytes([message[*at + offset], message[*at + offset + 1]]);
    let (kind, class, length) = (field(0), field(2), usize::from(field(8)));
    let seconds = u32::from(field(4)) << 16 | u32::from(field(6));
    *at += 10;
    let end = *at + length;
    let bytes = message[*at..end].to_vec();
    let data = match kind {
        A => Data::Address(Ipv4Addr::from(<[u8; 4]>::try_from(&bytes[..]).unwrap()).into()),
        AAAA => Data::Address(Ipv6Addr::from(<[u8; 16]>::try_from(&bytes[..]).unwrap()).into()),
        PTR => Data::Name(name(message, at, true)),
        SRV => {
            assert_eq!(bytes[..4], [0, 0, 0, 1], "priority and weight");
            let port = u16::from_be_bytes([bytes[4], bytes[5]]);
            *at += 6;
            Data::Service(port, name(message, at, false))
        }
        SOA => {
            name(message, at, true);
            name(message, at, true);
            let numbers = message[*at..end].chunks(4).map(|four| four.try_into().unwrap());
            let numbers: Vec<u32> = numbers.map(u32::from_be_bytes).collect();
            assert_eq!(numbers.len(), 5);
            *at += 20;
            Data::Zone(numbers)
        }
        _ => Data::Bytes(bytes),
    };
    if matches!(data, Data::Name(_) | Data::Service(..) | Data::Zone(_)) {
        assert_eq!(*at, end, "the data is as long as it says");
    }
    *at = end;
    Read { owner, kind, class, seconds, data }
}

/// Pointers lead back, and from there on there are none.
fn name(message: &[u8], at: &mut usize, may_point: bool) -> String {
    let (mut labels, mut bytes) = (Vec::new(), 1);
    let (mut here, mut pointed) = (*at, false);
    loop {
        let length = usize::from(message[here]);
        if length >= 0xc0 {
            assert!(may_point && !pointed, "a pointer where none may be");
            let there = (length & 0x3f) << 8 | usize::from(message[here + 1]);
            assert!(there < here && there >= HEADER_BYTES, "a pointer to {there} at {here}");
            (*at, here, pointed) = (here + 2, there, true);
            continue;
        }
        here += 1;
        if length == 0 {
            break;
        }
        assert!(length <= 63);
        bytes += 1 + length;
        labels.push(String::from_utf8_lossy(&message[here..here + length]).into_owned());
        here += length;
    }
    assert!(bytes <= 255);
    if !pointed {
        *at = here;
    }
    labels.join(".")
}
