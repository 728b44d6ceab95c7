//! PID 1 and the agent under attack.

use std::time::Duration;

use anyhow::{Context, Result};
use ferrite_tests::demo;
use ferrite_tests::images::Kind;
use ferrite_tests::node::{BOOT, Node, SOON};
use ferrite_tests::units;
use serde_json::Value;

/// Ten thousand processes are started and end on a machine without KVM.
const ORPHANS_DONE: Duration = Duration::from_secs(600);
const SIGKILL: &str = "9";
/// Counts for ever, a few lines a second.
const COUNT: &str = r#"["/bin/sh", "-c", "i=0; while :; do i=$((i+1)); echo $i; sleep 0.1; done"]"#;

/// Number of the process that `ferrite-agent` runs as under PID 1.
fn agent_pid(node: &mut Node) -> Result<i64> {
    let processes = node.probe(&["processes"])?;
    processes
        .as_array()
        .into_iter()
        .flatten()
        .find(|process| {
            process["name"] == "ferrite-agent" && process["parent"] == 1 && is_run(process)
        })
        .and_then(|process| process["pid"].as_i64())
        .with_context(|| format!("find the agent in {processes}"))
}

/// Shims bear the agent's name too; they are no children of PID 1 while the agent lives, and the server of the
/// probe has a name of its own.
fn is_run(process: &Value) -> bool {
    process["state"] != "Z"
}

fn start(node: &Node, name: &str, command: &str) -> Result<()> {
    let archive = demo::busybox_with_probe()?;
    node.ferrite(&["import", &archive.display().to_string(), "--name", "busybox"])?;
    let unit = format!("name = \"{name}\"\nimage = \"busybox\"\ncommand = {command}\n");
    std::fs::write(node.machine.directory.join(format!("{name}.toml")), unit)?;
    node.ferrite(&["unit", "start", &format!("{name}.toml")]).map(drop)
}

#[test]
fn ten_thousand_orphans_at_once_leave_no_zombie() -> Result<()> {
    let mut node = Node::new("orphans", Kind::Probed)?;
    node.machine.memory_mib = 4096;
    node.boot()?;
    let outcome = node.probe_within(&["orphans", "10000", "10000"], ORPHANS_DONE)?;
    assert_eq!(outcome["made"], 10_000, "{outcome}");
    assert_eq!(outcome["zombies"], 0, "{outcome}");
    Ok(())
}

#[test]
fn a_killed_agent_is_started_again_and_the_container_never_notices() -> Result<()> {
    let mut node = Node::new("agent-killed", Kind::Probed)?;
    node.boot()?;
    start(&node, "counter", COUNT)?;
    let before = node.ask(&["unit", "status", "counter"])?;
    assert_eq!(before["state"], "running", "{before}");
    let agent = agent_pid(&mut node)?;
    node.probe(&["kill", &agent.to_string(), SIGKILL])?;
    node.wait_for("api-listening", SOON).context("the agent's successor")?;
    assert_ne!(agent_pid(&mut node)?, agent);
    let after = node.ask(&["unit", "status", "counter"])?;
    units::same(&before, &after, &["state", "pid", "restarts"])?;
    node.ferrite(&["unit", "stop", "counter"])?;
    assert_no_line_is_missing(&node)
}

/// The unit numbers its lines; the log holds all of them.
fn assert_no_line_is_missing(node: &Node) -> Result<()> {
    let log = node.ferrite(&["unit", "logs", "counter"])?;
    let numbers: Vec<u64> = log.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    let expected: Vec<u64> = (1..).take(numbers.len()).collect();
    assert!(numbers.len() > 10 && numbers == expected, "{log}");
    Ok(())
}

#[test]
fn an_agent_that_keeps_crashing_is_started_ever_more_slowly_and_visibly() -> Result<()> {
    let mut node = Node::new("agent-crash-loop", Kind::Probed)?;
    node.agent_does("exit 3")?;
    node.power_on()?;
    let mut last = None;
    for (failure, delay_ms) in [(1, 250), (2, 500), (3, 1000), (4, 2000)] {
        let line = node.wait_for("exit status 3", BOOT)?;
        let said = format!("agent: exit status 3; starting it again in {delay_ms} ms");
        assert!(line.contains(&said), "failure {failure}: {line}");
        // And so it was: by the guest's clock, whatever the load of the host.
        let now_s = printed_at(&line).with_context(|| format!("when was that? {line}"))?;
        if let Some((before_s, least_s)) = last {
            assert!(now_s - before_s >= least_s, "failure {failure} after {before_s} s: {line}");
        }
        // Less a little: the line is printed after the clock was read.
        last = Some((now_s, f64::from(delay_ms) / 1000.0 * 0.8));
    }
    Ok(())
}

/// Seconds since the kernel's start at which a line was printed: `[    1.234567] …`.
fn printed_at(line: &str) -> Option<f64> {
    line.split_once('[')?.1.split_once(']')?.0.trim().parse().ok()
}

/// What the running kernel goes by, whoever was to set it: the command line, the file of settings, PID 1.
#[test]
fn a_kernel_that_has_lost_its_way_ends_and_little_waits_to_be_written() -> Result<()> {
    let mut node = Node::new("kernel-bounds", Kind::Probed)?;
    node.boot()?;
    let mut value = |name: &str| -> Result<String> {
        let read = node.probe(&["read", &format!("/proc/sys/{name}")])?;
        let text = read["text"].as_str().with_context(|| format!("{name}: {read}"))?;
        Ok(text.trim().to_owned())
    };
    for (name, expected) in [
        ("kernel/panic", "10"),
        ("kernel/panic_on_oops", "1"),
        ("kernel/softlockup_panic", "1"),
        ("kernel/watchdog_thresh", "60"),
        ("kernel/hung_task_timeout_secs", "600"),
        ("kernel/hung_task_panic", "1"),
    ] {
        assert_eq!(value(name)?, expected, "{name}");
    }
    let limit: u64 = value("vm/dirty_bytes")?.parse()?;
    let background: u64 = value("vm/dirty_background_bytes")?.parse()?;
    assert!((8 << 20..=256 << 20).contains(&limit) && background == limit / 4, "{limit}");
    Ok(())
}

#[test]
fn nothing_but_our_programs_can_be_executed_and_only_the_api_listens() -> Result<()> {
    let mut node = Node::new("exact", Kind::Probed)?;
    node.boot()?;
    let found = node.probe(&["executables", "/"])?;
    let mut paths: Vec<&str> =
        found.as_array().into_iter().flatten().filter_map(|file| file["path"].as_str()).collect();
    paths.sort_unstable();
    // The probed image's agent is the probe, and has the real one beside it; etcd's folder is a container's root.
    let expected = [
        "/usr/bin/ferrite-agent",
        "/usr/bin/ferrite-container",
        "/usr/bin/ferrite-init",
        "/usr/bin/ferrite-shim",
        "/usr/libexec/ferrite-agent",
        "/usr/sbin/e2fsck",
        "/usr/share/ferrite/etcd/usr/bin/etcd",
        "/usr/share/ferrite/etcd/usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2",
        "/usr/share/ferrite/etcd/usr/lib/x86_64-linux-gnu/libc.so.6",
    ];
    assert_eq!(paths, expected);
    let ports = node.probe(&["ports"])?;
    let mut listening: Vec<(String, u64)> = ports
        .as_array()
        .into_iter()
        .flatten()
        .map(|port| (port["protocol"].to_string(), port["port"].as_u64().unwrap_or_default()))
        .collect();
    listening.sort();
    listening.dedup();
    // 7444 is the probe's; 68 is where the DHCP client hears from its server.
    listening.retain(|(_, port)| ![7444, 68].contains(port));
    assert_eq!(listening, [("\"tcp\"".to_owned(), 7443)], "{ports}");
    Ok(())
}

#[test]
fn the_root_cannot_be_written() -> Result<()> {
    let mut node = Node::new("read-only", Kind::Probed)?;
    node.boot()?;
    for folder in ["/", "/usr", "/usr/bin", "/usr/share/ferrite"] {
        let attempt = node.probe(&["write-root", folder])?;
        assert_eq!(
            (&attempt["written"], &attempt["errno"]),
            (&false.into(), &30.into()),
            "{attempt}"
        );
    }
    Ok(())
}
