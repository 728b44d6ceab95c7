//! The cluster's services and machines, by the names that they are asked for.
//!
//! A service's label is its name (`web`), or what is made of it (`github-com` for `github.com`) where no other service is
//! called that; with neither it has no names. An instance's label is what is after the `@`.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ferrite_schema::unit::Protocol;

use super::answer::RECORDS_MAX;
use super::message::LABEL_MAX_BYTES;
use super::naming::hostname;
use crate::services::{Instance, Services};

/// Separates a service's name from its instance's.
const SEPARATOR: char = '@';
/// Digits of an instance's number, at most.
const DIGITS_MAX: usize = 9;

/// What is known of a cluster, made for looking up. Names are in lower case.
#[derive(Debug, Clone, Default)]
pub(crate) struct Catalogue {
    services: Vec<Service>,
    /// Places of services by their names, whatever these are.
    own: BTreeMap<String, usize>,
    /// Places of services by what is made of their names.
    made: BTreeMap<String, usize>,
    /// Places of services, and labels of their instances, by what is made of instances' names: `web-blue`.
    instances: BTreeMap<String, (usize, String)>,
    machines: BTreeMap<String, Vec<IpAddr>>,
    /// Whose address it is: names without the domain.
    addresses: BTreeMap<IpAddr, BTreeSet<String>>,
}

/// A service and its instances that are ready.
#[derive(Debug, Clone)]
pub(super) struct Service {
    /// By their labels; one that runs once has none.
    members: BTreeMap<Option<String>, Member>,
    /// Of all members, each once.
    addresses: BTreeSet<IpAddr>,
}

#[derive(Debug, Clone, Default)]
struct Member {
    /// What stands before the domain in its name, if it has one.
    name: Option<String>,
    addresses: BTreeSet<IpAddr>,
    ports: Vec<(u16, Protocol)>,
}

impl Catalogue {
    /// Two services whose names differ in large and small letters alone are one to DNS: the first.
    pub(crate) fn new(known: &Services) -> Self {
        let mut new = Self::default();
        for (place, name) in known.services.keys().enumerate() {
            new.own.entry(name.to_ascii_lowercase()).or_insert(place);
        }
        for (name, place) in &new.own {
            new.made.entry(hostname(name)).or_insert(*place);
        }
        for (place, (name, instances)) in known.services.iter().enumerate() {
            let label = new.label(&name.to_ascii_lowercase(), place);
            let service = Service::new(instances, label.as_deref());
            new.learn(place, &service, instances);
            new.services.push(service);
        }
        for (name, addresses) in &known.machines {
            let addresses = || addresses.clone();
            let own = name.to_ascii_lowercase();
            new.machines.entry(hostname(&own)).or_insert_with(addresses);
        }
        for (name, addresses) in known.machines.iter().filter(|(name, _)| !name.contains('.')) {
            new.machines.insert(name.to_ascii_lowercase(), addresses.clone());
        }
        new
    }

    /// The label by which a service is found again.
    fn label(&self, name: &str, place: usize) -> Option<String> {
        let made = hostname(name);
        let labels = [name, &made].into_iter().filter(|label| is_label(label));
        let mut found = labels.filter(|label| self.place(label) == Some(place));
        found.next().map(str::to_owned)
    }

    fn learn(&mut self, place: usize, service: &Service, instances: &[Instance]) {
        for name in instances.iter().map(|instance| instance.name.to_ascii_lowercase()) {
            if let Some(label) = split(&name).1.map(hostname) {
                self.instances.entry(hostname(&name)).or_insert((place, label));
            }
        }
        for member in service.members.values() {
            let Some(name) = &member.name else { continue };
            for address in &member.addresses {
                self.addresses.entry(*address).or_default().insert(name.clone());
            }
        }
    }

    fn place(&self, label: &str) -> Option<usize> {
        self.own.get(label).or_else(|| self.made.get(label)).copied()
    }

    /// The service of this label.
    pub(super) fn service(&self, label: &str) -> Option<&Service> {
        self.services.get(self.place(label)?)
    }

    /// Whether the unit of this name is a service's, so that nobody else answers for it.
    pub(crate) fn knows(&self, unit: &str) -> bool {
        let unit = unit.to_ascii_lowercase();
        let (service, _) = split(&unit);
        self.own.contains_key(&unit) || self.own.contains_key(service)
    }

    /// The addresses of the service or the instance that is called exactly this: `web`, `web@1`. Those of an instance that
    /// is not ready are none.
    pub(super) fn called(&self, name: &str) -> Option<Vec<IpAddr>> {
        if let Some(place) = self.own.get(name) {
            return Some(self.services.get(*place)?.addresses());
        }
        let (service, instance) = split(name);
        Some(self.services.get(*self.own.get(service)?)?.at(&hostname(instance?)))
    }

    /// The same for a label that is made of a name: `github-com`, `web-1`.
    pub(super) fn made(&self, label: &str) -> Option<Vec<IpAddr>> {
        if let Some(place) = self.made.get(label) {
            return Some(self.services.get(*place)?.addresses());
        }
        if let Some((place, instance)) = self.instances.get(label) {
            return Some(self.services.get(*place)?.at(instance));
        }
        let (service, number) = label.rsplit_once('-').filter(|(_, number)| is_number(number))?;
        Some(self.service(service)?.at(number))
    }

    pub(super) fn machine(&self, label: &str) -> Option<&[IpAddr]> {
        self.machines.get(label).map(Vec::as_slice)
    }

    /// Whose address it is: names without the domain.
    pub(super) fn whose(&self, address: IpAddr) -> impl Iterator<Item = &str> {
        let names = self.addresses.get(&address).into_iter().flatten();
        names.take(RECORDS_MAX).map(String::as_str)
    }
}

impl Service {
    fn new(instances: &[Instance], service: Option<&str>) -> Self {
        let mut members: BTreeMap<Option<String>, Member> = BTreeMap::new();
        for instance in instances {
            let label = split(&instance.name.to_ascii_lowercase()).1.map(hostname);
            let name = member_name(label.as_deref(), service);
            let member = members.entry(label).or_default();
            member.name = name;
            member.addresses.extend(&instance.addresses);
            member.ports.extend(&instance.ports);
        }
        let addresses = members.values().flat_map(|member| &member.addresses).copied().collect();
        Self { members, addresses }
    }

    /// Those of all instances.
    pub(super) fn addresses(&self) -> Vec<IpAddr> {
        self.addresses.iter().take(RECORDS_MAX).copied().collect()
    }

    /// Those of the instance with this label; `None` where there can be no such instance.
    pub(super) fn instance(&self, label: &str) -> Option<Vec<IpAddr>> {
        let addresses = self.at(label);
        (is_number(label) || !addresses.is_empty()).then_some(addresses)
    }

    fn at(&self, label: &str) -> Vec<IpAddr> {
        let member = self.members.get(&Some(label.to_owned()));
        let addresses = member.into_iter().flat_map(|member| &member.addresses);
        addresses.take(RECORDS_MAX).copied().collect()
    }

    /// Where it is served by this protocol, or by any: ports, and names without the domain.
    pub(super) fn places(&self, protocol: Option<Protocol>) -> BTreeSet<(u16, &str)> {
        // A target must have an address (RFC 2782).
        let members = self.members.values().filter(|member| !member.addresses.is_empty());
        let places = members.flat_map(|member| {
            let ports = member
                .ports
                .iter()
                .filter(move |(_, own)| protocol.is_none_or(|protocol| protocol == *own));
            ports.filter_map(|(port, _)| Some((*port, member.name.as_deref()?)))
        });
        places.take(RECORDS_MAX).collect()
    }
}

fn member_name(label: Option<&str>, service: Option<&str>) -> Option<String> {
    match (label, service?) {
        (Some(label), service) => is_label(label).then(|| format!("{label}.{service}.service")),
        (None, service) => Some(format!("{service}.service")),
    }
}

/// A unit's name without its instance, and its instance.
fn split(name: &str) -> (&str, Option<&str>) {
    match name.split_once(SEPARATOR) {
        Some((service, instance)) if !instance.is_empty() => (service, Some(instance)),
        Some((service, _)) => (service, None),
        None => (name, None),
    }
}

/// It may be the number of an instance, whether there is one or not.
pub(super) fn is_number(label: &str) -> bool {
    let digits = label.len() <= DIGITS_MAX && label.bytes().all(|byte| byte.is_ascii_digit());
    digits && !label.is_empty() && (label == "0" || !label.starts_with('0'))
}

fn is_label(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_graphic() && byte != b'.';
    !text.is_empty() && text.len() <= LABEL_MAX_BYTES && text.bytes().all(fits)
}
