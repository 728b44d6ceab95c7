//! Answers to questions for names of the network. Nothing is asked of anybody else.
//!
//! A message is a header of 12 bytes (ID, flags, four counts), one question (labels, type, class), and answers that
//! refer to the question's name. Source: RFC 1035, section 4.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};

use super::super::topology::DOMAIN;

const HEADER_BYTES: usize = 12;
const NAME_MAX_BYTES: usize = 255;
/// Seconds for which an answer may be kept: a machine that moves is found at once.
const TTL_SECONDS: u32 = 1;
/// "The name in the question": a pointer to byte 12.
const QUESTIONS_NAME: [u8; 2] = [0xc0, 0x0c];
const IN: u16 = 1;
const A: u16 = 1;
const AAAA: u16 = 28;
const ANY: u16 = 255;

/// The names, each with its addresses.
pub(crate) type Names = BTreeMap<String, (Option<Ipv4Addr>, Ipv6Addr)>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Code {
    NoError = 0,
    FormatError = 1,
    NoSuchName = 3,
    NotImplemented = 4,
    Refused = 5,
}

struct Question {
    /// In small letters, with dots between the labels.
    name: String,
    kind: u16,
    class: u16,
    /// Bytes that it takes, as they came.
    length: usize,
}

/// The answer to a message; `None` where it is no question at all and gets none.
pub(crate) fn answer(message: &[u8], names: &Names) -> Option<Vec<u8>> {
    let (header, body) = message.split_first_chunk::<HEADER_BYTES>()?;
    let [id_high, id_low, flags, _, questions_high, questions_low, ..] = *header;
    let is_answer = flags & 0x80 != 0;
    if is_answer {
        return None;
    }
    let questions = u16::from_be_bytes([questions_high, questions_low]);
    let question = if questions == 1 { read_question(body) } else { None };
    let operation = flags >> 3 & 0xf;
    let (code, records) = match &question {
        _ if operation != 0 => (Code::NotImplemented, Vec::new()),
        None => (Code::FormatError, Vec::new()),
        Some(question) if question.class != IN => (Code::Refused, Vec::new()),
        Some(question) => look_up(question, names),
    };
    let [flag_bits, code] = [0x84 | flags & 0x79, code as u8];
    let asked = question.as_ref().and_then(|question| body.get(..question.length));
    let answers = u8::try_from(records.len()).ok()?;
    let mut reply = vec![id_high, id_low, flag_bits, code];
    reply.extend([0, u8::from(asked.is_some()), 0, answers, 0, 0, 0, 0]);
    reply.extend_from_slice(asked.unwrap_or_default());
    reply.extend(records.concat());
    Some(reply)
}

fn read_question(body: &[u8]) -> Option<Question> {
    let mut labels: Vec<String> = Vec::new();
    let mut rest = body;
    loop {
        let (length, behind) = rest.split_first()?;
        let length = usize::from(*length);
        if length == 0 {
            rest = behind;
            break;
        }
        // Longer ones are pointers, and there is nothing before the question to point to.
        if length > 63 || body.len() - behind.len() + length >= NAME_MAX_BYTES {
            return None;
        }
        let (label, behind) = behind.split_at_checked(length)?;
        labels.push(String::from_utf8_lossy(label).to_ascii_lowercase());
        rest = behind;
    }
    let (fixed, rest) = rest.split_first_chunk::<4>()?;
    let [kind_high, kind_low, class_high, class_low] = *fixed;
    Some(Question {
        name: labels.join("."),
        kind: u16::from_be_bytes([kind_high, kind_low]),
        class: u16::from_be_bytes([class_high, class_low]),
        length: body.len() - rest.len(),
    })
}

fn look_up(question: &Question, names: &Names) -> (Code, Vec<Vec<u8>>) {
    let domain = question.name.strip_suffix(DOMAIN).and_then(|name| name.strip_suffix('.'));
    let Some((ipv4, ipv6)) = names.get(domain.unwrap_or(&question.name)) else {
        return (Code::NoSuchName, Vec::new());
    };
    let ipv4 = ipv4.map(|ipv4| record(A, &ipv4.octets()));
    let ipv6 = record(AAAA, &ipv6.octets());
    let records = match question.kind {
        A => ipv4.into_iter().collect(),
        AAAA => vec![ipv6],
        ANY => ipv4.into_iter().chain([ipv6]).collect(),
        _ => Vec::new(),
    };
    (Code::NoError, records)
}

fn record(kind: u16, address: &[u8]) -> Vec<u8> {
    let length = u16::try_from(address.len()).unwrap_or(0);
    let mut bytes = QUESTIONS_NAME.to_vec();
    bytes.extend(kind.to_be_bytes());
    bytes.extend(IN.to_be_bytes());
    bytes.extend(TTL_SECONDS.to_be_bytes());
    bytes.extend(length.to_be_bytes());
    bytes.extend_from_slice(address);
    bytes
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn names() -> Names {
        let (ipv4, ipv6) = (Ipv4Addr::new(192, 168, 1, 10), "fd66::a".parse().unwrap());
        Names::from([("one".to_owned(), (Some(ipv4), ipv6)), ("six".to_owned(), (None, ipv6))])
    }

    fn question(name: &[u8], kind: u16, class: u16) -> Vec<u8> {
        let mut bytes = vec![0xab, 0xcd, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        for label in name.split(|byte| *byte == b'.') {
            bytes.push(u8::try_from(label.len()).unwrap());
            bytes.extend_from_slice(label);
        }
        bytes.push(0);
        bytes.extend(kind.to_be_bytes());
        bytes.extend(class.to_be_bytes());
        bytes
    }

    /// Code and number of answers.
    fn check(message: &[u8], expected: (u8, u8)) {
        let reply = answer(message, &names()).unwrap();
        assert_eq!(reply[..2], message[..2]);
        assert_eq!((reply[3] & 0xf, reply[7]), expected, "{message:?} gave {reply:?}");
    }

    #[test]
    fn names_are_found_in_any_case_and_with_their_domain() {
        for name in [&b"one"[..], b"ONE", b"one.ferrite.test", b"oNe.FERRITE.test"] {
            let reply = answer(&question(name, A, IN), &names()).unwrap();
            assert_eq!((reply[2], reply[3], reply[7]), (0x85, 0, 1), "authoritative, no error");
            assert!(reply.ends_with(&[0, 4, 192, 168, 1, 10]));
            assert!(reply[12..].starts_with(&question(name, A, IN)[12..]), "as it was asked");
        }
        check(&question(b"one", AAAA, IN), (0, 1));
        check(&question(b"one", ANY, IN), (0, 2));
        check(&question(b"one", 15, IN), (0, 0));
        for absent in
            [&b"two"[..], b"one.two", b"two.one", b"one.ferrite.tes", b"oneferrite.test", b"\xff"]
        {
            check(&question(absent, A, IN), (3, 0));
        }
    }

    #[test]
    fn what_is_no_question_of_ours_is_refused_or_ignored() {
        check(&question(b"one", A, 3), (5, 0));
        let mut update = question(b"one", A, IN);
        update[2] |= 5 << 3;
        check(&update, (4, 0));
        let mut two = question(b"one", A, IN);
        two[5] = 2;
        check(&two, (1, 0));
        // A pointer, and behind it as much as a label of that length would have.
        let pointer = question(&[b'a'; 192], A, IN);
        assert_eq!(pointer[12], 0xc0);
        check(&pointer, (1, 0));
        check(&question(b"one", A, IN)[..15], (1, 0));
        let long = [&[b'a'; 63][..]; 5].join(&b'.');
        check(&question(&long, A, IN), (1, 0));
        let mut reply = question(b"one", A, IN);
        reply[2] |= 0x80;
        assert_eq!(answer(&reply, &names()), None, "two that answer one another never end");
        assert_eq!(answer(&reply[..11], &names()), None);
    }

    proptest! {
        #[test]
        fn rubbish_is_answered_shortly_or_not(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            let reply = answer(&bytes, &names());
            prop_assert!(reply.is_none_or(|reply| reply.len() <= 12 + 255 + 4 + 2 * 28));
        }

        #[test]
        fn a_question_with_rubbish_in_it_is(at in 0..40_usize, byte: u8, cut in 0..60_usize) {
            let mut message = question(b"one.ferrite.test", A, IN);
            if let Some(place) = message.get_mut(at) {
                *place = byte;
            }
            message.truncate(cut);
            let reply = answer(&message, &names());
            prop_assert!(reply.is_none_or(|reply| reply.len() <= 12 + 255 + 4 + 2 * 28));
        }
    }
}
