//! Where a container's files and ports are: volumes, mounts, memory, the network.

use std::net::IpAddr;

use ferrite_schema::unit::{Bytes, NetworkMode, Port, Protocol, Volume};

use super::draft::{Draft, unknown};
use super::flags::Given;
use super::values::docker_bytes;

/// Most ports of one range that are written out.
const RANGE_MAX: u16 = 256;
/// What a folder in memory gets where nobody said how much.
const TMPFS: Bytes = Bytes(64 << 20);

/// Takes in one option.
pub(crate) fn take(draft: &mut Draft<'_>, given: &Given) {
    if given.flag.long == "publish" {
        return publish(draft, given);
    }
    if !draft.knows(given) {
        return;
    }
    match given.flag.long {
        "publish-all" => {
            if given.is_on() {
                let why = "Docker chose free ports: name those of the node that lead into it in `ports`; units need none, they reach it by its name";
                draft.odd(given, why);
            }
        }
        "volume" => volume(draft, given),
        "mount" => mount(draft, given),
        "tmpfs" => tmpfs(draft, given),
        "shm-size" => match docker_bytes(&given.value) {
            Some(size) => memory(draft, given, "/dev/shm", size, false),
            None => draft.odd(given, "this is no size: write it as `512m`"),
        },
        "link" => link(draft, given),
        _ => network(draft, given),
    }
}

/// What can only be said when all options are known.
pub(crate) fn settle(draft: &mut Draft<'_>) {
    if draft.unit.network == NetworkMode::Bridge || draft.unit.ports.is_empty() {
        return;
    }
    draft.unit.ports.clear();
    let line = draft.line("ports.0").unwrap_or(1);
    let why =
        "without a network of its own nothing is published: its ports are the node's, or nobody's";
    draft.findings.not_needed(line, "published ports", why);
}

fn link(draft: &mut Draft<'_>, given: &Given) {
    let (name, alias) = given.value.split_once(':').unwrap_or((&given.value, &given.value));
    let why = if name == alias {
        format!(
            "it is reached as `{name}` where its unit is called so; there are no variables with its address"
        )
    } else {
        format!(
            "it was reached as `{alias}`: use its unit's name, such as `{name}`; there are no variables with its address"
        )
    };
    match name == alias {
        true => draft.findings.not_needed(given.line, given.shown(), why),
        false => draft.findings.lost(given.line, given.shown(), why),
    }
}

fn network(draft: &mut Draft<'_>, given: &Given) {
    draft.mark("network", given.line);
    match given.value.as_str() {
        "host" => draft.unit.network = NetworkMode::Host,
        "none" => draft.unit.network = NetworkMode::None,
        "bridge" | "default" => draft.unit.network = NetworkMode::Bridge,
        shared if shared.starts_with("container:") => draft.odd(
            given,
            "a unit does not share another one's network: they reach one another by name",
        ),
        _ => draft.findings.not_needed(
            given.line,
            given.shown(),
            "all units are in one network and reach one another by name",
        ),
    }
}

fn publish(draft: &mut Draft<'_>, given: &Given) {
    let (place, protocol) = match given.value.rsplit_once('/') {
        Some((place, protocol)) => (place, protocol),
        None => (given.value.as_str(), "tcp"),
    };
    let protocol = match protocol {
        "tcp" => Protocol::Tcp,
        "udp" => Protocol::Udp,
        _ => return draft.odd(given, "ports of TCP and UDP are published, and no others"),
    };
    let (address, host, container) = match parts(place) {
        (address, Some(host), container) => (address, host.to_owned(), container.to_owned()),
        (_, None, _) => {
            let why = "Docker chose a free port: name the node's in `ports`; units need none, they reach it by its name";
            return draft.odd(given, why);
        }
    };
    let open = [&host, &container].into_iter().find_map(|part| draft.open_in(part));
    if let Some(open) = open {
        let why = format!("{}; write the port itself", unknown(open));
        return draft.odd(given, why);
    }
    let (Some(hosts), Some(containers)) = (range(&host), range(&container)) else {
        let template = draft.name.is_template() && given.value.contains('%');
        let why = match template {
            true => {
                "a port cannot depend on the instance; one that every instance has keeps two of them off one machine"
            }
            false => "this is no port, or no short range of ports",
        };
        return draft.odd(given, why);
    };
    if hosts.len() != containers.len() {
        return draft.odd(given, "both ranges have as many ports");
    }
    let Some(address) = published_at(draft, given, address.map(str::to_owned)) else { return };
    for (host, container) in hosts.zip(containers) {
        let container = Some(container).filter(|container| *container != host);
        draft.mark(format!("ports.{}", draft.unit.ports.len()), given.line);
        draft.unit.ports.push(Port { host, container, protocol, address });
    }
}

/// The address at which a port is published, where there is one; nothing where it is not to be published.
#[expect(clippy::option_option, reason = "all addresses are an answer, too")]
fn published_at(
    draft: &mut Draft<'_>,
    given: &Given,
    address: Option<String>,
) -> Option<Option<IpAddr>> {
    let Some(address) = address.filter(|address| !address.is_empty()) else { return Some(None) };
    if let Some(open) = draft.open_in(&address) {
        let why = format!("{}; it is published at all of the node's addresses", unknown(open));
        draft.findings.changed(given.line, given.shown(), why);
        return Some(None);
    }
    match address.parse::<IpAddr>() {
        Ok(address) => Some(Some(address).filter(|address| !address.is_unspecified())),
        Err(_) => {
            draft.odd(given, format!("`{address}` is no address"));
            None
        }
    }
}

/// Address, port of the node and port of the container.
fn parts(place: &str) -> (Option<&str>, Option<&str>, &str) {
    let Some((before, container)) = place.rsplit_once(':') else { return (None, None, place) };
    match before.rsplit_once(':') {
        Some((address, host)) => {
            let address =
                address.strip_prefix('[').and_then(|a| a.strip_suffix(']')).unwrap_or(address);
            (Some(address), Some(host).filter(|host| !host.is_empty()), container)
        }
        None => (None, Some(before).filter(|host| !host.is_empty()), container),
    }
}

fn range(text: &str) -> Option<std::ops::RangeInclusive<u16>> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (first.parse::<u16>().ok()?, last.parse::<u16>().ok()?);
    (first > 0 && first <= last && last - first < RANGE_MAX).then_some(first..=last)
}

/// The path without empty parts, `.` and a last `/`.
fn plain(path: &str) -> String {
    let parts: Vec<&str> = path.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
    format!("/{}", parts.join("/"))
}

fn volume(draft: &mut Draft<'_>, given: &Given) {
    let parts: Vec<&str> = given.value.split(':').collect();
    let (source, target, options) = match parts.as_slice() {
        [target] => (None, *target, ""),
        [source, target] => (Some(*source), *target, ""),
        [source, target, options] => (Some(*source), *target, *options),
        _ => {
            return draft
                .odd(given, "a volume is SOURCE:TARGET, with options behind another colon");
        }
    };
    for option in options.split(',') {
        if matches!(option, "shared" | "slave" | "private" | "rshared" | "rslave" | "rprivate") {
            let why = format!(
                "`{option}`: what is mounted on the node later does not show in a container, nor the other way round"
            );
            draft.findings.lost(given.line, given.shown(), why);
        }
    }
    place(draft, given, source, target, options.split(',').any(|option| option == "ro"));
}

fn place(
    draft: &mut Draft<'_>,
    given: &Given,
    source: Option<&str>,
    target: &str,
    read_only: bool,
) {
    if !target.starts_with('/') {
        return draft.odd(given, "where it is in the container is an absolute path");
    }
    let Some(source) = source.filter(|source| !source.is_empty()) else {
        let why = "an unnamed volume goes with its container, as the root of a unit does, which it can write to; `[[volumes]]` with a `name` stays";
        return draft.findings.not_needed(given.line, given.shown(), why);
    };
    let (mut name, mut host) = (None, None);
    if source.starts_with('/') {
        let path = plain(source);
        if let Some(why) = not_here(&path) {
            return draft.odd(given, why);
        }
        let why = format!(
            "`{path}` is a path of the node, whose own files are read-only and where only what is below /var is kept; a volume with a `name` is \
             made by itself, and its unit stays with it"
        );
        draft.findings.changed(given.line, given.shown(), why);
        host = Some(path);
    } else if source.starts_with(['.', '~']) {
        return draft.odd(given, "say the whole path of the node");
    } else {
        name = Some(source.to_owned());
    }
    draft.mark(format!("volumes.{}", draft.unit.volumes.len()), given.line);
    draft.unit.volumes.push(Volume { name, host, tmpfs: None, target: plain(target), read_only });
}

/// Why a path of a CoreOS machine is nowhere on a node.
fn not_here(path: &str) -> Option<&'static str> {
    let file = path.rsplit('/').next().unwrap_or_default();
    match (path, file) {
        (_, "docker.sock" | "docker" | "rkt") => {
            Some("there is no Docker and no rkt: what asks them needs the node's API")
        }
        ("/etc/localtime" | "/etc/timezone", _) => {
            Some("a node's clock is UTC: set `TZ` in `env`, where the image has time zones")
        }
        ("/var/run/fleet.sock" | "/run/fleet.sock" | "/var/run/etcd" | "/etc/environment", _) => {
            Some("it is a part of CoreOS that is not there")
        }
        ("/", _) => Some("the node's root is not shown to units: name the folder that it needs"),
        _ => None,
    }
}

fn memory(draft: &mut Draft<'_>, given: &Given, target: &str, size: Bytes, read_only: bool) {
    draft.mark(format!("volumes.{}", draft.unit.volumes.len()), given.line);
    let volume =
        Volume { name: None, host: None, tmpfs: Some(size), target: plain(target), read_only };
    draft.unit.volumes.push(volume);
}

fn tmpfs(draft: &mut Draft<'_>, given: &Given) {
    let (target, options) = given.value.split_once(':').unwrap_or((&given.value, ""));
    let size = options.split(',').find_map(|option| option.strip_prefix("size="));
    sized(draft, given, target, size);
}

fn sized(draft: &mut Draft<'_>, given: &Given, target: &str, size: Option<&str>) {
    match size.map(docker_bytes) {
        Some(Some(size)) => memory(draft, given, target, size, false),
        Some(None) => draft.odd(given, "its size is none that is known: write it as `size=64m`"),
        None => {
            let why = format!("no size is said, so that it gets {TMPFS}: say how much it needs");
            draft.findings.changed(given.line, given.shown(), why);
            memory(draft, given, target, TMPFS, false);
        }
    }
}

fn mount(draft: &mut Draft<'_>, given: &Given) {
    let pairs: Vec<(&str, &str)> =
        given.value.split(',').map(|pair| pair.split_once('=').unwrap_or((pair, "true"))).collect();
    let find =
        |names: &[&str]| pairs.iter().find(|(key, _)| names.contains(key)).map(|(_, value)| *value);
    let Some(target) = find(&["target", "dst", "destination"]) else {
        return draft.odd(given, "it says no `target`");
    };
    let source = find(&["source", "src"]);
    let read_only = find(&["readonly", "ro"]).is_some_and(|value| matches!(value, "true" | "1"));
    match find(&["type"]).unwrap_or("volume") {
        "bind" | "volume" => place(draft, given, source, target, read_only),
        "tmpfs" => sized(draft, given, target, find(&["tmpfs-size"])),
        _ => draft.odd(given, "mounts are of the types bind, volume and tmpfs"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_of_ports() {
        for (text, expected) in [
            ("80", (None, None, "80")),
            ("8080:80", (None, Some("8080"), "80")),
            ("127.0.0.1:8080:80", (Some("127.0.0.1"), Some("8080"), "80")),
            ("127.0.0.1::80", (Some("127.0.0.1"), None, "80")),
            ("[::1]:8080:80", (Some("::1"), Some("8080"), "80")),
            ("${IP}:8080:80", (Some("${IP}"), Some("8080"), "80")),
            ("${PORT}:80", (None, Some("${PORT}"), "80")),
        ] {
            assert_eq!(parts(text), expected, "{text}");
        }
        assert_eq!(
            (range("80"), range("8000-8002"), range("9-8")),
            (Some(80..=80), Some(8000..=8002), None)
        );
        assert_eq!((range("0"), range("1-60000"), range("x")), (None, None, None));
    }

    #[test]
    fn paths() {
        assert_eq!(
            (plain("/a//b/./c/"), plain("/"), plain("/a/../b")),
            ("/a/b/c".into(), "/".into(), "/a/../b".into())
        );
    }
}
