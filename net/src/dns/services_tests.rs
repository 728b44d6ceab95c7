//! What is answered about the cluster's services: each rule by example, and all of them against any services.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use ferrite_schema::unit::Protocol::{self, Tcp, Udp};
use proptest::prelude::*;

use super::answer::{Code, Record, Reply};
use super::catalogue::Catalogue;
use super::message::{A, AAAA, ANY, PTR, SOA, SRV, ask, offering, parse};
use super::names::{Answer, Names};
use super::reading::read;
use super::writing::CONNECTION_MAX_BYTES;
use crate::services::{Instance, Services};

const DOMAIN: &str = "ferrite.local";
/// Of text: nobody here has any.
const TXT: u16 = 16;
const NS: u16 = 2;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn instance(name: &str, addresses: &[&str], ports: &[(u16, Protocol)]) -> Instance {
    let addresses = addresses.iter().map(|text| ip(text)).collect();
    Instance { name: name.to_owned(), addresses, ports: ports.to_vec() }
}

fn services(services: Vec<(&str, Vec<Instance>)>) -> Services {
    let owned = |(name, instances): (&str, Vec<Instance>)| (name.to_owned(), instances);
    let machines =
        [("dev-1", vec![ip("192.0.2.1"), ip("2001:db8::1")]), ("Old.Box", vec![ip("192.0.2.2")])];
    let machines = machines.into_iter().map(|(name, addresses)| (name.to_owned(), addresses));
    Services { services: services.into_iter().map(owned).collect(), machines: machines.collect() }
}

fn names(known: &Services) -> Names {
    let network = (Ipv4Addr::new(10, 120, 0, 0), 16);
    let mut names = Names::new(DOMAIN.to_owned(), network, None);
    names.know(Some(Catalogue::new(known)));
    names
}

/// Two of three instances of `web`, a database, and a service that waits.
fn usual() -> Names {
    let web = [("web@1", "10.121.0.1", "fd00::1"), ("web@3", "10.121.0.3", "fd00::3")];
    let ports = [(80, Tcp), (443, Tcp), (443, Udp)];
    let web = web.map(|(name, ipv4, ipv6)| instance(name, &[ipv4, ipv6], &ports)).to_vec();
    let db = vec![instance("db", &["10.121.1.1"], &[(5432, Tcp)])];
    names(&services(vec![("web", web), ("db", db), ("waits", vec![])]))
}

fn asked(names: &Names, name: &str, kind: u16) -> Answer {
    names.answer(&parse(&ask(1, name, kind)).unwrap())
}

fn own(names: &Names, name: &str, kind: u16) -> Reply {
    match asked(names, name, kind) {
        Answer::Own(reply) => reply,
        Answer::AskOthers => panic!("{name} is asked of others"),
    }
}

/// The answers as text, `NXDOMAIN`, or `others`.
fn said(names: &Names, name: &str, kind: u16) -> String {
    let Answer::Own(reply) = asked(names, name, kind) else { return "others".to_owned() };
    if reply.code == Code::NoSuchName {
        return "NXDOMAIN".to_owned();
    }
    let texts: Vec<String> = reply.answers.iter().map(text).collect();
    texts.join(" ")
}

fn text(record: &Record) -> String {
    match record {
        Record::Ipv4(address) => address.to_string(),
        Record::Ipv6(address) => address.to_string(),
        Record::Name(name) => name.clone(),
        Record::Service { port, target } => format!("{port}:{target}"),
        Record::Zone => "SOA".to_owned(),
        Record::Something => "HINFO".to_owned(),
    }
}

fn check(names: &Names, cases: &[(&str, u16, &str)]) {
    for (name, kind, expected) in cases {
        assert_eq!(said(names, name, *kind), *expected, "{name} {kind}");
    }
}

#[test]
fn a_service_is_its_ready_instances() {
    let names = usual();
    for name in ["web", "WEB.Ferrite.Local", "web.service.ferrite.local"] {
        check(&names, &[(name, A, "10.121.0.1 10.121.0.3"), (name, AAAA, "fd00::1 fd00::3")]);
        check(&names, &[(name, TXT, ""), (name, SOA, ""), (name, ANY, "HINFO")]);
    }
    for name in ["waits", "waits.ferrite.local", "waits.service.ferrite.local"] {
        check(&names, &[(name, A, ""), (name, AAAA, ""), (name, SRV, "")]);
    }
    check(&names, &[("db", AAAA, ""), ("db", A, "10.121.1.1")]);
    check(&names, &[("cache", A, "others"), ("cache.ferrite.local", A, "NXDOMAIN")]);
    check(&names, &[("cache.service.ferrite.local", A, "NXDOMAIN")]);
    check(&names, &[("web.service", A, "others"), ("dev-1.machine", A, "others")]);
    check(&names, &[("web.example.org", A, "others"), ("a.web.ferrite.local", A, "NXDOMAIN")]);
    assert!(own(&names, "waits", A).domain.is_some(), "for the SOA");
}

#[test]
fn an_instance_is_itself_or_nothing_while_it_is_not_ready() {
    let names = usual();
    let all = ["1.web", "web@1", "web-1"].map(|name| [name.to_owned(), format!("{name}.{DOMAIN}")]);
    for name in all.iter().flatten().chain([&"1.web.service.ferrite.local".to_owned()]) {
        check(&names, &[(name, A, "10.121.0.1"), (name, AAAA, "fd00::1"), (name, TXT, "")]);
        check(&names, &[(&name.replace('1', "2"), A, ""), (&name.replace('1', "20"), AAAA, "")]);
        let unknown = name.replace("web", "cache");
        let expected = if name.contains(DOMAIN) { "NXDOMAIN" } else { "others" };
        check(&names, &[(&unknown, A, expected)]);
    }
    for odd in ["01.web", "x.web", "1.1.web", "1234567890.web", "+1.web", ".web", "web-x", "web-01"]
    {
        check(&names, &[(&format!("{odd}.example"), A, "others")]);
        if !odd.starts_with('.') {
            check(&names, &[(odd, A, "others"), (&format!("{odd}.{DOMAIN}"), A, "NXDOMAIN")]);
        }
    }
    check(&names, &[("x.web.service.ferrite.local", A, "NXDOMAIN")]);
}

#[test]
fn only_the_services_answer_for_units_that_they_know() {
    let mut names = usual();
    for name in ["web@2", "web@1", "web@blue", "waits", "db", "lone", "lone@1", "web-9"] {
        names.insert(name, Ipv4Addr::new(10, 120, 0, 7), None);
    }
    check(&names, &[("web@2", A, ""), ("web-2", A, ""), ("web-2.ferrite.local", A, "")]);
    check(&names, &[("web@blue", A, ""), ("web-blue", A, ""), ("web-blue.ferrite.local", A, "")]);
    check(&names, &[("web@1", A, "10.121.0.1"), ("db", A, "10.121.1.1"), ("waits", A, "")]);
    check(&names, &[("lone", A, "10.120.0.7"), ("lone-1", A, "10.120.0.7")]);
    check(&names, &[("lone@1.ferrite.local", A, "10.120.0.7"), ("1.lone", A, "others")]);
    check(&names, &[("web-9", A, "10.120.0.7"), ("9.web", A, "")]);
    names.know(None);
    check(
        &names,
        &[
            ("web-blue", A, "10.120.0.7"),
            ("web@2", A, "10.120.0.7"),
            ("waits", A, "10.120.0.7"),
            ("web", A, "others"),
        ],
    );
    check(&names, &[("dev-1.machine.ferrite.local", A, "NXDOMAIN")]);
}

#[test]
fn a_service_does_not_stand_for_the_world() {
    let at = |name: &str, address| vec![instance(name, &[address], &[(53, Udp)])];
    let dotted = services(vec![
        ("github.com", at("github.com@1", "10.121.2.1")),
        ("com", at("com@github", "10.121.2.2")),
        ("localhost", at("localhost", "10.121.2.3")),
    ]);
    let mut names = names(&dotted);
    for local in ["github.com@1", "github.com@2"] {
        names.insert(local, Ipv4Addr::new(10, 120, 0, 7), None);
    }
    for world in ["github.com", "localhost", "1.localhost"] {
        check(&names, &[(world, A, "others"), (&format!("{world}.{DOMAIN}"), A, "NXDOMAIN")]);
    }
    for name in ["github-com", "github-com-1", "1.github-com", "github-com.service"] {
        check(&names, &[(&format!("{name}.{DOMAIN}"), A, "10.121.2.1")]);
    }
    check(&names, &[("github-com-2", A, "")]);
    check(&names, &[("github.com.service.ferrite.local", A, "10.121.2.2")]);
    check(&names, &[("com-github", A, "10.121.2.2"), ("com@github", A, "10.121.2.2")]);
    check(&names, &[("localhost.service.ferrite.local", A, "10.121.2.3")]);
    let srv = "53:1.github-com.service.ferrite.local";
    check(&names, &[("_github-com._udp.ferrite.local", SRV, srv)]);
}

#[test]
fn a_name_of_its_own_wins() {
    let at = |name: &str, address| vec![instance(name, &[address], &[(1, Tcp)])];
    let known = services(vec![
        ("web", at("web@1", "10.121.0.1")),
        ("web-1", at("web-1", "10.121.0.2")),
        ("a-b", at("a-b", "10.121.0.3")),
        ("a.b", at("a.b", "10.121.0.4")),
        ("service", at("service@1", "10.121.0.5")),
        ("machine", at("machine@7", "10.121.0.6")),
        ("7", at("7@1", "10.121.0.7")),
        ("Up", at("Up", "10.121.0.8")),
        ("my_db", at("my_db", "10.121.0.9")),
    ]);
    let mut known = known;
    known.machines.insert("1".to_owned(), vec![ip("192.0.2.9")]);
    let names = names(&known);
    check(&names, &[("web-1", A, "10.121.0.2"), ("1.web", A, "10.121.0.1")]);
    check(&names, &[("a-b", A, "10.121.0.3"), ("a-b.service.ferrite.local", A, "10.121.0.3")]);
    let reverse = "4.0.121.10.in-addr.arpa";
    check(&names, &[(reverse, PTR, "others")]);
    check(&names, &[("service.ferrite.local", A, "10.121.0.5"), ("service", A, "10.121.0.5")]);
    check(&names, &[("1.service.ferrite.local", A, "10.121.0.5")]);
    check(&names, &[("7.service.ferrite.local", A, "10.121.0.7")]);
    check(&names, &[("1.service.service.ferrite.local", A, "10.121.0.5")]);
    check(&names, &[("machine.ferrite.local", A, "10.121.0.6")]);
    check(&names, &[("7.machine.ferrite.local", A, "10.121.0.6"), ("7.machine", A, "10.121.0.6")]);
    check(&names, &[("1.machine.ferrite.local", A, "192.0.2.9"), ("1.machine", A, "")]);
    check(&names, &[("7", A, "10.121.0.7"), ("1.7.ferrite.local", A, "10.121.0.7")]);
    check(
        &names,
        &[("up", A, "10.121.0.8"), ("my_db", A, "10.121.0.9"), ("my-db", A, "10.121.0.9")],
    );
    check(&names, &[("_my_db._tcp.ferrite.local", SRV, "1:my_db.service.ferrite.local")]);
}

#[test]
fn machines_are_found_by_name() {
    let names = usual();
    check(&names, &[("DEV-1.machine.ferrite.local", A, "192.0.2.1")]);
    check(&names, &[("dev-1.machine.ferrite.local", AAAA, "2001:db8::1")]);
    check(&names, &[("old-box.machine.ferrite.local", A, "192.0.2.2")]);
    check(&names, &[("old.box.machine.ferrite.local", A, "NXDOMAIN")]);
    check(&names, &[("dev-2.machine.ferrite.local", A, "NXDOMAIN"), ("dev-1", A, "others")]);
}

#[test]
fn names_above_others_exist() {
    let lone = Names::new(DOMAIN.to_owned(), (Ipv4Addr::new(10, 120, 0, 0), 16), None);
    for names in [usual(), lone] {
        for name in ["", "service.", "machine.", "_tcp.", "_udp."] {
            check(&names, &[(&format!("{name}{DOMAIN}"), A, "")]);
        }
        check(&names, &[(DOMAIN, SOA, "SOA"), (DOMAIN, ANY, "SOA"), (DOMAIN, NS, "")]);
        check(&names, &[("service.ferrite.local", ANY, "HINFO"), ("service", A, "others")]);
    }
}

#[test]
fn services_say_where_they_are() {
    let names = usual();
    let one = |port: u16| format!("{port}:1.web.service.{DOMAIN} {port}:3.web.service.{DOMAIN}");
    let tcp = format!("{} {}", one(80), one(443));
    check(&names, &[("web.service.ferrite.local", SRV, &tcp)]);
    for place in ["_web.{}.ferrite.local", "{}.web.service.ferrite.local"] {
        check(&names, &[(&place.replace("{}", "_tcp"), SRV, &tcp)]);
        check(&names, &[(&place.replace("{}", "_udp"), SRV, &one(443))]);
        check(&names, &[(&place.replace("{}", "_tcp"), A, "")]);
        check(&names, &[(&place.replace("{}", "_sctp"), SRV, "NXDOMAIN")]);
        let unknown = place.replace("{}", "_tcp").replace("web", "cache");
        check(&names, &[(&unknown, SRV, "NXDOMAIN")]);
    }
    check(&names, &[("_db._tcp.ferrite.local", SRV, "5432:db.service.ferrite.local")]);
    check(
        &names,
        &[("_db._udp.ferrite.local", SRV, ""), ("web._tcp.ferrite.local", SRV, "NXDOMAIN")],
    );
    check(&names, &[("web", SRV, ""), ("_web._tcp", SRV, "others")]);
    let additional = own(&names, "_web._udp.ferrite.local", SRV).additional;
    let additional: Vec<String> =
        additional.iter().map(|(name, record)| format!("{name} {}", text(record))).collect();
    let expected = ["1", "3"].map(|number| {
        ["10.121.0.", "fd00::"]
            .map(|front| format!("{number}.web.service.{DOMAIN} {front}{number}"))
    });
    assert_eq!(additional, expected.concat());
}

#[test]
fn addresses_lead_back_to_instances() {
    let mut names = usual();
    let one = "1.web.service.ferrite.local";
    check(&names, &[("1.0.121.10.in-addr.arpa", PTR, one), ("1.0.121.10.in-addr.arpa", A, "")]);
    check(&names, &[("1.1.121.10.in-addr.arpa", PTR, "db.service.ferrite.local")]);
    let ipv6 = format!("1{}.0.0.d.f.ip6.arpa", ".0".repeat(27));
    check(&names, &[(&ipv6, PTR, one)]);
    check(&names, &[("2.0.121.10.in-addr.arpa", PTR, "others")]);
    check(&names, &[("2.0.120.10.in-addr.arpa", PTR, "NXDOMAIN")]);
    names.insert("web@2", Ipv4Addr::new(10, 120, 0, 2), None);
    check(&names, &[("2.0.120.10.in-addr.arpa", PTR, "web@2.ferrite.local")]);
    // Two networks with the same addresses: here it is this node's.
    names.insert("lone", Ipv4Addr::new(10, 121, 0, 3), None);
    check(&names, &[("3.0.121.10.in-addr.arpa", PTR, "lone.ferrite.local")]);
    names.insert("db", Ipv4Addr::new(10, 121, 1, 1), None);
    check(&names, &[("1.1.121.10.in-addr.arpa", PTR, "db.service.ferrite.local")]);
}

#[test]
fn instances_with_one_address_give_it_once() {
    let ports = [(80, Tcp), (80, Udp), (80, Tcp)];
    let web = ["web@1", "web@2"].map(|name| instance(name, &["192.0.2.1", "192.0.2.1"], &ports));
    let nowhere = instance("web@3", &[], &ports);
    let names = names(&services(vec![("web", [web.to_vec(), vec![nowhere]].concat())]));
    check(&names, &[("web", A, "192.0.2.1"), ("1.web", A, "192.0.2.1"), ("3.web", A, "")]);
    let both = "80:1.web.service.ferrite.local 80:2.web.service.ferrite.local";
    check(&names, &[("web.service.ferrite.local", SRV, both)]);
    let both = "1.web.service.ferrite.local 2.web.service.ferrite.local";
    check(&names, &[("1.2.0.192.in-addr.arpa", PTR, both)]);
}

/// Few enough names that they meet.
fn any_services() -> impl Strategy<Value = Services> {
    let service = "(web|Web|a[.]b|a-b|a_b|web-1|1|service|machine|localhost|github[.]com|com)";
    let address = prop_oneof![
        (0u8..40).prop_map(|last| IpAddr::from([10, 120, 0, last])),
        (0u16..40).prop_map(|last| IpAddr::from([0xfd00, 0, 0, 0, 0, 0, 0, last])),
    ];
    let protocol = prop_oneof![Just(Tcp), Just(Udp)];
    let instance = (
        "(@([0-9]{1,2}|blue|x[.]y))?",
        prop::collection::vec(address.clone(), 0..3),
        prop::collection::vec((1u16..4, protocol), 0..3),
    );
    let services =
        prop::collection::btree_map(service, prop::collection::vec(instance, 0..40), 0..6);
    let machines =
        prop::collection::btree_map("[a-c1]", prop::collection::vec(address, 0..3), 0..3);
    (services, machines).prop_map(|(services, machines)| {
        let named = |(service, instances): (String, Vec<_>)| {
            let named = instances.into_iter().map(|(suffix, addresses, ports): (String, _, _)| {
                Instance { name: format!("{service}{suffix}"), addresses, ports }
            });
            (service.clone(), named.collect())
        };
        Services { services: services.into_iter().map(named).collect::<BTreeMap<_, _>>(), machines }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Whatever is known and asked, the answer is well made and within its bounds; over a connection nothing is missing;
    /// and where answers lead, there is something.
    #[test]
    fn every_answer_is_well_made_and_leads_somewhere(
        known in any_services(),
        local in prop::collection::vec("(web|web-1|a[.]b|job)(@[12])?", 0..4),
        name in "((_|[0-9]{1,2}[.]|blue[.]|_tcp[.])?(web|a-b|a[.]b|1|service|machine|github-com|com|b)(@1|-1|-blue)?)?([.](_tcp|_udp|service|machine))?",
        domain in "([.][Ff]errite[.]local)?",
        kind in prop::sample::select(vec![A, AAAA, SRV, PTR, SOA, ANY, TXT]),
        offer in prop::option::of(any::<u16>()),
        seed in any::<u64>(),
    ) {
        let mut names = names(&known);
        for (last, name) in (50..).zip(&local) {
            names.insert(name, Ipv4Addr::new(10, 120, 0, last), None);
        }
        let question = ask(1, &format!("{name}{domain}"), kind);
        let question = match offer {
            Some(bytes) => offering(question, bytes, 0, &[]),
            None => question,
        };
        let query = parse(&question).unwrap();
        let Answer::Own(mut reply) = names.answer(&query) else {
            prop_assert!(domain.is_empty());
            return Ok(());
        };
        reply.shuffle(seed);
        let most = usize::from(offer.unwrap_or(0).clamp(512, 1232));
        let packet = reply.write(&query, query.packet_max_bytes());
        prop_assert!(packet.len() <= most);
        let (packet, whole) = (read(&packet), read(&reply.write(&query, CONNECTION_MAX_BYTES)));
        prop_assert_eq!(packet.is_truncated(), packet.answers.len() < reply.answers.len());
        prop_assert!(!packet.answers.is_empty() || reply.answers.is_empty());
        prop_assert!(!whole.is_truncated());
        prop_assert_eq!(whole.answers.len(), reply.answers.len());
        let opt = usize::from(offer.is_some());
        prop_assert_eq!(whole.additional.len(), reply.additional.len() + opt);
        prop_assert_eq!(whole.authority.len(), usize::from(reply.answers.is_empty()));
        prop_assert!(reply.code == Code::Fine || whole.answers.is_empty());
        let different: BTreeSet<String> = reply.answers.iter().map(text).collect();
        prop_assert_eq!(different.len(), reply.answers.len(), "each record once");
        for record in &reply.answers {
            if let Record::Service { target, .. } = record {
                let there = reply.additional.iter().filter(|(name, _)| name == target).count();
                let found = own(&names, target, A).answers.len() + own(&names, target, AAAA).answers.len();
                prop_assert!(there > 0 && there == found, "{} {} {}", target, there, found);
            }
        }
    }

    /// The full name of each service answers with all its addresses, and those of its instances with theirs, and these
    /// lead back to them.
    #[test]
    fn nobody_who_is_ready_is_missing(known in any_services()) {
        let names = names(&known);
        let mut seen = BTreeSet::new();
        for (name, instances) in &known.services {
            let lower = name.to_ascii_lowercase();
            if lower.contains('.') || !seen.insert(lower.clone()) {
                continue;
            }
            let all: BTreeSet<String> =
                instances.iter().flat_map(|one| &one.addresses).map(IpAddr::to_string).collect();
            let full = format!("{lower}.service.{DOMAIN}");
            let found = |name: &str| -> BTreeSet<String> {
                let both = [A, AAAA].map(|kind| own(&names, name, kind).answers);
                both.concat().iter().map(text).collect()
            };
            prop_assert_eq!(found(&full), all);
            for one in instances {
                let label = one.name.split_once('@').map(|(_, label)| label.replace('.', "-"));
                let own_name = match label {
                    Some(label) if !one.addresses.is_empty() => format!("{label}.{full}"),
                    _ => full.clone(),
                };
                let there = found(&own_name);
                prop_assert!(one.addresses.iter().all(|address| there.contains(&address.to_string())));
                for address in &one.addresses {
                    let IpAddr::V4(address) = address else { continue };
                    let [a, b, c, d] = address.octets();
                    let back = said(&names, &format!("{d}.{c}.{b}.{a}.in-addr.arpa"), PTR);
                    prop_assert!(back.split(' ').any(|name| name == own_name), "{} {}", back, own_name);
                }
            }
        }
    }
}
