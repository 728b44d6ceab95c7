//! DNS messages, as far as a resolver for a handful of names needs them: one question, short answers.
//!
//! # Source
//! RFC 1035 section 4

use std::net::{Ipv4Addr, Ipv6Addr};

/// Bytes of a header: ID, flags, four counts.
const HEADER_BYTES: usize = 12;
/// Longest name on the wire.
const NAME_MAX_BYTES: usize = 255;
/// Longest label.
const LABEL_MAX_BYTES: usize = 63;
/// Bits of the flags: response, kind of query, authoritative, truncated, recursion desired, recursion available.
const RESPONSE: u16 = 0x8000;
const OPCODE: u16 = 0x7800;
const AUTHORITATIVE: u16 = 0x0400;
const RECURSION_DESIRED: u16 = 0x0100;
const RECURSION_AVAILABLE: u16 = 0x0080;
/// The Internet's class.
const INTERNET: u16 = 1;
/// Where the question's name is, as a compressed name.
const NAME_OF_QUESTION: u16 = 0xc000 | 12;

/// Kinds of records.
pub(super) const A: u16 = 1;
pub(super) const PTR: u16 = 12;
pub(super) const AAAA: u16 = 28;

/// Seconds that an answer may be kept: units come and go.
const KEEP_S: u32 = 5;

/// A query with its one question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Query {
    pub(super) id: u16,
    flags: u16,
    /// In lower case, without the last dot.
    pub(super) name: String,
    pub(super) kind: u16,
    /// The question as it came.
    question: Vec<u8>,
}

/// How a question is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Code {
    Fine = 0,
    ServerFailed = 2,
    NoSuchName = 3,
}

/// A record about the name that was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Record {
    Ipv4(Ipv4Addr),
    Ipv6(Ipv6Addr),
    Name(String),
}

fn number(message: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(message.get(at..at + 2)?.try_into().ok()?))
}

/// Understands a query. Everything that is none, or that is odd, is `None` and deserves no answer.
pub(super) fn parse(message: &[u8]) -> Option<Query> {
    let (id, flags) = (number(message, 0)?, number(message, 2)?);
    let (questions, answers) = (number(message, 4)?, number(message, 6)?);
    if flags & (RESPONSE | OPCODE) != 0 || questions != 1 || answers != 0 {
        return None;
    }
    let (name, end) = read_name(message, HEADER_BYTES)?;
    let (kind, class) = (number(message, end)?, number(message, end + 2)?);
    let question = message.get(HEADER_BYTES..end + 4)?.to_vec();
    (class == INTERNET).then_some(Query { id, flags, name, kind, question })
}

/// A name that is written out, and where it ends. In a question nothing precedes it that it could point to.
fn read_name(message: &[u8], start: usize) -> Option<(String, usize)> {
    let (mut name, mut at) = (String::new(), start);
    loop {
        let length = usize::from(*message.get(at)?);
        at += 1;
        if length == 0 {
            return Some((name, at));
        }
        if length > LABEL_MAX_BYTES || at + length - start > NAME_MAX_BYTES {
            return None;
        }
        if !name.is_empty() {
            name.push('.');
        }
        for byte in message.get(at..at + length)? {
            // A dot within a label would make two names look alike; other bytes are no unit's.
            let fits = byte.is_ascii_graphic() && *byte != b'.';
            name.push(if fits { char::from(byte.to_ascii_lowercase()) } else { '\u{fffd}' });
        }
        at += length;
    }
}

impl Query {
    /// An answer of our own.
    pub(super) fn answer(&self, code: Code, records: &[Record]) -> Vec<u8> {
        let authoritative = if code == Code::ServerFailed { 0 } else { AUTHORITATIVE };
        let flags =
            RESPONSE | authoritative | RECURSION_AVAILABLE | (self.flags & RECURSION_DESIRED);
        let count = u16::try_from(records.len()).unwrap_or(0);
        let mut message = Vec::new();
        for part in [self.id, flags | code as u16, 1, count, 0, 0] {
            message.extend_from_slice(&part.to_be_bytes());
        }
        message.extend_from_slice(&self.question);
        for record in records {
            let (kind, data) = match record {
                Record::Ipv4(address) => (A, address.octets().to_vec()),
                Record::Ipv6(address) => (AAAA, address.octets().to_vec()),
                Record::Name(name) => (PTR, write_name(name)),
            };
            for part in [NAME_OF_QUESTION, kind, INTERNET] {
                message.extend_from_slice(&part.to_be_bytes());
            }
            message.extend_from_slice(&KEEP_S.to_be_bytes());
            message.extend_from_slice(&u16::try_from(data.len()).unwrap_or(0).to_be_bytes());
            message.extend_from_slice(&data);
        }
        message
    }

    /// Whether `message` is an answer to this question, asked under `id`.
    pub(super) fn is_answered_by(&self, message: &[u8], id: u16) -> bool {
        let flags = number(message, 2).unwrap_or(0);
        let end = HEADER_BYTES + self.question.len();
        let same = |question: &[u8]| question.eq_ignore_ascii_case(&self.question);
        number(message, 0) == Some(id)
            && flags & RESPONSE != 0
            && number(message, 4) == Some(1)
            && message.get(HEADER_BYTES..end).is_some_and(same)
    }
}

/// Puts another ID into a message.
pub(super) fn set_id(message: &mut [u8], id: u16) {
    for (place, byte) in message.iter_mut().zip(id.to_be_bytes()) {
        *place = byte;
    }
}

fn write_name(name: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for label in name.split('.').filter(|label| !label.is_empty()) {
        let label = label.as_bytes().get(..LABEL_MAX_BYTES).unwrap_or(label.as_bytes());
        bytes.push(u8::try_from(label.len()).unwrap_or(0));
        bytes.extend_from_slice(label);
    }
    bytes.push(0);
    bytes
}

#[cfg(test)]
pub(super) fn ask(id: u16, name: &str, kind: u16) -> Vec<u8> {
    let mut message = Vec::new();
    for part in [id, RECURSION_DESIRED, 1, 0, 0, 0] {
        message.extend_from_slice(&part.to_be_bytes());
    }
    message.extend_from_slice(&write_name(name));
    message.extend_from_slice(&kind.to_be_bytes());
    message.extend_from_slice(&INTERNET.to_be_bytes());
    message
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_question_is_read_and_answered() {
        let query = parse(&ask(7, "Web.Ferrite.local", AAAA)).unwrap();
        assert_eq!((query.id, query.name.as_str(), query.kind), (7, "web.ferrite.local", AAAA));
        let records = [Record::Ipv6(Ipv6Addr::LOCALHOST), Record::Ipv4(Ipv4Addr::LOCALHOST)];
        let answer = query.answer(Code::Fine, &records);
        assert_eq!(answer[..12], [0, 7, 0x85, 0x80, 0, 1, 0, 2, 0, 0, 0, 0]);
        assert!(answer.ends_with(&[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 5, 0, 4, 127, 0, 0, 1]));
        assert!(query.is_answered_by(&answer, 7));
        assert!(!query.is_answered_by(&answer, 8), "another's answer");
        assert!(!query.is_answered_by(&ask(7, "web.ferrite.local", AAAA), 7), "no answer");
        let other = parse(&ask(7, "evil.example", AAAA)).unwrap();
        assert!(!query.is_answered_by(&other.answer(Code::Fine, &[]), 7), "of another question");
        assert_eq!(query.answer(Code::NoSuchName, &[])[3] & 15, 3);
    }

    #[test]
    fn what_is_no_question_gets_no_answer() {
        let good = ask(1, "a.b", A);
        assert!(parse(&good).is_some());
        for length in 0..good.len() {
            assert_eq!(parse(&good[..length]), None, "cut at {length}");
        }
        let with = |at: usize, byte: u8| {
            let mut bad = good.clone();
            bad[at] = byte;
            parse(&bad)
        };
        assert_eq!(
            with(2, 0x80),
            None,
            "a response: answering it would make two servers talk for ever"
        );
        assert_eq!(with(5, 2), None, "two questions");
        assert_eq!(with(12, 0xc0), None, "a pointer");
        assert_eq!(with(good.len() - 1, 3), None, "another class");
        assert_eq!(parse(&ask(1, &"abcdefg.".repeat(40), A)), None, "too long");
    }

    #[test]
    fn a_dot_within_a_label_makes_no_other_name() {
        let mut odd = ask(1, "a-b", A);
        odd[14] = b'.';
        assert_eq!(parse(&odd).unwrap().name, "a\u{fffd}b");
    }

    proptest! {
        #[test]
        fn nothing_hurts(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            parse(&bytes);
            let query = parse(&ask(7, "a.b", A)).unwrap();
            prop_assert!(!query.is_answered_by(&bytes, 7) || bytes[2] & 0x80 != 0);
        }

        /// Of noise, hardly anything is a question; of a question with a few bytes changed, much is.
        #[test]
        fn whatever_is_taken_for_a_question_has_its_answer_and_no_other(
            name in "[a-zA-Z0-9.-]{0,60}",
            changes in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 0..4),
        ) {
            let mut bytes = ask(7, &name, A);
            prop_assert!(parse(&bytes).is_some());
            for (place, byte) in &changes {
                let place = place.index(bytes.len());
                bytes[place] = *byte;
            }
            if let Some(query) = parse(&bytes) {
                let answer = query.answer(Code::Fine, &[Record::Name("a".to_owned())]);
                prop_assert!(query.is_answered_by(&answer, query.id));
                prop_assert!(!query.is_answered_by(&bytes, query.id), "the question is no answer");
                prop_assert_eq!(parse(&answer), None, "nor the answer a question");
            }
        }
    }
}
