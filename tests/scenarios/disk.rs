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
    volumes_are_filled_within_bounds(&node)?;
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

/// All of the node's own on STATE.
const ALL_OF_STATE: &str =
    "privileged = true\nvolumes = [{ host = \"/var/lib/ferrite\", target = \"/state\" }]";

/// An image of some kilobytes is no gigabytes in a new volume, and what does not fit into a volume leaves nothing of it.
fn volumes_are_filled_within_bounds(node: &Node) -> Result<()> {
    let folder = node.machine.directory.join("filled");
    for name in ["holes", "much", "many"] {
        fs::create_dir_all(folder.join(name))?;
    }
    fs::File::create(folder.join("holes/file"))?.set_len(16 << 30)?;
    fs::write(folder.join("much/file"), vec![7; 16 << 20])?;
    for number in 0..300 {
        fs::write(folder.join("many").join(number.to_string()), "")?;
    }
    let (layer, archive) = (folder.join("layer.tar"), folder.join("filled.tar"));
    let mut tar = Command::new("tar");
    tar.args(["--create", "--sparse", "--file"]).arg(&layer).arg("--directory").arg(&folder);
    succeed(tar.args(["holes", "much", "many"]))?;
    demo::with_layer(&demo::busybox()?, &layer, &archive)?;
    node.ferrite(&["import", &archive.display().to_string(), "--name", "filled"])?;
    let of_image = |name: &str, script: &str, more: &str| -> Result<String> {
        let more = format!("restart = \"never\"\n{more}");
        let unit = file(node, name, &[script], &more)?;
        let path = node.machine.directory.join(&unit);
        let text = fs::read_to_string(&path)?.replace("\"busybox\"", "\"filled\"");
        fs::write(path, text)?;
        Ok(unit)
    };
    let volume = |name: &str| format!("volumes = [{{ name = \"{name}\", target = \"/{name}\" }}]");
    // More than all of STATE.
    let script =
        "ls -l /holes/file | grep -q 17179869184 && [ $(du -k /holes/file | cut -f1) -lt 1000 ]";
    let unit = of_image("holed", script, &volume("holes"))?;
    node.ferrite(&["unit", "start", &unit, "--until", "ended"])?;
    ended_well(node, &node.ask(&["unit", "status", "holed"])?)?;
    for (name, bound) in [("much", "disk = \"4MiB\""), ("many", "inodes = 100")] {
        let more = format!("{}\n[resources]\n{bound}", volume(name));
        let unit = of_image(name, "true", &more)?;
        let output = node.ferrite_output(&["unit", "start", &unit, "--until", "ended"])?;
        assert!(!output.status.success(), "{output:?}");
        let status = node.ask(&["unit", "status", name])?;
        let reason = status["reason"].as_str().unwrap_or_default();
        assert!(reason.contains(&format!("volume {name}: no space")), "{status}");
    }
    let volumes = node.ask(&["volumes"])?;
    let names: Vec<&str> = volumes
        .as_array()
        .context("volumes")?
        .iter()
        .filter_map(|one| one["name"].as_str())
        .collect();
    assert_eq!(names, ["holes"], "{volumes}");
    let hidden =
        run_once(node, "hidden", &["! ls -A /state/volumes | grep -v holes"], ALL_OF_STATE)?;
    ended_well(node, &hidden)?;
    for name in ["holed", "much", "many", "hidden"] {
        node.ferrite(&["unit", "destroy", name])?;
    }
    node.ferrite(&["volumes", "remove", "holes"])?;
    node.ferrite(&["images", "remove", "filled"]).map(drop)
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

/// Under every name that a new unit's first start writes, and under those that are written beside them, stands something
/// else. A link leads to what must not be written.
const PLANT_FOR_A_START: &str = "cd /state; mkdir -p ids.json.new/x units/fresh.toml.new/x units/fresh.wanted/x logs/fresh; \
     ln -s ../machine-id units/fresh.ran; ln -s ../../machine-id logs/fresh/current.jsonl; \
     mkfifo logs/fresh/runs.json.new; mkdir -p logs/fresh/previous.jsonl/x; \
     rm reserve/0 reserve/1 reserve/2; mkfifo reserve/0; mkdir -p reserve/1/x; true";
/// The same for its stop.
const PLANT_FOR_A_STOP: &str = "cd /state; rm -r units/fresh.wanted; mkdir -p units/fresh.wanted/x; \
     rm -rf units/fresh.stopped; mkfifo units/fresh.stopped";
/// All of it is the node's own again, and what shims and removals had left half done is gone, as soon as a start gets to it.
const SEE: &str = "cd /state; n=0; left() { ls -A volumes scratch | grep -q '^[.]' || ! [ -f reserve/0 ] || ! [ -f reserve/1 ]; }; \
     while left && [ $n -lt 60 ]; do sleep 1; n=$((n+1)); done; \
     ! left && [ $(wc -c <machine-id) = 33 ] && [ -f ids.json ] && [ ! -e ids.json.new ] && [ ! -e units/fresh.wanted ] && \
     [ -f units/fresh.ran ] && [ -f units/fresh.stopped ] && [ ! -L units/fresh.ran ] && [ ! -L logs/fresh/current.jsonl ] && \
     grep -q begun logs/fresh/current.jsonl && [ -f logs/fresh/runs.json ] && [ ! -e logs/fresh/runs.json.new ]";

/// What a disk or somebody with all rights may leave.
fn damage(node: &mut Node) -> Result<()> {
    let plant = "cd /state; printf '\\377\\376' >units/bytes.toml; printf '{' >ids.json; mkdir units/folder.toml; \
                 printf '{' >images/names/torn.json; printf '\\377' >config.last-good.toml; \
                 printf '\\377' >units/neighbour.fired; mkdir -p volumes/.gone-x/y scratch/.gone-z/y; \
                 mkdir -p volumes/.new-x/y; printf x >layers/tmp-file; sync";
    let more = ALL_OF_STATE;
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
    let planted = run_once(node, "planter", &[PLANT_FOR_A_START], more)?;
    ended_well(node, &planted).with_context(|| why(node, "planter").unwrap_or_default())?;
    let fresh = file(node, "fresh", &[&format!("echo begun; {FOREVER}")], "")?;
    node.ferrite(&["unit", "start", &fresh])?;
    let planted = run_once(node, "planter", &[PLANT_FOR_A_STOP], more)?;
    ended_well(node, &planted)?;
    node.ferrite(&["unit", "stop", "fresh"])?;
    let seen = run_once(node, "planter", &[SEE], more)?;
    ended_well(node, &seen)?;
    let log = node.ferrite(&["unit", "logs", "fresh"])?;
    assert!(log.contains("begun"), "{log}");
    node.ferrite(&["unit", "destroy", "fresh"]).map(drop)
}
