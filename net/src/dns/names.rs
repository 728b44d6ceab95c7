//! What is answered about the names of units, services and machines.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ferrite_schema::unit::Protocol;

use super::answer::{Code, RECORDS_MAX, Record, Reply};
use super::catalogue::{Catalogue, Service, is_number};
use super::message::{A, AAAA, ANY, LABEL_MAX_BYTES, PTR, Query, SOA, SRV};
use super::naming::hostname;

/// Names that exist because others are below them.
const BETWEEN: [&str; 4] = ["service", "machine", "_tcp", "_udp"];

/// Every machine's own (RFC 6761).
const LOCALHOST: &str = "localhost";

/// Which names are whose. Names are in lower case.
#[derive(Debug, Clone)]
pub(crate) struct Names {
    domain: String,
    network: (Ipv4Addr, u8),
    ipv6: Option<Ipv6Addr>,
    /// By their labels: those of their own and those that are made of names. Units whose names differ in large and small
    /// letters alone, or in what is no part of a hostname, have one label together.
    units: BTreeMap<String, BTreeMap<String, Unit>>,
    catalogue: Option<Catalogue>,
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
    Own(Reply),
    AskOthers,
}

/// What there is at a name that exists.
#[derive(Debug, Default)]
struct Found {
    answers: Vec<Record>,
    additional: Vec<(String, Record)>,
}

impl Names {
    /// No names yet.
    pub(crate) const fn new(
        domain: String,
        network: (Ipv4Addr, u8),
        ipv6: Option<Ipv6Addr>,
    ) -> Self {
        Self { domain, network, ipv6, units: BTreeMap::new(), catalogue: None }
    }

    /// Units have addresses of other networks from now on.
    pub(crate) const fn renumber(&mut self, network: (Ipv4Addr, u8), ipv6: Option<Ipv6Addr>) {
        self.network = network;
        self.ipv6 = ipv6;
    }

    /// Gives a unit its name, and one that fits where a name must be a hostname: `web-1` for `web@1`, and nothing else
    /// than `github-com` for `github.com`. Programs try every name that is not found, whatever its dots, below the domains
    /// of `/etc/resolv.conf` too, of which ours is the first.
    ///
    /// Who asks for a label that several units have gets all of them, but none whose label is made where it is another's own.
    pub(crate) fn insert(&mut self, name: &str, ipv4: Ipv4Addr, ipv6: Option<Ipv6Addr>) {
        let unit = Unit { name: name.to_owned(), ipv4, ipv6 };
        let own = name.to_ascii_lowercase();
        let mut call = |label| {
            let units: &mut BTreeMap<String, Unit> = self.units.entry(label).or_default();
            units.insert(name.to_owned(), unit.clone());
        };
        call(hostname(&own));
        if !own.contains('.') {
            call(own);
        }
    }

    /// Forgets a unit's names.
    pub(crate) fn remove(&mut self, name: &str) {
        self.units.retain(|_, units| {
            units.remove(name);
            !units.is_empty()
        });
    }

    /// Learns what the cluster answers for, and gives back what was known before.
    pub(crate) const fn know(&mut self, catalogue: Option<Catalogue>) -> Option<Catalogue> {
        std::mem::replace(&mut self.catalogue, catalogue)
    }

    pub(super) fn answer(&self, query: &Query) -> Answer {
        if let Some(address) = reverse_address(&query.name) {
            return match self.whose(address, query.kind) {
                None if !self.is_ours(address) => Answer::AskOthers,
                found => self.own(query, found),
            };
        }
        match query.name.strip_suffix(&self.domain) {
            Some("") => self.own(query, Some(Found::top(query.kind))),
            Some(rest) if rest.ends_with('.') => {
                self.own(query, self.below(rest.trim_end_matches('.'), query.kind))
            }
            Some(_) | None => match self.alone(&query.name, query.kind) {
                None => Answer::AskOthers,
                found => self.own(query, found),
            },
        }
    }

    /// A name without the records that were asked for exists all the same: musl, for one, takes a name to be nowhere as
    /// soon as there is no such name for one kind of address.
    fn own(&self, query: &Query, found: Option<Found>) -> Answer {
        let code = if found.is_some() { Code::Fine } else { Code::NoSuchName };
        let Found { mut answers, additional } = found.unwrap_or_default();
        if query.kind == ANY && answers.is_empty() && code == Code::Fine {
            answers.push(Record::Something);
        }
        Answer::Own(Reply { code, answers, additional, domain: Some(self.domain.clone()) })
    }

    /// What there is at a name below the domain. What is there by its own name comes before what is made of another's:
    /// there may be a service called `service`, or a machine called `1`.
    fn below(&self, name: &str, kind: u16) -> Option<Found> {
        let mut labels = name.split('.');
        let labels = [labels.next(), labels.next(), labels.next(), labels.next()];
        let known = self.catalogue.as_ref();
        let service = |label: &str| known.and_then(|known| known.service(label));
        match labels {
            [Some(label), None, ..] => {
                self.single(label, kind).or_else(|| BETWEEN.contains(&label).then(Found::default))
            }
            [Some(name), Some("machine"), None, _] => {
                let machine = known.and_then(|known| known.machine(name));
                let found = machine.map(|own| Found::addresses(own.iter().copied(), kind));
                found.or_else(|| self.instance(name, "machine", kind))
            }
            [Some(name), Some("service"), None, _] => match service(name) {
                Some(service) if kind == SRV => Some(self.served(service, None)),
                Some(service) => Some(Found::addresses(service.addresses(), kind)),
                None => self.instance(name, "service", kind),
            },
            [Some(name), Some(protocol @ ("_tcp" | "_udp")), None, _] => {
                let service = service(name.strip_prefix('_')?)?;
                Some(self.served_by(protocol, service, kind))
            }
            [Some(protocol @ ("_tcp" | "_udp")), Some(name), Some("service"), None] => {
                Some(self.served_by(protocol, service(name)?, kind))
            }
            [Some(instance), Some(name), Some("service"), None] => {
                Some(Found::addresses(service(name)?.instance(instance)?, kind))
            }
            [Some(instance), Some(name), None, _] => self.instance(instance, name, kind),
            _ => None,
        }
    }

    /// What there is at a name without the domain. With a dot it could be the world's, unless a number comes first.
    fn alone(&self, name: &str, kind: u16) -> Option<Found> {
        match name.split_once('.') {
            Some((instance, service)) => self.instance(instance, service, kind),
            None => self.single(name, kind),
        }
    }

    /// `1.web`, ready or not.
    fn instance(&self, number: &str, service: &str, kind: u16) -> Option<Found> {
        if service == LOCALHOST || !is_number(number) {
            return None;
        }
        let service = self.catalogue.as_ref()?.service(service)?;
        Some(Found::addresses(service.instance(number)?, kind))
    }

    /// A service, an instance or a unit. Where the services know a unit, only they answer for it: it may be here and not
    /// be ready.
    fn single(&self, label: &str, kind: u16) -> Option<Found> {
        if label == LOCALHOST {
            return None;
        }
        let known = self.catalogue.as_ref();
        if let Some(own) = known.and_then(|known| known.called(label)) {
            return Some(Found::addresses(own, kind));
        }
        let units = self.units.get(label).into_iter().flat_map(BTreeMap::values);
        let (own, others): (Vec<&Unit>, Vec<&Unit>) =
            units.partition(|unit| unit.name.eq_ignore_ascii_case(label));
        let all = |units: &[&Unit]| {
            Found::addresses(units.iter().flat_map(|unit| unit.addresses()), kind)
        };
        if !own.is_empty() {
            return Some(all(&own));
        }
        if let Some(made) = known.and_then(|known| known.made(label)) {
            return Some(Found::addresses(made, kind));
        }
        let is_ready = |unit: &&Unit| !known.is_some_and(|known| known.knows(&unit.name));
        let ready: Vec<&Unit> = others.iter().copied().filter(is_ready).collect();
        (!others.is_empty()).then(|| all(&ready))
    }

    fn served_by(&self, protocol: &str, service: &Service, kind: u16) -> Found {
        let protocol = if protocol == "_tcp" { Protocol::Tcp } else { Protocol::Udp };
        if kind == SRV { self.served(service, Some(protocol)) } else { Found::default() }
    }

    fn served(&self, service: &Service, protocol: Option<Protocol>) -> Found {
        let places = service.places(protocol);
        let full = |name: &str| format!("{name}.{}", self.domain);
        let answers =
            places.iter().map(|(port, name)| Record::Service { port: *port, target: full(name) });
        let targets: BTreeSet<&str> = places.iter().map(|(_, name)| *name).collect();
        let additional = targets.iter().flat_map(|name| {
            let found = [A, AAAA].into_iter().filter_map(|kind| self.below(name, kind));
            found.flat_map(|found| found.answers).map(|record| (full(name), record))
        });
        Found { answers: answers.collect(), additional: additional.take(RECORDS_MAX).collect() }
    }

    /// Whose address is it? A unit of this node alone comes before what the cluster says.
    fn whose(&self, address: IpAddr, kind: u16) -> Option<Found> {
        let mut units = self.units.values().flat_map(BTreeMap::values);
        let unit = units.find(|unit| unit.addresses().any(|own| own == address));
        let known = self.catalogue.as_ref();
        let own = unit.filter(|unit| !known.is_some_and(|known| known.knows(&unit.name)));
        let known = known.filter(|_| own.is_none());
        let mut names: Vec<String> =
            known.into_iter().flat_map(|known| known.whose(address)).map(str::to_owned).collect();
        if names.is_empty() {
            names.extend(unit?.label());
        }
        let names = names.iter().filter(|_| kind == PTR);
        let answers = names.map(|name| Record::Name(format!("{name}.{}", self.domain))).collect();
        Some(Found { answers, additional: Vec::new() })
    }

    /// The address is of this node's network, of which nobody else knows.
    fn is_ours(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(address) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(self.network.1)).unwrap_or(0);
                (address.to_bits() ^ self.network.0.to_bits()) & mask == 0
            }
            IpAddr::V6(address) => {
                self.ipv6.is_some_and(|network| (address.to_bits() ^ network.to_bits()) >> 64 == 0)
            }
        }
    }
}

impl Found {
    /// At the domain itself. Who answers for it has no name in it, since every name there may be a unit's.
    fn top(kind: u16) -> Self {
        let zone = matches!(kind, SOA | ANY).then_some(Record::Zone);
        Self { answers: zone.into_iter().collect(), additional: Vec::new() }
    }

    fn addresses(addresses: impl IntoIterator<Item = IpAddr>, kind: u16) -> Self {
        let asked = |address: &IpAddr| kind == if address.is_ipv4() { A } else { AAAA };
        let answers = addresses.into_iter().filter(asked).map(Record::from).collect();
        Self { answers, additional: Vec::new() }
    }
}

impl Unit {
    fn addresses(&self) -> impl Iterator<Item = IpAddr> + use<> {
        let ipv6 = self.ipv6.map(IpAddr::V6);
        [Some(IpAddr::V4(self.ipv4)), ipv6].into_iter().flatten()
    }

    /// What stands before the domain in the name that its addresses lead back to. One that is too long has none.
    fn label(&self) -> Option<String> {
        let own = self.name.to_ascii_lowercase();
        let label = if own.contains('.') { hostname(&own) } else { own };
        (label.len() <= LABEL_MAX_BYTES).then_some(label)
    }
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
mod tests;
