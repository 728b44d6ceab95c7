//! What goes on in containers whose programs see to nothing but themselves: processes that end without a parent, what health
//! checks leave behind; and what images of other engines ask for.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Instant;

use anyhow::{Result, ensure};
use ferrite_tests::demo;
use ferrite_tests::images::Kind;
use ferrite_tests::node::{Node, SOON};
use ferrite_tests::saved::{self, Layer};
use ferrite_tests::units::{until, until_state};
use serde_json::{Value, json};

fn node(name: &str) -> Result<Node> {
    let mut node = Node::new(name, Kind::Product)?;
    node.boot()?;
    import(&node, "busybox", &demo::busybox()?)?;
    Ok(node)
}

fn import(node: &Node, name: &str, archive: &Path) -> Result<()> {
    node.ferrite(&["import", &archive.display().to_string(), "--name", name]).map(drop)
}

fn submit(node: &Node, name: &str, rest: &str) -> Result<String> {
    let file = format!("{name}.toml");
    let text = format!("name = \"{name}\"\nnetwork = \"none\"\nrestart = \"never\"\n{rest}\n");
    std::fs::write(node.machine.directory.join(&file), text)?;
    node.ferrite(&["unit", "submit", &file])?;
    Ok(file)
}

/// A unit of busybox's shell, started.
fn start(node: &Node, name: &str, script: &str, rest: &str) -> Result<()> {
    let command = json!(["/bin/sh", "-c", script]);
    submit(node, name, &format!("image = \"busybox\"\ncommand = {command}\n{rest}"))?;
    node.ferrite(&["unit", "start", name, "--no-wait"]).map(drop)
}

/// What a unit wrote, once it has ended, and its status.
fn ended(node: &Node, name: &str) -> Result<(String, Value)> {
    let over = |status: &Value| matches!(status["state"].as_str(), Some("exited" | "failed"));
    let status = until(node, name, over)?;
    Ok((node.ferrite(&["unit", "logs", name])?, status))
}

/// Waits until a unit has written a line.
fn until_said(node: &Node, name: &str, line: &str) -> Result<()> {
    let deadline = Instant::now() + SOON;
    while !node.ferrite(&["unit", "logs", name])?.lines().any(|said| said.trim() == line) {
        ensure!(Instant::now() < deadline, "{name} does not say {line:?}");
    }
    Ok(())
}

/// Orphans, until none of them is left, and then the look of the first process.
const ORPHANS: &str = "i=0; while [ $i -lt 100 ]; do (true & true &) || exit 9; i=$((i+1)); done; \
    while grep -q '^State:.Z' /proc/[0-9]*/status 2>/dev/null; do :; done; echo collected; \
    tr '\\0' ' ' < /proc/1/cmdline; echo; echo $(wc -c < /proc/1/environ) variables; ls /proc/1/fd | wc -l; \
    echo x 2>/dev/null > /proc/1/exe && echo written; exit 5";

#[test]
fn an_init_collects_passes_signals_on_and_ends_as_its_program() -> Result<()> {
    let node = node("init")?;
    start(&node, "orphans", ORPHANS, "init = true")?;
    let (log, status) = ended(&node, "orphans")?;
    let lines: Vec<&str> = log.lines().map(str::trim).collect();
    assert_eq!(lines[..], ["collected", "ferrite-shim reap 2", "0 variables", "0"], "{log}");
    assert_eq!(status["last_exit"]["code"], 5, "{status}");

    // Two processes are what there is room for, and what a shell that starts none needs.
    start(&node, "two", "echo two", "init = true\nresources = { pids_max = 2 }")?;
    assert_eq!(ended(&node, "two")?.0.trim(), "two");

    // Any signal, real-time ones too; one that nobody waits for ends the program, which is no first process.
    let waits = "trap 'echo heard; exit 0' 37; echo begun; while :; do sleep 1 & wait $!; done";
    let by_37 = "init = true\nstop_signal = \"SIGRTMIN+3\"\nstop_grace_s = 600";
    start(&node, "waits", waits, by_37)?;
    until_said(&node, "waits", "begun")?;
    // Commands that join it have the same first process.
    let joined = "test $(readlink /proc/self) != 1 && (true &) && echo joined";
    let said = node.ferrite(&["unit", "exec", "waits", "--", "/bin/sh", "-c", joined])?;
    assert_eq!(said.trim(), "joined");
    node.ferrite(&["unit", "stop", "waits"])?;
    until_said(&node, "waits", "heard")?;
    start(&node, "deaf", "echo begun; exec sleep 100000", "init = true\nstop_grace_s = 600")?;
    until_said(&node, "deaf", "begun")?;
    node.ferrite(&["unit", "stop", "deaf"])?;
    let deaf = node.ask(&["unit", "status", "deaf"])?;
    assert_eq!(deaf["last_exit"]["code"], 128 + 15, "{deaf}");

    // The program has the terminal.
    let group = "read -r _ _ _ _ group _ _ foreground _ < /proc/$$/stat; test $group = $foreground && echo foreground";
    start(&node, "terminal", group, "init = true\ntty = true")?;
    assert_eq!(ended(&node, "terminal")?.0.trim(), "foreground");

    // Why nothing is run is the kernel's reason, with the path.
    submit(&node, "absent", "image = \"busybox\"\ninit = true\ncommand = [\"/no/such\"]")?;
    node.ferrite_output(&["unit", "start", "absent", "--no-wait"])?;
    let (_, absent) = ended(&node, "absent")?;
    let reason = absent["reason"].as_str().unwrap_or_default();
    assert!(reason.contains("start /no/such: No such file or directory"), "{absent}");
    Ok(())
}

/// A check that leaves three processes behind, of which one leads a session, and counts.
const LEAVES: &str =
    "echo >> /tmp/checks; sleep 100000 & sleep 100000 & setsid sleep 100000 & exit 0";
/// A check that does not end.
const HANGS: &str = "echo >> /tmp/checks; sleep 100000 & sleep 100000";

#[test]
fn what_health_checks_leave_behind_goes_also_where_nobody_collects() -> Result<()> {
    let node = node("checks")?;
    for (name, script, rest) in [
        ("leaves", LEAVES, "timeout_s = 60"),
        ("hangs", HANGS, "timeout_s = 1\nretries = 3600\nstart_period_s = 3600"),
    ] {
        let exec = json!(["/bin/sh", "-c", script]);
        // It collects nothing, whoever ends below it.
        let unit = format!(
            "image = \"busybox\"\ncommand = [\"/bin/sleep\", \"100000\"]\nresources = {{ pids_max = 16 }}\n\
             [health]\nexec = {exec}\ninterval_s = 1\n{rest}"
        );
        submit(&node, name, &unit)?;
        node.ferrite(&["unit", "start", name, "--no-wait"])?;
    }
    for name in ["leaves", "hangs"] {
        until_state(&node, name, "running")?;
        let ask =
            |script: &str| node.ferrite(&["unit", "exec", name, "--", "/bin/sh", "-c", script]);
        let deadline = Instant::now() + 4 * SOON;
        // What each leaves, times this, is more than there is room for.
        while ask("wc -l < /tmp/checks || echo 0")?.trim().parse().unwrap_or(0) < 15 {
            ensure!(Instant::now() < deadline, "{name} is not checked any more");
        }
        let processes = ask("ls -d /proc/[0-9]* | wc -l")?;
        // The program, a check that runs now with its parent and what it leaves, and the one that asks, a pipe of two.
        assert!(processes.trim().parse::<u32>()? <= 12, "{name} has {processes} processes");
    }
    let leaves = node.ask(&["unit", "status", "leaves"])?;
    assert_eq!(leaves["health"], "healthy", "{leaves}");
    let hangs = node.ask(&["unit", "status", "hangs"])?;
    assert!(hangs["state"] == "running" && hangs["restarts"] == 0, "{hangs}");
    Ok(())
}

#[test]
fn images_of_other_engines_are_taken_or_named() -> Result<()> {
    let node = node("other-engines")?;
    let folder = &node.machine.directory;
    what_is_not_gone_by_is_noted(&node)?;
    far_owners_are_owners(&node)?;

    let empty = folder.join("empty.tar");
    saved::empty(&["/program"], &empty)?;
    import(&node, "empty", &empty)?;
    submit(&node, "empty", "image = \"empty\"")?;
    node.ferrite_output(&["unit", "start", "empty", "--no-wait"])?;
    let (_, status) = ended(&node, "empty")?;
    let reason = status["reason"].as_str().unwrap_or_default();
    assert!(reason.contains("run image empty: it has no layers"), "{status}");
    // A volume may have the program.
    submit(&node, "volume", "image = \"empty\"\nvolumes = [{ name = \"v\", target = \"/v\" }]")?;
    node.ferrite_output(&["unit", "start", "volume", "--no-wait"])?;
    let (_, status) = ended(&node, "volume")?;
    let reason = status["reason"].as_str().unwrap_or_default();
    assert!(reason.contains("start /program: No such file or directory"), "{status}");
    Ok(())
}

fn what_is_not_gone_by_is_noted(node: &Node) -> Result<()> {
    let archive = node.machine.directory.join("asks.tar");
    let asks = |config: &mut Value| {
        config["Healthcheck"] =
            json!({ "Test": ["CMD-SHELL", "exit 0"], "Interval": 5_000_000_000_u64 });
        config["Volumes"] = json!({ "/data": {} });
    };
    saved::changed(&demo::busybox()?, &[], asks, &archive)?;
    import(node, "asks", &archive)?;
    let forever =
        "image = \"asks\"\ncommand = [\"/bin/sleep\", \"100000\"]\nstop_signal = \"KILL\"\n";
    submit(node, "asks", forever)?;
    node.ferrite(&["unit", "start", "asks"])?;
    let health = "health = { exec = [\"/bin/sh\", \"-c\", \"exit 0\"], interval_s = 5 }";
    let volumes = "volumes = [{ name = \"asks-data\", target = \"/data\" }]";
    let status = node.ask(&["unit", "status", "asks"])?;
    for line in [health, volumes] {
        let notes = status["notes"].as_array().into_iter().flatten();
        let noted = notes.filter_map(Value::as_str).any(|note| note.contains(line));
        assert!(noted, "{line} is missing in {status}");
        let event = node.ferrite(&["events"])?;
        assert!(event.contains(line), "{event}");
    }
    // What is noted can be written, and then is noted no more.
    submit(node, "asks", &format!("{forever}{volumes}\n{health}"))?;
    node.ferrite(&["unit", "restart", "asks"])?;
    let status = until(node, "asks", |status| status["health"] == "healthy")?;
    assert_eq!(status["notes"], json!([]), "{status}");
    Ok(())
}

/// Users of images that are around: Arch's bootstrap, LLVM's, and the last one that there is.
const FAR: [u32; 3] = [100_011, 431_982, u32::MAX - 1];

fn far_owners_are_owners(node: &Node) -> Result<()> {
    let folder = node.machine.directory.join("far");
    let mut layers = Vec::new();
    for owner in FAR {
        let here = folder.join(owner.to_string());
        let home = here.join(format!("home/{owner}"));
        std::fs::create_dir_all(&home)?;
        let program = home.join("program");
        std::fs::write(
            &program,
            "#!/bin/sh\nid -u; echo more >> ${0%/*}/file && cat ${0%/*}/file\n",
        )?;
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o700))?;
        std::fs::set_permissions(&home, std::fs::Permissions::from_mode(0o700))?;
        std::fs::write(home.join("file"), "one\n")?;
        layers.push(here);
    }
    let layers: Vec<Layer<'_>> =
        layers.iter().zip(FAR).map(|(folder, owner)| Layer { folder, owner }).collect();
    let archive = node.machine.directory.join("far.tar");
    saved::changed(
        &demo::busybox()?,
        &layers,
        |config| config["User"] = json!("100011"),
        &archive,
    )?;
    import(node, "far", &archive)?;
    for owner in FAR {
        let name = format!("far-{owner}");
        let program = json!([format!("/home/{owner}/program")]);
        let user =
            if owner == FAR[0] { String::new() } else { format!("user = \"{owner}:{owner}\"\n") };
        submit(node, &name, &format!("image = \"far\"\n{user}command = {program}"))?;
        node.ferrite_output(&["unit", "start", &name, "--no-wait"])?;
        let (log, status) = ended(node, &name)?;
        assert_eq!(log, format!("{owner}\none\nmore\n"), "{status}");
    }
    // The container's root owns them, too: what is nobody's he could not.
    let script = "stat -c %u /home/*/file; chown 431982 /tmp && stat -c %u /tmp; chown 431983 /tmp || echo refused";
    let command = json!(["/bin/sh", "-c", script]);
    let volume = "volumes = [{ name = \"far\", target = \"/home/431982\" }]";
    submit(node, "root", &format!("image = \"far\"\nuser = \"0\"\ncommand = {command}\n{volume}"))?;
    node.ferrite(&["unit", "start", "root", "--no-wait"])?;
    let (log, status) = ended(node, "root")?;
    let lines: Vec<&str> = log.lines().filter(|line| !line.starts_with("chown:")).collect();
    assert_eq!(lines, ["100011", "4294967294", "431982", "431982", "refused"], "{status}");
    Ok(())
}
