//! What the node and its containers use, as the kernel counts it.

use std::fs::{self, File};
use std::os::fd::AsFd;
use std::path::Path;

use ferrite_schema::api::{NodeStats, Origin, UnitStats, UnitStatus};
use ferrite_sys::quota::{self, Usage};

/// Where the units' roots are.
const SCRATCH: &str = "/var/lib/ferrite/scratch";
/// Where the units' cgroups are.
const UNITS: &str = "/sys/fs/cgroup/units";
/// Where those of the node's own units are.
const OF_NODE: &str = "/sys/fs/cgroup/node";

/// From here on STATE counts as full.
const FULL_PERCENT: u64 = 95;

/// A unit's figures; `None` where it has no container.
#[must_use]
pub fn of_unit(status: &UnitStatus) -> Option<UnitStats> {
    let cgroup = match status.origin {
        Origin::Local | Origin::Cluster => UNITS,
        Origin::System => OF_NODE,
    };
    let folder = Path::new(cgroup).join(&status.name);
    let read = |name: &str| fs::read_to_string(folder.join(name)).ok();
    let number = |name: &str| read(name).and_then(|text| text.trim().parse::<u64>().ok());
    let cpu = read("cpu.stat")?;
    let cache_bytes = read("memory.stat").and_then(|text| keyed(&text, "inactive_file"));
    let all = number("memory.current");
    let io = read("io.stat");
    let disk = disk(&Path::new(SCRATCH).join(&status.name));
    Some(UnitStats {
        unit: status.name.clone(),
        state: status.state,
        cpu_us: keyed(&cpu, "usage_usec").unwrap_or(0),
        memory_bytes: all.map(|all| all.saturating_sub(cache_bytes.unwrap_or(0))),
        cache_bytes,
        memory_max_bytes: number("memory.max"),
        oom_kills: read("memory.events").and_then(|text| keyed(&text, "oom_kill")),
        read_bytes: io.as_deref().map(|text| sum(text, "rbytes")),
        written_bytes: io.as_deref().map(|text| sum(text, "wbytes")),
        pids: number("pids.current"),
        pids_max: number("pids.max"),
        disk_bytes: disk.map(|disk| disk.bytes),
        disk_max_bytes: disk.map(|disk| disk.bytes_max).filter(|most| *most > 0),
        inodes: disk.map(|disk| disk.inodes),
        inodes_max: disk.map(|disk| disk.inodes_max).filter(|most| *most > 0),
    })
}

/// What the root in this folder takes, as STATE's quotas count it; `None` on a STATE without.
fn disk(scratch: &Path) -> Option<Usage> {
    let folder = File::open(scratch).ok()?;
    let project = quota::project(folder.as_fd()).ok().filter(|project| *project > 0)?;
    quota::usage(folder.as_fd(), project).ok()
}

/// A sentence for the node's status where STATE has no quotas; `state` is a folder on STATE.
#[must_use]
pub fn without_quotas(state: &Path) -> Option<String> {
    let folder = File::open(state).ok()?;
    let why = quota::usage(folder.as_fd(), 0).err()?;
    Some(format!(
        "units are not bounded on STATE: it was made without quotas, by an older version ({why}); \
         resources.disk and resources.inodes cannot be used"
    ))
}

/// The node's figures; `state` is a folder on STATE.
#[must_use]
pub fn of_node(state: &Path) -> NodeStats {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let (cpu, memory) = (read("/proc/stat"), read("/proc/meminfo"));
    let kib = |name: &str| keyed(&memory, name).unwrap_or(0) * 1024;
    let disk = rustix::fs::statvfs(state).ok();
    let space = |blocks: fn(&rustix::fs::StatVfs) -> u64| {
        disk.as_ref().map_or(0, |disk| blocks(disk).saturating_mul(disk.f_frsize))
    };
    NodeStats {
        cpus: cpus(&cpu),
        cpu_us: busy_us(&cpu).unwrap_or(0),
        memory_bytes: kib("MemTotal:"),
        memory_available_bytes: kib("MemAvailable:"),
        state_bytes: space(|disk| disk.f_blocks),
        state_available_bytes: space(|disk| disk.f_bavail),
        state_inodes: disk.as_ref().map_or(0, |disk| disk.f_files),
        state_available_inodes: disk.as_ref().map_or(0, |disk| disk.f_favail),
    }
}

/// A sentence for the node's status when hardly anything more can be kept; `state` is a folder on STATE.
#[must_use]
pub fn state_is_full(state: &Path) -> Option<String> {
    let node = of_node(state);
    let advice = "`ferrite images prune`, or `ferrite volumes remove`";
    let space = fullness(node.state_bytes, node.state_available_bytes)
        .map(|percent| format!("STATE is full ({percent} %): {advice}"));
    let inodes = fullness(node.state_inodes, node.state_available_inodes).map(|percent| {
        format!("STATE is full: it holds {percent} % of the files and folders that it can hold; `ferrite top` and `ferrite volumes` say whose they are; {advice}")
    });
    space.or(inodes)
}

/// How full, in percent, from where it is worth a warning.
fn fullness(all: u64, available: u64) -> Option<u64> {
    let used = all.saturating_sub(available).saturating_mul(100) / all.max(1);
    (all > 0 && used >= FULL_PERCENT).then_some(used)
}

/// The number behind `key` at the beginning of a line.
fn keyed(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| {
        let mut words = line.split_whitespace();
        (words.next()? == key).then(|| words.next()?.parse().ok())?
    })
}

/// All numbers behind `key=`, added up: one line a disk.
fn sum(text: &str, key: &str) -> u64 {
    text.split_whitespace()
        .filter_map(|word| word.strip_prefix(key)?.strip_prefix('=')?.parse::<u64>().ok())
        .sum()
}

fn cpus(stat: &str) -> u32 {
    let each = stat.lines().filter(|line| {
        line.strip_prefix("cpu").is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
    });
    u32::try_from(each.count()).unwrap_or(u32::MAX)
}

/// Everything but idling and waiting for disks, in the kernel's hundredths of a second.
fn busy_us(stat: &str) -> Option<u64> {
    const TICK_US: u64 = 10_000;
    let numbers: Vec<u64> = stat
        .lines()
        .next()?
        .split_whitespace()
        .skip(1)
        .filter_map(|word| word.parse().ok())
        .collect();
    // user nice system idle iowait irq softirq steal; what follows is part of user and nice.
    let all: u64 = numbers.iter().take(8).sum();
    let idle = numbers.get(3)? + numbers.get(4)?;
    Some(all.saturating_sub(idle) * TICK_US)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cgroup_files() {
        let text = "usage_usec 123\nuser_usec 100\n";
        assert_eq!((keyed(text, "usage_usec"), keyed(text, "usage")), (Some(123), None));
        let io = "254:0 rbytes=10 wbytes=1 rios=2\n254:16 rbytes=5 wbytes=0\n";
        assert_eq!((sum(io, "rbytes"), sum(io, "wbytes"), sum("", "rbytes")), (15, 1, 0));
    }

    #[test]
    fn a_full_state() {
        assert_eq!(fullness(100, 6), None);
        assert_eq!(fullness(1000, 49), Some(95));
        assert_eq!(fullness(100, 0), Some(100));
        assert_eq!(fullness(0, 0), None);
    }

    #[test]
    fn processor_time() {
        let stat = "cpu  10 1 5 1000 50 2 3 4 6 0\ncpu0 5 0 0 0\ncpu1 5 0 0 0\nintr 1\n";
        assert_eq!((cpus(stat), busy_us(stat)), (2, Some(250_000)));
    }

    #[test]
    fn this_node_has_some() {
        let node = of_node(Path::new("/"));
        assert!(node.cpus > 0 && node.memory_bytes > node.memory_available_bytes);
        assert!(node.state_bytes >= node.state_available_bytes);
    }
}
