//! DNS messages that come in, as far as a resolver for a handful of names reads them: one question, and what the client
//! offers.
//!
//! # Source
//! RFC 1035 section 4, RFC 6891 section 6

use super::answer::Code;

/// Largest packet that is sent, whatever the client offers: more may be cut up on the way, and a part be lost.
pub(super) const PACKET_MAX_BYTES: u16 = 1232;
/// Bytes of a header: ID, flags, four counts.
pub(super) const HEADER_BYTES: usize = 12;
/// Longest name on the wire.
const NAME_MAX_BYTES: usize = 255;
/// Longest label.
pub(super) const LABEL_MAX_BYTES: usize = 63;
/// What every client takes for an answer.
const PACKET_MIN_BYTES: u16 = 512;
/// Bits of the flags: response, kind of query, recursion desired, and what a server says of itself and its answer.
pub(super) const RESPONSE: u16 = 0x8000;
const OPCODE: u16 = 0x7800;
pub(super) const RECURSION_DESIRED: u16 = 0x0100;
pub(super) const AUTHORITATIVE: u16 = 0x0400;
pub(super) const TRUNCATED: u16 = 0x0200;
pub(super) const RECURSION_AVAILABLE: u16 = 0x0080;
/// Bit of an OPT record's flags: the client knows DNSSEC.
pub(super) const DNSSEC: u16 = 0x8000;
/// The Internet's class.
pub(super) const INTERNET: u16 = 1;

/// Kinds of records.
pub(super) const A: u16 = 1;
pub(super) const SOA: u16 = 6;
pub(super) const PTR: u16 = 12;
pub(super) const AAAA: u16 = 28;
pub(super) const SRV: u16 = 33;
pub(super) const OPT: u16 = 41;
pub(super) const ANY: u16 = 255;

/// A query with its one question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Query {
    pub(super) id: u16,
    pub(super) flags: u16,
    /// In lower case, without the last dot.
    pub(super) name: String,
    pub(super) kind: u16,
    /// The question as it came.
    pub(super) question: Vec<u8>,
    /// What the client offers, if it knows EDNS.
    pub(super) offer: Option<Offer>,
    /// Why there can be no other answer than this.
    pub(super) problem: Option<Code>,
}

/// What an OPT record says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Offer {
    packet_bytes: u16,
    version: u8,
    pub(super) dnssec: bool,
}

/// Two bytes of a message.
pub(super) fn number(message: &[u8], at: usize) -> Option<u16> {
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
    if class != INTERNET {
        return None;
    }
    let question = message.get(HEADER_BYTES..end + 4)?.to_vec();
    let (offer, problem) = match read_offer(message, end + 4) {
        Some(Some(offer)) if offer.version != 0 => (Some(offer), Some(Code::BadVersion)),
        Some(offer) => (offer, None),
        None => (None, Some(Code::FormatError)),
    };
    Some(Query { id, flags, name, kind, question, offer, problem })
}

/// What is offered in the records after the question, if anything is; `None` where they are no records, or there are two
/// offers. Each record has 11 bytes or more, so that there are not many.
fn read_offer(message: &[u8], mut at: usize) -> Option<Option<Offer>> {
    let (authorities, additionals) = (number(message, 8)?, number(message, 10)?);
    let mut offer = None;
    for index in 0..u32::from(authorities) + u32::from(additionals) {
        let name_at = at;
        at = skip_name(message, at)?;
        let (kind, class) = (number(message, at)?, number(message, at + 2)?);
        let (code_and_version, flags) = (number(message, at + 4)?, number(message, at + 6)?);
        let data_at = at + 10;
        at = data_at + usize::from(number(message, at + 8)?);
        let data = message.get(data_at..at)?;
        if kind == OPT {
            let root = message.get(name_at) == Some(&0);
            let further = index >= u32::from(authorities);
            if !root || !further || offer.is_some() || !are_options(data) {
                return None;
            }
            let [_, version] = code_and_version.to_be_bytes();
            let dnssec = flags & DNSSEC != 0;
            offer = Some(Offer { packet_bytes: class, version, dnssec });
        }
    }
    Some(offer)
}

/// Where a name ends that nobody reads.
fn skip_name(message: &[u8], mut at: usize) -> Option<usize> {
    loop {
        let length = usize::from(*message.get(at)?);
        match length {
            0 => return Some(at + 1),
            1..=LABEL_MAX_BYTES => at += 1 + length,
            0xc0.. => return Some(at + 2),
            _ => return None,
        }
    }
}

/// Options, each with its code and its length.
fn are_options(mut data: &[u8]) -> bool {
    while !data.is_empty() {
        let rest = number(data, 2).and_then(|length| data.get(4 + usize::from(length)..));
        let Some(rest) = rest else { return false };
        data = rest;
    }
    true
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
    /// Longest packet that the client takes for an answer, as far as we make use of it.
    pub(super) fn packet_max_bytes(&self) -> usize {
        let offered = self.offer.as_ref().map_or(0, |offer| offer.packet_bytes);
        offered.clamp(PACKET_MIN_BYTES, PACKET_MAX_BYTES).into()
    }
}

/// Puts another ID into a message.
pub(super) fn set_id(message: &mut [u8], id: u16) {
    for (place, byte) in message.iter_mut().zip(id.to_be_bytes()) {
        *place = byte;
    }
}

/// A name as it is on the wire; `None` where it is too long for that.
pub(super) fn wire_name(name: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    for label in name.split('.').filter(|label| !label.is_empty()) {
        let length = u8::try_from(label.len()).ok();
        bytes.push(length.filter(|length| usize::from(*length) <= LABEL_MAX_BYTES)?);
        bytes.extend_from_slice(label.as_bytes());
    }
    bytes.push(0);
    (bytes.len() <= NAME_MAX_BYTES).then_some(bytes)
}

#[cfg(test)]
pub(super) fn ask(id: u16, name: &str, kind: u16) -> Vec<u8> {
    let mut message = Vec::new();
    for part in [id, RECURSION_DESIRED, 1, 0, 0, 0] {
        message.extend_from_slice(&part.to_be_bytes());
    }
    for label in name.split('.').filter(|label| !label.is_empty()) {
        message.push(u8::try_from(label.len()).unwrap());
        message.extend_from_slice(label.as_bytes());
    }
    message.push(0);
    message.extend_from_slice(&kind.to_be_bytes());
    message.extend_from_slice(&INTERNET.to_be_bytes());
    message
}

/// Adds an OPT record to a message that ends with its additional records.
#[cfg(test)]
pub(super) fn offering(mut message: Vec<u8>, bytes: u16, flags: u32, options: &[u8]) -> Vec<u8> {
    message[11] += 1;
    message.push(0);
    message.extend_from_slice(&OPT.to_be_bytes());
    message.extend_from_slice(&bytes.to_be_bytes());
    message.extend_from_slice(&flags.to_be_bytes());
    message.extend_from_slice(&u16::try_from(options.len()).unwrap().to_be_bytes());
    message.extend_from_slice(options);
    message
}

#[cfg(test)]
mod tests {
    use super::super::answer::{Record, Reply};
    use super::super::worth::Worth;
    use super::*;
    use proptest::prelude::*;

    fn write(query: &Query, reply: &Reply) -> Vec<u8> {
        reply.write(query, query.packet_max_bytes())
    }

    #[test]
    fn a_question_is_read_and_knows_its_answer() {
        let query = parse(&ask(7, "Web.Ferrite.local", AAAA)).unwrap();
        assert_eq!((query.id, query.name.as_str(), query.kind), (7, "web.ferrite.local", AAAA));
        assert_eq!((&query.offer, query.problem, query.packet_max_bytes()), (&None, None, 512));
        let answer = write(&query, &Reply::problem(Code::Fine));
        assert_eq!(query.worth(&answer, 7), Some(Worth::Answer));
        assert_eq!(query.worth(&answer, 8), None, "another's answer");
        assert_eq!(query.worth(&ask(7, "web.ferrite.local", AAAA), 7), None, "no answer");
        let other = parse(&ask(7, "evil.example", AAAA)).unwrap();
        let other = write(&other, &Reply::problem(Code::Fine));
        assert_eq!(query.worth(&other, 7), None, "of another question");
    }

    #[test]
    fn what_a_client_offers_is_used_within_bounds() {
        for (offered, used) in [(0, 512), (511, 512), (700, 700), (1232, 1232), (u16::MAX, 1232)] {
            let query = parse(&offering(ask(1, "a", A), offered, 0, &[])).unwrap();
            assert_eq!((query.packet_max_bytes(), query.problem), (used, None));
        }
        let cookie = [0, 10, 0, 8, 1, 2, 3, 4, 5, 6, 7, 8];
        let query = parse(&offering(ask(1, "a", A), 1232, u32::from(DNSSEC), &cookie)).unwrap();
        assert!(query.offer.unwrap().dnssec);
        let query = parse(&offering(ask(1, "a", A), 1232, 0x0001_0000, &[])).unwrap();
        assert_eq!(query.problem, Some(Code::BadVersion));
    }

    #[test]
    fn an_offer_that_cannot_be_read_is_told_so() {
        let check = |message: &[u8], expected| {
            assert_eq!(parse(message).unwrap().problem, expected, "{message:?}");
        };
        let good = offering(ask(1, "a.b", A), 1232, 0, &[0, 3, 0, 1, 9]);
        let question = ask(1, "a.b", A).len();
        check(&good, None);
        for length in question..good.len() {
            check(&good[..length], Some(Code::FormatError));
        }
        check(&offering(good.clone(), 512, 0, &[]), Some(Code::FormatError));
        check(&offering(ask(1, "a.b", A), 512, 0, &[0, 3, 0]), Some(Code::FormatError));
        check(&offering(ask(1, "a.b", A), 512, 0, &[0, 3, 0, 2, 9]), Some(Code::FormatError));
        let mut named = good.clone();
        named.splice(question..=question, [1, b'x', 0]);
        check(&named, Some(Code::FormatError));
        let mut authority = good.clone();
        (authority[9], authority[11]) = (1, 0);
        check(&authority, Some(Code::FormatError));
        // Records of other kinds are nobody's concern here, and may point to the question's name.
        let mut further = ask(1, "a.b", A);
        (further[9], further[11]) = (1, 1);
        further.extend_from_slice(&[0xc0, 12, 0, 16, 0, 1, 0, 0, 0, 0, 0, 1, 0]);
        further.extend_from_slice(&[1, b'k', 0, 0, 250, 0, 255, 0, 0, 0, 0, 0, 0]);
        check(&further, None);
        check(&offering(further, 512, 0, &[]), None);
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
            prop_assert!(query.worth(&bytes, 7).is_none() || bytes[2] & 0x80 != 0);
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
                let answers = vec![Record::Name("a".to_owned())];
                let answer = write(&query, &Reply { answers, ..Reply::problem(Code::Fine) });
                prop_assert_eq!(query.worth(&answer, query.id), Some(Worth::Answer));
                prop_assert_eq!(query.worth(&bytes, query.id), None, "the question is no answer");
                prop_assert_eq!(parse(&answer), None, "nor the answer a question");
            }
        }
    }
}
