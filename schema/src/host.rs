//! The one spelling of a registry's host. Rules, passwords and mirrors are kept by host, and whoever may name an image
//! chooses how to spell it: what has two spellings has a way around its rule.

use std::net::{Ipv4Addr, Ipv6Addr};

/// The registry that names without one belong to, unless a node is configured otherwise.
pub const DOCKER_HUB: &str = "docker.io";
/// Other names of [`DOCKER_HUB`] that images and credentials go by.
const DOCKER_HUB_ALIASES: [&str; 2] = ["index.docker.io", "registry-1.docker.io"];
/// What names HTTPS's port where a host does without.
const HTTPS_PORT: &str = ":443";
/// Likewise HTTP's, where the node's configuration allows that.
const HTTP_PORT: &str = ":80";

/// A host name, an IPv4 address or an IPv6 address in brackets, with or without a port, in the only spelling that it
/// has here; nothing where it is none.
///
/// Lower case; an address as its family writes it, IPv4 inside of IPv6 as IPv4; without HTTPS's own port; Docker Hub by
/// one name. What C libraries take for an address though it is not written as one (`10.0.514`, `0x7f.1`, `2130706433`)
/// is none.
#[must_use]
pub fn canonical(text: &str) -> Option<String> {
    let (host, port) = split(text)?;
    let host = match host.strip_prefix('[') {
        Some(address) => ipv6(address.strip_suffix(']')?)?,
        None => name(host)?,
    };
    let host = match port {
        Some(port) if is_port(port) => format!("{host}:{port}"),
        Some(_) => return None,
        None => host,
    };
    let host = host.strip_suffix(HTTPS_PORT).unwrap_or(&host);
    Some(if DOCKER_HUB_ALIASES.contains(&host) { DOCKER_HUB } else { host }.to_owned())
}

/// Whether `text` is a host name or an address, with or without a port.
#[must_use]
pub fn is_host(text: &str) -> bool {
    canonical(text).is_some()
}

/// All that patterns may have in mind when they mean `host`, which is canonical. The first is `host` itself.
pub(crate) fn spellings(host: &str) -> Vec<String> {
    let mut all = vec![host.to_owned()];
    if host == DOCKER_HUB {
        all.extend(DOCKER_HUB_ALIASES.map(str::to_owned));
    }
    if !has_port(host) {
        let with_port: Vec<String> = all.iter().map(|one| format!("{one}{HTTPS_PORT}")).collect();
        all.extend(with_port);
    }
    all
}

/// What `host`, which is canonical, is called too where it is spoken to without TLS: with HTTP's own port, or without.
pub(crate) fn in_the_open(host: &str) -> Option<String> {
    match host.strip_suffix(HTTP_PORT) {
        Some(alone) => Some(alone.to_owned()),
        None => (!has_port(host)).then(|| format!("{host}{HTTP_PORT}")),
    }
}

fn has_port(host: &str) -> bool {
    host.rsplit_once(':').is_some_and(|(_, port)| !port.contains(']'))
}

/// Host and port. A colon belongs to the address where there are brackets.
fn split(text: &str) -> Option<(&str, Option<&str>)> {
    if !text.starts_with('[') {
        return Some(text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port))));
    }
    let end = text.find(']')?;
    let (address, rest) = text.split_at_checked(end + 1)?;
    match rest.strip_prefix(':') {
        Some(port) => Some((address, Some(port))),
        None => rest.is_empty().then_some((address, None)),
    }
}

fn ipv6(address: &str) -> Option<String> {
    let address: Ipv6Addr = address.parse().ok()?;
    Some(match address.to_ipv4_mapped() {
        Some(address) => address.to_string(),
        None => format!("[{address}]"),
    })
}

fn name(host: &str) -> Option<String> {
    let label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    if !host.split('.').all(label) {
        return None;
    }
    let host = host.to_ascii_lowercase();
    let last = host.rsplit('.').next().unwrap_or_default();
    // No domain of the world is called so, and resolvers read it as a number.
    let hexadecimal = |text: &str| text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let number = last.bytes().all(|byte| byte.is_ascii_digit())
        || last.strip_prefix("0x").is_some_and(hexadecimal);
    (!number || host.parse::<Ipv4Addr>().is_ok()).then_some(host)
}

/// 1 to 65535, in digits alone: neither `+80` nor `080` is another way to say 80.
fn is_port(port: &str) -> bool {
    port.bytes().all(|byte| byte.is_ascii_digit())
        && !port.starts_with('0')
        && port.parse::<u16>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Option<&str>) {
        assert_eq!(canonical(text).as_deref(), expected, "{text}");
        if let Some(expected) = expected {
            assert_eq!(canonical(expected).as_deref(), Some(expected), "{text} is not stable");
        }
    }

    #[test]
    fn a_host_has_one_spelling() {
        for text in ["docker.io", "Docker.IO:443", "index.docker.io", "INDEX.docker.io:443"] {
            check(text, Some("docker.io"));
        }
        check("registry-1.docker.io:443", Some("docker.io"));
        check("registry-1.docker.io:5000", Some("registry-1.docker.io:5000"));
        check("Quay.Example:443", Some("quay.example"));
        check("quay.example:4430", Some("quay.example:4430"));
        for text in ["[::1]", "[::1]:443", "[0:0:0:0:0:0:0:1]", "[0::0.0.0.1]:443"] {
            check(text, Some("[::1]"));
        }
        for text in ["10.0.2.2:5000", "[::ffff:10.0.2.2]:5000", "[0:0::FFFF:a00:202]:5000"] {
            check(text, Some("10.0.2.2:5000"));
        }
        check("[FD00::A]:5000", Some("[fd00::a]:5000"));
        check("0xcafe.example", Some("0xcafe.example"));
        check("localhost", Some("localhost"));
    }

    #[test]
    fn what_is_no_host_has_none() {
        for text in [
            "",
            ".",
            "a.",
            "docker.io.",
            ".a",
            "a..b",
            "-a",
            "a-",
            "a_b",
            "é.example",
            "a b",
            ":5000",
            "a:",
            "a:0",
            "a:080",
            "a:+80",
            "a:65536",
            "a:1:2",
            "[::1",
            "::1",
            "[::1]x",
            "[::1]:",
            "[fe80::1%25eth0]",
            "[10.0.2.2]",
            "10.0.514",
            "10.0.514:5000",
            "2130706433:5000",
            "0x7f.1",
            "0x7f000001:5000",
            "010.0.0.1",
            "10.0.2.2.",
            "256.0.0.1",
            "a.0x",
            "a.12",
        ] {
            check(text, None);
        }
    }
}
