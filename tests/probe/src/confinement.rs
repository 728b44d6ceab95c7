//! What a container keeps its program from, tried from the inside.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode};
use serde::Serialize;

use crate::identity::{self, Identity};

/// Files that are either covered or not to be written.
const COVERED: [&str; 5] =
    ["/proc/kcore", "/proc/kallsyms", "/proc/interrupts", "/proc/timer_list", "/proc/modules"];
const COVERED_FOLDERS: [&str; 2] = ["/proc/acpi", "/sys/firmware"];
const READ_ONLY: [&str; 4] = [
    "/proc/sys/kernel/hostname",
    "/proc/sysrq-trigger",
    "/sys/fs/cgroup/pids.max",
    "/sys/fs/cgroup/cgroup.procs",
];
/// The container's own bounds, as its control group shows them.
const BOUNDS: [&str; 9] = [
    "cpu.max",
    "cpu.weight",
    "io.max",
    "io.weight",
    "memory.high",
    "memory.max",
    "memory.min",
    "memory.swap.max",
    "pids.max",
];

/// Everything that was looked at and tried.
#[derive(Debug, Serialize)]
pub(crate) struct Confinement {
    identity: Identity,
    /// Call to errno, 0 where it was let through.
    calls: BTreeMap<&'static str, i32>,
    /// Attempts at something else, to errno.
    attempts: BTreeMap<String, i32>,
    /// `empty`, `absent` or what is there.
    covered: BTreeMap<&'static str, String>,
    /// Lines of `/proc/self/limits`, their words.
    limits: BTreeMap<String, (String, String)>,
    bounds: BTreeMap<&'static str, String>,
    /// Path of a file to its owner, as seen here.
    owners: BTreeMap<&'static str, (u32, u32)>,
}

/// Looks and tries.
pub(crate) fn look() -> io::Result<Confinement> {
    let mut attempts = BTreeMap::new();
    for path in READ_ONLY {
        let opened = fs::OpenOptions::new().write(true).open(path);
        attempts.insert(format!("write {path}"), errno(opened.map(drop)));
    }
    for (name, folder) in [("make a cgroup", "/sys/fs/cgroup/own"), ("make a folder", "/own")] {
        let made = fs::create_dir(folder);
        attempts.insert(name.to_owned(), errno(made.and_then(|()| fs::remove_dir(folder))));
    }
    let disk = rustix::fs::makedev(254, 0);
    for folder in ["/", "/dev", "/dev/shm"] {
        let node = format!("{}/node", folder.trim_end_matches('/'));
        let made = rustix::fs::mknodat(CWD, &node, FileType::BlockDevice, Mode::RUSR, disk);
        attempts.insert(format!("mknod in {folder}"), errno(made.map_err(io::Error::from)));
    }
    let identity = identity::look()?;
    let covered = COVERED.into_iter().chain(COVERED_FOLDERS).map(|path| (path, cover(path)));
    Ok(Confinement {
        identity,
        attempts,
        covered: covered.collect(),
        limits: limits(&fs::read_to_string("/proc/self/limits")?),
        bounds: BOUNDS
            .into_iter()
            .filter_map(|name| {
                let text = fs::read_to_string(format!("/sys/fs/cgroup/{name}")).ok()?;
                Some((name, text.trim().to_owned()))
            })
            .collect(),
        owners: ["/", "/bin/busybox", "/proc", "/dev/null", "/data"]
            .into_iter()
            .filter_map(|path| Some((path, fs::metadata(path).ok()?)))
            .map(|(path, metadata)| (path, (metadata.uid(), metadata.gid())))
            .collect(),
        // Last: a call that is let through may change this process.
        calls: ferrite_sys::attempts::make()
            .into_iter()
            .map(|(name, outcome)| (name, errno(outcome.map_err(io::Error::from))))
            .collect(),
    })
}

/// Opens a file for reading; says how that went.
pub(crate) fn open(path: &Path) -> serde_json::Value {
    serde_json::json!({ "path": path, "errno": errno(fs::File::open(path).map(drop)) })
}

fn errno(outcome: io::Result<()>) -> i32 {
    outcome.err().map_or(0, |error| error.raw_os_error().unwrap_or(-1))
}

fn cover(path: &str) -> String {
    let Ok(metadata) = fs::metadata(path) else { return "absent".to_owned() };
    if metadata.file_type().is_char_device() {
        let (major, minor) =
            (rustix::fs::major(metadata.rdev()), rustix::fs::minor(metadata.rdev()));
        return format!("device {major}:{minor}");
    }
    if metadata.is_dir() {
        let entries = fs::read_dir(path).map(Iterator::count);
        return entries.map_or("closed".to_owned(), |count| format!("{count} entries"));
    }
    "open".to_owned()
}

/// `Max open files  1024  524288  files`: name, soft, hard.
fn limits(text: &str) -> BTreeMap<String, (String, String)> {
    const NAME_COLUMNS: usize = 26;
    text.lines()
        .skip(1)
        .filter_map(|line| {
            let (name, rest) = line.split_at_checked(NAME_COLUMNS)?;
            let mut words = rest.split_whitespace();
            Some((name.trim().to_owned(), (words.next()?.to_owned(), words.next()?.to_owned())))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_have_names_of_several_words() {
        let text = "Limit                     Soft Limit           Hard Limit           Units\n\
                    Max open files            1024                 524288               files\n";
        let found = limits(text);
        assert_eq!(found["Max open files"], ("1024".to_owned(), "524288".to_owned()));
    }
}
