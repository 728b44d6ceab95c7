//! The names of units, and what is answered about them.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::message::{A, AAAA, Code, PTR, Query, Record};

/// Which names are whose. Names are in lower case.
#[derive(Debug, Clone)]
pub(crate) struct Names {
    domain: String,
    network: (Ipv4Addr, u8),
    ipv6: Option<Ipv6Addr>,
    units: BTreeMap<String, Unit>,
}

#[derive(Debug, Clone)]
struct Unit {
    /// The unit's name as its author writes it.
    name: String,
    ipv4: Ipv4Addr,
    ipv6: Option<Ipv6Addr>,
}

/// What is done with a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
    Own(Code, Vec<Record>),
    AskOthers,
}

impl Names {
    /// No names yet.
    pub(crate) const fn new(
        domain: String,
        network: (Ipv4Addr, u8),
        ipv6: Option<Ipv6Addr>,
    ) -> Self {
        Self { domain, network, ipv6, units: BTreeMap::new() }
    }

    /// Units have addresses of other networks from now on.
    pub(crate) const fn renumber(&mut self, network: (Ipv4Addr, u8), ipv6: Option<Ipv6Addr>) {
        self.network = network;
        self.ipv6 = ipv6;
    }

    /// Gives a unit its name, and one that fits where a name must be a hostname: `web-1` for `web@1`, and nothing else
    /// than `github-com` for `github.com`. Programs try every name that is not found, whatever its dots, below the domains
    /// of `/etc/resolv.conf` too, of which ours is the first.
    pub(crate) fn insert(&mut self, name: &str, ipv4: Ipv4Addr, ipv6: Option<Ipv6Addr>) {
        let unit = Unit { name: name.to_owned(), ipv4, ipv6 };
        let own = name.to_ascii_lowercase();
        self.units.entry(hostname(&own)).or_insert_with(|| unit.clone());
        if !own.contains('.') {
            self.units.insert(own, unit);
        }
    }

    /// Forgets a unit's names.
    pub(crate) fn remove(&mut self, name: &str) {
        self.units.retain(|_, unit| unit.name != name);
    }

    pub(super) fn answer(&self, query: &Query) -> Answer {
        if let Some(reverse) = self.reverse(query) {
            return reverse;
        }
        let (label, ours) = match query.name.strip_suffix(&self.domain) {
            Some("") => return Answer::Own(Code::Fine, Vec::new()),
            Some(rest) if rest.ends_with('.') => (rest.trim_end_matches('.'), true),
            Some(_) | None => (query.name.as_str(), false),
        };
        // `localhost` is every machine's own (RFC 6761).
        match self.units.get(label).filter(|_| label != "localhost") {
            Some(unit) => Answer::Own(Code::Fine, unit.records(query.kind)),
            None if ours => Answer::Own(Code::NoSuchName, Vec::new()),
            None => Answer::AskOthers,
        }
    }

    /// Whose address is it? Nobody else knows about ours.
    fn reverse(&self, query: &Query) -> Option<Answer> {
        let address = reverse_address(&query.name)?;
        let ours = match address {
            IpAddr::V4(address) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(self.network.1)).unwrap_or(0);
                (address.to_bits() ^ self.network.0.to_bits()) & mask == 0
            }
            IpAddr::V6(address) => {
                self.ipv6.is_some_and(|network| (address.to_bits() ^ network.to_bits()) >> 64 == 0)
            }
        };
        if !ours {
            return None;
        }
        let has = |unit: &&Unit| match address {
            IpAddr::V4(address) => unit.ipv4 == address,
            IpAddr::V6(address) => unit.ipv6 == Some(address),
        };
        Some(match self.units.values().find(has) {
            Some(unit) if query.kind == PTR => {
                let own = unit.name.to_ascii_lowercase();
                let own = if own.contains('.') { hostname(&own) } else { own };
                let name = format!("{own}.{}", self.domain);
                Answer::Own(Code::Fine, vec![Record::Name(name)])
            }
            Some(_) => Answer::Own(Code::Fine, Vec::new()),
            None => Answer::Own(Code::NoSuchName, Vec::new()),
        })
    }
}

impl Unit {
    fn records(&self, kind: u16) -> Vec<Record> {
        match kind {
            A => vec![Record::Ipv4(self.ipv4)],
            AAAA => self.ipv6.map(Record::Ipv6).into_iter().collect(),
            _ => Vec::new(),
        }
    }
}

/// What fits as one label of a name.
fn hostname(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect()
}

/// The address of `4.3.2.1.in-addr.arpa`, or of its longer sister.
fn reverse_address(name: &str) -> Option<IpAddr> {
    if let Some(digits) = name.strip_suffix(".in-addr.arpa") {
        let bytes: Option<Vec<u8>> =
            digits.split('.').rev().map(|part| part.parse().ok()).collect();
        return Some(IpAddr::V4(<[u8; 4]>::try_from(bytes?).ok()?.into()));
    }
    let digits = name.strip_suffix(".ip6.arpa")?;
    let digit =
        |part: &str| (part.len() == 1).then(|| u128::from_str_radix(part, 16).ok()).flatten();
    let digits: Option<Vec<u128>> = digits.split('.').rev().map(digit).collect();
    let digits = digits.filter(|digits| digits.len() == 32)?;
    Some(IpAddr::V6(Ipv6Addr::from_bits(digits.iter().fold(0, |all, digit| (all << 4) | digit))))
}

#[cfg(test)]
mod tests {
    use super::super::message::{ask, parse};
    use super::*;

    const WEB: (Ipv4Addr, Ipv6Addr) =
        (Ipv4Addr::new(10, 120, 3, 4), Ipv6Addr::new(0xfd00, 1, 2, 0, 0, 0, 0, 0x304));

    fn names() -> Names {
        let network = (Ipv4Addr::new(10, 120, 0, 0), 16);
        let ipv6 = Some(Ipv6Addr::new(0xfd00, 1, 2, 0, 0, 0, 0, 0));
        let mut names = Names::new("ferrite.local".to_owned(), network, ipv6);
        names.insert("Web", WEB.0, Some(WEB.1));
        names.insert("job@1", Ipv4Addr::new(10, 120, 0, 9), None);
        names
    }

    fn check(name: &str, kind: u16, expected: Answer) {
        let query = parse(&ask(1, name, kind)).unwrap();
        assert_eq!(names().answer(&query), expected, "{name} {kind}");
    }

    fn own(records: &[Record]) -> Answer {
        Answer::Own(Code::Fine, records.to_vec())
    }

    #[test]
    fn units_are_found_by_name() {
        for name in ["web", "WEB.ferrite.local"] {
            check(name, A, own(&[Record::Ipv4(WEB.0)]));
            check(name, AAAA, own(&[Record::Ipv6(WEB.1)]));
            check(name, 16, own(&[]));
        }
        check("job@1", A, own(&[Record::Ipv4(Ipv4Addr::new(10, 120, 0, 9))]));
        check("job-1.ferrite.local", AAAA, own(&[]));
        let none = Answer::Own(Code::NoSuchName, vec![]);
        check("db.ferrite.local", A, none);
        check("ferrite.local", A, own(&[]));
        check("db", A, Answer::AskOthers);
        check("web.example.org", A, Answer::AskOthers);
        check("web.notferrite.local", A, Answer::AskOthers);
    }

    #[test]
    fn a_unit_does_not_stand_for_the_world() {
        let mut names = names();
        for name in ["github.com", "localhost", "1.0.0.127.in-addr.arpa"] {
            names.insert(name, WEB.0, None);
            let alone = parse(&ask(1, name, A)).unwrap();
            assert_eq!(names.answer(&alone), Answer::AskOthers, "{name}");
            // As a program asks next whose search list is ours.
            let searched = parse(&ask(1, &format!("{name}.ferrite.local"), A)).unwrap();
            let none = Answer::Own(Code::NoSuchName, vec![]);
            assert_eq!(names.answer(&searched), none, "{name}");
        }
        for name in ["github-com", "github-com.ferrite.local"] {
            let query = parse(&ask(1, name, A)).unwrap();
            assert_eq!(names.answer(&query), own(&[Record::Ipv4(WEB.0)]), "{name}");
        }
        let address = parse(&ask(1, "9.0.120.10.in-addr.arpa", PTR)).unwrap();
        names.remove("job@1");
        names.remove("github.com");
        names.insert("github.com", Ipv4Addr::new(10, 120, 0, 9), None);
        let name = Record::Name("github-com.ferrite.local".to_owned());
        assert_eq!(names.answer(&address), own(&[name]));
    }

    #[test]
    fn units_are_found_by_address() {
        let web = own(&[Record::Name("web.ferrite.local".to_owned())]);
        check("4.3.120.10.in-addr.arpa", PTR, web.clone());
        check("4.0.3.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.2.0.0.0.1.0.0.0.0.0.d.f.ip6.arpa", PTR, web);
        check("5.3.120.10.in-addr.arpa", PTR, Answer::Own(Code::NoSuchName, vec![]));
        check("4.3.121.10.in-addr.arpa", PTR, Answer::AskOthers);
        check("120.10.in-addr.arpa", PTR, Answer::AskOthers);
        check("x.3.120.10.in-addr.arpa", PTR, Answer::AskOthers);
    }

    #[test]
    fn a_name_of_its_own_wins_over_a_made_one() {
        let mut names = names();
        names.insert("job-1", WEB.0, None);
        let query = parse(&ask(1, "job-1", A)).unwrap();
        assert_eq!(names.answer(&query), own(&[Record::Ipv4(WEB.0)]));
        names.remove("job-1");
        assert_eq!(names.answer(&query), Answer::AskOthers);
        names.remove("job@1");
        assert_eq!(names.units.len(), 1);
    }
}
