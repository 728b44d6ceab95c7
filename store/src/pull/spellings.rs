//! A rule for a host holds whatever way its host, and that of an image's name, are spelled: what the puller would speak to
//! decides which are the same.

use std::collections::BTreeMap;
use std::net::{IpAddr, ToSocketAddrs};
use std::sync::Arc;

use ferrite_schema::node_config::{RegistryConfig, SignaturePolicy, SignatureRule};
use ferrite_schema::reference::{Reference, is_registry};

use super::http::Client;
use super::place::places;
use super::trust::Trust;
use crate::signature::Policy;

const HOSTS: [&str; 25] = [
    "docker.io",
    "index.docker.io",
    "registry-1.docker.io",
    "registry.example",
    "registry.example.",
    "127.0.0.1",
    "127.1",
    "127.0.1",
    "127.000.000.001",
    "0177.0.0.1",
    "0x7f.0.0.1",
    "0x7f000001",
    "2130706433",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
    "[0:0:0:0:0:ffff:7f00:0001]",
    "[::1]",
    "[0::1]",
    "[0:0:0:0:0:0:0:1]",
    "[::0.0.0.1]",
    "[FD00::a]",
    "[fd00:0::A]",
    "10.0.2.2",
    "10.0.514",
    "localhost",
];

/// All ways to write these hosts that somebody may try.
fn spellings() -> Vec<String> {
    let ports = ["", ":443", ":0443", ":80", ":5000", ":05000"];
    let written = |host: &&str| [(*host).to_owned(), host.to_uppercase()];
    let hosts = HOSTS.iter().flat_map(written);
    let all = hosts.flat_map(|host| ports.map(|port| format!("{host}{port}")));
    // What has neither point nor port is a folder of the default registry, whoever writes it.
    all.filter(|host| is_registry(host)).collect()
}

/// The server that an image of a host comes from: what its name stands for, where that is an address, and else the name
/// without what changes nothing.
fn server(host: &str, trust: &Arc<Trust>) -> Option<(String, u16)> {
    let reference: Reference = format!("{host}/team/app").parse().ok()?;
    let places = places(&reference, &Client::new(Arc::clone(trust)), trust);
    let origin = places.last().unwrap().origin().clone();
    let number = origin.host.contains(':')
        || origin.host.rsplit('.').next().unwrap().starts_with(|c: char| c.is_ascii_digit());
    if !number {
        return Some((origin.host.trim_end_matches('.').to_ascii_lowercase(), origin.port));
    }
    // The C library reads it as a connection would.
    let address = (origin.host.as_str(), origin.port).to_socket_addrs().unwrap().next().unwrap();
    let address = match address.ip() {
        IpAddr::V6(address) => address.to_ipv4_mapped().map_or(IpAddr::V6(address), IpAddr::V4),
        ipv4 => ipv4,
    };
    Some((address.to_string(), origin.port))
}

fn check(config: &[&str]) {
    let plain = |host: &&str| {
        ((*host).to_owned(), RegistryConfig { plain_http: true, ..RegistryConfig::default() })
    };
    let trust = Arc::new(Trust::new(config.iter().map(plain).collect::<BTreeMap<_, _>>()));
    let servers: Vec<(String, (String, u16))> = spellings()
        .into_iter()
        .filter_map(|host| Some((host.clone(), server(&host, &trust)?)))
        .collect();
    assert!(servers.len() > 60, "the aid works: {}", servers.len());
    for (ruled, server) in &servers {
        let (name, policy) = (format!("{ruled}/*"), SignaturePolicy::Reject);
        let rule = SignatureRule { name, policy, keys: vec![] };
        assert_eq!(rule.problem(), None);
        let policy = Policy::new(vec![rule]);
        for (asked, _) in servers.iter().filter(|(_, other)| other == server) {
            let reference = format!("{asked}/team/app").parse().unwrap();
            assert!(policy.check_name(&reference).is_err(), "{asked} leads around {ruled}");
        }
    }
}

#[test]
fn no_spelling_of_a_host_leads_around_its_rule() {
    check(&[]);
    check(&["registry.example", "registry.example:80", "127.0.0.1:5000", "[::FFFF:10.0.2.2]"]);
}

#[test]
fn what_is_said_of_a_host_is_said_of_all_its_spellings() {
    let said = |user: &str| RegistryConfig {
        username: Some(user.to_owned()),
        ..RegistryConfig::default()
    };
    let of = |hosts: &[&str]| {
        let config = hosts.iter().map(|host| ((*host).to_owned(), said(host)));
        Trust::new(config.collect::<BTreeMap<_, _>>())
    };
    let trust = of(&["Index.Docker.io:443", "Registry.Example:443", "[::ffff:10.0.2.2]:5000"]);
    for host in ["docker.io", "registry-1.docker.io", "registry.example", "10.0.2.2:5000"] {
        assert!(trust.host(host).is_some(), "{host}");
    }
    assert!(trust.host("registry.example:5000").is_none());
    // Under several spellings: its own counts first.
    let trust = of(&["INDEX.docker.io", "docker.io", "registry-1.docker.io"]);
    assert_eq!(trust.host("docker.io").unwrap().username.as_deref(), Some("docker.io"));
}
