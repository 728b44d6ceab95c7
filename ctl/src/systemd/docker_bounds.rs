//! What a container may use, how long it gets to stop, and how its health is seen.

use ferrite_schema::unit::{Bytes, Health, Ulimit};

use super::draft::Draft;
use super::flags::Given;
use super::values::{docker_bytes, go_duration, weight, weight_of_shares};

/// The longest that a unit's document may say for a stop, and for a health check, in seconds.
const GRACE_MAX_S: u32 = 86_400;
const HEALTH_MAX_S: u32 = 3600;
/// The kernel's own bound on processes: as good as none.
const PIDS_UNBOUNDED: u32 = 4_194_304;
/// As good as no limit, and a number that TOML has.
const UNLIMITED: u64 = i64::MAX as u64;
/// Docker's period of processor time where nobody says another one, in microseconds.
const PERIOD_US: f64 = 100_000.0;

/// Takes in one option.
pub(crate) fn take(draft: &mut Draft<'_>, given: &Given) {
    // A health check's command is the container's shell's.
    if !given.flag.long.ends_with("command")
        && given.flag.long != "health-cmd"
        && !draft.knows(given)
    {
        return;
    }
    let taken = match given.flag.long {
        "memory" | "memory-reservation" | "memory-swap" | "storage-opt" => amount(draft, given),
        "cpus" | "cpu-quota" | "cpu-period" | "cpu-shares" | "blkio-weight" => share(draft, given),
        "pids-limit" => pids(draft, given),
        "ulimit" => ulimit(draft, given),
        "stop-timeout" => given.value.parse().ok().map(|seconds: i64| {
            let seconds = u32::try_from(seconds).unwrap_or(GRACE_MAX_S);
            draft.unit.stop_grace_s = seconds.min(GRACE_MAX_S);
        }),
        _ => health(draft, given),
    };
    if taken.is_none() {
        draft.odd(given, "this value is not understood");
    }
}

fn amount(draft: &mut Draft<'_>, given: &Given) -> Option<()> {
    let resources = &mut draft.unit.resources;
    match given.flag.long {
        "memory" => {
            let bytes = docker_bytes(&given.value)?;
            resources.memory = Some(bytes).filter(|bytes| *bytes != Bytes(0));
            draft.mark("resources.memory", given.line);
        }
        "memory-reservation" => {
            resources.memory_min = Some(docker_bytes(&given.value)?);
            draft.mark("resources.memory_min", given.line);
            let why = "`resources.memory_min` is left to it when the node is short, always";
            draft.findings.changed(given.line, given.shown(), why);
        }
        "memory-swap" => {
            let why = "there is no swap: `resources.memory` is all that it has";
            draft.findings.not_needed(given.line, given.shown(), why);
        }
        _ => {
            let (key, size) = given.value.split_once('=')?;
            resources.disk = Some(docker_bytes(size).filter(|_| key == "size")?);
            draft.mark("resources.disk", given.line);
        }
    }
    Some(())
}

fn share(draft: &mut Draft<'_>, given: &Given) -> Option<()> {
    let resources = &mut draft.unit.resources;
    match given.flag.long {
        "cpus" => resources.cpus = Some(given.value.parse().ok()?),
        "cpu-quota" => {
            let quota: f64 = given.value.parse().ok()?;
            resources.cpus = (quota > 0.0).then_some(quota / PERIOD_US);
        }
        "cpu-period" => {
            let period: f64 = given.value.parse().ok().filter(|period: &f64| *period > 0.0)?;
            resources.cpus = resources.cpus.map(|cpus| cpus * PERIOD_US / period);
        }
        "cpu-shares" => resources.cpu_weight = Some(weight_of_shares(given.value.parse().ok()?)),
        _ => resources.io_weight = Some(weight(given.value.parse().ok()?, 500)),
    }
    draft.mark("resources", given.line);
    Some(())
}

fn pids(draft: &mut Draft<'_>, given: &Given) -> Option<()> {
    let most: i64 = given.value.parse().ok()?;
    let most = u32::try_from(most).ok().filter(|most| *most > 0).unwrap_or(PIDS_UNBOUNDED);
    draft.unit.resources.pids_max = Some(most.min(PIDS_UNBOUNDED));
    draft.mark("resources.pids_max", given.line);
    Some(())
}

fn ulimit(draft: &mut Draft<'_>, given: &Given) -> Option<()> {
    let (name, limits) = given.value.split_once('=')?;
    let (soft, hard) = limits.split_once(':').unwrap_or((limits, limits));
    let number = |text: &str| match text {
        "-1" | "unlimited" => Some(UNLIMITED),
        number => number.parse().ok().map(|number: u64| number.min(UNLIMITED)),
    };
    let (soft, hard) = (number(soft)?, number(hard)?);
    let limit = if soft == hard { Ulimit::Both(soft) } else { Ulimit::Each { soft, hard } };
    draft.mark(format!("ulimits.{name}"), given.line);
    draft.unit.ulimits.insert(name.to_owned(), limit);
    Some(())
}

fn health(draft: &mut Draft<'_>, given: &Given) -> Option<()> {
    let span = || Some(go_duration(&given.value)?.seconds(HEALTH_MAX_S).unwrap_or(HEALTH_MAX_S));
    let mut health = draft.unit.health.take().unwrap_or_else(unasked);
    let taken = match given.flag.long {
        "health-cmd" | "healthcheck-command" => {
            let words = ["/bin/sh", "-c", given.value.as_str()].map(str::to_owned);
            health.exec = Some(words.to_vec());
            Some(())
        }
        "health-interval" => span().map(|seconds| health.interval_s = seconds.max(1)),
        "health-timeout" => span().map(|seconds| health.timeout_s = seconds.max(1)),
        "health-start-period" => span().map(|seconds| health.start_period_s = seconds),
        _ => given
            .value
            .parse()
            .ok()
            .map(|retries: u32| health.retries = retries.clamp(1, HEALTH_MAX_S)),
    };
    draft.unit.health = Some(health);
    draft.mark("health", given.line);
    taken
}

/// What can only be said when all options are known: times of a health check that the image has are of no use.
pub(crate) fn settle(draft: &mut Draft<'_>, line: usize) {
    if draft.unit.health.as_ref().is_some_and(|health| health.exec.is_none()) {
        draft.unit.health = None;
        let why = "the image's own health check is not used: say one in `[health]`";
        draft.findings.lost(line, "--health-…", why);
    }
}

/// Docker's own times of a health check.
fn unasked() -> Health {
    Health {
        exec: None,
        http: None,
        tcp: None,
        start_period_s: 0,
        interval_s: 30,
        timeout_s: 30,
        retries: 3,
    }
}
