//! What `[Unit]`, `[Service]` and `[Install]` say beside commands.

use ferrite_schema::unit::names::signal_number;
use ferrite_schema::unit::{RestartPolicy, StartLimit};

use super::docker::Ran;
use super::draft::Draft;
use super::flags::Given;
use super::ini::Entry;
use super::names::{Other, other};
use super::values::{Span, docker_bytes, percent, time_span, weight_of_shares};
use super::words::split;

/// The longest grace that a unit's document may say, in seconds.
const GRACE_MAX_S: u32 = 86_400;
/// What systemd has where one of the two is not said.
const BURST: u32 = 5;
const INTERVAL_S: u32 = 10;
/// The most starts that a document may say.
const STARTS_MAX: u32 = 1000;

const DOCKERS_CLIENT: &str = "it was about Docker's client; no container saw it";
const LOGS: &str = "`ferrite unit logs` keeps what it writes";
const ALWAYS_ON: &str = "a unit that was started runs again after each boot, until it is stopped";

/// Which program the unit runs its container with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Runner {
    /// Its daemon has the container: what systemd sets for the service reaches the client alone.
    Docker,
    /// The container is in the service.
    Rkt,
}

/// What was said of the unit's life, to be put together when all is known.
#[derive(Debug, Default)]
struct Life {
    restart: Option<(String, usize)>,
    kind: Option<(String, usize)>,
    remains: bool,
    burst: Option<u32>,
    interval_s: Option<u32>,
    unlimited: bool,
}

/// Takes in all of them; commands, environment and fleet's section are others'.
pub(crate) fn take(draft: &mut Draft<'_>, entries: &[Entry], runner: Runner, ran: &Ran) {
    let mut life = Life::default();
    for entry in entries {
        match entry.section.as_str() {
            "Unit" => of_unit(draft, entry, &mut life),
            "Service" => of_service(draft, entry, runner, &mut life),
            "Install" => draft.findings.not_needed(entry.line, entry.key.clone(), ALWAYS_ON),
            _ => {}
        }
    }
    settle(draft, &life, ran);
}

fn of_unit(draft: &mut Draft<'_>, entry: &Entry, life: &mut Life) {
    let text = entry.value.text.as_str();
    match entry.key.as_str() {
        "Description" | "Documentation" | "SourcePath" | "DefaultDependencies" => {}
        "After" | "Requires" | "BindsTo" | "BindTo" | "Requisite" => dependencies(draft, entry),
        "Wants" => wants(draft, entry),
        "RequiresMountsFor" => {
            draft.findings.not_needed(
                entry.line,
                entry.key.clone(),
                "STATE is there before any unit",
            );
        }
        "StartLimitInterval" | "StartLimitIntervalSec" | "StartLimitBurst" => limit(entry, life),
        key if key.starts_with("Condition") || key.starts_with("Assert") => {
            let why = "nothing of the machine is looked at before a start: `placement.metadata` says where it may run";
            draft.findings.lost(entry.line, format!("{key}={text}"), why);
        }
        "Before" | "PartOf" | "PropagatesReloadTo" | "JoinsNamespaceOf" => {
            let why = "say it in the other unit, with `after` or `requires`";
            draft.findings.lost(entry.line, format!("{}={text}", entry.key), why);
        }
        "OnFailure" | "OnSuccess" => {
            let why =
                "nothing is started by a failure; `ferrite events` says it to whoever watches";
            draft.findings.lost(entry.line, format!("{}={text}", entry.key), why);
        }
        key => {
            draft.findings.lost(entry.line, format!("{key}={text}"), "Ferrite has nothing like it")
        }
    }
}

fn dependencies(draft: &mut Draft<'_>, entry: &Entry) {
    let requires = entry.key != "After";
    for word in split(&entry.value).unwrap_or_default() {
        let name = draft.name.expand(&word.text, &mut draft.open.clone());
        let what = format!("{}={}", entry.key, word.text);
        match other(&name, draft.name) {
            Other::Unit(name) => {
                let list = if requires { &mut draft.unit.requires } else { &mut draft.unit.after };
                if !list.contains(&name) {
                    list.push(name);
                }
            }
            Other::OfMachine => {
                draft.findings.not_needed(word.line, what, "the node has it before any unit");
            }
            Other::Unknown(why) => draft.findings.lost(word.line, what, why),
        }
    }
}

fn wants(draft: &mut Draft<'_>, entry: &Entry) {
    for word in split(&entry.value).unwrap_or_default() {
        let name = draft.name.expand(&word.text, &mut draft.open.clone());
        let what = format!("Wants={}", word.text);
        match other(&name, draft.name) {
            Other::Unit(name) => {
                let why = format!(
                    "start `{name}` by itself, or say `requires`, which stops this unit with it"
                );
                draft.findings.lost(word.line, what, why);
            }
            Other::OfMachine => {
                draft.findings.not_needed(word.line, what, "the node has it before any unit");
            }
            Other::Unknown(why) => draft.findings.lost(word.line, what, why),
        }
    }
}

fn limit(entry: &Entry, life: &mut Life) {
    let text = entry.value.text.as_str();
    if entry.key == "StartLimitBurst" {
        life.burst = text.parse().ok();
        return;
    }
    match time_span(text) {
        Some(Span::Ms(0)) => life.unlimited = true,
        Some(span) => life.interval_s = Some(span.seconds(u32::MAX).unwrap_or(u32::MAX)),
        None => {}
    }
}

fn of_service(draft: &mut Draft<'_>, entry: &Entry, runner: Runner, life: &mut Life) {
    let (key, text) = (entry.key.as_str(), entry.value.text.as_str());
    let what = || format!("{key}={text}");
    match key {
        key if key.starts_with("Exec") => {}
        "Environment" => {}
        "Restart" => life.restart = Some((text.to_owned(), entry.line)),
        "Type" => life.kind = Some((text.to_owned(), entry.line)),
        "RemainAfterExit" => life.remains = matches!(text, "1" | "yes" | "true" | "on"),
        "StartLimitInterval" | "StartLimitIntervalSec" | "StartLimitBurst" => limit(entry, life),
        "TimeoutStopSec" => grace(draft, entry),
        "TimeoutSec" => grace(draft, entry),
        "TimeoutStartSec" => match time_span(text) {
            Some(Span::Infinite | Span::Ms(0)) => draft.findings.not_needed(
                entry.line,
                what(),
                "an image may take as long as it moves: nothing ends its pull but its own failure",
            ),
            _ => draft.findings.lost(entry.line, what(), "a start has no deadline; `[health]` says when it is ready, and `start_period_s` how long that may take"),
        },
        "RestartSec" => draft.findings.changed(
            entry.line,
            what(),
            "the delay is 250 ms, doubled with each end up to a minute, and anew after 30 s of running",
        ),
        "KillSignal" if signal_number(text).is_some() => {
            draft.unit.stop_signal = Some(text.to_owned());
            draft.mark("stop_signal", entry.line);
        }
        "EnvironmentFile" => {
            let why = "no file of the machine is read: what containers need of it goes into `[env_files]` of the nodes' configuration, and is named in `env_files`";
            draft.findings.lost(entry.line, what(), why);
        }
        "MemoryLimit" | "MemoryMax" | "CPUShares" | "CPUQuota" | "TasksMax"
            if runner == Runner::Rkt =>
        {
            bounds(draft, entry);
        }
        "StandardOutput" | "StandardError" | "SyslogIdentifier" | "SyslogFacility" | "TTYPath" => {
            draft.findings.not_needed(entry.line, what(), LOGS);
        }
        "WatchdogSec" => draft.findings.lost(entry.line, what(), "use `[health]`"),
        "SuccessExitStatus" | "RestartPreventExitStatus" | "RestartForceExitStatus" => {
            draft.findings.lost(entry.line, what(), "status 0 is success, and no other");
        }
        "KillMode" | "NotifyAccess" | "PIDFile" | "Slice" | "Delegate" | "SendSIGKILL"
        | "PermissionsStartOnly" | "GuessMainPID" | "RootDirectoryStartOnly" | "FinalKillSignal"
        | "KillSignal" | "StandardInput" => {
            draft.findings.not_needed(entry.line, what(), "the node keeps and ends the whole container");
        }
        _ => match runner {
            Runner::Docker => draft.findings.not_needed(entry.line, what(), DOCKERS_CLIENT),
            Runner::Rkt => {
                let why = "see whether the container needs it: `user`, `workdir`, `ulimits`, `resources`";
                draft.findings.lost(entry.line, what(), why);
            }
        },
    }
}

fn grace(draft: &mut Draft<'_>, entry: &Entry) {
    let what = format!("{}={}", entry.key, entry.value.text);
    match time_span(&entry.value.text) {
        // systemd waits for ever then; a document ends after a day.
        Some(Span::Infinite | Span::Ms(0)) => {
            draft.unit.stop_grace_s = GRACE_MAX_S;
            draft.findings.changed(entry.line, what, "it gets a day at most to stop");
        }
        Some(span) => draft.unit.stop_grace_s = span.seconds(GRACE_MAX_S).unwrap_or(GRACE_MAX_S),
        None => draft.findings.lost(entry.line, what, "this is no length of time"),
    }
    draft.mark("stop_grace_s", entry.line);
}

/// Bounds of a service that its container is in.
fn bounds(draft: &mut Draft<'_>, entry: &Entry) {
    let text = entry.value.text.as_str();
    let resources = &mut draft.unit.resources;
    let taken = match entry.key.as_str() {
        "CPUShares" => text.parse().ok().map(|shares| {
            resources.cpu_weight = Some(weight_of_shares(shares));
        }),
        "CPUQuota" => percent(text).map(|cpus| resources.cpus = Some(cpus)),
        "TasksMax" => text.parse().ok().map(|most: u32| resources.pids_max = Some(most)),
        _ => docker_bytes(text).map(|bytes| resources.memory = Some(bytes)),
    };
    draft.mark("resources", entry.line);
    if taken.is_none() && text != "infinity" {
        let what = format!("{}={text}", entry.key);
        draft.findings.lost(entry.line, what, "this amount is not understood");
    }
}

/// Puts together what is said of restarts, kinds and Docker's own `--restart`.
fn settle(draft: &mut Draft<'_>, life: &Life, ran: &Ran) {
    if let Some((kind, line)) = &life.kind {
        match kind.as_str() {
            "oneshot" if ran.detached.is_none() => {
                draft.unit.oneshot = true;
                draft.mark("oneshot", *line);
            }
            "dbus" => draft.findings.lost(*line, "Type=dbus", "say in `[health]` when it is ready"),
            "notify" => draft.findings.changed(
                *line,
                "Type=notify",
                "say in `[health]` when it is ready: nothing is heard of it by sd_notify",
            ),
            _ => {}
        }
    }
    draft.unit.restart = Some(restart(draft, life, ran));
    let ends = draft.unit.oneshot || draft.unit.timer.is_some();
    if ends && draft.unit.restart == Some(RestartPolicy::Never) {
        draft.unit.restart = None;
    }
    let limited = (life.burst.is_some() || life.interval_s.is_some()) && !life.unlimited;
    if limited && draft.unit.restart_policy() != RestartPolicy::Never {
        draft.unit.start_limit = Some(StartLimit {
            starts: life.burst.unwrap_or(BURST).clamp(1, STARTS_MAX),
            within_s: Some(life.interval_s.unwrap_or(INTERVAL_S).max(1)),
        });
    }
}

fn restart(draft: &mut Draft<'_>, life: &Life, ran: &Ran) -> RestartPolicy {
    if let Some(line) = ran.detached {
        let why = "the container is what is kept running, and not Docker's client";
        draft.findings.changed(line, "--detach", why);
        match &ran.restart {
            Some(given) => return detached(draft, given),
            None if life.remains => return RestartPolicy::Never,
            None => {}
        }
    } else if let Some(given) = &ran.restart {
        let why = "the unit's own `Restart=` says it";
        draft.findings.not_needed(given.line, given.shown(), why);
    }
    let Some((word, line)) = &life.restart else { return RestartPolicy::Never };
    let (word, line) = (word.as_str(), *line);
    let what = format!("Restart={word}");
    match word {
        "no" => RestartPolicy::Never,
        "always" if draft.unit.oneshot || draft.unit.timer.is_some() => {
            let why = "what does its work and ends, or has a timer, is started again after a failure alone";
            draft.findings.changed(line, what, why);
            RestartPolicy::OnFailure
        }
        "always" => RestartPolicy::Always,
        "on-failure" => RestartPolicy::OnFailure,
        "on-success" => {
            draft.findings.changed(line, what, "it is started again whatever it ends with");
            match draft.unit.oneshot || draft.unit.timer.is_some() {
                true => RestartPolicy::Never,
                false => RestartPolicy::Always,
            }
        }
        "on-abnormal" | "on-abort" | "on-watchdog" => {
            let why =
                "it is started again whenever it ends with another status than 0, or by a signal";
            draft.findings.changed(line, what, why);
            RestartPolicy::OnFailure
        }
        _ => {
            let why =
                "systemd has no such word: use `restart = \"always\"`, \"on-failure\" or \"never\"";
            draft.findings.lost(line, what, why);
            RestartPolicy::Never
        }
    }
}

/// Of a container that Docker kept by itself.
fn detached(draft: &mut Draft<'_>, given: &Given) -> RestartPolicy {
    let (word, most) = given.value.split_once(':').unwrap_or((&given.value, ""));
    match word {
        "always" | "unless-stopped" => RestartPolicy::Always,
        "on-failure" => {
            if let Ok(most) = most.parse::<u32>() {
                let starts = most.saturating_add(1).min(STARTS_MAX);
                draft.unit.start_limit = Some(StartLimit { starts, within_s: None });
            }
            RestartPolicy::OnFailure
        }
        _ => RestartPolicy::Never,
    }
}
