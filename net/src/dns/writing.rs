//! Answers of our own, as they are sent.
//!
//! # Source
//! RFC 1035 section 4, RFC 2308 (what is not there), RFC 2782 (SRV), RFC 6891 (OPT), RFC 8482 (questions for anything)

use super::answer::{RECORDS_MAX, Record, Reply};
use super::message::{
    self, AUTHORITATIVE, HEADER_BYTES, INTERNET, PACKET_MAX_BYTES, Query, RECURSION_AVAILABLE,
    TRUNCATED,
};

/// What a pointer to an earlier name begins with; the rest of its 16 bits is where the name is.
const POINTER: u16 = 0xc000;
/// Where no pointer leads any more.
const POINTER_END: usize = 0x4000;
/// Where the question's name is, as a compressed name. It is as the client wrote it, large letters and small: some
/// look at that, so that an answer is harder to forge.
const NAME_OF_QUESTION: u16 = POINTER | 12;
/// Bytes of our OPT record: no name, kind, size, flags, no options.
const OPT_BYTES: usize = 11;

/// The kind of record that answers who asks for anything.
const HINFO: u16 = 13;

/// Seconds that an answer may be kept, and so what is not there: instances come and go, and nobody tells who asked.
const KEEP_S: u32 = 1;
/// Longest message in a connection: its length is 16 bits.
pub(super) const CONNECTION_MAX_BYTES: usize = 0xffff;

impl Reply {
    /// The message for whoever asked, of `most` bytes at most. Whole records are left out; the client is told where
    /// these are answers, and not where it can go on without them (RFC 2181 section 9).
    pub(super) fn write(&self, query: &Query, most: usize) -> Vec<u8> {
        let reserved = query.offer.as_ref().map_or(0, |_| OPT_BYTES);
        let mut writer = Writer::new(query, self.domain.as_deref(), most.saturating_sub(reserved));
        let answers = count_while(&self.answers, |record| writer.record(None, record));
        let truncated = usize::from(answers) < self.answers.len();
        let zone = self.domain.as_deref().filter(|_| self.answers.is_empty());
        let authority = zone.is_some_and(|domain| writer.record(Some(domain), &Record::Zone));
        let additional = if truncated { &[] } else { &self.additional[..] };
        let mut additional =
            count_while(additional, |(name, record)| writer.record(Some(name), record));
        let mut message = writer.message;
        if query.offer.is_some() {
            additional += 1;
            self.write_opt(query, &mut message);
        }
        let counts = [1, answers, authority.into(), additional];
        let header = self.header(query, truncated, counts);
        for (place, byte) in message.iter_mut().zip(header) {
            *place = byte;
        }
        message
    }

    fn header(&self, query: &Query, truncated: bool, counts: [u16; 4]) -> Vec<u8> {
        let asked = query.flags & message::RECURSION_DESIRED;
        let mut flags = message::RESPONSE | RECURSION_AVAILABLE | asked;
        flags |= if self.domain.is_some() { AUTHORITATIVE } else { 0 };
        flags |= if truncated { TRUNCATED } else { 0 };
        flags |= self.code as u16 & 0x000f;
        [query.id, flags].into_iter().chain(counts).flat_map(u16::to_be_bytes).collect()
    }

    /// The OPT record: what we take, the rest of the code, our version 0, and whether the client knows DNSSEC's records,
    /// of which there are none.
    fn write_opt(&self, query: &Query, message: &mut Vec<u8>) {
        let dnssec = query.offer.as_ref().is_some_and(|offer| offer.dnssec);
        message.push(0);
        let flags = if dnssec { message::DNSSEC } else { 0 };
        let code = (self.code as u16 >> 4) << 8;
        for part in [message::OPT, PACKET_MAX_BYTES, code, flags, 0] {
            message.extend_from_slice(&part.to_be_bytes());
        }
    }
}

/// How many are written until one does not fit.
fn count_while<Item>(items: &[Item], mut write: impl FnMut(&Item) -> bool) -> u16 {
    let count = items.iter().take(RECORDS_MAX).take_while(|item| write(item)).count();
    u16::try_from(count).unwrap_or(u16::MAX)
}

/// A message that grows by whole records.
struct Writer<'a> {
    message: Vec<u8>,
    most: usize,
    domain: &'a str,
    /// Where the domain stands in the message, once it does.
    domain_at: Option<u16>,
}

impl<'a> Writer<'a> {
    fn new(query: &Query, domain: Option<&'a str>, most: usize) -> Self {
        let mut message = vec![0; HEADER_BYTES];
        message.extend_from_slice(&query.question);
        let domain = domain.unwrap_or_default();
        let mut writer = Self { message, most, domain, domain_at: None };
        if let Some(front) = writer.front(&query.name) {
            writer.domain_at = pointable(HEADER_BYTES + front.len());
        }
        writer
    }

    /// What stands before the domain, with its last dot.
    fn front<'name>(&self, name: &'name str) -> Option<&'name str> {
        let front = name.strip_suffix(self.domain)?;
        let fits = front.is_empty() || front.ends_with('.');
        // Anything else is a byte or more per character here, and so not where it would be on the wire.
        (fits && !self.domain.is_empty() && front.is_ascii()).then_some(front)
    }

    /// Writes a record whole, or nothing. Without an owner it is about the name that was asked for.
    fn record(&mut self, owner: Option<&str>, record: &Record) -> bool {
        let (start, domain_at) = (self.message.len(), self.domain_at);
        let written = self.try_record(owner, record).is_some();
        let fits = written && self.message.len() <= self.most;
        if !fits {
            self.message.truncate(start);
            self.domain_at = domain_at;
        }
        fits
    }

    fn try_record(&mut self, owner: Option<&str>, record: &Record) -> Option<()> {
        match owner {
            None => self.number(NAME_OF_QUESTION),
            Some(name) => self.name(name, true)?,
        }
        self.number(kind(record));
        self.number(INTERNET);
        self.message.extend_from_slice(&KEEP_S.to_be_bytes());
        let length_at = self.message.len();
        self.number(0);
        match record {
            Record::Ipv4(address) => self.message.extend_from_slice(&address.octets()),
            Record::Ipv6(address) => self.message.extend_from_slice(&address.octets()),
            Record::Name(name) => self.name(name, true)?,
            Record::Service { port, target } => {
                // Priority and weight.
                self.number(0);
                self.number(1);
                self.number(*port);
                self.name(target, false)?;
            }
            Record::Zone => self.zone()?,
            Record::Something => self.message.extend_from_slice(b"\x07RFC8482\x00"),
        }
        let length = u16::try_from(self.message.len() - length_at - 2).ok()?;
        let place = self.message.get_mut(length_at..length_at + 2)?;
        place.copy_from_slice(&length.to_be_bytes());
        Some(())
    }

    /// Who is responsible and since when, which nobody reads, and how long nothing is nothing.
    fn zone(&mut self) -> Option<()> {
        let domain = self.domain;
        self.name(domain, true)?;
        self.name(&format!("hostmaster.{domain}"), true)?;
        for seconds in [1, 3600, 600, 86400, KEEP_S] {
            self.message.extend_from_slice(&u32::to_be_bytes(seconds));
        }
        Some(())
    }

    fn number(&mut self, number: u16) {
        self.message.extend_from_slice(&number.to_be_bytes());
    }

    /// Writes a name, if it is one. The domain is written once and pointed to after that, where pointing is allowed:
    /// not in SRV records, which caches take for bytes.
    fn name(&mut self, name: &str, point: bool) -> Option<()> {
        let bytes = message::wire_name(name)?;
        let front = self.front(name).filter(|_| point);
        match (front, self.domain_at) {
            (Some(front), Some(at)) => {
                self.message.extend_from_slice(bytes.get(..front.len())?);
                self.number(POINTER | at);
            }
            (front, _) => {
                if let Some(front) = front {
                    self.domain_at = pointable(self.message.len() + front.len());
                }
                self.message.extend_from_slice(&bytes);
            }
        }
        Some(())
    }
}

fn pointable(at: usize) -> Option<u16> {
    u16::try_from(at).ok().filter(|_| at < POINTER_END)
}

const fn kind(record: &Record) -> u16 {
    match record {
        Record::Ipv4(_) => message::A,
        Record::Ipv6(_) => message::AAAA,
        Record::Name(_) => message::PTR,
        Record::Service { .. } => message::SRV,
        Record::Zone => message::SOA,
        Record::Something => HINFO,
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use super::super::answer::Code;
    use super::super::message::{A, AAAA, PTR, SRV, ask, offering, parse};
    use super::super::reading::{Data, Message, read};
    use super::*;

    const DOMAIN: &str = "ferrite.local";

    fn reply(answers: Vec<Record>) -> Reply {
        let domain = Some(DOMAIN.to_owned());
        Reply { answers, domain, ..Reply::problem(Code::Fine) }
    }

    fn addresses(count: u32) -> Vec<Record> {
        (0..count).map(|number| Record::Ipv4(Ipv4Addr::from_bits(0x0a78_0000 + number))).collect()
    }

    fn write(reply: &Reply, question: &[u8]) -> (usize, Message) {
        let query = parse(question).unwrap();
        let message = reply.write(&query, query.packet_max_bytes());
        (message.len(), read(&message))
    }

    #[test]
    fn an_answer_is_written_as_it_is_asked() {
        let query = parse(&ask(7, "wEb.Ferrite.local", A)).unwrap();
        let records = vec![Record::Ipv6(Ipv6Addr::LOCALHOST), Record::Ipv4(Ipv4Addr::LOCALHOST)];
        let answer = reply(records).write(&query, 512);
        assert_eq!(answer[..12], [0, 7, 0x85, 0x80, 0, 1, 0, 2, 0, 0, 0, 0]);
        assert!(answer.ends_with(&[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 1, 0, 4, 127, 0, 0, 1]));
        for record in read(&answer).answers {
            assert_eq!((record.owner.as_str(), record.seconds), ("wEb.Ferrite.local", 1));
        }
        let failed = Reply::problem(Code::ServerFailed).write(&query, 512);
        assert_eq!(failed[..12], [0, 7, 0x81, 0x82, 0, 1, 0, 0, 0, 0, 0, 0], "nobody's answer");
    }

    #[test]
    fn what_is_not_there_says_for_how_long() {
        for (name, owner) in [("x.FERRITE.local", "FERRITE.local"), ("web", DOMAIN)] {
            for code in [Code::Fine, Code::NoSuchName] {
                let nothing = Reply { code, ..reply(vec![]) };
                let (_, message) = write(&nothing, &ask(1, name, AAAA));
                let [zone] = &message.authority[..] else { panic!("{message:?}") };
                assert_eq!((zone.owner.as_str(), zone.seconds), (owner, 1));
                assert_eq!(zone.data, Data::Zone(vec![1, 3600, 600, 86400, 1]));
                assert!(!message.is_truncated() && message.code() == code as u16);
            }
        }
        let mut odd = ask(1, "xx.ferrite.local", A);
        odd[13] = 0xff;
        assert_eq!(write(&reply(vec![]), &odd).1.authority[0].owner, DOMAIN);
        assert!(write(&reply(addresses(1)), &ask(1, "web", A)).1.authority.is_empty());
        let (_, failed) = write(&Reply::problem(Code::ServerFailed), &ask(1, "web", A));
        assert!(failed.authority.is_empty(), "a failure is not to be kept");
        // The longest question below the longest domain leaves room for it.
        let long = ["a".repeat(63), "b".repeat(63)].join(".");
        for name in [format!("{}.{long}", "x.".repeat(60)), "x.".repeat(126)] {
            let nothing = Reply { domain: Some(long.clone()), ..reply(vec![]) };
            let question = offering(ask(1, &name, A), 512, 0, &[]);
            assert_eq!(write(&nothing, &question).1.authority.len(), 1);
        }
    }

    #[test]
    fn what_is_too_long_has_whole_records_and_says_so() {
        let question = ask(1, "web", A);
        let (bytes, message) = write(&reply(addresses(60)), &question);
        assert!(message.is_truncated() && bytes <= 512 && bytes > 512 - 16, "{bytes}");
        assert_eq!(message.answers.len(), 30);
        let (bytes, message) =
            write(&reply(addresses(100)), &offering(question.clone(), 4096, 0, &[]));
        assert!(message.is_truncated() && bytes <= 1232 && bytes > 1232 - 16, "{bytes}");
        let (_, message) = write(&reply(addresses(30)), &question);
        assert!(!message.is_truncated() && message.answers.len() == 30);
        for length in 1..20 {
            let question = offering(ask(1, &"a".repeat(length), A), 512, 0, &[]);
            let (bytes, message) = write(&reply(addresses(60)), &question);
            assert!(
                bytes <= 512 && bytes > 512 - 16 && message.is_truncated(),
                "{length}: {bytes}"
            );
        }
        let query = parse(&question).unwrap();
        let all = read(&reply(addresses(60)).write(&query, CONNECTION_MAX_BYTES));
        assert!(!all.is_truncated() && all.answers.len() == 60);
        let most = reply(addresses(70_000)).write(&query, CONNECTION_MAX_BYTES);
        assert!(most.len() <= CONNECTION_MAX_BYTES && read(&most).is_truncated());
    }

    #[test]
    fn what_was_not_asked_for_gives_way_to_what_was() {
        let additional: Vec<(String, Record)> = addresses(9)
            .into_iter()
            .map(|record| ("1.web.ferrite.local".to_owned(), record))
            .collect();
        let question = ask(1, "web.ferrite.local", A);
        let (_, message) =
            write(&Reply { additional: additional.clone(), ..reply(addresses(25)) }, &question);
        assert_eq!((message.answers.len(), message.is_truncated()), (25, false));
        assert!((1..9).contains(&message.additional.len()), "{}", message.additional.len());
        // 24 bytes are left, and 18 would be enough.
        let additional = vec![("a.ferrite.local".to_owned(), Record::Ipv4(Ipv4Addr::LOCALHOST))];
        let long = reply(vec![Record::Ipv6(Ipv6Addr::LOCALHOST); 60]);
        let question = ask(1, "webwebwe.ferrite.local", AAAA);
        let (bytes, message) = write(&Reply { additional, ..long }, &question);
        assert_eq!(bytes, 512 - 24);
        assert!(message.is_truncated() && message.additional.is_empty());
    }

    #[test]
    fn an_offer_is_answered_by_one() {
        let question = ask(1, "web", A);
        for (flags, expected) in [(0, 0), (0x8000, 0x8000), (0x7fff, 0)] {
            let offering = offering(question.clone(), 4096, flags, &[0, 3, 0, 0]);
            let (_, message) = write(&reply(addresses(1)), &offering);
            let [opt] = &message.additional[..] else { panic!("{message:?}") };
            assert_eq!((opt.owner.as_str(), opt.kind, opt.class), ("", message::OPT, 1232));
            assert_eq!((opt.seconds, &opt.data), (expected, &Data::Bytes(vec![])));
        }
        let later = offering(question, 4096, 0x0001_0000, &[]);
        let (_, message) = write(&Reply::problem(Code::BadVersion), &later);
        assert_eq!((message.code(), message.additional[0].seconds), (16, 0x0100_0000));
    }

    #[test]
    fn names_are_written_once_but_for_services() {
        let target = || "1.web.service.ferrite.local".to_owned();
        let service = reply(vec![Record::Service { port: 80, target: target() }]);
        // The reader takes no pointer there.
        let (_, message) = write(&service, &ask(1, "web.service.ferrite.local", SRV));
        assert_eq!(message.answers[0].data, Data::Service(80, target()));
        let name = reply(vec![Record::Name(target()), Record::Name("x.ferrite.local".to_owned())]);
        let (bytes, message) = write(&name, &ask(1, "9.0.120.10.in-addr.arpa", PTR));
        assert_eq!(message.answers[1].data, Data::Name("x.ferrite.local".to_owned()));
        assert_eq!(bytes, 12 + 24 + 5 + 12 + 29 + 12 + 4, "the domain once");
        let long = format!("{}.ferrite.local", "a".repeat(64));
        let (_, message) = write(&reply(vec![Record::Name(long)]), &ask(1, "x", PTR));
        assert!(message.answers.is_empty(), "no name at all is better than another one");
    }
}
