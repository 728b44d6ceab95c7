//! What containers, images and damage do to STATE, and that the node and its neighbours stay: trees of any depth, files
//! without end, records that cannot be understood.

use std::fs;
use std::process::{Command, Output};
use std::thread;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use ferrite_tests::agent_death;
use ferrite_tests::demo;
use ferrite_tests::images::Kind;
use ferrite_tests::node::{BOOT, Node, READY, SOON};
use ferrite_tests::programs::{said, succeed};
use ferrite_tests::units::{POLL, until_state, why};
use serde_json::Value;

/// Three chains of a thousand folders, one hung into the deepest of the other: longer than any path may be.
const DIG: &str = "cd $1; p=d; n=0; while [ $n -lt 10 ]; do p=$p/$p; n=$((n+1)); done; mkdir -p a/$p b/$p c/$p && \
                   cd $1/b/$p && mv $1/c . && cd $1/a/$p && mv $1/b .";
const DUG: u64 = 3 * 1024;
/// Makes files until it may not, and says how many and why not.
const MAKE_FILES: &str =
    "mkdir -p $1; n=0; while true >$1/$n; do n=$((n+1)); done 2>/tmp/why; echo $n";
const FOREVER: &str = "exec sleep 1000000";

fn file(node: &Node, name: &str, words: &[&str], more: &str) -> Result<String> {
    let command = serde_json::to_string(&[&["/bin/sh", "-c"], words].concat())?;
    let unit = format!(
        "name = \"{name}\"\nimage = \"busybox\"\nnetwork = \"none\"\nstop_grace_s = 1\ncommand = {command}\n{more}\n"
    );
    fs::write(node.machine.directory.join(format!("{name}.toml")), unit)?;
    Ok(format!("{name}.toml"))
}

fn run_once(node: &Node, name: &str, words: &[&str], more: &str) -> Result<Value> {
    let unit = file(node, name, words, &format!("restart = \"never\"\n{more}"))?;
    node.ferrite(&["unit", "start", &unit, "--until", "ended"])?;
    node.ask(&["unit", "status", name])
}

fn ended_well(node: &Node, status: &Value) -> Result<()> {
    let name = status["name"].as_str().context("a name")?;
    let log = node.ferrite(&["unit", "logs", name])?;
    assert_eq!(status["last_exit"]["code"], 0, "{status}\n{log}");
    Ok(())
}

#[test]
fn nothing_on_state_takes_the_node_or_a_neighbour_away() -> Result<()> {
    let mut node = Node::new("disk", Kind::Probed)?;
    node.boot()?;
    let archive = demo::busybox()?.display().to_string();
    node.ferrite(&["import", &archive, "--name", "busybox"])?;
    let neighbour = file(&node, "neighbour", &[FOREVER], "")?;
    node.ferrite(&["unit", "start", &neighbour])?;
    deep_images(&node)?;
    deep_containers_and_volumes(&node)?;
    bounds(&node)?;
    the_last_files_are_the_nodes(&mut node)?;
    damage(&mut node)
}

fn deep_images(node: &Node) -> Result<()> {
    let folder = node.machine.directory.join("deep");
    let tree = folder.join("tree");
    fs::create_dir_all(&tree)?;
    succeed(Command::new("mkdir").current_dir(&tree).arg("-p").arg("d/".repeat(1900)))?;
    let archive = folder.join("deep.tar");
    demo::extended(&demo::busybox()?, &[(&tree, "/deep")], &archive)?;
    succeed(Command::new("rm").arg("-r").arg(&tree))?;
    let archive = archive.display().to_string();
    node.ferrite(&["import", &archive, "--name", "deep"])?;
    node.ferrite(&["images", "remove", "deep"])?;
    let images = node.ask(&["images"])?;
    assert!(!images.to_string().contains("deep"), "{images}");
    Ok(())
}

fn deep_containers_and_volumes(node: &Node) -> Result<()> {
    let status = run_once(node, "digger", &[DIG, "sh", "/tmp"], "")?;
    ended_well(node, &status)?;
    // What it left is removed before its next start.
    let status = run_once(node, "digger", &[DIG, "sh", "/tmp"], "")?;
    ended_well(node, &status)?;
    let volume = "volumes = [{ name = \"pit\", target = \"/pit\" }]";
    let status = run_once(node, "pitman", &[DIG, "sh", "/pit"], volume)?;
    ended_well(node, &status)?;
    let volumes = node.ask(&["volumes"])?;
    assert!(volumes[0]["files"].as_u64() > Some(DUG), "{volumes}");
    node.ferrite(&["unit", "destroy", "pitman"])?;
    node.ferrite(&["volumes", "remove", "pit"])?;
    assert_eq!(node.ask(&["volumes"])?, Value::Array(Vec::new()));
    Ok(())
}

fn bounds(node: &Node) -> Result<()> {
    let more = "[resources]\ninodes = 100\ndisk = \"4MiB\"";
    let unit = file(node, "bounded", &[FOREVER], more)?;
    node.ferrite(&["unit", "start", &unit])?;
    let shell = |name: &str, script: &str| shell(node, name, script);
    let made = shell("bounded", MAKE_FILES)?;
    let count = number(&made)?;
    assert!((50..=100).contains(&count), "{made:?}");
    let written = shell("bounded", "rm -r /tmp/many; dd if=/dev/zero of=/tmp/big bs=1M count=8")?;
    assert!(!written.status.success() && said(&written).contains("quota"), "{written:?}");
    let figures = node.ask(&["top", "--once"])?;
    let units = figures["units"].as_array().context("units")?;
    let figure = units.iter().find(|unit| unit["unit"] == "bounded").context("its figures")?;
    assert_eq!(figure["inodes_max"], 100, "{figure}");
    assert_eq!(figure["disk_max_bytes"], 4 << 20, "{figure}");
    let status = node.ask(&["unit", "status", "bounded"])?;
    assert_eq!(status["usage"]["disk_max_bytes"], 4 << 20, "{status}");
    let status = node.ferrite(&["unit", "status", "bounded"])?;
    assert!(status.contains("4.00 MiB") && status.contains(" of 100"), "{status}");
    // One that says nothing does not take all there are either.
    let greedy = file(node, "greedy", &[FOREVER], "")?;
    node.ferrite(&["unit", "start", &greedy])?;
    let made = shell("greedy", MAKE_FILES)?;
    let count = number(&made)?;
    let figures = node.ask(&["top", "--once"])?;
    let all = figures["state_inodes"].as_u64().context("files that STATE holds")?;
    assert!(count > all / 5 && count <= all / 4, "{count} of {all}");
    let beside = shell("neighbour", "echo x >/tmp/x && rm /tmp/x")?;
    assert!(beside.status.success(), "{beside:?}");
    node.ferrite(&["unit", "destroy", "greedy"])?;
    node.ferrite(&["unit", "destroy", "bounded"]).map(drop)
}

fn shell(node: &Node, name: &str, script: &str) -> Result<Output> {
    node.ferrite_output(&["unit", "exec", name, "--", "/bin/sh", "-c", script, "sh", "/tmp/many"])
}

fn number(output: &Output) -> Result<u64> {
    let text = String::from_utf8_lossy(&output.stdout);
    text.trim().parse().with_context(|| format!("a number: {output:?}"))
}

/// Waits until the node's status says that files are short, or does not. Returns its warnings.
fn until_short(node: &Node, short: bool) -> Result<String> {
    let deadline = Instant::now() + SOON;
    loop {
        let warnings = node.ask(&["machine", "status"])?["warnings"].to_string();
        if warnings.contains("hardly any more files") == short {
            return Ok(warnings);
        }
        ensure!(Instant::now() < deadline, "still {warnings}");
        thread::park_timeout(POLL);
    }
}

/// Units that may have all files take all there are, at the same time.
fn the_last_files_are_the_nodes(node: &mut Node) -> Result<()> {
    let fillers = ["filler-a", "filler-b"];
    for name in fillers {
        let unit = file(node, name, &[FOREVER], "[resources]\ninodes = 1000000")?;
        node.ferrite(&["unit", "start", &unit])?;
    }
    let fill = |node: &Node, folder: &str| -> Result<Vec<u64>> {
        let script = MAKE_FILES.replace("$1", &format!("$1/{folder}"));
        let made = |name| number(&shell(node, name, &script)?);
        thread::scope(|scope| {
            let both = fillers.map(|name| scope.spawn(move || made(name)));
            let ended = |_| anyhow::anyhow!("a filler's thread ended");
            both.into_iter().map(|one| one.join().map_err(ended).flatten()).collect()
        })
    };
    let made = fill(node, "first")?;
    let all = node.ask(&["top", "--once"])?["state_inodes"].as_u64().context("files")?;
    assert!(made.iter().sum::<u64>() > all / 2, "{made:?} of {all}");
    let warnings = until_short(node, true)?;
    assert!(warnings.contains("unit filler-"), "{warnings}");
    let held = |node: &Node| -> Result<()> {
        let more = fill(node, "more")?;
        assert!(more.iter().sum::<u64>() < 100, "{more:?}");
        Ok(())
    };
    held(node)?;
    let folder = node.machine.directory.join("few");
    fs::create_dir_all(&folder)?;
    for name in 0..50 {
        fs::write(folder.join(name.to_string()), "")?;
    }
    let archive = node.machine.directory.join("few.tar");
    demo::extended(&demo::busybox()?, &[(&folder, "/few")], &archive)?;
    node.ferrite(&["import", &archive.display().to_string(), "--name", "few"])?;
    let late = file(node, "late", &[FOREVER], "")?;
    let late_text = fs::read_to_string(node.machine.directory.join(&late))?;
    let late_text = late_text.replace("\"busybox\"", "\"few\"");
    fs::write(node.machine.directory.join(&late), late_text)?;
    node.ferrite(&["unit", "start", &late])?;
    let wrote = shell(node, "late", "ls /few/49 && echo x >/tmp/x")?;
    assert!(wrote.status.success(), "{wrote:?}");
    // The next agent finds everybody held, and what it keeps for itself let go.
    agent_death::kill(node)?;
    until_short(node, true)?;
    held(node)?;
    node.ferrite(&["unit", "stop", "late"])?;
    node.ferrite(&["unit", "start", &late])?;
    for name in fillers {
        let removed = shell(node, name, "rm -r $1")?;
        assert!(removed.status.success(), "{removed:?}");
    }
    until_short(node, false)?;
    let some = "mkdir -p $1; n=0; while [ $n -lt 2000 ]; do true >$1/$n || exit; n=$((n+1)); done; rm -r $1";
    for name in ["filler-a", "filler-b", "late"] {
        let wrote = shell(node, name, some)?;
        assert!(wrote.status.success(), "{wrote:?}");
        node.ferrite(&["unit", "destroy", name])?;
    }
    node.ferrite(&["images", "remove", "few"]).map(drop)
}

/// What a disk or somebody with all rights may leave.
fn damage(node: &mut Node) -> Result<()> {
    let plant = "cd /state; printf '\\377\\376' >units/bytes.toml; printf '{' >ids.json; mkdir units/folder.toml; \
                 printf '{' >images/names/torn.json; printf '\\377' >config.last-good.toml; \
                 printf '\\377' >units/neighbour.fired; mkdir -p volumes/.gone-x/y scratch/.gone-z/y; \
                 printf x >layers/tmp-file; sync";
    let more =
        "privileged = true\nvolumes = [{ host = \"/var/lib/ferrite\", target = \"/state\" }]";
    let status = run_once(node, "planter", &[plant], more)?;
    ended_well(node, &status)?;
    for name in ["planter", "digger"] {
        node.ferrite(&["unit", "stop", name])?;
    }
    node.ferrite(&["machine", "reboot"])?;
    node.wait_for(READY, BOOT).context("after the reboot")?;
    let status = until_state(node, "neighbour", "running")?;
    assert_eq!(status["restarts"], 0, "{status}");
    let images = node.ask(&["images"])?;
    assert!(images.to_string().contains("busybox"), "{images}");
    let machine = node.ask(&["machine", "status"])?;
    assert_eq!(machine["ready"], true, "{machine}");
    let warnings = machine["warnings"].to_string();
    for name in ["bytes.toml", "ids.json", "folder.toml", "torn.json"] {
        assert!(warnings.contains(name), "{name}: {warnings}");
    }
    // Everything else is as it was.
    let again = run_once(node, "planter", &["true"], more)?;
    ended_well(node, &again).with_context(|| why(node, "planter").unwrap_or_default())
}
