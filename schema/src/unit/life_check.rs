//! Checks of what a unit says about its life.

use super::bad_value::{BadValue, Check, bad, suggestion, twice};
use super::cron::Cron;
use super::definition::{RestartPolicy, Unit};
use super::life::Health;
use super::names::{SIGNALS, is_unit_name, signal_number};
use super::network::NetworkMode;
use super::template;

/// Longest grace, a day: a stop must end some time.
const STOP_GRACE_MAX_S: u32 = 24 * 60 * 60;
/// Longest time of a health check, an hour.
const HEALTH_MAX_S: u32 = 60 * 60;
/// Longest time from one start to the next, a year: beyond it a calendar is what is meant.
const EVERY_MAX_S: u32 = 366 * 24 * 60 * 60;
/// Most starts that are counted.
const STARTS_MAX: u32 = 1000;

pub(super) const CHECKS: [Check<Unit>; 5] = [restart, timer, dependencies, stop, health];

fn restart(unit: &Unit) -> Result<(), BadValue> {
    let always = unit.restart == Some(RestartPolicy::Always);
    if always && unit.oneshot {
        let why = "a oneshot unit ends when its work is done, and would be started again: use `on-failure` or `never`";
        return bad(["restart"], why);
    }
    if always && unit.timer.is_some() {
        let why = "a unit with a timer is started by it, and not again when it ends: use `on-failure` or `never`";
        return bad(["restart"], why);
    }
    let Some(limit) = unit.start_limit else { return Ok(()) };
    if !(1..=STARTS_MAX).contains(&limit.starts) {
        return bad(["start_limit", "starts"], format!("use 1 to {STARTS_MAX}"));
    }
    if limit.within_s == Some(0) {
        return bad(["start_limit", "within_s"], "use at least 1");
    }
    if unit.restart_policy() == RestartPolicy::Never {
        return bad(
            ["start_limit"],
            "with `restart = \"never\"` it is never started again: drop one of the two",
        );
    }
    Ok(())
}

fn timer(unit: &Unit) -> Result<(), BadValue> {
    let Some(timer) = &unit.timer else { return Ok(()) };
    match (timer.every_s, &timer.cron) {
        (None, None) => bad(["timer"], "say with `every_s` or `cron` when it is started"),
        (Some(_), Some(_)) => bad(["timer", "cron"], "use `every_s` or `cron`, not both"),
        (Some(every), None) if !(1..=EVERY_MAX_S).contains(&every) => {
            bad(["timer", "every_s"], format!("use 1 to {EVERY_MAX_S}, a year; `cron` knows dates"))
        }
        (Some(_), None) => Ok(()),
        (None, Some(cron)) => match Cron::parse(cron) {
            Ok(_) => Ok(()),
            Err(why) => bad(["timer", "cron"], why),
        },
    }
}

fn dependencies(unit: &Unit) -> Result<(), BadValue> {
    for (key, names) in [("after", &unit.after), ("requires", &unit.requires)] {
        for (index, name) in names.iter().enumerate() {
            let at = [key, &index.to_string()];
            if !is_unit_name(name) {
                return bad(at, "this is no unit's name");
            }
            if *name == unit.name {
                return bad(at, "a unit cannot wait for itself: drop this");
            }
            if template::is_template(name) {
                return bad(
                    at,
                    format!("`{name}` is a template: name an instance, such as `{name}1`"),
                );
            }
        }
        if let Some(index) = twice(names) {
            return bad([key, &index.to_string()], "it is in the list twice: drop one");
        }
    }
    Ok(())
}

fn stop(unit: &Unit) -> Result<(), BadValue> {
    if unit.stop_grace_s > STOP_GRACE_MAX_S {
        return bad(["stop_grace_s"], format!("use at most {STOP_GRACE_MAX_S}, a day"));
    }
    match &unit.stop_signal {
        Some(signal) if signal_number(signal).is_none() => {
            let word = signal.to_ascii_uppercase();
            let known = suggestion(word.trim_start_matches("SIG"), SIGNALS.map(|(name, _)| name));
            bad(["stop_signal"], format!("there is no signal `{signal}`{known}"))
        }
        Some(_) | None => Ok(()),
    }
}

fn health(unit: &Unit) -> Result<(), BadValue> {
    let Some(health) = &unit.health else { return Ok(()) };
    if unit.oneshot {
        return bad(
            ["health"],
            "a oneshot unit is well when it has exited with status 0: drop `health`, or `oneshot`",
        );
    }
    let kinds = [
        ("exec", health.exec.is_some()),
        ("http", health.http.is_some()),
        ("tcp", health.tcp.is_some()),
    ];
    let mut given = kinds.iter().filter(|(_, given)| *given).map(|(key, _)| *key);
    let (first, second) = (given.next(), given.next());
    let why = "say with exactly one of `exec`, `http` and `tcp` how its health is seen";
    match (first, second) {
        (None, _) => return bad(["health"], why),
        (Some(_), Some(second)) => return bad(["health", second], why),
        (Some(kind), None) if kind != "exec" && unit.network == NetworkMode::None => {
            return bad(
                ["health", kind],
                "without a network nothing can be asked there: use `exec`",
            );
        }
        (Some(_), None) => {}
    }
    kind_of_health(health)?;
    for (key, value, least) in [
        ("start_period_s", health.start_period_s, 0),
        ("interval_s", health.interval_s, 1),
        ("timeout_s", health.timeout_s, 1),
        ("retries", health.retries, 1),
    ] {
        if !(least..=HEALTH_MAX_S).contains(&value) {
            return bad(["health", key], format!("use {least} to {HEALTH_MAX_S}"));
        }
    }
    Ok(())
}

fn kind_of_health(health: &Health) -> Result<(), BadValue> {
    if health.exec.as_ref().is_some_and(|words| words.first().is_none_or(String::is_empty)) {
        return bad(["health", "exec"], "name a program, as the first word of the command");
    }
    if health.tcp == Some(0) {
        return bad(["health", "tcp"], "use a port from 1 to 65535");
    }
    let odd = |text: &String| text.chars().any(|c| c.is_whitespace() || c.is_control());
    if health.http.as_ref().is_some_and(odd) || (health.http.is_some() && health.probe().is_none())
    {
        return bad(
            ["health", "http"],
            "use a port and a path of the container, such as \":8080/healthz\"",
        );
    }
    Ok(())
}
