//! What a process is made of: namespaces, rights, mounts, open files.

use std::collections::BTreeMap;
use std::fs;
use std::io;

use serde::Serialize;

/// Everything that isolation decides.
#[derive(Debug, Serialize)]
pub(crate) struct Identity {
    pid: u32,
    uid: u32,
    gid: u32,
    groups: Vec<u32>,
    arguments: Vec<String>,
    directory: String,
    hostname: String,
    environment: BTreeMap<String, String>,
    /// Kind to inode, `pid:[4026531836]`.
    namespaces: BTreeMap<String, String>,
    uid_map: Vec<String>,
    gid_map: Vec<String>,
    /// Lines of `/proc/self/cgroup`.
    cgroup: Vec<String>,
    /// Set name (`CapEff`, …) to names of the capabilities.
    capabilities: BTreeMap<String, Vec<String>>,
    no_new_privileges: bool,
    /// 0 off, 1 strict, 2 filter.
    seccomp: u32,
    oom_score_adj: i32,
    mounts: Vec<Mount>,
    /// Descriptor to what it refers to; the one that lists them is left out.
    open_files: BTreeMap<u32, String>,
    /// Entries of `/dev`.
    devices: Vec<String>,
    /// Interfaces of the network namespace.
    interfaces: Vec<String>,
    kernel_command_line: String,
}

/// A line of `/proc/self/mountinfo`.
#[derive(Debug, Serialize, PartialEq, Eq)]
pub(crate) struct Mount {
    target: String,
    kind: String,
    source: String,
    options: Vec<String>,
    super_options: Vec<String>,
    /// `shared:N`, `master:N`; empty means private.
    propagation: Vec<String>,
}

/// Linux capabilities by number.
/// # Source
/// `include/uapi/linux/capability.h`
const CAPABILITIES: [&str; 41] = [
    "chown",
    "dac_override",
    "dac_read_search",
    "fowner",
    "fsetid",
    "kill",
    "setgid",
    "setuid",
    "setpcap",
    "linux_immutable",
    "net_bind_service",
    "net_broadcast",
    "net_admin",
    "net_raw",
    "ipc_lock",
    "ipc_owner",
    "sys_module",
    "sys_rawio",
    "sys_chroot",
    "sys_ptrace",
    "sys_pacct",
    "sys_admin",
    "sys_boot",
    "sys_nice",
    "sys_resource",
    "sys_time",
    "sys_tty_config",
    "mknod",
    "lease",
    "audit_write",
    "audit_control",
    "setfcap",
    "mac_override",
    "mac_admin",
    "syslog",
    "wake_alarm",
    "block_suspend",
    "audit_read",
    "perfmon",
    "bpf",
    "checkpoint_restore",
];

/// Looks at this process.
pub(crate) fn look() -> io::Result<Identity> {
    let status = fs::read_to_string("/proc/self/status")?;
    let field = |name: &str| field(&status, name).unwrap_or_default();
    let capabilities = ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"];
    Ok(Identity {
        pid: std::process::id(),
        uid: rustix::process::geteuid().as_raw(),
        gid: rustix::process::getegid().as_raw(),
        groups: field("Groups").split_whitespace().filter_map(|id| id.parse().ok()).collect(),
        arguments: std::env::args().collect(),
        directory: std::env::current_dir()?.to_string_lossy().into_owned(),
        hostname: rustix::system::uname().nodename().to_string_lossy().into_owned(),
        environment: std::env::vars_os()
            .map(|(name, value)| {
                (name.to_string_lossy().into_owned(), value.to_string_lossy().into_owned())
            })
            .collect(),
        namespaces: links("/proc/self/ns")?,
        uid_map: lines("/proc/self/uid_map")?,
        gid_map: lines("/proc/self/gid_map")?,
        cgroup: lines("/proc/self/cgroup")?,
        capabilities: capabilities
            .into_iter()
            .map(|name| (name.to_owned(), capability_names(field(name))))
            .collect(),
        no_new_privileges: field("NoNewPrivs") == "1",
        seccomp: field("Seccomp").parse().unwrap_or(u32::MAX),
        oom_score_adj: lines("/proc/self/oom_score_adj")?
            .first()
            .and_then(|value| value.parse().ok())
            .unwrap_or(i32::MAX),
        mounts: lines("/proc/self/mountinfo")?.iter().filter_map(|line| mount(line)).collect(),
        open_files: links("/proc/self/fd")?
            .into_iter()
            .filter_map(|(number, target)| Some((number.parse().ok()?, target)))
            .filter(|(_, target)| !target.ends_with("/fd"))
            .collect(),
        devices: names("/dev")?,
        interfaces: interfaces().unwrap_or_default(),
        kernel_command_line: lines("/proc/cmdline")?.join(" "),
    })
}

fn field<'status>(status: &'status str, name: &str) -> Option<&'status str> {
    status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
}

fn capability_names(mask: &str) -> Vec<String> {
    let mask = u64::from_str_radix(mask, 16).unwrap_or(u64::MAX);
    (0..u64::BITS)
        .zip(CAPABILITIES.into_iter().map(Some).chain(std::iter::repeat(None)))
        .filter(|(bit, _)| mask >> bit & 1 == 1)
        .map(|(bit, name)| name.map_or_else(|| bit.to_string(), str::to_owned))
        .collect()
}

/// Parses `36 35 98:0 /root /target rw,noatime shared:1 - ext4 /dev/vda rw`.
fn mount(line: &str) -> Option<Mount> {
    let (before, after) = line.split_once(" - ")?;
    let mut before = before.split(' ').skip(4);
    let mut after = after.split(' ');
    let listed = |words: &str| words.split(',').map(str::to_owned).collect();
    Some(Mount {
        target: before.next()?.to_owned(),
        options: listed(before.next()?),
        propagation: before.map(str::to_owned).collect(),
        kind: after.next()?.to_owned(),
        source: after.next()?.to_owned(),
        super_options: listed(after.next()?),
    })
}

fn lines(path: &str) -> io::Result<Vec<String>> {
    Ok(fs::read_to_string(path)?.lines().map(|line| line.trim().to_owned()).collect())
}

/// The interfaces of this network. What is beside them is a driver's (`bonding_masters`).
pub(crate) fn interfaces() -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir("/sys/class/net")? {
        let entry = entry?;
        if entry.file_type()?.is_symlink() {
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    names.sort();
    Ok(names)
}

fn names(folder: &str) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder)? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

fn links(folder: &str) -> io::Result<BTreeMap<String, String>> {
    let mut links = BTreeMap::new();
    for name in names(folder)? {
        // The descriptor of the listing itself is gone by now.
        if let Ok(target) = fs::read_link(format!("{folder}/{name}")) {
            links.insert(name, target.to_string_lossy().into_owned());
        }
    }
    Ok(links)
}

#[cfg(test)]
mod tests {
    use super::{Mount, capability_names, field, look, mount};

    #[test]
    fn capabilities_have_names() {
        assert_eq!(capability_names("0000000000000000"), Vec::<String>::new());
        assert_eq!(
            capability_names("0000010000000421"),
            ["chown", "kill", "net_bind_service", "checkpoint_restore"]
        );
        assert_eq!(capability_names("0000020000000000"), ["41"]);
    }

    #[test]
    fn status_fields_are_found_by_their_whole_name() {
        let status = "Seccomp_filters:\t1\nSeccomp:\t2\n";
        assert_eq!(field(status, "Seccomp"), Some("2"));
        assert_eq!(field(status, "Cap"), None);
    }

    #[test]
    fn mounts() {
        let strings = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        assert_eq!(
            mount("36 35 98:0 /root /var rw,nosuid shared:1 master:2 - ext4 /dev/vda1 rw,x=1"),
            Some(Mount {
                target: "/var".to_owned(),
                kind: "ext4".to_owned(),
                source: "/dev/vda1".to_owned(),
                options: strings(&["rw", "nosuid"]),
                super_options: strings(&["rw", "x=1"]),
                propagation: strings(&["shared:1", "master:2"]),
            })
        );
        assert_eq!(mount("nonsense"), None);
    }

    #[test]
    fn this_process_has_an_identity() {
        let identity = look().unwrap();
        assert_eq!(identity.pid, std::process::id());
        assert!(identity.namespaces["pid"].starts_with("pid:["));
        assert!(identity.mounts.iter().any(|mount| mount.target == "/"));
        assert!(identity.open_files.contains_key(&1));
    }
}
