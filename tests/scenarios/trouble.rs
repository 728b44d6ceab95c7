//! What goes wrong on a node, as a person sees it, and that the node stays theirs: memory that runs out, programs that
//! crash again and again, a full disk, an agent that dies at the worst moments.

use std::fs;
use std::process::Child;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use ferrite_tests::agent_death::{self, Ambush};
use ferrite_tests::demo;
use ferrite_tests::images::Kind;
use ferrite_tests::node::{Node, SOON};
use ferrite_tests::units::{POLL, same, until, until_state, why};
use serde_json::Value;

/// Takes all the room that it may have, in ever smaller pieces.
const FILL: &str = "n=0; for size in 64m 1m 64k 4k; do while fallocate -l $size /data/$0-$n 2>/dev/null; do n=$((n+1)); \
                    done; done; dd if=/dev/zero of=/data/$0-rest bs=512 2>/dev/null; ";
const SPEAK: &str = "while :; do echo still here; sleep 1 & wait $!; done";
const FOREVER: &str = "exec sleep 1000000";

fn node(name: &str) -> Result<Node> {
    let mut node = Node::new(name, Kind::Probed)?;
    // The kernel says on the console whom it kills.
    node.expected.extend(["ut of memory", "oom-kill", "invoked oom-killer", "Call Trace"]);
    node.boot()?;
    let archive = demo::busybox()?.display().to_string();
    for name in ["busybox", "spare"] {
        node.ferrite(&["import", &archive, "--name", name])?;
    }
    Ok(node)
}

/// Writes a unit of busybox's shell, in which `$0` is its name; the file's name.
fn file(node: &Node, name: &str, script: &str, more: &str) -> Result<String> {
    let command = serde_json::to_string(&["/bin/sh", "-c", script, name])?;
    let unit = format!(
        "name = \"{name}\"\nimage = \"busybox\"\nstop_grace_s = 1\ncommand = {command}\n{more}\n"
    );
    fs::write(node.machine.directory.join(format!("{name}.toml")), unit)?;
    Ok(format!("{name}.toml"))
}

fn start(node: &Node, name: &str, script: &str, more: &str) -> Result<()> {
    let file = file(node, name, script, more)?;
    node.ferrite(&["unit", "start", &file]).map(drop)
}

fn events(node: &Node, name: &str) -> Result<Vec<Value>> {
    let text = node.ferrite(&["events", "--unit", name, "-o", "json"])?;
    text.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
}

#[test]
fn memory_that_runs_out_crash_loops_and_a_full_state_are_seen_and_survived() -> Result<()> {
    let mut node = node("trouble")?;
    a_disk_that_takes_nothing(&mut node)?;
    memory_runs_out(&node)?;
    crashes_again_and_again(&node)?;
    a_full_state(&mut node)
}

/// Who writes waits for it, and nobody else does: neither the API's other users nor units that ask for a name.
fn a_disk_that_takes_nothing(node: &mut Node) -> Result<()> {
    start(node, "asks", FOREVER, "")?;
    let resolve = ["unit", "exec", "asks", "--", "nslookup", "asks"];
    // What is read for the first time may need the disk.
    node.ferrite(&resolve)?;
    node.ferrite(&["machine", "status"])?;
    let document = file(node, "written", FOREVER, "")?;
    node.disk_moves(None, Some(1))?;
    let mut submit = background(node, &["unit", "submit", &document])?;
    let answered = (0..3).try_for_each(|_| {
        node.ferrite(&["machine", "status"])?;
        let ended = node.ferrite(&["unit", "exec", "asks", "--", "true"]);
        node.ferrite(&["machine", "status"]).context("after exec")?;
        ended?;
        node.ferrite(&resolve).map(drop)
    });
    let waits = submit.try_wait()?.is_none();
    node.disk_moves(None, None)?;
    answered.context("the agent waited for the disk")?;
    ensure!(waits, "the document was written although the disk took nothing");
    ensure!(submit.wait()?.success(), "the document is not taken once the disk is");
    node.ferrite(&["unit", "destroy", "written", "asks"]).map(drop)
}

fn memory_runs_out(node: &Node) -> Result<()> {
    let more = "network = \"none\"\nstart_limit = { starts = 2 }\n[resources]\nmemory = \"32MiB\"";
    let file = file(node, "hog", "exec tail /dev/zero", more)?;
    node.ferrite(&["unit", "start", &file, "--no-wait"])?;
    let status = until_state(node, "hog", "failed")?;
    assert_eq!((&status["oom_killed"], &status["restarts"]), (&true.into(), &1.into()), "{status}");
    let text = why(node, "hog")?;
    assert!(
        text.contains("OOM-killed") && text.contains("start limit reached: 2 starts"),
        "{text}"
    );
    let list = node.ferrite(&["unit", "list"])?;
    assert!(list.contains("failed, OOM"), "{list}");
    let events = events(node, "hog")?;
    assert_eq!(events.iter().filter(|event| event["kind"] == "oom").count(), 2, "{events:?}");
    Ok(())
}

fn crashes_again_and_again(node: &Node) -> Result<()> {
    let file = file(node, "loops", "exit 3", "network = \"none\"\nstart_limit = { starts = 4 }")?;
    node.ferrite(&["unit", "start", &file, "--no-wait"])?;
    let status = until_state(node, "loops", "failed")?;
    assert_eq!(
        (&status["restarts"], &status["last_exit"]["code"]),
        (&3.into(), &3.into()),
        "{status}"
    );
    let text = why(node, "loops")?;
    assert!(text.contains("exited with status 3") && text.contains("4 starts"), "{text}");
    let events = events(node, "loops")?;
    let said = |word: &str| {
        let mut messages = events.iter().filter_map(|event| event["message"].as_str());
        messages
            .any(|message| message.starts_with(word) && message.contains("exited with status 3"))
    };
    assert!(said("backing off") && said("failed"), "{events:?}");
    Ok(())
}

/// First as full as containers can make it, then to the last byte.
fn a_full_state(node: &mut Node) -> Result<()> {
    start(node, "talker", SPEAK, "network = \"none\"")?;
    for name in ["once", "fresh"] {
        let file = file(node, name, "echo ran", "network = \"none\"\nrestart = \"never\"")?;
        node.ferrite(&["unit", "submit", &file])?;
    }
    let volume = "network = \"none\"\nvolumes = [{ name = \"data\", target = \"/data\" }]";
    let script = format!("{FILL} touch /tmp/full; {FOREVER}");
    start(node, "filler", &script, &format!("{volume}\nrestart = \"never\""))?;
    wait_for_warning(node, true)?;
    let log = until_log(node, "talker", 1)?;
    assert!(!log.contains("could not be kept"), "the node's own part is left for logs: {log}");
    // A container gets no byte of what is left, and the node still does everything.
    let write = [
        "unit",
        "exec",
        "filler",
        "--",
        "/bin/sh",
        "-c",
        "until echo x >/data/full; do exit 5; done",
    ];
    let deadline = Instant::now() + SOON;
    while node.ferrite_output(&write)?.status.code() != Some(5) {
        ensure!(Instant::now() < deadline, "containers can still write");
    }
    let unit = file(node, "later", "echo ran", "network = \"none\"\nrestart = \"never\"")?;
    // New ones are taken, and say why they cannot start.
    node.ferrite_output(&["unit", "start", &unit, "--until", "ended"])?;
    assert!(why(node, "later")?.contains("No space left on device"), "{}", why(node, "later")?);

    let all = format!("{volume}\nrestart = \"never\"\nprivileged = true");
    let unit = file(node, "greedy", FILL, &all)?;
    node.ferrite_output(&["unit", "start", &unit, "--until", "ended"])?;
    to_the_last_byte(node)?;

    // Room again, made by a command: everything works again by itself.
    node.ferrite(&["unit", "exec", "filler", "--", "/bin/sh", "-c", "rm /data/*"])?;
    wait_for_warning(node, false)?;
    node.ferrite(&["unit", "start", "fresh", "--until", "ended"])?;
    assert!(node.ferrite(&["unit", "logs", "fresh"])?.contains("ran"));
    node.ferrite(&["unit", "start", "talker"])?;
    until_log(node, "talker", log.lines().count() + 1)?;
    node.ferrite(&["unit", "submit", &file(node, "newer", "true", "")?]).map(drop)
}

fn to_the_last_byte(node: &Node) -> Result<()> {
    let figures = node.ask(&["top", "--once"])?;
    assert_eq!(figures["state_used_bytes"], figures["state_bytes"], "{figures}");
    assert_eq!(node.ask(&["machine", "status"])?["ready"], true);
    // Not even a privileged unit takes the node's own reserve: the node itself still writes.
    node.ferrite(&["unit", "submit", &file(node, "newer", "true", "")?])?;
    // What ran goes on, and can be stopped, forgotten and removed.
    assert_eq!(node.ask(&["unit", "status", "talker"])?["restarts"], 0);
    let output = node.ferrite(&["unit", "exec", "talker", "--", "/bin/echo", "here"])?;
    assert_eq!(output, "here\n");
    node.ferrite(&["unit", "stop", "talker"])?;
    assert_eq!(node.ask(&["unit", "status", "talker"])?["wanted"], false);
    assert!(why(node, "talker")?.contains("stopped by a person"), "{}", why(node, "talker")?);
    for name in ["once", "greedy"] {
        node.ferrite(&["unit", "destroy", name])?;
    }
    node.ferrite(&["images", "remove", "spare"])?;
    node.ferrite(&["images", "prune"]).map(drop)
}

fn wait_for_warning(node: &Node, wished: bool) -> Result<()> {
    let deadline = Instant::now() + SOON;
    loop {
        let status = node.ask(&["machine", "status"])?;
        if status["warnings"].to_string().contains("STATE is full") == wished {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "{status}");
        std::thread::park_timeout(POLL);
    }
}

/// The unit's log when it has more lines than that.
fn until_log(node: &Node, name: &str, lines: usize) -> Result<String> {
    let before = node.ferrite(&["unit", "logs", name])?.lines().count().max(lines);
    let deadline = Instant::now() + SOON;
    loop {
        let log = node.ferrite(&["unit", "logs", name])?;
        if log.lines().count() > before {
            return Ok(log);
        }
        ensure!(Instant::now() < deadline, "{name} says no more than\n{log}");
        std::thread::park_timeout(POLL);
    }
}

/// Files that come to be one after the other while a unit starts.
const MOMENTS: [(&str, &str); 4] = [
    ("asked", "/run/ferrite/units/asked/request.json"),
    ("spawned", "/run/ferrite/units/spawned/shim.err"),
    ("building", "/run/ferrite/units/building/bundle"),
    ("bounded", "/sys/fs/cgroup/units/bounded"),
];

#[test]
fn an_agent_that_is_killed_during_a_start_or_a_stop_leaves_one_container_or_none() -> Result<()> {
    let mut node = node("agent-killed-in-between")?;
    start(&node, "warm", FOREVER, "")?;
    node.ferrite(&["unit", "stop", "warm"])?;
    node.ferrite(&["unit", "destroy", "warm"])?;
    let before = held(&mut node)?;
    let signal = "stop_signal = \"SIGUSR1\"";
    let kept = format!("trap 'echo first; exit 0' USR1; trap 'echo second; exit 0' TERM; {SPEAK}");
    start(&node, "kept", &kept, signal)?;
    let known = node.ask(&["unit", "status", "kept"])?;
    // As if it had been killed between starting this unit's shim and writing that down.
    let record = "/run/ferrite/lives/kept.json";
    let text = node.probe(&["read", record])?;
    let mut life: Value = serde_json::from_str(text["text"].as_str().unwrap_or_default())?;
    (life["addresses"], life["stop_signal"]) = (Value::Array(Vec::new()), 15.into());
    node.probe(&["write", record, &life.to_string()])?;

    for (count, (name, path)) in MOMENTS.into_iter().enumerate() {
        let ambush = Ambush::lie(&mut node, path)?;
        let file = file(&node, name, FOREVER, "")?;
        // Its connection may break with the agent.
        let asked = node.ferrite_output(&["unit", "start", &file, "--no-wait"])?;
        ambush.spring(&mut node).with_context(|| format!("{name}: {asked:?}"))?;
        let status = until_state(&node, name, "running")?;
        assert_eq!(status["restarts"], 0, "{status}");
        assert!(status["addresses"][0].is_string(), "{status}");
        let processes =
            node.probe(&["read", &format!("/sys/fs/cgroup/units/{name}/cgroup.procs")])?;
        let processes = processes["text"].as_str().unwrap_or_default().lines().count();
        let all = node.probe(&["processes"])?;
        assert_eq!((processes, shims(&all)), (1, count + 2), "{name}");
    }
    let status = node.ask(&["unit", "status", "kept"])?;
    same(&known, &status, &["pid", "addresses", "restarts", "state"])?;
    node.ferrite(&["unit", "stop", "kept"])?;
    let log = node.ferrite(&["unit", "logs", "kept"])?;
    assert!(log.contains("first") && !log.contains("second"), "{log}");

    // During a stop that takes its time, and when a shim has said its last word.
    let deaf = "trap 'touch /tmp/asked' TERM; while :; do sleep 1; done";
    start(&node, "deaf", deaf, "")?;
    let stop = background(&node, &["unit", "stop", "deaf"])?;
    node.wait_for("unit=\"deaf\" from=Running to=Stopping", SOON)?;
    agent_death::kill(&mut node)?;
    finish(stop)?;
    until(&node, "deaf", is_at_rest)?;
    // Forgotten, and killed before that one had ended.
    start(&node, "gone", deaf, "")?;
    node.ferrite(&["unit", "destroy", "--no-wait", "gone"])?;
    agent_death::kill(&mut node)?;
    let deadline = Instant::now() + SOON;
    while !node.is_absent("/sys/fs/cgroup/units/gone/cgroup.procs")? {
        ensure!(Instant::now() < deadline, "it runs for ever");
        std::thread::park_timeout(POLL);
    }
    let ambush = Ambush::lie(&mut node, "/run/ferrite/units/asked/outcome.json")?;
    let stop = background(&node, &["unit", "stop", "asked"])?;
    ambush.spring(&mut node)?;
    finish(stop)?;
    until(&node, "asked", is_at_rest)?;
    assert_eq!(shims(&node.probe(&["processes"])?), MOMENTS.len() - 1);
    for (name, _) in MOMENTS.into_iter().chain([("kept", ""), ("deaf", "")]) {
        node.ferrite(&["unit", "stop", name])?;
        node.ferrite(&["unit", "destroy", name])?;
    }
    assert_eq!(held(&mut node)?, before);
    Ok(())
}

fn is_at_rest(status: &Value) -> bool {
    let state = status["state"].as_str();
    status["pid"].is_null() && state.is_some_and(|state| state != "stopping")
}

fn held(node: &mut Node) -> Result<Value> {
    let mut found = node.probe(&["leaks"])?;
    // Another agent has other ones, and beside it are the probe's servers of the earlier ones.
    for name in ["fds of ferrite-agent", "mounts", "zombies"] {
        found.as_object_mut().context("counts")?.remove(name);
    }
    Ok(found)
}

fn shims(processes: &Value) -> usize {
    let all = processes.as_array().into_iter().flatten();
    all.filter(|process| process["name"] == "ferrite-shim").count()
}

/// Runs `ferrite` beside the test.
fn background(node: &Node, words: &[&str]) -> Result<Child> {
    let mut command = std::process::Command::new(ferrite_tests::programs::program("ferrite")?);
    command.env("XDG_CONFIG_HOME", &node.machine.directory).env("FERRITE_CONTEXT", "node");
    Ok(command.args(words).current_dir(&node.machine.directory).spawn()?)
}

/// However it ends: the agent that it spoke to was killed.
fn finish(mut child: Child) -> Result<()> {
    child.wait()?;
    Ok(())
}
