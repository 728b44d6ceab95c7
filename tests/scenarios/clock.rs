//! Clocks that are wrong: for one boot, at the start, while the node runs.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use ferrite_tests::demo;
use ferrite_tests::images::Kind;
use ferrite_tests::node::{Node, SOON};
use ferrite_tests::units::until;
use ferrite_vm::machine::Clock;
use serde_json::Value;

const HOUR_S: u64 = 3600;
const DAY_S: u64 = 24 * HOUR_S;
/// 2031-01-01.
const Y2031: u64 = 1_924_992_000;

fn host_s() -> Result<u64> {
    Ok(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs())
}

/// The node's time, seconds since the epoch.
fn time_s(node: &Node) -> Result<u64> {
    let figures = node.ask(&["top", "--once"])?;
    Ok(figures["time_us"].as_u64().with_context(|| format!("find the time in {figures}"))?
        / 1_000_000)
}

fn warnings(node: &Node) -> Result<String> {
    Ok(node.ask(&["machine", "status"])?["warnings"].to_string())
}

/// Boots with this clock; the node is ready and can be asked.
fn boot_at(node: &mut Node, clock: Clock) -> Result<()> {
    node.machine.clock = clock;
    node.boot()
}

fn off(node: &mut Node) -> Result<()> {
    node.ferrite(&["machine", "poweroff"])?;
    node.wait_off(SOON)
}

fn next_start_s(status: &Value) -> u64 {
    status["next_start_s"].as_u64().unwrap_or_default()
}

#[test]
fn a_clock_that_was_wrong_leaves_nothing_behind_when_it_is_right_again() -> Result<()> {
    let mut node = Node::new("clock", Kind::Probed)?;
    boot_at(&mut node, Clock::At("2099-01-01T00:00:00".to_owned()))?;
    assert!(time_s(&node)? < host_s()?, "2099 is not believed");
    let said = warnings(&node)?;
    assert!(said.contains("2099-01-01") && said.contains("hardware's clock"), "{said}");
    off(&mut node)?;

    // 2031 is believed, and what is done then must not last until then.
    boot_at(&mut node, Clock::At("2031-01-01T00:00:00".to_owned()))?;
    assert!(time_s(&node)? >= Y2031);
    let archive = demo::busybox()?.display().to_string();
    node.ferrite(&["import", &archive, "--name", "busybox"])?;
    for name in ["back", "later"] {
        let unit = format!(
            "name = \"{name}\"\nimage = \"busybox\"\ncommand = [\"/bin/true\"]\nrestart = \"never\"\n\
             timer = {{ every_s = {HOUR_S} }}\n"
        );
        std::fs::write(node.machine.directory.join(format!("{name}.toml")), unit)?;
        node.ferrite(&["unit", "start", &format!("{name}.toml"), "--no-wait"])?;
        until(&node, name, |status| {
            status["state"] == "scheduled" && next_start_s(status) > Y2031 + HOUR_S / 2
        })?;
    }
    let now_s = host_s()?;
    node.probe(&["set-clock", &now_s.to_string()])?;
    for name in ["back", "later"] {
        until(&node, name, |status| next_start_s(status) <= now_s + 2 * HOUR_S)
            .with_context(|| format!("{name} goes on when the clock is set back"))?;
    }
    // As if it had fired in 2031 and the machine had gone down then.
    let mark = "/var/lib/ferrite/units/later.fired";
    node.probe(&["write", mark, &Y2031.to_string()])?;
    off(&mut node)?;

    boot_at(&mut node, Clock::Host)?;
    let (time, now_s) = (time_s(&node)?, host_s()?);
    assert!(time.abs_diff(now_s) < DAY_S + HOUR_S, "{time} is not {now_s}");
    for name in ["back", "later"] {
        let status = node.ask(&["unit", "status", name])?;
        assert!(next_start_s(&status) <= now_s + DAY_S + 2 * HOUR_S, "{name} is silent: {status}");
    }
    off(&mut node)?;

    boot_at(&mut node, Clock::At("1970-01-02T00:00:00".to_owned()))?;
    assert!(time_s(&node)? >= now_s, "time goes on from what was remembered");
    let said = warnings(&node)?;
    assert!(said.contains("1970-01-02"), "{said}");
    Ok(())
}
