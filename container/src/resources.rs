//! A container's bounds: its cgroup, made and limited before anything runs in it.
//!
//! Whatever the unit asks for is written and must be taken; a controller or an option that this kernel lacks
//! ends the start.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use ferrite_schema::unit::Resources;
use ferrite_sys::cgroup::ROOT;

/// Processes and threads of a unit that says nothing: enough for big programs, too few to starve the node.
const PIDS_DEFAULT: u32 = 4096;
/// Processes that make a container: its first one, and the one from which that is cloned.
const PIDS_TO_MAKE: u32 = 2;
/// The period that `cpu.max` counts in.
const PERIOD_US: u32 = 100_000;
/// Least quota that the kernel takes.
const QUOTA_MIN_US: u32 = 1000;
/// STATE, whose disk the bounds of input and output are about.
const STATE: &str = ferrite_schema::names::STATE_DIR;

/// Bounds could not be set.
#[derive(Debug, thiserror::Error)]
pub(super) enum ResourcesProblem {
    #[error("make cgroup {}", path.display())]
    Make { path: PathBuf, source: io::Error },
    #[error("bound {what}: this kernel has no {file} for control groups")]
    Lacking { what: &'static str, file: &'static str },
    #[error("bound {what}: set {file} to {value:?}")]
    Set { what: &'static str, file: &'static str, value: String, source: io::Error },
    #[error("find the disk that STATE is on")]
    FindDisk(#[source] io::Error),
    #[error("keep memory for the unit: set memory.min of {}", path.display())]
    Reserve { path: PathBuf, source: io::Error },
    #[error("share the disk by weight: switch on the kernel's cost model for disk {disk}")]
    CostModel { disk: String, source: io::Error },
}

/// One file of the cgroup.
#[derive(Debug, PartialEq, Eq)]
struct Setting {
    what: &'static str,
    file: &'static str,
    value: String,
}

/// Makes the container's cgroup with its bounds; `relative` starts with `/`.
pub(super) fn apply(
    relative: &str,
    resources: &Resources,
    bounded: bool,
) -> Result<PathBuf, ResourcesProblem> {
    let path = make(relative)?;
    for setting in settings(resources, bounded) {
        set(&path, &setting)?;
    }
    if bounded_io(resources) {
        let disk = disk_of(Path::new(STATE)).map_err(ResourcesProblem::FindDisk)?;
        if resources.io_weight.is_some() {
            switch_on_cost_model(&disk)?;
        }
        for setting in io_settings(resources, &disk) {
            set(&path, &setting)?;
        }
    }
    if resources.memory_min.is_some() {
        reserve(&path)?;
    }
    Ok(path)
}

/// Makes the cgroup with every controller that there is.
fn make(relative: &str) -> Result<PathBuf, ResourcesProblem> {
    let mut path = PathBuf::from(ROOT);
    for part in Path::new(relative.trim_start_matches('/')) {
        // One at a time: a controller that is lacking is missed only by what needs it.
        for controller in ["cpu", "io", "memory", "pids"] {
            drop(fs::write(path.join("cgroup.subtree_control"), format!("+{controller}")));
        }
        path.push(part);
        match fs::create_dir(&path) {
            Err(source) if source.kind() != io::ErrorKind::AlreadyExists => {
                return Err(ResourcesProblem::Make { path, source });
            }
            Ok(()) | Err(_) => {}
        }
    }
    Ok(path)
}

fn set(path: &Path, setting: &Setting) -> Result<(), ResourcesProblem> {
    let Setting { what, file, value } = setting;
    let (what, file) = (*what, *file);
    match fs::write(path.join(file), value) {
        Ok(()) => Ok(()),
        // Without swap there is nothing to keep it from.
        Err(_) if file == "memory.swap.max" && !path.join(file).exists() && no_swap() => Ok(()),
        Err(_) if !path.join(file).exists() => Err(ResourcesProblem::Lacking { what, file }),
        Err(source) => Err(ResourcesProblem::Set { what, file, value: value.clone(), source }),
    }
}

fn no_swap() -> bool {
    fs::read_to_string("/proc/swaps").is_ok_and(|text| text.lines().count() <= 1)
}

fn settings(resources: &Resources, bounded: bool) -> Vec<Setting> {
    let mut settings = Vec::new();
    let mut add = |what, file, value: Option<String>| {
        settings.extend(value.map(|value| Setting { what, file, value }));
    };
    let text = |bytes: ferrite_schema::unit::Bytes| bytes.0.to_string();
    add("processors", "cpu.max", resources.cpus.map(cpu_quota));
    add("processors", "cpu.weight", resources.cpu_weight.map(|weight| weight.to_string()));
    add("memory", "memory.max", resources.memory.map(text));
    add("memory", "memory.swap.max", resources.memory.map(|_| "0".to_owned()));
    add("memory", "memory.high", resources.memory_high.map(text));
    add("memory", "memory.min", resources.memory_min.map(text));
    let pids = resources.pids_max.or(bounded.then_some(PIDS_DEFAULT));
    add("processes", "pids.max", pids.map(|pids| pids.max(PIDS_TO_MAKE).to_string()));
    settings
}

/// Bounds the processes of a container that was made as its unit wants it.
pub(super) fn settle(cgroup: &Path, resources: &Resources) -> Result<(), ResourcesProblem> {
    match resources.pids_max {
        Some(pids) if pids < PIDS_TO_MAKE => {
            let value = pids.to_string();
            set(cgroup, &Setting { what: "processes", file: "pids.max", value })
        }
        Some(_) | None => Ok(()),
    }
}

/// `0.5` processors are half of each period.
fn cpu_quota(cpus: f64) -> String {
    let quota = (cpus * f64::from(PERIOD_US)).round();
    let quota = quota.clamp(f64::from(QUOTA_MIN_US), f64::from(u32::MAX));
    format!("{quota:.0} {PERIOD_US}")
}

fn bounded_io(resources: &Resources) -> bool {
    resources.io_weight.is_some()
        || resources.io_read_per_s.is_some()
        || resources.io_write_per_s.is_some()
}

fn io_settings(resources: &Resources, disk: &str) -> Vec<Setting> {
    let what = "input and output";
    let mut settings = Vec::new();
    if let Some(weight) = resources.io_weight {
        settings.push(Setting { what, file: "io.weight", value: format!("default {weight}") });
    }
    for (key, bytes) in [("rbps", resources.io_read_per_s), ("wbps", resources.io_write_per_s)] {
        if let Some(bytes) = bytes {
            let value = format!("{disk} {key}={}", bytes.0);
            settings.push(Setting { what, file: "io.max", value });
        }
    }
    settings
}

/// `MAJOR:MINOR` of the whole disk that holds `path`: bounds are about disks, not partitions.
fn disk_of(path: &Path) -> io::Result<String> {
    let device = rustix::fs::stat(path)?.st_dev;
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    let mut folder = fs::canonicalize(format!("/sys/dev/block/{major}:{minor}"))?;
    if folder.join("partition").exists() {
        folder.pop();
    }
    Ok(fs::read_to_string(folder.join("dev"))?.trim().to_owned())
}

/// Weights mean something only where the kernel counts what each request costs the disk.
fn switch_on_cost_model(disk: &str) -> Result<(), ResourcesProblem> {
    let file = Path::new(ROOT).join("io.cost.qos");
    if !file.exists() {
        let (what, file) = ("input and output", "io.weight");
        return Err(ResourcesProblem::Lacking { what, file });
    }
    fs::write(file, format!("{disk} enable=1"))
        .map_err(|source| ResourcesProblem::CostModel { disk: disk.to_owned(), source })
}

/// What a unit is promised its parent must be promised too: the sum over all units.
fn reserve(path: &Path) -> Result<(), ResourcesProblem> {
    let parent = path.parent().unwrap_or(Path::new(ROOT));
    let failed = |source| ResourcesProblem::Reserve { path: parent.to_owned(), source };
    let mut sum: u64 = 0;
    for entry in fs::read_dir(parent).map_err(failed)? {
        // A unit that ends meanwhile takes its promise along.
        let text = fs::read_to_string(entry.map_err(failed)?.path().join("memory.min"));
        sum = sum.saturating_add(text.ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0));
    }
    fs::write(parent.join("memory.min"), sum.to_string()).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ferrite_schema::unit::Bytes;

    #[test]
    fn what_is_asked_for_is_written() {
        let resources = Resources {
            cpus: Some(0.5),
            memory: Some(Bytes(64 << 20)),
            io_weight: Some(50),
            io_write_per_s: Some(Bytes(1 << 20)),
            ..Resources::default()
        };
        let text = |settings: Vec<Setting>| {
            settings.iter().map(|s| format!("{}={}", s.file, s.value)).collect::<Vec<_>>()
        };
        assert_eq!(
            text(settings(&resources, true)),
            ["cpu.max=50000 100000", "memory.max=67108864", "memory.swap.max=0", "pids.max=4096"]
        );
        assert_eq!(
            text(io_settings(&resources, "254:0")),
            ["io.weight=default 50", "io.max=254:0 wbps=1048576"]
        );
        let pids = Resources { pids_max: Some(7), ..Resources::default() };
        assert_eq!(text(settings(&pids, false)), ["pids.max=7"]);
        assert_eq!(settings(&Resources::default(), false), []);
        // One process is too few to make a container, and all that it has afterwards.
        let pids = Resources { pids_max: Some(1), ..Resources::default() };
        assert_eq!(text(settings(&pids, true)), ["pids.max=2"]);
        let cgroup = tempfile::tempdir().unwrap();
        let file = cgroup.path().join("pids.max");
        for (pids_max, expected) in [(Some(1), "1"), (Some(2), "kept"), (None, "kept")] {
            fs::write(&file, "kept").unwrap();
            settle(cgroup.path(), &Resources { pids_max, ..Resources::default() }).unwrap();
            assert_eq!(fs::read_to_string(&file).unwrap(), expected);
        }
        assert_eq!(cpu_quota(0.000_1), "1000 100000");
    }

    #[test]
    fn what_the_kernel_lacks_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let setting = Setting { what: "processes", file: "pids.max/", value: "1".to_owned() };
        let problem = set(folder.path(), &setting).unwrap_err();
        assert!(matches!(problem, ResourcesProblem::Lacking { what: "processes", .. }));
    }
}
