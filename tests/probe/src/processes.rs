//! Every process that can be seen, with its memory.

use std::fs;
use std::io;

use serde::Serialize;

/// A process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Process {
    pub(crate) pid: i32,
    pub(crate) parent: i32,
    pub(crate) name: String,
    /// `R`, `S`, `Z`, …
    pub(crate) state: char,
    /// Proportional set size, where it may be read.
    pub(crate) pss_kib: Option<u64>,
    /// Resident set size, likewise.
    pub(crate) rss_kib: Option<u64>,
}

/// All of them, by number.
pub(crate) fn look() -> io::Result<Vec<Process>> {
    let mut all = Vec::new();
    for pid in pids()? {
        // One that ended since is none.
        let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else { continue };
        let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok();
        let of = |field: &str| kib(rollup.as_deref()?, field);
        let (pss_kib, rss_kib) = (of("Pss:"), of("Rss:"));
        all.extend(process(&stat).map(|process| Process { pss_kib, rss_kib, ..process }));
    }
    Ok(all)
}

/// Processes that ended and were not waited for.
pub(crate) fn zombies() -> io::Result<usize> {
    let mut count = 0;
    for pid in pids()? {
        let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else { continue };
        count += usize::from(process(&stat).is_some_and(|process| process.state == 'Z'));
    }
    Ok(count)
}

fn pids() -> io::Result<Vec<i32>> {
    let mut pids = Vec::new();
    for entry in fs::read_dir("/proc")? {
        pids.extend(entry?.file_name().to_str().and_then(|name| name.parse::<i32>().ok()));
    }
    pids.sort_unstable();
    Ok(pids)
}

/// Parses `/proc/PID/stat`; the name is in parentheses and may itself hold some.
fn process(stat: &str) -> Option<Process> {
    let (start, rest) = stat.rsplit_once(')')?;
    let (pid, name) = start.split_once('(')?;
    let mut rest = rest.split_whitespace();
    Some(Process {
        pid: pid.trim().parse().ok()?,
        name: name.to_owned(),
        state: rest.next()?.chars().next()?,
        parent: rest.next()?.parse().ok()?,
        pss_kib: None,
        rss_kib: None,
    })
}

fn kib(rollup: &str, field: &str) -> Option<u64> {
    let line = rollup.lines().find_map(|line| line.strip_prefix(field))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::{Process, kib, look, process};

    #[test]
    fn names_with_parentheses() {
        let expected = Process {
            pid: 42,
            parent: 1,
            name: "a) (b".to_owned(),
            state: 'Z',
            pss_kib: None,
            rss_kib: None,
        };
        assert_eq!(process("42 (a) (b) Z 1 42 42 0 -1"), Some(expected));
        assert_eq!(process("42"), None);
    }

    #[test]
    fn memory() {
        let rollup = "Rss:  900 kB\nPss:     512 kB\nPss_Dirty: 4 kB\n";
        assert_eq!((kib(rollup, "Rss:"), kib(rollup, "Pss:")), (Some(900), Some(512)));
        assert_eq!(kib("", "Pss:"), None);
    }

    #[test]
    fn this_process_is_among_them() {
        let own = i32::try_from(std::process::id()).unwrap();
        assert!(look().unwrap().iter().any(|process| process.pid == own));
    }
}
