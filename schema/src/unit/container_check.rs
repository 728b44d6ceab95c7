//! Checks of what a unit says about its container.

use std::net::IpAddr;

use super::bad_value::{BadValue, Check, bad, suggestion, twice};
use super::bytes::Bytes;
use super::container::{Port, Protocol, Ulimit, Volume, VolumeSource};
use super::definition::Unit;
use super::names::{CAPABILITIES, ULIMITS};
use super::network::{self, NetworkMode};

/// Linux's limit for a hostname.
const HOSTNAME_MAX_BYTES: usize = 64;
/// Less than this starts no program.
const MEMORY_MIN: Bytes = Bytes(1 << 20);
/// Least space and fewest files that a root gets: what a container's start writes itself must fit.
const DISK_MIN: Bytes = Bytes(1 << 20);
const INODES_MIN: u64 = 64;
/// The kernel's own bound on processes.
const PIDS_MAX: u32 = 4_194_304;
/// More processors than any machine has.
const CPUS_MAX: f64 = 8192.0;
/// Less is no share of a processor that the kernel can give.
const CPUS_MIN: f64 = 0.01;

pub(super) const CHECKS: [Check<Unit>; 13] = [
    network::check,
    user,
    hostname,
    init,
    privileges,
    devices,
    capabilities,
    volumes,
    cpu_and_io,
    memory,
    sysctls,
    ulimits,
    ports,
];

fn user(unit: &Unit) -> Result<(), BadValue> {
    let Some(user) = &unit.user else { return Ok(()) };
    let parts: Vec<&str> = user.split(':').collect();
    let odd = |part: &&str| {
        part.is_empty() || part.chars().any(|c| c.is_whitespace() || c.is_control() || c == '/')
    };
    if parts.len() > 2 || parts.iter().any(odd) {
        return bad(["user"], "use `user` or `user:group`, names of the image or numbers");
    }
    for part in parts.iter().filter(|part| part.bytes().all(|byte| byte.is_ascii_digit())) {
        // The last one of all means none.
        if !part.parse().is_ok_and(|number: u32| number < u32::MAX) {
            return bad(["user"], format!("{part} is no ID: use 0 to {}", u32::MAX - 1));
        }
    }
    Ok(())
}

fn hostname(unit: &Unit) -> Result<(), BadValue> {
    let Some(hostname) = &unit.hostname else { return Ok(()) };
    let is_label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    if hostname.len() <= HOSTNAME_MAX_BYTES && hostname.split('.').all(is_label) {
        return Ok(());
    }
    bad(["hostname"], "use letters, digits, inner `-` and single `.`, at most 64 characters")
}

/// The init is a process, too.
fn init(unit: &Unit) -> Result<(), BadValue> {
    if unit.init && unit.resources.pids_max == Some(1) {
        return bad(
            ["resources", "pids_max"],
            "with `init` there are two processes: use at least 2",
        );
    }
    Ok(())
}

fn privileges(unit: &Unit) -> Result<(), BadValue> {
    if unit.host_user_namespace.as_ref().is_some_and(|why| why.trim().is_empty()) {
        return bad(["host_user_namespace"], "say why it must share the node's user namespace");
    }
    if !unit.privileged {
        return Ok(());
    }
    for (key, given, what) in [
        ("capabilities", !unit.capabilities.is_default(), "has every capability"),
        ("devices", !unit.devices.is_empty(), "has every device"),
        (
            "host_user_namespace",
            unit.host_user_namespace.is_some(),
            "shares the node's user namespace",
        ),
    ] {
        if given {
            return bad(
                [key],
                format!("a privileged unit {what} already: drop this, or `privileged`"),
            );
        }
    }
    Ok(())
}

fn devices(unit: &Unit) -> Result<(), BadValue> {
    for (index, device) in unit.devices.iter().enumerate() {
        let inner = device.strip_prefix("/dev/").is_some_and(|rest| !rest.is_empty());
        if !inner || !is_plain_path(device) {
            return bad(
                ["devices", &index.to_string()],
                "use a path below /dev, such as `/dev/fuse`",
            );
        }
    }
    match twice(&unit.devices) {
        Some(index) => bad(["devices", &index.to_string()], "it is in the list twice: drop one"),
        None => Ok(()),
    }
}

fn capabilities(unit: &Unit) -> Result<(), BadValue> {
    let capabilities = &unit.capabilities;
    for (key, list) in [("add", &capabilities.add), ("drop", &capabilities.drop)] {
        for (index, name) in list.iter().enumerate() {
            let at = ["capabilities", key, &index.to_string()];
            if let Some(rest) = name.strip_prefix("CAP_") {
                return bad(at, format!("write it without `CAP_`: `{rest}`"));
            }
            if name != "ALL" && !CAPABILITIES.contains(&name.as_str()) {
                let upper = name.to_ascii_uppercase();
                let known = suggestion(&upper, CAPABILITIES);
                return bad(at, format!("there is no capability `{name}`{known}"));
            }
        }
        if let Some(index) = twice(list) {
            let at = ["capabilities", key, &index.to_string()];
            return bad(at, "it is in the list twice: drop one");
        }
    }
    let both = capabilities.add.iter().position(|name| capabilities.drop.contains(name));
    match both {
        Some(index) => bad(
            ["capabilities", "add", &index.to_string()],
            "it is both added and dropped: decide for one",
        ),
        None => Ok(()),
    }
}

/// Absolute, without `.`, `..`, empty parts and NUL characters.
pub(super) fn is_plain_path(path: &str) -> bool {
    let plain = |part: &str| !matches!(part, "" | "." | "..");
    !path.contains('\0')
        && path.strip_prefix('/').is_some_and(|rest| rest.is_empty() || rest.split('/').all(plain))
}

fn volumes(unit: &Unit) -> Result<(), BadValue> {
    for (index, volume) in unit.volumes.iter().enumerate() {
        self::volume(volume, &index.to_string())?;
    }
    let targets: Vec<&str> = unit.volumes.iter().map(|volume| volume.target.as_str()).collect();
    match twice(&targets) {
        Some(index) => bad(
            ["volumes", &index.to_string(), "target"],
            "another volume has this target already: use another one",
        ),
        None => Ok(()),
    }
}

fn volume(volume: &Volume, index: &str) -> Result<(), BadValue> {
    let at = |key| ["volumes", index, key];
    let Some(source) = volume.source() else {
        let given = [
            ("name", volume.name.is_some()),
            ("host", volume.host.is_some()),
            ("tmpfs", volume.tmpfs.is_some()),
        ];
        let mut given = given.iter().filter(|(_, given)| *given).map(|(key, _)| *key).skip(1);
        let why = "say with exactly one of `name`, `host` and `tmpfs` what is mounted";
        return match given.next() {
            Some(second) => bad(at(second), why),
            None => bad(["volumes", index], why),
        };
    };
    match source {
        VolumeSource::Name(name) if !super::names::is_plain_name(name) => {
            return bad(
                at("name"),
                "use letters, digits, `-`, `_` and `.`, a letter or digit first, at most 64",
            );
        }
        VolumeSource::Host(path) if !is_plain_path(path) => {
            return bad(at("host"), "use an absolute path of the node, without `.` and `..`");
        }
        VolumeSource::Tmpfs(Bytes(0)) => {
            return bad(at("tmpfs"), "give it a size, such as \"64MiB\"");
        }
        VolumeSource::Tmpfs(_) if volume.read_only => {
            return bad(at("read_only"), "memory that nobody can write to stays empty: drop this");
        }
        VolumeSource::Name(_) | VolumeSource::Host(_) | VolumeSource::Tmpfs(_) => {}
    }
    if !is_plain_path(&volume.target) {
        return bad(
            at("target"),
            "use an absolute path in the container, without `.`, `..` and a last `/`",
        );
    }
    let kernel = |folder: &str| {
        volume
            .target
            .strip_prefix(folder)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    if volume.target == "/" || volume.target == "/dev" || kernel("/proc") || kernel("/sys") {
        return bad(
            at("target"),
            "the container's root, /dev, /proc and /sys are not to be covered",
        );
    }
    Ok(())
}

fn cpu_and_io(unit: &Unit) -> Result<(), BadValue> {
    let resources = &unit.resources;
    if let Some(cpus) = resources.cpus
        && !(CPUS_MIN..=CPUS_MAX).contains(&cpus)
    {
        return bad(
            ["resources", "cpus"],
            "use processors' worth of time from 0.01, such as `0.5` or `2`",
        );
    }
    for (key, weight) in [("cpu_weight", resources.cpu_weight), ("io_weight", resources.io_weight)]
    {
        if weight.is_some_and(|weight| !(1..=10_000).contains(&weight)) {
            return bad(["resources", key], "use 1 to 10000; 100 is everybody's");
        }
    }
    for (key, rate) in
        [("io_read_per_s", resources.io_read_per_s), ("io_write_per_s", resources.io_write_per_s)]
    {
        if rate == Some(Bytes(0)) {
            return bad(
                ["resources", key],
                "use an amount such as \"10MiB\"; without it there is no bound",
            );
        }
    }
    if resources.disk.is_some_and(|disk| disk < DISK_MIN) {
        return bad(["resources", "disk"], format!("use at least {DISK_MIN}"));
    }
    if resources.inodes.is_some_and(|most| most < INODES_MIN) {
        return bad(["resources", "inodes"], format!("use at least {INODES_MIN}"));
    }
    if resources.pids_max.is_some_and(|most| !(1..=PIDS_MAX).contains(&most)) {
        return bad(["resources", "pids_max"], format!("use 1 to {PIDS_MAX}"));
    }
    Ok(())
}

fn memory(unit: &Unit) -> Result<(), BadValue> {
    let resources = &unit.resources;
    for (key, amount) in [("memory", resources.memory), ("memory_high", resources.memory_high)] {
        if amount.is_some_and(|amount| amount < MEMORY_MIN) {
            return bad(
                ["resources", key],
                format!("use at least {MEMORY_MIN}: no program fits in less"),
            );
        }
    }
    let most = resources.memory.unwrap_or(Bytes(u64::MAX));
    for (key, amount) in
        [("memory_high", resources.memory_high), ("memory_min", resources.memory_min)]
    {
        if amount.is_some_and(|amount| amount > most) {
            return bad(["resources", key], format!("use at most `memory`, which is {most}"));
        }
    }
    Ok(())
}

fn sysctls(unit: &Unit) -> Result<(), BadValue> {
    for (name, value) in &unit.sysctls {
        let plain = |part: &str| {
            !part.is_empty()
                && part
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
        };
        if !name.split(['.', '/']).all(plain) {
            return bad(["sysctls", name], "write it with dots, such as `net.core.somaxconn`");
        }
        let shared = ["kernel.sem", "kernel.shm", "kernel.msg", "fs.mqueue."];
        let of_net = name.starts_with("net.");
        if !of_net && !shared.iter().any(|prefix| name.starts_with(prefix)) {
            let why = "only parameters of the container's own namespaces can be set: net.*, kernel.sem, kernel.shm*, \
                       kernel.msg* and fs.mqueue.*";
            return bad(["sysctls", name], why);
        }
        if of_net && unit.network == NetworkMode::Host {
            return bad(
                ["sysctls", name],
                "with the host's network it would be the node's: drop one of the two",
            );
        }
        if value.is_empty() || value.chars().any(char::is_control) {
            return bad(["sysctls", name], "give it a value of one line");
        }
    }
    Ok(())
}

fn ulimits(unit: &Unit) -> Result<(), BadValue> {
    for (name, limit) in &unit.ulimits {
        if !ULIMITS.contains(&name.as_str()) {
            let word = name.to_ascii_lowercase();
            let known = suggestion(word.trim_start_matches("rlimit_"), ULIMITS);
            return bad(["ulimits", name], format!("there is no limit `{name}`{known}"));
        }
        if let Ulimit::Each { soft, hard } = limit
            && soft > hard
        {
            return bad(["ulimits", name, "soft"], format!("use at most `hard`, which is {hard}"));
        }
    }
    Ok(())
}

fn ports(unit: &Unit) -> Result<(), BadValue> {
    if unit.metadata_service && unit.network != NetworkMode::Bridge {
        let why = match unit.network {
            NetworkMode::None => {
                "without a network there is nothing to reach: drop it, or `network`"
            }
            _ => "with the host's network it is reached as the node does: drop it, or `network`",
        };
        return bad(["metadata_service"], why);
    }
    if !unit.ports.is_empty() {
        match unit.network {
            // The other one's are said to be its.
            NetworkMode::Bridge | NetworkMode::Unit(_) => {}
            NetworkMode::Host => {
                let why = "with the host's network every port is the node's already: drop `ports`, or `network`";
                return bad(["ports"], why);
            }
            NetworkMode::None => {
                return bad(
                    ["ports"],
                    "without a network no port leads into it: drop `ports`, or `network`",
                );
            }
        }
    }
    for (index, port) in unit.ports.iter().enumerate() {
        let at = index.to_string();
        if port.host == 0 || port.container == Some(0) {
            return bad(["ports", &at], "use ports from 1 to 65535");
        }
        let before = unit.ports.get(..index).unwrap_or_default();
        if before.iter().any(|other| collide(other, port)) {
            return bad(
                ["ports", &at, "host"],
                "this port of the node is published already: use another one",
            );
        }
    }
    Ok(())
}

/// Two ports want the same packets.
fn collide(one: &Port, other: &Port) -> bool {
    fn any(address: Option<IpAddr>) -> bool {
        address.is_none_or(|address| address.is_unspecified())
    }
    let protocol = |port: &Port| matches!(port.protocol, Protocol::Udp);
    let addresses = any(one.address) || any(other.address) || one.address == other.address;
    one.host == other.host && protocol(one) == protocol(other) && addresses
}
