//! What units mean: who waits for whom, what follows an end, and how a person is told why.

use std::os::unix::fs::PermissionsExt;
use std::time::Instant;

use anyhow::{Result, ensure};
use ferrite_tests::demo;
use ferrite_tests::images::Kind;
use ferrite_tests::node::{BOOT, Node, READY, SOON};
use ferrite_tests::units::{until, until_state, why};
use serde_json::Value;

fn node(name: &str) -> Result<Node> {
    let mut node = Node::new(name, Kind::Product)?;
    node.boot()?;
    let archive = demo::busybox()?;
    node.ferrite(&["import", &archive.display().to_string(), "--name", "busybox"])?;
    Ok(node)
}

/// Writes a unit of busybox's shell; the file's name.
fn file(node: &Node, name: &str, script: &str, rest: &str) -> Result<String> {
    let file = format!("{name}.toml");
    let command = toml_words(&["/bin/sh", "-c", script]);
    let text = format!("name = \"{name}\"\nimage = \"busybox\"\ncommand = {command}\n{rest}\n");
    std::fs::write(node.machine.directory.join(&file), text)?;
    Ok(file)
}

fn toml_words(words: &[&str]) -> String {
    serde_json::to_string(words).unwrap_or_default()
}

fn submit(node: &Node, name: &str, script: &str, rest: &str) -> Result<()> {
    node.ferrite(&["unit", "submit", &file(node, name, script, rest)?]).map(drop)
}

fn start(node: &Node, name: &str) -> Result<()> {
    node.ferrite(&["unit", "start", name, "--no-wait"]).map(drop)
}

fn status(node: &Node, name: &str) -> Result<Value> {
    node.ask(&["unit", "status", name])
}

const FOREVER: &str = "trap 'exit 0' TERM; while :; do sleep 1 & wait $!; done";

#[test]
fn units_wait_for_each_other_and_say_why() -> Result<()> {
    let node = node("units-wait")?;
    // Ready only when its check succeeds: when somebody made the file.
    let check =
        "[health]\nexec = [\"/bin/sh\", \"-c\", \"test -e /tmp/well\"]\nstart_period_s = 600";
    let slow = format!("trap 'exit 0' TERM; sleep 6; touch /tmp/well; {FOREVER}");
    submit(&node, "db", &slow, check)?;
    submit(&node, "migrate", "sleep 2; exit 0", "oneshot = true\nrequires = [\"db\"]")?;
    submit(&node, "web", FOREVER, "requires = [\"migrate\"]\nafter = [\"db\"]")?;
    // What is required is started with it, and each waits for the one before.
    start(&node, "web")?;
    until(&node, "web", |status| {
        status["reason"].as_str().is_some_and(|why| why.contains("migrate"))
    })?;
    assert!(
        why(&node, "migrate")?.contains("waiting for db (which is"),
        "{}",
        why(&node, "migrate")?
    );
    until_state(&node, "web", "running")?;
    assert_eq!(status(&node, "migrate")?["state"], "exited");
    assert_eq!(status(&node, "db")?["health"], "healthy");
    // A circle is refused, with everybody in it.
    let db = file(&node, "db", FOREVER, "after = [\"web\"]")?;
    let refused = node.ferrite_output(&["unit", "submit", &db])?;
    assert_eq!(refused.status.code(), Some(7));
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(said.contains("db → web"), "{said}");
    // Who requires it stops with it, waits, and comes back with it.
    submit(&node, "front", FOREVER, "requires = [\"db\"]")?;
    start(&node, "front")?;
    until_state(&node, "front", "running")?;
    node.ferrite(&["unit", "stop", "db"])?;
    until_state(&node, "front", "waiting")?;
    assert!(why(&node, "db")?.contains("stopped by a person at"), "{}", why(&node, "db")?);
    node.ferrite(&["unit", "start", "db"])?;
    until_state(&node, "front", "running")?;
    Ok(())
}

#[test]
fn ends_are_followed_by_what_was_asked_for() -> Result<()> {
    let mut node = node("units-ends")?;
    submit(&node, "crash", "exit 3", "start_limit = { starts = 3 }")?;
    start(&node, "crash")?;
    let crash = until_state(&node, "crash", "failed")?;
    assert_eq!(crash["restarts"], 2, "{crash}");
    assert!(why(&node, "crash")?.contains("start limit reached: 3 starts"), "{crash}");
    submit(&node, "loops", "exit 4", "")?;
    start(&node, "loops")?;
    until(&node, "loops", |status| status["restarts"].as_u64() > Some(4))?;
    until_state(&node, "loops", "backing-off")?;
    assert!(why(&node, "loops")?.contains("it exited with status 4"), "{}", why(&node, "loops")?);
    // A health check that fails restarts its unit.
    let sick = "[health]\nexec = [\"/bin/false\"]\ninterval_s = 1\nretries = 2";
    submit(&node, "sick", FOREVER, sick)?;
    start(&node, "sick")?;
    let sick = until(&node, "sick", |status| status["restarts"].as_u64() > Some(0))?;
    assert_eq!(sick["wanted"], true);
    // Commands around it: the first failing one ends the start, and is named.
    submit(
        &node,
        "early",
        FOREVER,
        "restart = \"never\"\npre_start = [[\"/bin/true\"], [\"/bin/false\"]]",
    )?;
    start(&node, "early")?;
    until_state(&node, "early", "failed")?;
    assert!(
        why(&node, "early")?.contains("pre_start command 2 failed"),
        "{}",
        why(&node, "early")?
    );
    // An image that is nowhere.
    std::fs::write(
        node.machine.directory.join("absent.toml"),
        "name = \"absent\"\nimage = \"127.0.0.1:1/absent\"\nrestart = \"never\"\n",
    )?;
    node.ferrite(&["unit", "start", "absent.toml", "--no-wait"])?;
    until_state(&node, "absent", "failed")?;
    assert!(why(&node, "absent")?.contains("127.0.0.1:1/absent"), "{}", why(&node, "absent")?);
    // A timer, a template's instance, and what all that is after a reboot.
    submit(&node, "tick", "echo tick", "timer.every_s = 2")?;
    start(&node, "tick")?;
    let log = |node: &Node| node.ferrite(&["unit", "logs", "tick"]);
    let deadline = Instant::now() + SOON;
    while log(&node)?.lines().count() < 2 {
        ensure!(Instant::now() < deadline, "the timer fired once or never");
    }
    submit(
        &node,
        "worker@",
        &format!("echo I am %i of %p; {FOREVER}"),
        "labels = { shard = \"%i\" }",
    )?;
    node.ferrite(&["unit", "start", "worker@7"])?;
    assert_eq!(status(&node, "worker@7")?["labels"]["shard"], "7");
    let refused = node.ferrite_output(&["unit", "destroy", "worker@"])?;
    assert_eq!(refused.status.code(), Some(7), "a template with an instance");
    node.ferrite(&["machine", "reboot"])?;
    node.wait_for(READY, BOOT)?;
    until_state(&node, "worker@7", "running")?;
    assert!(node.ferrite(&["unit", "logs", "worker@7"])?.contains("I am 7 of worker"));
    assert_eq!(status(&node, "crash")?["wanted"], true, "a wish outlives its failure");
    let list = node.ask(&["unit", "list", "--label", "shard=7"])?;
    assert_eq!(list.as_array().map(Vec::len), Some(1), "{list}");
    Ok(())
}

/// Files of an image below `/opt`: name, mode, what is in it.
const PROGRAMS: [(&str, u32, &[u8]); 6] = [
    ("owners", 0o750, b"#!/bin/sh\necho ran $0 $1\n"),
    ("readable", 0o754, b"#!/bin/sh\necho ran $0 $1\n"),
    ("unmarked", 0o644, b"#!/bin/sh\n"),
    ("garbage", 0o755, b"echo wrong\n"),
    ("foreign", 0o755, b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\xb7\0"),
    ("orphan", 0o755, b"#!/no/such/shell\n"),
];

fn import_programs(node: &Node) -> Result<()> {
    let opt = node.machine.directory.join("opt");
    std::fs::create_dir_all(opt.join("early/owners"))?;
    for (name, mode, bytes) in PROGRAMS {
        std::fs::write(opt.join(name), bytes)?;
        std::fs::set_permissions(opt.join(name), std::fs::Permissions::from_mode(mode))?;
    }
    let archive = node.machine.directory.join("programs.tar");
    demo::extended(&demo::busybox()?, &[(&opt, "/opt")], &archive)?;
    node.ferrite(&["import", &archive.display().to_string(), "--name", "programs"]).map(drop)
}

/// Runs a unit of that image to its end; its status.
fn run(node: &Node, name: &str, rest: &str) -> Result<Value> {
    let text = format!(
        "name = \"{name}\"\nimage = \"programs\"\nrestart = \"never\"\nnetwork = \"none\"\n{rest}\n"
    );
    let file = format!("{name}.toml");
    std::fs::write(node.machine.directory.join(&file), text)?;
    node.ferrite_output(&["unit", "start", &file, "--until", "ended"])?;
    status(node, name)
}

#[test]
fn programs_run_as_the_kernel_decides_and_stop_by_any_signal() -> Result<()> {
    let node = node("units-programs")?;
    import_programs(&node)?;
    programs_run(&node)?;
    programs_are_refused(&node)?;
    // As systemd in a container is stopped.
    let script = "trap 'echo heard; exit 0' 37; echo begun; while :; do sleep 1 & wait $!; done";
    submit(&node, "systemd", script, "stop_signal = \"SIGRTMIN+3\"\nstop_grace_s = 60")?;
    start(&node, "systemd")?;
    let log = || node.ferrite(&["unit", "logs", "systemd"]);
    let deadline = Instant::now() + SOON;
    while !log()?.contains("begun") {
        ensure!(Instant::now() < deadline, "it does not begin");
    }
    node.ferrite(&["unit", "stop", "systemd"])?;
    assert!(log()?.contains("heard"), "{}", log()?);
    Ok(())
}

fn programs_run(node: &Node) -> Result<()> {
    for (name, rest, said) in [
        ("owners", "command = [\"/opt/owners\", \"a\"]", "ran /opt/owners a"),
        ("readable", "command = [\"/opt/readable\"]", "ran /opt/readable"),
        // What else has its name stands in nobody's way.
        (
            "found",
            "command = [\"owners\"]\nenv = { PATH = \"/nowhere:/opt/early:/opt\" }",
            "ran /opt/owners",
        ),
        ("alone", "command = [\"/opt/owners\"]\nresources = { pids_max = 1 }", "ran /opt/owners"),
    ] {
        let found = run(node, name, rest)?;
        assert_eq!(found["state"], "exited", "{found}");
        let log = node.ferrite(&["unit", "logs", name])?;
        assert_eq!(log.trim(), said, "{name}");
    }
    Ok(())
}

fn programs_are_refused(node: &Node) -> Result<()> {
    for (name, rest, why) in [
        ("absent", "command = [\"/no/such\"]", "start /no/such: No such file or directory"),
        ("unmarked", "command = [\"/opt/unmarked\"]", "start /opt/unmarked: Permission denied"),
        ("folder", "command = [\"/opt/early\"]", "start /opt/early: Is a directory"),
        (
            "nowhere",
            "command = [\"no-such\"]",
            "there is no such program in any folder of PATH (/bin)",
        ),
        ("garbage", "command = [\"/opt/garbage\"]", "Exec format error"),
        ("foreign", "command = [\"/opt/foreign\"]", "a program for arm64: Exec format error"),
        (
            "orphan",
            "command = [\"/opt/orphan\"]",
            "whose interpreter \"/no/such/shell\" is missing",
        ),
        (
            "work",
            "command = [\"/bin/true\"]\nworkdir = \"/opt/owners\"",
            "directory /opt/owners in the image: not a directory",
        ),
        (
            "starved",
            "command = [\"/bin/true\"]\nulimits = { nofile = 3 }",
            "within the unit's bounds: ulimits.nofile",
        ),
    ] {
        let found = run(node, name, rest)?;
        let reason = found["reason"].as_str().unwrap_or_default();
        assert!(found["state"] == "failed" && reason.contains(why), "{found}");
        assert!(!reason.contains("$PATH"), "{found}");
    }
    Ok(())
}
