//! Living with a node: logs, events, figures, its API's description; many containers and what they leave.

use std::collections::BTreeMap;
use std::io::Write;
use std::process::Stdio;
use std::time::Instant;

use anyhow::{Context, Result};
use ferrite_tests::images::Kind;
use ferrite_tests::node::Node;
use ferrite_tests::programs::{checker, checkout, said};
use ferrite_tests::{demo, openapi};
use serde_json::Value;

/// Containers started and stopped in a row; a long run makes a thousand.
fn cycles() -> u32 {
    if std::env::var_os("FERRITE_LONG").is_some() { 1000 } else { 60 }
}

/// Containers alive at once.
fn alive() -> u32 {
    if std::env::var_os("FERRITE_LONG").is_some() { 100 } else { 20 }
}

/// What the agent may hold after that many. 12 MiB is the goal for one where nothing runs, and was reached for a day (11.8); what has
/// come since takes four more, which are to be won back.
const AGENT_KIB_MAX: u64 = 18 * 1024;

fn submit(node: &Node, name: &str, rest: &str) -> Result<String> {
    let file = format!("{name}.toml");
    let unit = format!("name = \"{name}\"\nimage = \"busybox\"\n{rest}\n");
    std::fs::write(node.machine.directory.join(&file), unit)?;
    Ok(file)
}

fn node(name: &str) -> Result<Node> {
    let mut node = Node::new(name, Kind::Probed)?;
    node.machine.memory_mib = 1024;
    node.boot()?;
    let archive = demo::busybox_with_probe()?.display().to_string();
    node.ferrite(&["import", &archive, "--name", "busybox"])?;
    Ok(node)
}

fn json_lines(text: &str) -> Result<Vec<Value>> {
    text.lines().map(|line| serde_json::from_str(line).context("understand a line")).collect()
}

#[test]
fn logs_events_and_figures() -> Result<()> {
    let node = node("living")?;
    let file = submit(
        &node,
        "twice",
        "restart = \"never\"\ncommand = [\"/bin/ferrite-probe\", \"spew\", \"50\"]",
    )?;
    node.ferrite(&["unit", "start", &file, "--until", "ended"])?;
    let tail = node.ferrite(&["unit", "logs", "--stdout", "-n", "2", "twice"])?;
    assert_eq!(tail, "out 49\nout 50\n");
    assert_eq!(node.ferrite(&["unit", "logs", "--previous", "twice"])?, "", "there was none");
    node.ferrite(&["unit", "start", "twice", "--until", "ended"])?;
    let all = json_lines(&node.ferrite(&["unit", "logs", "-o", "json", "twice"])?)?;
    assert_eq!(all.len(), 200);
    let previous =
        json_lines(&node.ferrite(&["unit", "logs", "--previous", "-o", "json", "twice"])?)?;
    assert_eq!(previous, all[..100]);
    // Between two times: exactly the second run.
    let since = humantime(&all[100]);
    let later =
        json_lines(&node.ferrite(&["unit", "logs", "--since", &since, "-o", "json", "twice"])?)?;
    assert_eq!(later, all[100..]);
    let earlier = node.ferrite(&["unit", "logs", "--until", &since, "-o", "json", "twice"])?;
    assert_eq!(json_lines(&earlier)?, all[..100]);
    // A unit at rest has nothing more to say.
    assert_eq!(node.ferrite(&["unit", "logs", "-f", "-n", "1", "--stderr", "twice"])?, "");
    let both = node.ferrite(&["unit", "logs", "-n", "1", "--stdout", "twice", "twice"])?;
    assert_eq!(both, "twice | out 50\ntwice | out 50\n");

    let file = submit(
        &node,
        "stays",
        "command = [\"/bin/ferrite-probe\", \"await-term\"]\n[resources]\nmemory = \"32MiB\"",
    )?;
    node.ferrite(&["unit", "start", &file])?;
    let figures = node.ask(&["top", "--once"])?;
    let unit = &figures["units"][0];
    assert_eq!(
        (&unit["unit"], &unit["memory_max_bytes"]),
        (&"stays".into(), &(32 << 20).into()),
        "{figures}"
    );
    assert_eq!(unit["pids"], 1, "{figures}");
    answers_are_as_described(&node)?;
    figures_are_for_prometheus(&node)?;
    node.ferrite(&["unit", "stop", "stays"])?;
    let events = json_lines(&node.ferrite(&["events", "--unit", "stays", "-o", "json"])?)?;
    let messages: Vec<&str> = events.iter().filter_map(|event| event["message"].as_str()).collect();
    for expected in ["starting", "running", "stopping"] {
        assert!(
            messages.iter().any(|message| message.starts_with(expected)),
            "{expected}: {messages:?}"
        );
    }
    Ok(())
}

/// What the server really answers is what its own document says, and that is the committed one.
fn answers_are_as_described(node: &Node) -> Result<()> {
    let document: Value = serde_json::from_str(&node.get("/v1/openapi.json")?)?;
    let committed = std::fs::read(checkout().join("docs/openapi.json"))?;
    assert_eq!(document, serde_json::from_slice::<Value>(&committed)?);
    let named = ["", "/definition", "/logs"].map(|rest| format!("/v1/units/{{name}}{rest}"));
    let plain = [
        "/v1/machine",
        "/v1/boot",
        "/v1/slots",
        "/v1/images",
        "/v1/units",
        "/v1/events",
        "/v1/stats",
    ];
    for path in named.iter().map(String::as_str).chain(plain) {
        let text = node.get(&path.replace("{name}", "twice"))?;
        let lines = path.ends_with("/logs") || path == "/v1/events";
        let (media, values) = if lines {
            ("application/x-ndjson", json_lines(&text)?)
        } else {
            ("application/json", vec![serde_json::from_str(&text)?])
        };
        assert!(!values.is_empty(), "{path}");
        for value in values {
            let problems = openapi::problems(&document, path, media, &value);
            assert!(problems.is_empty(), "{problems:#?}");
        }
    }
    Ok(())
}

/// Prometheus' own judge is content with what a node answers, and the figures are those of the unit that runs.
fn figures_are_for_prometheus(node: &Node) -> Result<()> {
    let head = node.curl(&["--head"], "/metrics")?.to_lowercase();
    assert!(head.contains("content-type: text/plain; version=0.0.4; charset=utf-8"), "{head}");
    let text = node.get("/metrics")?;
    let mut judge = checker("promtool")?
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    // It reads to the end before it says anything.
    judge.stdin.take().context("its input")?.write_all(text.as_bytes())?;
    let output = judge.wait_with_output()?;
    assert!(output.status.success() && said(&output).is_empty(), "{}\n{text}", said(&output));
    for line in [
        "ferrite_unit_state{name=\"stays\",state=\"running\"} 1",
        "ferrite_unit_state{name=\"twice\",state=\"exited\"} 1",
        "container_spec_memory_limit_bytes{name=\"stays\"} 33554432",
        "container_threads{name=\"stays\"} 1",
        "ferrite_source_up{source=\"slots\"} 1",
        "ferrite_slot_running{slot=\"A\"} 1",
        "ferrite_node_ready 1",
    ] {
        assert!(text.lines().any(|one| one == line), "{line} is not in:\n{text}");
    }
    for start in [
        "container_network_receive_bytes_total{name=\"stays\",interface=\"eth0\"} ",
        "container_cpu_usage_seconds_total{name=\"stays\"} ",
        "node_network_transmit_bytes_total{device=\"eth0\"} ",
        "node_pressure_memory_waiting_seconds_total ",
        "node_filesystem_avail_bytes{device=\"STATE\",",
    ] {
        assert!(text.lines().any(|one| one.starts_with(start)), "{start} is not in:\n{text}");
    }
    Ok(())
}

/// A log line's time as a person would write it.
fn humantime(line: &Value) -> String {
    let us = line["time_us"].as_u64().unwrap_or_default();
    ferrite_ctl::moment::timestamp(us)
}

/// What of a node must not grow.
fn held(node: &mut Node) -> Result<BTreeMap<String, u64>> {
    let found = node.probe(&["leaks"])?;
    serde_json::from_value(found.clone()).with_context(|| format!("understand {found}"))
}

#[test]
fn many_containers_leave_nothing_behind() -> Result<()> {
    let mut node = node("leaks")?;
    let once = submit(&node, "once", "restart = \"never\"\ncommand = [\"/bin/true\"]")?;
    // The first few make what stays for good: a folder of units, a log, the bridge.
    for _ in 0..3 {
        node.ferrite(&["unit", "start", &once, "--until", "ended"])?;
    }
    node.ferrite(&["unit", "destroy", "once"])?;
    let before = held(&mut node)?;
    assert!(before["packet filter's rules"] > 0, "{before:?}");
    report(&mut node, "before")?;
    let begin = Instant::now();
    for cycle in 0..cycles() {
        let done = node.ferrite(&["unit", "start", &once, "--until", "ended"]);
        done.with_context(|| format!("cycle {cycle}"))?;
    }
    node.ferrite(&["unit", "destroy", "once"])?;
    let agent_kib = report(&mut node, &format!("{} in a row, {:?}", cycles(), begin.elapsed()))?;
    assert!(agent_kib <= AGENT_KIB_MAX, "the agent holds {agent_kib} KiB");
    assert_eq!(held(&mut node)?, before, "after so many in a row");
    let begin = Instant::now();
    for number in 0..alive() {
        let name = format!("many-{number}");
        let file =
            submit(&node, &name, "command = [\"/bin/sleep\", \"1000000\"]\nstop_grace_s = 0")?;
        node.ferrite(&["unit", "start", &file, "--no-wait"])?;
        if number == 0 {
            node.ferrite(&["unit", "start", &name])?;
            report(&mut node, "1 alive")?;
        }
    }
    for number in 0..alive() {
        node.ferrite(&["unit", "start", &format!("many-{number}")])?;
    }
    report(&mut node, &format!("{} alive after {:?}", alive(), begin.elapsed()))?;
    let during = held(&mut node)?;
    // Their mounts are nobody's but theirs: the node sees none.
    assert_eq!(during["mounts"], before["mounts"], "{during:?}");
    for what in ["cgroups", "interfaces", "bytes in the packet filter's sets"] {
        assert!(during[what] > before[what], "{what} is not counted: {during:?}");
    }
    node.ferrite(&["unit", "destroy", "many-*", "--timeout", "10min"])?;
    report(&mut node, "after")?;
    assert_eq!(held(&mut node)?, before);
    Ok(())
}

/// Says what the containers' keepers and the agent hold, for people; returns the agent's PSS.
#[expect(clippy::print_stderr, reason = "figures for who reads the test's output")]
fn report(node: &mut Node, when: &str) -> Result<u64> {
    let processes = node.probe(&["processes"])?;
    let all = processes.as_array().map(Vec::as_slice).unwrap_or_default();
    let mut agent_kib = 0;
    for name in ["ferrite-shim", "ferrite-agent", "ferrite-init"] {
        // The probe's server has the agent's name.
        let own = |process: &&Value| name != "ferrite-agent" || process["parent"] == 1;
        let of = |field: &str| -> Vec<u64> {
            all.iter()
                .filter(|process| process["name"].as_str().is_some_and(|found| found == name))
                .filter(own)
                .filter_map(|process| process[field].as_u64())
                .collect()
        };
        let (pss, rss) = (of("pss_kib"), of("rss_kib"));
        let (all_pss, all_rss) = (pss.iter().sum::<u64>(), rss.iter().sum::<u64>());
        eprintln!("{when}: {name}: {} processes, PSS {all_pss} KiB, RSS {all_rss} KiB", pss.len());
        if name == "ferrite-agent" {
            agent_kib = all_pss;
        }
    }
    Ok(agent_kib)
}
