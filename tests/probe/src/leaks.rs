//! What a node holds on to: counts that containers must leave as they found them.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

use crate::{filter, processes};

/// Folders whose files are counted, with everything below.
const FILES: [&str; 3] = ["/run/ferrite", "/var/lib/ferrite", "/tmp"];

/// All counts, by name.
pub(crate) fn look() -> io::Result<BTreeMap<String, usize>> {
    let mut counts = filter::counts()?;
    let mut mounts = fs::read_to_string("/proc/1/mountinfo")?.lines().count();
    counts.insert("cgroups".to_owned(), below(Path::new("/sys/fs/cgroup"), &fs::Metadata::is_dir));
    counts.insert("interfaces".to_owned(), fs::read_dir("/sys/class/net")?.count());
    counts.insert("zombies".to_owned(), processes::zombies()?);
    let all = processes::look()?;
    for process in &all {
        let ours = process.name == "ferrite-init" || process.name == "ferrite-agent";
        if process.pid == 1 || (ours && process.parent == 1) {
            let fds = fs::read_dir(format!("/proc/{}/fd", process.pid))?.count();
            counts.insert(format!("fds of {}", process.name), fds);
            if process.pid != 1 {
                let text = fs::read_to_string(format!("/proc/{}/mountinfo", process.pid))?;
                mounts += text.lines().count();
            }
        }
    }
    counts.insert("mounts".to_owned(), mounts);
    // The kernel's own come and go.
    let with_memory = all.iter().filter(|process| process.pss_kib.is_some_and(|pss| pss > 0));
    counts.insert("processes".to_owned(), with_memory.count());
    for folder in FILES {
        counts.insert(format!("files in {folder}"), below(Path::new(folder), &|_| true));
    }
    Ok(counts)
}

/// Entries below `folder` that `counts`. What vanishes meanwhile is not there.
fn below(folder: &Path, counts: &dyn Fn(&fs::Metadata) -> bool) -> usize {
    let Ok(entries) = fs::read_dir(folder) else { return 0 };
    let mut count = 0;
    for entry in entries.flatten() {
        let Ok(metadata) = entry.metadata() else { continue };
        count += usize::from(counts(&metadata));
        if metadata.is_dir() {
            count += below(&entry.path(), counts);
        }
    }
    count
}

#[cfg(test)]
mod tests {
    use super::below;

    #[test]
    fn entries_are_counted_to_the_bottom() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(folder.path().join("a/b")).unwrap();
        std::fs::write(folder.path().join("a/b/c"), "").unwrap();
        assert_eq!(below(folder.path(), &|_| true), 3);
        assert_eq!(below(folder.path(), &std::fs::Metadata::is_dir), 2);
    }
}
