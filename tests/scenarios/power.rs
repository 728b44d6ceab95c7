//! Orderly and disorderly ends, and what is on the disk after them.

use std::io::BufRead;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use ferrite_tests::disk::{check_state_is_clean, zero};
use ferrite_tests::images::Kind;
use ferrite_tests::node::{BOOT, Node, PID1, READY, SOON};
use ferrite_tests::{demo, disk};
use ferrite_vm::disk::{Cache, Format, create_overlay};
use ferrite_vm::host::Host;

/// Power cuts in one scenario; a long run makes hundreds.
fn cuts() -> u32 {
    if std::env::var_os("FERRITE_LONG").is_some() { 200 } else { 10 }
}

fn import(node: &Node) -> Result<()> {
    let archive = demo::busybox_with_probe()?;
    node.ferrite(&["import", &archive.display().to_string(), "--name", "busybox"]).map(drop)
}

fn file(node: &Node, name: &str, rest: &str) -> Result<String> {
    let (file, unit) =
        (format!("{name}.toml"), format!("name = \"{name}\"\nimage = \"busybox\"\n{rest}\n"));
    std::fs::write(node.machine.directory.join(&file), unit)?;
    Ok(file)
}

fn start(node: &Node, name: &str, rest: &str) -> Result<()> {
    node.ferrite(&["unit", "start", &file(node, name, rest)?]).map(drop)
}

/// A node with one unit that ends when it is asked to and one that has to be killed.
fn with_units(name: &str) -> Result<Node> {
    let mut node = Node::new(name, Kind::Product)?;
    node.boot()?;
    import(&node)?;
    start(&node, "polite", "command = [\"/bin/ferrite-probe\", \"await-term\"]")?;
    start(&node, "deaf", "command = [\"/bin/ferrite-probe\", \"ignore-term\"]\nstop_grace_s = 2")?;
    Ok(node)
}

#[test]
fn poweroff_stops_the_units_and_leaves_state_clean() -> Result<()> {
    let mut node = with_units("poweroff")?;
    node.ferrite(&["machine", "poweroff"])?;
    node.wait_off(SOON)?;
    check_state_is_clean(&node.disk())?;
    node.boot()?;
    let log = node.ferrite(&["unit", "logs", "polite"])?;
    assert!(log.contains("TERM"), "the unit saw its stop signal: {log:?}");
    Ok(())
}

/// Says when it is asked to stop, goes on working for longer than the minute that every unit used to get, and says so.
const SLOW: &str = "trap 'echo asked; i=0; while [ $i -lt 65 ]; do sleep 1; i=$((i+1)); echo working $i; done; echo done; \
                    exit 0' TERM; echo started; while :; do sleep 1 & wait $!; done";
const QUICK: &str =
    "trap 'sleep 3; echo gone; exit 0' TERM; echo started; while :; do sleep 1 & wait $!; done";

/// The last line of a unit's log that contains `word`, and when it was written.
fn logged_us(node: &Node, unit: &str, word: &str) -> Result<u64> {
    let log = node.ferrite(&["unit", "logs", unit, "-o", "json"])?;
    let mut lines = log.lines().rev();
    let line = lines
        .find(|line| line.contains(word))
        .with_context(|| format!("find {word:?} in {log}"))?;
    let line: serde_json::Value = serde_json::from_str(line)?;
    line["time_us"].as_u64().with_context(|| format!("find the time in {line}"))
}

#[test]
fn a_reboot_gives_units_their_grace_and_stops_dependents_first() -> Result<()> {
    let mut node = Node::new("reboot-grace", Kind::Product)?;
    node.boot()?;
    import(&node)?;
    let shell =
        |script: &str| format!("command = {}", serde_json::json!(["/bin/sh", "-c", script]));
    start(&node, "store", &format!("{}\nstop_grace_s = 120", shell(SLOW)))?;
    start(&node, "web", &format!("{}\nrequires = [\"store\"]", shell(QUICK)))?;
    let once =
        file(&node, "once", &format!("{}\nrestart = \"never\"", shell("echo tried; exit 3")))?;
    let tried = node.ferrite_output(&["unit", "start", &once, "--until", "ended"])?;
    assert!(!tried.status.success(), "{tried:?}");
    for unit in ["store", "web"] {
        ferrite_tests::units::until(&node, unit, |status| status["state"] == "running")?;
    }
    node.ferrite(&["machine", "reboot"])?;
    node.wait_for(READY, BOOT).context("the machine comes back")?;
    let done = logged_us(&node, "store", "done")?;
    let asked = logged_us(&node, "store", "asked")?;
    assert!(done - asked > 60_000_000, "it had its time: {}", done - asked);
    for second in 1..=65 {
        logged_us(&node, "store", &format!("working {second}\""))?;
    }
    let gone = logged_us(&node, "web", "gone")?;
    assert!(gone <= asked, "web had stopped before what it requires was asked to");
    // A boot is a new start, whatever became of a unit before.
    let failed_again = |status: &serde_json::Value| status["state"] == "failed";
    ferrite_tests::units::until(&node, "once", failed_again)?;
    assert_eq!(node.ferrite(&["unit", "logs", "once"])?.matches("tried").count(), 2);
    Ok(())
}

#[test]
fn the_power_button_works() -> Result<()> {
    let mut node = with_units("power-button")?;
    node.running()?.qmp().power_button()?;
    node.wait_off(SOON)?;
    check_state_is_clean(&node.disk())
}

#[test]
fn reboot_and_ctrl_alt_del_reboot() -> Result<()> {
    let mut node = Node::new("reboot", Kind::Product)?;
    node.boot()?;
    node.ferrite(&["machine", "reboot"])?;
    node.wait_for(READY, BOOT).context("after `ferrite machine reboot`")?;
    node.running()?.qmp().press(&["ctrl", "alt", "delete"])?;
    node.wait_for(READY, BOOT).context("after ctrl-alt-del")?;
    assert_eq!(node.console_text()?.matches(PID1).count(), 3);
    Ok(())
}

#[test]
fn a_destroyed_primary_gpt_is_repaired() -> Result<()> {
    let mut node = Node::new("gpt-destroyed", Kind::Product)?;
    zero(&node.disk(), 512, 33 * 512)?;
    node.boot()?;
    assert!(node.console_text()?.contains("backup"), "it says what it did");
    node.ferrite(&["machine", "poweroff"])?;
    node.wait_off(SOON)?;
    let mut check = std::process::Command::new("sgdisk");
    let said = ferrite_tests::programs::succeed(check.arg("-v").arg(node.disk()))?;
    assert!(said.contains("No problems found"), "{said}");
    Ok(())
}

#[test]
fn state_grows_with_the_disk() -> Result<()> {
    const GIB: u64 = 1 << 30;
    let mut node = Node::new("state-grows", Kind::Product)?;
    let before = disk::partition_bytes(&node.disk(), 1)?;
    let file = std::fs::OpenOptions::new().write(true).open(node.disk())?;
    file.set_len(file.metadata()?.len() + 4 * GIB)?;
    node.boot()?;
    node.ferrite(&["machine", "poweroff"])?;
    node.wait_off(SOON)?;
    let after = disk::partition_bytes(&node.disk(), 1)?;
    assert!(after >= before + 4 * GIB - (4 << 20), "{before} → {after}");
    check_state_is_clean(&node.disk())?;
    let state = disk::extract(&node.disk(), 1)?;
    let mut dump = std::process::Command::new("dumpe2fs");
    let header = ferrite_tests::programs::succeed(dump.arg("-h").arg(state))?;
    let blocks: u64 = header
        .lines()
        .find_map(|line| line.strip_prefix("Block count:")?.trim().parse().ok())
        .context("find the block count")?;
    assert!(blocks * 4096 + (64 << 20) >= after, "{blocks} blocks in {after} bytes");
    Ok(())
}

#[test]
fn a_destroyed_state_is_made_anew_and_loudly() -> Result<()> {
    let mut node = Node::new("state-destroyed", Kind::Product)?;
    let start = disk::partition_start(&node.disk(), 1)?;
    let length = disk::partition_bytes(&node.disk(), 1)?;
    zero(&node.disk(), start, usize::try_from(length)?)?;
    node.boot()?;
    let machine = node.ask(&["machine", "status"])?;
    assert!(machine["warnings"].to_string().contains("STATE"), "{machine}");
    node.ferrite(&["machine", "poweroff"])?;
    node.wait_off(SOON)?;
    check_state_is_clean(&node.disk())
}

#[test]
fn power_cuts_lose_nothing_that_was_synced() -> Result<()> {
    let mut node = Node::new("power-cuts", Kind::Probed)?;
    // A fresh overlay forgets what the guest did not flush, as a disk with a volatile cache does.
    let overlay = node.machine.directory.join("overlay.qcow2");
    create_overlay(&Host::probe()?, &node.disk(), Format::Raw, &overlay, None)?;
    if let Some(disk) = node.machine.disks.first_mut() {
        disk.path = overlay;
        disk.format = Format::Qcow2;
        disk.cache = Cache::Writeback;
    }
    node.boot()?;
    import(&node)?;
    let images = node.ask(&["images"])?;
    for cut in 0..cuts() {
        // Some moment within the first hundreds of records, another one in each run.
        let moment = SystemTime::now().duration_since(UNIX_EPOCH)?.subsec_micros() % 300;
        let acknowledged = write_records(&mut node, moment)?;
        node.cut()?;
        node.boot().with_context(|| format!("boot after cut {cut}"))?;
        let found = node.probe(&["sync-check", RECORDS])?;
        assert_eq!(found.get("damaged"), Some(&serde_json::Value::Null), "cut {cut}: {found}");
        let last = found["last"].as_u64().unwrap_or_default();
        assert!(last >= acknowledged, "cut {cut}: {acknowledged} were acknowledged, {found}");
        assert_eq!(node.ask(&["images"])?, images, "cut {cut}");
    }
    Ok(())
}

/// Where the probe writes its records: on STATE.
const RECORDS: &str = "/var/lib/probe";

/// Has records written until `count` of them were acknowledged; the number of the last. It goes on writing.
fn write_records(node: &mut Node, count: u32) -> Result<u64> {
    let mut acknowledged = 0;
    let mut seen = 0;
    for line in node.probe_lines(&["sync-writer", RECORDS], SOON)?.lines() {
        // `resume N` first, then a number a record.
        let line = line?;
        let number = line.rsplit(' ').next().and_then(|word| word.parse().ok());
        acknowledged = number.with_context(|| format!("understand {line:?}"))?;
        seen += 1;
        if seen > count {
            break;
        }
    }
    Ok(acknowledged)
}
