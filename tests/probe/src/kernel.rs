//! What the running kernel can do of what containers and the node live on: each thing tried, so that an option that was
//! lost has a name.

mod netlink;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use ferrite_sys::device_filter::{self, Access, Allowed, Kind};
use ferrite_sys::idmap::{Change, Flags, Stretch};
use ferrite_sys::{bind_filter, expected, idmap, quota};
use rustix::fs::CWD;
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, OpenTreeFlags};
use serde::Serialize;

/// What was tried, and what did not work.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Abilities {
    tried: usize,
    /// Name to the reason.
    lost: BTreeMap<String, String>,
}

/// Words that a file of the kernel's must hold.
const WORDS: [(&str, &str); 10] = [
    ("/sys/fs/cgroup/cgroup.controllers", "cpuset cpu io memory hugetlb pids rdma misc"),
    (
        "/proc/filesystems",
        "ext4 erofs overlay tmpfs vfat iso9660 fuse mqueue hugetlbfs cgroup2 devpts proc sysfs",
    ),
    (
        "/proc/sys/kernel/seccomp/actions_avail",
        "kill_process kill_thread trap errno user_notif trace log allow",
    ),
    ("/proc/sys/net/ipv4/tcp_available_congestion_control", "cubic bbr"),
    ("/proc/pressure/cpu", "some"),
    ("/proc/pressure/io", "some full"),
    ("/proc/pressure/memory", "some full"),
    ("/proc/sys/kernel/random/boot_id", ""),
    ("/proc/sys/user/max_user_namespaces", ""),
    ("/proc/sys/kernel/yama/ptrace_scope", ""),
];

/// Files that are there where an option is.
const FILES: [&str; 29] = [
    "/proc/self/ns/cgroup",
    "/proc/self/ns/ipc",
    "/proc/self/ns/mnt",
    "/proc/self/ns/net",
    "/proc/self/ns/pid",
    "/proc/self/ns/time",
    "/proc/self/ns/user",
    "/proc/self/ns/uts",
    "/proc/1/task/1/children",
    "/proc/config.gz",
    "/proc/net/tls_stat",
    "/proc/self/oom_score_adj",
    "/proc/self/io",
    "/proc/self/timers",
    "/proc/self/projid_map",
    "/proc/sys/kernel/hung_task_panic",
    "/proc/sys/kernel/softlockup_panic",
    "/proc/sys/kernel/watchdog_thresh",
    "/proc/sys/net/ipv6/conf/all/forwarding",
    "/proc/sys/net/netfilter/nf_conntrack_max",
    "/proc/vmstat",
    "/dev/fuse",
    "/dev/hwrng",
    "/dev/mapper/control",
    "/dev/net/tun",
    "/dev/ptmx",
    "/dev/rtc0",
    "/dev/vsock",
    "/dev/watchdog",
];

/// Drivers of watchdogs: of the machine, and the kernel's own.
const WATCHDOGS: [&str; 2] = ["i6300ESB timer", "Software Watchdog"];

/// Tries everything, in the node's own namespaces, as root.
pub(crate) fn look() -> io::Result<Abilities> {
    let mut all = Abilities::default();
    for (file, words) in WORDS {
        let text = fs::read_to_string(file);
        all.add(file, text.as_ref().map(|_| ()).map_err(ToString::to_string));
        let known: Vec<&str> = text.as_deref().unwrap_or_default().split_whitespace().collect();
        for word in words.split_whitespace() {
            let there = known.contains(&word).then_some(());
            all.add(&format!("{word} in {file}"), there.ok_or_else(|| "absent".to_owned()));
        }
    }
    for file in FILES {
        all.add(file, fs::symlink_metadata(file).map(drop));
    }
    for name in expected::unknown() {
        all.add(&format!("system call {name}"), Err("the kernel does not know it"));
    }
    let watchdogs = watchdogs()?;
    for driver in WATCHDOGS {
        let there = watchdogs.iter().any(|found| found == driver).then_some(());
        all.add(driver, there.ok_or_else(|| format!("there are {watchdogs:?}")));
    }
    for folder in ["/var", "/run", "/"] {
        all.add(&format!("owners of {folder} translated"), translated(folder));
    }
    let scratch = Path::new("/var/ferrite-probe-kernel");
    for folder in ["lower", "upper", "work"] {
        fs::create_dir_all(scratch.join(folder))?;
    }
    for options in [
        &["index=on", "metacopy=on", "redirect_dir=on", "xino=on"][..],
        &["userxattr"],
        &["nfs_export=on", "index=on"],
        // Last: it leaves a mark that keeps others out.
        &["volatile"],
    ] {
        all.add(&format!("overlay with {options:?}"), overlay(scratch, options));
    }
    all.add("quotas of projects", counted(scratch));
    #[expect(clippy::disallowed_methods, reason = "the probe's own, in a guest")]
    fs::remove_dir_all(scratch)?;
    let [devices, ports] = filtered()?;
    all.add("a filter of devices (BPF)", devices);
    all.add("a filter of ports (BPF)", ports);
    // Everything below happens in a network of its own.
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET)?;
    for (what, result) in netlink::tried()? {
        all.add(&what, result);
    }
    Ok(all)
}

impl Abilities {
    fn add<E: ToString>(&mut self, what: &str, result: Result<(), E>) {
        self.tried += 1;
        if let Err(why) = result {
            self.lost.insert(what.to_owned(), why.to_string());
        }
    }
}

fn watchdogs() -> io::Result<Vec<String>> {
    let folders = fs::read_dir("/sys/class/watchdog")?;
    let identity = |folder: io::Result<fs::DirEntry>| {
        fs::read_to_string(folder?.path().join("identity")).map(|name| name.trim().to_owned())
    };
    folders.map(identity).collect()
}

/// A copy of the mount of `folder` with other owners, which nobody sees.
fn translated(folder: &str) -> io::Result<()> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let tree = rustix::mount::open_tree(CWD, folder, flags)?;
    let owners = idmap::user_namespace(&[Stretch { inside: 0, first: 100_000, count: 65_536 }])?;
    let none = Flags::default();
    let change = Change { set: none, clear: none, owners: Some(owners.as_fd()), below: false };
    Ok(idmap::change_mount(tree.as_fd(), change)?)
}

/// An overlay that nobody sees.
fn overlay(scratch: &Path, options: &[&str]) -> io::Result<()> {
    let kind: OwnedFd = rustix::mount::fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
    let folder = |name: &str| scratch.join(name);
    rustix::mount::fsconfig_set_string(kind.as_fd(), "lowerdir+", folder("lower").as_path())?;
    rustix::mount::fsconfig_set_string(kind.as_fd(), "upperdir", folder("upper").as_path())?;
    rustix::mount::fsconfig_set_string(kind.as_fd(), "workdir", folder("work").as_path())?;
    for option in options {
        match option.split_once('=') {
            Some((key, value)) => rustix::mount::fsconfig_set_string(kind.as_fd(), key, value)?,
            None => rustix::mount::fsconfig_set_flag(kind.as_fd(), *option)?,
        }
    }
    rustix::mount::fsconfig_create(kind.as_fd())?;
    let made = FsMountFlags::FSMOUNT_CLOEXEC;
    rustix::mount::fsmount(kind.as_fd(), made, MountAttrFlags::empty())?;
    Ok(())
}

fn counted(scratch: &Path) -> io::Result<()> {
    /// No container's and no volume's.
    const PROJECT: u32 = 0x7fff_0001;
    let folder = File::open(scratch)?;
    quota::set_project(folder.as_fd(), PROJECT)?;
    let usage = quota::usage(folder.as_fd(), PROJECT)?;
    if usage.inodes == 0 { Err(io::Error::other("nothing is counted")) } else { Ok(()) }
}

/// A control group that gets our two filters and goes again.
fn filtered() -> io::Result<[rustix::io::Result<()>; 2]> {
    let cgroup = Path::new("/sys/fs/cgroup/probe-kernel");
    fs::create_dir_all(cgroup)?;
    let null = Allowed { kind: Kind::Character, major: 1, minor: Some(3), access: Access::ALL };
    let port = bind_filter::Port { number: 7443, protocol: bind_filter::Protocol::Tcp };
    let group = File::open(cgroup)?;
    let devices = device_filter::attach(group.as_fd(), &[null]);
    let ports = bind_filter::deny(group.as_fd(), &[port]);
    fs::remove_dir(cgroup)?;
    Ok([devices, ports])
}
