//! STATE that cannot be used as it is: repaired, left as it is, or made anew by order.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use ferrite_image::stage::{self, Payload};
use ferrite_layout::attributes::SlotAttributes;
use ferrite_layout::slot::Slot;
use ferrite_tests::disk::{check_state_is_clean, extract, partition_start, zero};
use ferrite_tests::images::{self, Kind};
use ferrite_tests::node::{BOOT, Node, READY, SOON};
use ferrite_tests::programs::succeed;
use serde_json::Value;

/// What PID 1 says where STATE cannot be used.
const RESCUE: &str = "this node is in its rescue state";
const LISTENING: &str = "api-listening";

/// The machine's ID is on STATE: it is another one where STATE was made anew.
fn id(node: &Node) -> Result<String> {
    let machine = node.ask(&["machine", "status"])?;
    Ok(machine["id"].as_str().context("read the machine's ID")?.to_owned())
}

/// By the button: a node without units is down so soon that the API's answer may not get out.
fn off(node: &mut Node) -> Result<()> {
    node.running()?.qmp().power_button()?;
    node.wait_off(SOON)
}

/// Orders something that ends in a restart; that it was heard shows in the next boot.
fn order(node: &mut Node, words: &[&str]) -> Result<()> {
    node.ferrite_output(words)?;
    node.wait_for("resetting the machine", SOON).map(drop)
}

/// What is done to a STATE that was taken out of its disk.
type Damage<'a> = &'a dyn Fn(&Path) -> Result<()>;

/// Takes STATE out of the disk, has `change` do something to it, and puts it back. Returns it as it is now.
fn change(node: &Node, change: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
    let state = extract(&node.disk(), 1)?;
    let changed = state.with_file_name("changed-state");
    fs::rename(state, &changed)?;
    change(&changed)?;
    put(node, &changed)?;
    Ok(changed)
}

fn put(node: &Node, state: &Path) -> Result<()> {
    let start = partition_start(&node.disk(), 1)?;
    let mut copy = Command::new("dd");
    copy.args(["bs=1M", "conv=notrunc", "status=none", "oflag=seek_bytes"]);
    copy.arg(format!("seek={start}"));
    copy.arg(format!("if={}", state.display())).arg(format!("of={}", node.disk().display()));
    succeed(&mut copy).map(drop)
}

fn debugfs(state: &Path, request: &str) -> Result<()> {
    succeed(Command::new("debugfs").args(["-w", "-R", request]).arg(state)).map(drop)
}

/// The API of a node in its rescue state says so, and runs nothing.
fn assert_rescue(node: &mut Node, why: &str) -> Result<()> {
    node.wait_for(RESCUE, BOOT)?;
    node.wait_for(LISTENING, SOON)?;
    let machine = node.ask(&["machine", "status"])?;
    let rescue = machine["rescue"].as_str().unwrap_or_default();
    assert!(rescue.contains("STATE could not be used") && rescue.contains(why), "{machine}");
    assert_eq!(machine["ready"], false, "{machine}");
    assert!(machine["warnings"].to_string().contains(why), "{machine}");
    let unit = "name = \"web\"\nimage = \"x\"\n";
    fs::write(node.machine.directory.join("web.toml"), unit)?;
    let refused = node.ferrite_output(&["unit", "start", "web.toml"])?;
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && said.contains("rescue state"), "{said}");
    Ok(())
}

#[test]
fn state_without_its_superblock_is_repaired_and_made_anew_only_by_order() -> Result<()> {
    let mut node = Node::new("state-repaired", Kind::Product)?;
    node.boot()?;
    let before = id(&node)?;
    off(&mut node)?;
    zero(&node.disk(), partition_start(&node.disk(), 1)? + 1024, 1024)?;
    node.boot()?;
    assert_eq!(id(&node)?, before);
    let machine = node.ask(&["machine", "status"])?;
    assert!(machine["warnings"].to_string().contains("repaired by e2fsck"), "{machine}");

    let unconfirmed = node.ferrite_output(&["machine", "state", "recreate"])?;
    assert_eq!(unconfirmed.status.code(), Some(2), "{unconfirmed:?}");
    order(&mut node, &["machine", "state", "recreate", "--yes"])?;
    node.wait_for(READY, BOOT)?;
    let anew = id(&node)?;
    assert_ne!(anew, before);
    let machine = node.ask(&["machine", "status"])?;
    assert!(machine["warnings"].to_string().contains("ordered through the API"), "{machine}");
    node.running()?.qmp().press(&["ctrl", "alt", "delete"])?;
    node.wait_for(READY, BOOT)?;
    assert_eq!(id(&node)?, anew, "an order is obeyed once");
    off(&mut node)?;
    check_state_is_clean(&node.disk())?;

    node.append("ferrite.state=recreate");
    node.boot()?;
    assert_ne!(id(&node)?, anew);
    Ok(())
}

#[test]
fn what_is_not_ours_to_repair_stays_byte_for_byte_and_the_node_is_reachable() -> Result<()> {
    let mut node = Node::new("state-rescue", Kind::Product)?;
    node.expected.extend(["EXT4-fs"]);
    node.boot()?;
    let before = id(&node)?;
    off(&mut node)?;
    let good = extract(&node.disk(), 1)?.with_file_name("good-state");
    fs::rename(good.with_file_name("partition-1"), &good)?;

    let luks = |state: &Path| write(state, 0, b"LUKS\xba\xbe\0\x02");
    let xfs = |state: &Path| {
        zero(state, 0, 1 << 20)?;
        write(state, 0, b"XFSB")
    };
    let incompatible = |state: &Path| debugfs(state, "feature FEATURE_I30");
    let read_only = |state: &Path| debugfs(state, "feature FEATURE_R30");
    let cases: [(&str, Damage); 4] = [
        ("LUKS", &luks),
        ("XFS", &xfs),
        ("e2fsck could not work", &incompatible),
        ("e2fsck could not work", &read_only),
    ];
    for (why, damage) in cases {
        put(&node, &good)?;
        let changed = change(&node, damage)?;
        node.power_on()?;
        assert_rescue(&mut node, why)?;
        off(&mut node)?;
        let after = extract(&node.disk(), 1)?;
        succeed(Command::new("cmp").arg(&changed).arg(&after)).context(why)?;
    }

    // A slot on trial that cannot use STATE makes room for the other one, which can be reached.
    let image = images::image(Kind::Product)?;
    let payload = Payload { kern: image.join("slot.kern"), root: image.join("slot.root") };
    stage::install(&node.disk(), Slot::B, &payload)?;
    let staged = stage::slots(&node.disk())?.b;
    stage::set_slot(&node.disk(), Slot::B, SlotAttributes { tries: 1, ..staged })?;
    node.power_on()?;
    node.wait_for("slot B is on trial and cannot use STATE", BOOT)?;
    assert_rescue(&mut node, "e2fsck could not work")?;
    assert_eq!(node.ask(&["machine", "status"])?["slot"], "A");
    off(&mut node)?;
    let slots = stage::slots(&node.disk())?;
    assert!(slots.a.successful && !slots.b.successful, "{slots:?}");

    put(&node, &good)?;
    node.boot()?;
    assert_eq!(id(&node)?, before);
    Ok(())
}

#[test]
fn damage_at_run_time_is_checked_a_bounded_number_of_times() -> Result<()> {
    let mut node = Node::new("state-damaged", Kind::Product)?;
    node.expected.extend(["EXT4-fs", "I/O error"]);
    node.boot()?;
    let before = id(&node)?;
    off(&mut node)?;

    change(&node, damage_bitmaps)?;
    node.power_on()?;
    node.wait_for("restarting to check it", BOOT)?;
    node.wait_for(READY, BOOT)?;
    assert_eq!(id(&node)?, before);
    let machine = node.ask(&["machine", "status"])?;
    assert!(machine["warnings"].to_string().contains("repaired by e2fsck"), "{machine}");
    off(&mut node)?;
    check_state_is_clean(&node.disk())?;

    // One check is counted in STATE's own GPT entry; two more are as if they had been.
    succeed(Command::new("sgdisk").args(["-A", "1:show"]).arg(node.disk())).map(|shown| {
        assert!(shown.contains("1:52:1"), "{shown}");
    })?;
    succeed(Command::new("sgdisk").args(["-A", "1:set:53"]).arg(node.disk()))?;
    change(&node, damage_bitmaps)?;
    node.power_on()?;
    node.wait_for("restarting to check it", BOOT)?;
    assert_rescue(&mut node, "damaged again")?;
    order(&mut node, &["machine", "state", "check"])?;
    node.wait_for(READY, BOOT)?;
    assert_eq!(id(&node)?, before);
    let status: Value = node.ask(&["machine", "status"])?;
    assert_eq!(status["rescue"], Value::Null, "{status}");
    Ok(())
}

fn write(state: &Path, offset_bytes: u64, bytes: &[u8]) -> Result<()> {
    let file = OpenOptions::new().write(true).open(state)?;
    file.write_all_at(bytes, offset_bytes).context("write into STATE")
}

/// Changes every block bitmap that is there, so that none has the checksum that its descriptor says.
fn damage_bitmaps(state: &Path) -> Result<()> {
    let text = succeed(Command::new("dumpe2fs").arg(state))?;
    let mut is_there = false;
    let mut damaged = 0;
    for line in text.lines() {
        if line.starts_with("Group ") {
            is_there = !line.contains("BLOCK_UNINIT");
        }
        let Some((_, rest)) = line.split_once("Block bitmap at ") else { continue };
        let block: String = rest.chars().take_while(char::is_ascii_digit).collect();
        if is_there {
            let place = block.parse::<u64>()? * 4096 + 4000;
            let file = OpenOptions::new().read(true).write(true).open(state)?;
            let mut byte = [0];
            file.read_exact_at(&mut byte, place)?;
            file.write_all_at(&[!byte[0]], place)?;
            damaged += 1;
        }
    }
    assert!(damaged > 0, "{text}");
    Ok(())
}
