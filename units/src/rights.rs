//! What a unit may do and what it is given of the node: everything that can be refused before anything is started.

use std::path::Path;

use ferrite_schema::node_config::ContainersConfig;
use ferrite_schema::shim::{BindMount, MountSource};
use ferrite_schema::unit::{Capabilities, NetworkMode, Unit, VolumeSource};

/// What a container's root may do: Docker's set without `CAP_MKNOD`, since device nodes are never its business.
const CAPABILITIES: [&str; 13] = [
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "NET_BIND_SERVICE",
    "NET_RAW",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];

/// Every capability that there is, by number.
const ALL_CAPABILITIES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// Kernel parameters that each container has for itself.
const OWN_PARAMETERS: [&str; 8] = [
    "kernel.msgmax",
    "kernel.msgmnb",
    "kernel.msgmni",
    "kernel.sem",
    "kernel.shm_rmid_forced",
    "kernel.shmall",
    "kernel.shmmax",
    "kernel.shmmni",
];

/// Folders of a container that are the runtime's own.
const RESERVED: [&str; 3] = ["/dev", "/proc", "/sys"];
/// The one place below them that may be given a size.
const SHARED_MEMORY: &str = "/dev/shm";

/// A unit asks for what it cannot have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The node's owner does not want it.
    #[error("the node forbids {what}: its configuration has `{key} = false` under [containers]")]
    Forbidden {
        /// What the unit asks for.
        what: &'static str,
        /// Key of the configuration.
        key: &'static str,
    },
    /// There is no such capability.
    #[error("there is no capability {name}")]
    NoCapability {
        /// Its name.
        name: String,
    },
    /// The parameter is the whole node's.
    #[error("kernel parameter {name} is not a container's own: it would change the node")]
    NodesParameter {
        /// Its name.
        name: String,
    },
    /// The unit has no network of its own to set a parameter of.
    #[error("kernel parameter {name} belongs to the node's network, which this unit shares")]
    NodesNetwork {
        /// Its name.
        name: String,
    },
    /// The unit shares the network that it is a parameter of.
    #[error("kernel parameter {name} belongs to the network of {unit}, which this unit shares")]
    OthersNetwork {
        /// Its name.
        name: String,
        /// The unit whose network it is.
        unit: String,
    },
    /// A volume's place is bad.
    #[error("volume at {target}: {why}")]
    Target {
        /// The place.
        target: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A volume's source is bad.
    #[error("volume {name}: {why}")]
    Source {
        /// Name or path.
        name: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A device is named otherwise than by a path in `/dev`.
    #[error("device {path}: name it by its path below /dev")]
    Device {
        /// The name.
        path: String,
    },
}

/// Holds a unit against what the node allows.
///
/// # Errors
/// The first thing that the unit asks for and cannot have.
pub fn check(unit: &Unit, node: &ContainersConfig) -> Result<(), Refused> {
    let on_host = |volume: &ferrite_schema::unit::Volume| volume.host.is_some();
    let asks = [
        (unit.privileged, node.allow_privileged, "privileged units", "allow_privileged"),
        (
            unit.host_user_namespace.is_some(),
            node.allow_host_user_namespace,
            "sharing its user namespace",
            "allow_host_user_namespace",
        ),
        (
            unit.network == NetworkMode::Host,
            node.allow_host_network,
            "sharing its network",
            "allow_host_network",
        ),
        (
            unit.volumes.iter().any(on_host),
            node.allow_host_paths,
            "volumes that are paths of the node",
            "allow_host_paths",
        ),
        (
            !unit.devices.is_empty(),
            node.allow_host_paths,
            "the use of its devices",
            "allow_host_paths",
        ),
    ];
    for (asked, allowed, what, key) in asks {
        if asked && !allowed {
            return Err(Refused::Forbidden { what, key });
        }
    }
    for name in unit.sysctls.keys() {
        parameter(name, &unit.network)?;
    }
    for path in &unit.devices {
        if !path.starts_with("/dev/") || path.split('/').any(|part| part == "..") {
            return Err(Refused::Device { path: path.clone() });
        }
    }
    Ok(())
}

fn parameter(name: &str, network: &NetworkMode) -> Result<(), Refused> {
    let plain = name.replace('/', ".");
    let clean = plain.split('.').all(|part| !part.is_empty());
    if clean && plain.starts_with("net.") {
        return match network {
            NetworkMode::Host => Err(Refused::NodesNetwork { name: name.to_owned() }),
            NetworkMode::Unit(unit) => {
                Err(Refused::OthersNetwork { name: name.to_owned(), unit: unit.clone() })
            }
            NetworkMode::Bridge | NetworkMode::None => Ok(()),
        };
    }
    if clean && (plain.starts_with("fs.mqueue.") || OWN_PARAMETERS.contains(&plain.as_str())) {
        return Ok(());
    }
    Err(Refused::NodesParameter { name: name.to_owned() })
}

/// The unit's capabilities, without `CAP_`.
///
/// # Errors
/// One that it names does not exist.
pub fn capabilities(unit: &Unit) -> Result<Vec<String>, Refused> {
    if unit.privileged {
        return Ok(ALL_CAPABILITIES.map(str::to_owned).to_vec());
    }
    changed(&unit.capabilities)
}

/// The default set with what is dropped taken away first and what is added put on top.
fn changed(change: &Capabilities) -> Result<Vec<String>, Refused> {
    let plain = |name: &String| {
        let upper = name.to_ascii_uppercase();
        let plain = upper.strip_prefix("CAP_").unwrap_or(&upper);
        if plain == "ALL" || ALL_CAPABILITIES.contains(&plain) {
            return Ok(plain.to_owned());
        }
        Err(Refused::NoCapability { name: name.clone() })
    };
    let dropped: Vec<String> = change.drop.iter().map(plain).collect::<Result<_, _>>()?;
    let added: Vec<String> = change.add.iter().map(plain).collect::<Result<_, _>>()?;
    let is_in = |list: &[String], name: &str| list.iter().any(|known| known == name);
    let keeps = |name: &str| !is_in(&dropped, "ALL") && !is_in(&dropped, name);
    let gets = |name: &str| {
        // `add = ["ALL"], drop = ["X"]` is everything but X.
        is_in(&added, name) || is_in(&added, "ALL") && !is_in(&dropped, name)
    };
    let has = |name: &&str| gets(name) || CAPABILITIES.contains(name) && keeps(name);
    Ok(ALL_CAPABILITIES.into_iter().filter(has).map(str::to_owned).collect())
}

/// What is mounted for the unit's volumes; named ones live in `folder`.
///
/// # Errors
/// A volume's place or source cannot be.
pub fn mounts(unit: &Unit, folder: &Path) -> Result<Vec<BindMount>, Refused> {
    let mut mounts: Vec<BindMount> = Vec::new();
    for volume in &unit.volumes {
        let target = place(&volume.target)?;
        let source = match volume.source() {
            Some(VolumeSource::Name(name)) => {
                let path = folder.join(volume_name(name)?);
                MountSource::Owned(path.to_string_lossy().into_owned())
            }
            Some(VolumeSource::Host(path)) => {
                if !path.starts_with('/') {
                    let why = "a path of the node starts with `/`";
                    return Err(Refused::Source { name: path.to_owned(), why });
                }
                MountSource::Host(path.to_owned())
            }
            Some(VolumeSource::Tmpfs(bytes)) => MountSource::Tmpfs(bytes.0),
            None => {
                let why = "say one of `name`, `host` and `tmpfs`";
                return Err(Refused::Target { target: volume.target.clone(), why });
            }
        };
        let refused = |why| Err(Refused::Target { target: target.clone(), why });
        let shares_memory = target == SHARED_MEMORY && matches!(source, MountSource::Tmpfs(_));
        if RESERVED.iter().any(|reserved| Path::new(&target).starts_with(reserved))
            && !shares_memory
        {
            return refused("/dev, /proc and /sys are the runtime's own");
        }
        if mounts.iter().any(|other| other.target == target) {
            return refused("two volumes have this place");
        }
        mounts.push(BindMount { source, target, read_only: volume.read_only });
    }
    Ok(mounts)
}

/// The place without empty parts and `.`; whether links lead elsewhere is seen when it is mounted.
fn place(target: &str) -> Result<String, Refused> {
    let refused = |why| Err(Refused::Target { target: target.to_owned(), why });
    if !target.starts_with('/') || target.contains('\0') {
        return refused("a place in the container starts with `/`");
    }
    let parts: Vec<&str> =
        target.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    if parts.contains(&"..") {
        return refused("it leads upwards with `..`");
    }
    if parts.is_empty() {
        return refused("the root is the image's");
    }
    Ok(format!("/{}", parts.join("/")))
}

fn volume_name(name: &str) -> Result<&str, Refused> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let starts_well = name.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    if starts_well && name.bytes().all(fits) && name.len() <= 64 {
        return Ok(name);
    }
    let why = "use letters, digits, `-`, `_` and `.`, a letter or digit first, at most 64 of them";
    Err(Refused::Source { name: name.to_owned(), why })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unit(more: &str) -> Unit {
        // Not checked as a document: the node may be newer than what let the unit in.
        toml::from_str(&format!("name = \"u\"\nimage = \"i\"\n{more}")).unwrap()
    }

    fn check_capabilities(add: &[&str], drop: &[&str], expected: &[&str]) {
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        let found = changed(&Capabilities { add: words(add), drop: words(drop) }).unwrap();
        assert_eq!(found, expected, "add {add:?}, drop {drop:?}");
    }

    #[test]
    fn capabilities_are_dropped_then_added() {
        check_capabilities(&["net_admin", "CAP_KILL"], &["ALL"], &["KILL", "NET_ADMIN"]);
        check_capabilities(&["KILL"], &["ALL", "KILL"], &["KILL"]);
        check_capabilities(&[], &["all"], &[]);
        let all_but: Vec<&str> =
            ALL_CAPABILITIES.into_iter().filter(|name| *name != "SYS_ADMIN").collect();
        check_capabilities(&["ALL"], &["SYS_ADMIN"], &all_but);
        let default = changed(&Capabilities::default()).unwrap();
        assert_eq!(default.len(), CAPABILITIES.len());
        let unknown = Capabilities { add: vec!["ROOT".to_owned()], drop: vec![] };
        assert_eq!(changed(&unknown).unwrap_err().to_string(), "there is no capability ROOT");
    }

    #[test]
    fn what_the_node_forbids_is_refused_with_the_key() {
        let none = ContainersConfig {
            allow_privileged: false,
            allow_host_paths: false,
            allow_host_network: false,
            allow_host_user_namespace: false,
        };
        check(&unit(""), &none).unwrap();
        for (more, key) in [
            ("privileged = true", "allow_privileged"),
            ("network = \"host\"", "allow_host_network"),
            ("host_user_namespace = \"because\"", "allow_host_user_namespace"),
            ("devices = [\"/dev/fuse\"]", "allow_host_paths"),
            ("[[volumes]]\nhost = \"/x\"\ntarget = \"/x\"", "allow_host_paths"),
        ] {
            let text = check(&unit(more), &none).unwrap_err().to_string();
            assert!(text.contains(&format!("`{key} = false`")), "{text}");
            check(&unit(more), &ContainersConfig::default()).unwrap();
        }
    }

    #[test]
    fn only_a_containers_own_parameters_are_set() {
        for name in ["net.ipv4.ip_forward", "kernel.shmmax", "fs.mqueue.msg_max"] {
            parameter(name, &NetworkMode::Bridge).unwrap();
        }
        for name in ["kernel.panic", "vm.swappiness", "kernel.hostname", "net..x", "fs/mqueue/../x"]
        {
            assert!(parameter(name, &NetworkMode::Bridge).is_err(), "{name}");
        }
        for others in [NetworkMode::Host, NetworkMode::Unit("web".to_owned())] {
            assert!(parameter("net.core.somaxconn", &others).is_err());
            parameter("kernel.shmmax", &others).unwrap();
        }
    }

    #[test]
    fn volumes_stay_off_what_protects_the_container() {
        let folder = Path::new("/v");
        let volume = |target: &str| {
            mounts(&unit(&format!("[[volumes]]\nname = \"a\"\ntarget = \"{target}\"")), folder)
        };
        assert_eq!(
            volume("/srv//./data/").unwrap(),
            [BindMount {
                source: MountSource::Owned("/v/a".to_owned()),
                target: "/srv/data".to_owned(),
                read_only: false
            }]
        );
        for target in
            ["/", "/.", "/proc", "/proc/sys", "/sys/fs/cgroup", "/dev", "/dev/shm", "/a/../proc"]
        {
            assert!(volume(target).is_err(), "{target}");
        }
        let sized = unit("[[volumes]]\ntmpfs = \"1MiB\"\ntarget = \"/dev/shm\"");
        assert_eq!(mounts(&sized, folder).unwrap()[0].source, MountSource::Tmpfs(1 << 20));
        assert!(volume_name("../x").is_err() && volume_name(".new-x").is_err());
    }
}
