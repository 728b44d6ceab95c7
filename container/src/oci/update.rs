//! `ferrite-oci update`: limits of a container that runs, as the kernel wants them written.
//!
//! Only what is named changes. Everything is understood before anything is written.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use libcontainer::container::Container;
use libcontainer::oci_spec::runtime::{
    LinuxCpu, LinuxDeviceCgroup, LinuxMemory, LinuxResources, Spec,
};
use serde_json::{Value, json};

use super::arguments::{Arguments, Usage};
use super::containers::{COMPLETED, cgroup_folder, load};
use super::problem::{Problem, UpdateProblem, VerbProblem};

/// Shares that the first version of cgroups knew; beyond them the second has no weight.
const SHARES: std::ops::RangeInclusive<u64> = 2..=262_144;

/// A file of a cgroup and what is written to it.
type Setting = (String, String);

/// `ferrite-oci update`.
pub(super) fn update(arguments: &mut Arguments, root: &str) -> Result<u8, Problem> {
    let (asked, id) = parse(arguments)?;
    let container = load(root, &id)?;
    let resources = match asked {
        Asked::Options(value) => serde_json::from_value(value),
        Asked::File(path) => serde_json::from_str(&read(&path).map_err(VerbProblem::from)?),
    };
    let resources: LinuxResources =
        resources.map_err(UpdateProblem::Understand).map_err(VerbProblem::from)?;
    let folder = cgroup_folder(&container.spec().map_err(VerbProblem::from)?.cgroup_path);
    let asks = resources.devices().as_ref().is_some_and(|devices| !devices.is_empty());
    let rules = if asks { device_rules(&container, root)? } else { Vec::new() };
    apply(&folder, &resources, &rules).map_err(VerbProblem::from)?;
    Ok(0)
}

/// The device rules that the container was made with.
fn device_rules(container: &Container, root: &str) -> Result<Vec<LinuxDeviceCgroup>, VerbProblem> {
    let completed = Path::new(root).join(COMPLETED).join(container.id()).join("config.json");
    let spec = Spec::load(completed)?;
    let resources = spec.linux().as_ref().and_then(|linux| linux.resources().as_ref());
    Ok(resources.and_then(|resources| resources.devices().clone()).unwrap_or_default())
}

/// Where the new limits come from.
#[derive(Debug, PartialEq)]
enum Asked {
    Options(Value),
    File(PathBuf),
}

fn parse(arguments: &mut Arguments) -> Result<(Asked, String), Usage> {
    let mut options = BTreeMap::<_, BTreeMap<_, _>>::new();
    let (mut file, mut id) = (None, None);
    loop {
        while let Some(option) = arguments.option()? {
            let (kind, name) = match option.as_str() {
                "-r" | "--resources" => {
                    file = Some(arguments.value(&option)?.into());
                    continue;
                }
                "--blkio-weight" => ("blockIO", "weight"),
                "--cpu-period" => ("cpu", "period"),
                "--cpu-quota" => ("cpu", "quota"),
                "--cpu-burst" => ("cpu", "burst"),
                "--cpu-share" => ("cpu", "shares"),
                "--cpu-idle" => ("cpu", "idle"),
                "--cpuset-cpus" => ("cpu", "cpus"),
                "--cpuset-mems" => ("cpu", "mems"),
                "-m" | "--memory" => ("memory", "limit"),
                "--memory-reservation" => ("memory", "reservation"),
                "--memory-swap" => ("memory", "swap"),
                "--pids-limit" => ("pids", "limit"),
                _ => return Err(Usage::UnknownOption { option }),
            };
            let word = arguments.value(&option)?;
            let value = match name {
                "cpus" | "mems" => Value::String(word),
                _ => match bytes(&word) {
                    Some(number) => Value::from(number),
                    None => return Err(Usage::Invalid { what: "number", word }),
                },
            };
            options.entry(kind).or_default().insert(name, value);
        }
        match (arguments.optional_word(), &id) {
            (Some(word), None) => id = Some(word),
            (Some(word), Some(_)) => return Err(Usage::Invalid { what: "option", word }),
            (None, _) => break,
        }
    }
    let id = id.ok_or(Usage::Missing { what: "ID" })?;
    Ok((file.map_or_else(|| Asked::Options(json!(options)), Asked::File), id))
}

/// A number, perhaps with a suffix such as `M`.
fn bytes(word: &str) -> Option<i64> {
    let digits = word.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let factor = match word.get(digits.len()..)?.to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kb" | "kib" => 1 << 10,
        "m" | "mb" | "mib" => 1 << 20,
        "g" | "gb" | "gib" => 1 << 30,
        _ => return None,
    };
    digits.parse::<i64>().ok()?.checked_mul(factor)
}

fn read(path: &Path) -> Result<String, UpdateProblem> {
    let text = if path == Path::new("-") {
        io::read_to_string(io::stdin())
    } else {
        fs::read_to_string(path)
    };
    text.map_err(|source| UpdateProblem::Read { path: path.to_owned(), source })
}

fn apply(
    folder: &Path,
    resources: &LinuxResources,
    rules: &[LinuxDeviceCgroup],
) -> Result<(), UpdateProblem> {
    let current = |file: &str| fs::read_to_string(folder.join(file)).ok();
    refuse_what_stays(resources, rules)?;
    for (file, value) in settings(resources, &current)? {
        let path = folder.join(&file);
        let open = || fs::File::options().write(true).open(&path);
        match open().and_then(|mut file| file.write_all(value.as_bytes())) {
            // Without the file there is no such thing to limit, as swap.
            Err(source) if source.kind() == io::ErrorKind::NotFound && value == "max" => {}
            written => {
                written.map_err(|source| UpdateProblem::Write { path, value, source })?;
            }
        }
    }
    Ok(())
}

/// What has to be written where; `current` reads a file of the cgroup.
fn settings(
    resources: &LinuxResources,
    current: &dyn Fn(&str) -> Option<String>,
) -> Result<Vec<Setting>, UpdateProblem> {
    let mut settings = Vec::new();
    if let Some(cpu) = resources.cpu() {
        processors(cpu, current, &mut settings)?;
    }
    if let Some(memory) = resources.memory() {
        memory_settings(memory, current, &mut settings)?;
    }
    if let Some(pids) = resources.pids() {
        // None at all would be no container.
        let limit =
            if pids.limit() < 0 { "max".to_owned() } else { pids.limit().max(1).to_string() };
        settings.push(("pids.max".to_owned(), limit));
    }
    if let Some(weight) = resources.block_io().as_ref().and_then(|block_io| block_io.weight()) {
        let bfq = current("io.bfq.weight").is_some();
        // The one scheduler counts from 1 to 1,000, everything else to 10,000.
        let value =
            if bfq { u64::from(weight) } else { 1 + u64::from(weight.max(10) - 10) * 9999 / 990 };
        let file = if bfq { "io.bfq.weight" } else { "io.weight" };
        settings.push((file.to_owned(), value.to_string()));
    }
    let mut unified: Vec<Setting> = resources.unified().clone().into_iter().flatten().collect();
    if let Some((file, _)) = unified.iter().find(|(file, _)| !is_plain(file)) {
        return Err(UpdateProblem::NoFile { file: file.clone() });
    }
    unified.sort();
    settings.extend(unified);
    Ok(settings)
}

/// Nothing that is asked for is passed over in silence; device `rules` that stand already are none (podman repeats
/// them with every change).
fn refuse_what_stays(
    resources: &LinuxResources,
    rules: &[LinuxDeviceCgroup],
) -> Result<(), UpdateProblem> {
    let some = |list: usize| list > 0;
    let block_io = resources.block_io().as_ref();
    let throttles = block_io.is_some_and(|block_io| {
        [
            block_io.throttle_read_bps_device(),
            block_io.throttle_write_bps_device(),
            block_io.throttle_read_iops_device(),
            block_io.throttle_write_iops_device(),
        ]
        .into_iter()
        .any(|devices| devices.as_ref().is_some_and(|devices| some(devices.len())))
    });
    let pages = resources.hugepage_limits().as_ref().is_some_and(|limits| some(limits.len()));
    let rdma = resources.rdma().as_ref().is_some_and(|limits| some(limits.len()));
    let devices =
        resources.devices().as_ref().is_some_and(|devices| some(devices.len()) && devices != rules);
    let network = resources.network().is_some();
    for (asked, setting) in [
        (throttles, "the throttles of devices"),
        (pages, "huge pages"),
        (rdma, "RDMA"),
        (devices, "devices"),
        (network, "network priorities"),
    ] {
        if asked {
            return Err(UpdateProblem::NotPossible { setting });
        }
    }
    Ok(())
}

/// A file of the cgroup itself, as `memory.high`.
fn is_plain(file: &str) -> bool {
    !file.contains('/') && file.contains('.') && !file.starts_with('.')
}

fn processors(
    cpu: &LinuxCpu,
    current: &dyn Fn(&str) -> Option<String>,
    settings: &mut Vec<Setting>,
) -> Result<(), UpdateProblem> {
    let realtime = cpu.realtime_runtime().filter(|runtime| *runtime != 0).is_some();
    if realtime || cpu.realtime_period().filter(|period| *period != 0).is_some() {
        return Err(UpdateProblem::NotPossible { setting: "realtime scheduling" });
    }
    let mut add = |file: &str, value: String| settings.push((file.to_owned(), value));
    if let Some(idle) = cpu.idle() {
        add("cpu.idle", idle.to_string());
    }
    if let Some(shares) = cpu.shares().filter(|shares| *shares != 0) {
        add("cpu.weight", weight(shares));
    }
    let quota = cpu.quota().filter(|quota| *quota != 0);
    let period = cpu.period().filter(|period| *period != 0);
    if quota.is_some() || period.is_some() {
        let quota = match quota {
            Some(quota) if quota < 0 => "max".to_owned(),
            Some(quota) => quota.to_string(),
            None => {
                let now = current("cpu.max").unwrap_or_default();
                now.split_whitespace().next().unwrap_or("max").to_owned()
            }
        };
        add("cpu.max", period.map_or(quota.clone(), |period| format!("{quota} {period}")));
    }
    if let Some(burst) = cpu.burst() {
        add("cpu.max.burst", burst.to_string());
    }
    for (file, set) in [("cpuset.cpus", cpu.cpus()), ("cpuset.mems", cpu.mems())] {
        if let Some(set) = set.as_ref().filter(|set| !set.is_empty()) {
            add(file, set.clone());
        }
    }
    Ok(())
}

/// Shares as a weight: the curve that runtimes share, through the defaults 1024 and 100.
fn weight(shares: u64) -> String {
    let shares = shares.clamp(*SHARES.start(), *SHARES.end());
    let logarithm = f64::from(u32::try_from(shares).unwrap_or(u32::MAX)).log2();
    let exponent = (logarithm * logarithm + 125.0 * logarithm) / 612.0 - 7.0 / 34.0;
    format!("{:.0}", 10f64.powf(exponent).ceil().clamp(1.0, 10_000.0))
}

fn memory_settings(
    memory: &LinuxMemory,
    current: &dyn Fn(&str) -> Option<String>,
    settings: &mut Vec<Setting>,
) -> Result<(), UpdateProblem> {
    let number = |value: i64| if value < 0 { "max".to_owned() } else { value.to_string() };
    let limit = memory.limit().filter(|limit| *limit != 0);
    let swap = match (memory.swap().filter(|swap| *swap != 0), limit) {
        (Some(swap), _) if swap < 0 => Some("max".to_owned()),
        // An open limit leaves nothing that swap could be counted with.
        (Some(_) | None, Some(limit)) if limit < 0 => Some("max".to_owned()),
        (Some(swap), limit) => {
            let now = || current("memory.max")?.trim().parse().ok();
            let limit = limit.or_else(now).ok_or(UpdateProblem::SwapAlone)?;
            if swap < limit {
                return Err(UpdateProblem::Swap { swap, limit });
            }
            Some((swap - limit).to_string())
        }
        (None, _) => None,
    };
    settings.extend(swap.map(|swap| ("memory.swap.max".to_owned(), swap)));
    settings.extend(limit.map(|limit| ("memory.max".to_owned(), number(limit))));
    let reservation = memory.reservation().filter(|reservation| *reservation != 0);
    settings.extend(reservation.map(|low| ("memory.low".to_owned(), number(low))));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(resources: Value, expected: &[&str]) {
        let resources = serde_json::from_value(resources).unwrap();
        let current = |file: &str| match file {
            "cpu.max" => Some("30000 100000\n".to_owned()),
            "memory.max" => Some("1000\n".to_owned()),
            _ => None,
        };
        let found = settings(&resources, &current).unwrap();
        let found: Vec<String> =
            found.iter().map(|(file, value)| format!("{file}={value}")).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn what_is_named_changes_and_nothing_else() {
        check(json!({}), &[]);
        check(
            json!({"cpu": {"shares": 1024, "period": 50000, "cpus": "0-1", "mems": ""}}),
            &["cpu.weight=100", "cpu.max=30000 50000", "cpuset.cpus=0-1"],
        );
        check(json!({"cpu": {"quota": -1}}), &["cpu.max=max"]);
        check(
            json!({"memory": {"limit": 100, "swap": 150, "reservation": 50}}),
            &["memory.swap.max=50", "memory.max=100", "memory.low=50"],
        );
        check(json!({"memory": {"swap": 1500}}), &["memory.swap.max=500"]);
        check(json!({"memory": {"limit": -1}}), &["memory.swap.max=max", "memory.max=max"]);
        check(json!({"pids": {"limit": -1}}), &["pids.max=max"]);
        check(json!({"pids": {"limit": 0}}), &["pids.max=1"]);
        check(json!({"blockIO": {"weight": 1000}}), &["io.weight=10000"]);
        check(json!({"unified": {"cpu.weight": "16"}}), &["cpu.weight=16"]);
        let small = serde_json::from_value(json!({"memory": {"limit": 9, "swap": 8}})).unwrap();
        assert!(settings(&small, &|_| None).is_err());
    }

    #[test]
    fn what_cannot_change_is_refused_unless_it_is_so_already() {
        let asked = json!({ "devices": [{ "allow": false, "access": "rwm" }] });
        let resources: LinuxResources = serde_json::from_value(asked).unwrap();
        let rules = resources.devices().clone().unwrap();
        refuse_what_stays(&resources, &rules).unwrap();
        assert!(refuse_what_stays(&resources, &[]).is_err());
        let asked = json!({ "network": { "classID": 1 } });
        let resources = serde_json::from_value(asked).unwrap();
        assert!(refuse_what_stays(&resources, &[]).is_err());
    }

    #[test]
    fn options_are_a_document_too() {
        let words = ["--memory", "50M", "--cpuset-cpus=1", "box", "--pids-limit", "-1"];
        let mut arguments = Arguments::new(words.map(str::to_owned).to_vec());
        let document = json!({
            "memory": {"limit": 52_428_800}, "cpu": {"cpus": "1"}, "pids": {"limit": -1},
        });
        assert_eq!(parse(&mut arguments).unwrap(), (Asked::Options(document), "box".to_owned()));
        assert_eq!((bytes("1x"), bytes("k"), bytes("9999999999999999G")), (None, None, None));
    }
}
