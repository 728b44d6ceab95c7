//! Which slot is booted, and how a bad one is left.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use ferrite_image::stage::{self, Payload};
use ferrite_layout::attributes::SlotAttributes;
use ferrite_layout::slot::Slot;
use ferrite_tests::demo;
use ferrite_tests::disk::{extract, guid, partition_start, write_oem};
use ferrite_tests::images::{self, Kind, NEXT_VERSION};
use ferrite_tests::node::{BOOT, Node, PID1, READY, SOON};
use ferrite_tests::programs::succeed;
use ferrite_vm::machine::{Boot, Card};
use serde_json::json;

/// Three tries of a slot that resets the machine, and the boot after them.
const FALL_BACK: Duration = Duration::from_secs(480);

const GOOD: SlotAttributes = SlotAttributes { priority: 1, tries: 0, successful: true };

/// A node whose slot A is good and whose slot B holds the next version, on trial.
fn with_next(name: &str) -> Result<Node> {
    from_to(name, Kind::Probed, Kind::Next)
}

/// A node whose slot A is good and whose slot B holds another image, on trial.
fn from_to(name: &str, from: Kind, to: Kind) -> Result<Node> {
    let node = Node::new(name, from)?;
    let next = images::image(to)?;
    let payload = Payload { kern: next.join("slot.kern"), root: next.join("slot.root") };
    stage::set_slot(&node.disk(), Slot::A, GOOD)?;
    stage::install(&node.disk(), Slot::B, &payload)?;
    Ok(node)
}

fn overwrite(disk: &Path, offset_bytes: u64, change: impl Fn(u8) -> u8) -> Result<()> {
    let file = OpenOptions::new().read(true).write(true).open(disk)?;
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset_bytes)?;
    file.write_all_at(&[change(byte[0])], offset_bytes).context("damage the disk")
}

/// By UEFI; other scenarios jump from kernels that QEMU loaded.
#[test]
fn a_staged_slot_with_another_kernel_is_kexecd_and_kept() -> Result<()> {
    let mut node = with_next("slot-next")?;
    node.machine.boot = Boot::Uefi;
    node.boot()?;
    let machine = node.ask(&["machine", "status"])?;
    assert_eq!((&machine["slot"], &machine["version"]), (&"B".into(), &NEXT_VERSION.into()));
    let kernel = machine["kernel"].as_str().unwrap_or_default();
    assert!(kernel.ends_with("-amd64") && !kernel.contains("cloud"), "{machine}");
    assert_eq!(node.console_text()?.matches(PID1).count(), 2, "one kexec");
    node.ferrite(&["machine", "poweroff"])?;
    node.wait_off(SOON)?;
    let slots = stage::slots(&node.disk())?;
    assert!(slots.b.successful && slots.b.priority > slots.a.priority, "{slots:?}");
    assert!(slots.a.successful);
    Ok(())
}

/// From Debian's kernel with modules to the one that is built without, and back, by BIOS; [`with_next`] goes the other way.
#[test]
fn a_slot_with_the_slim_kernel_is_kexecd_from_debians_and_left_again() -> Result<()> {
    let mut node = from_to("slot-slim", Kind::Debian, Kind::Probed)?;
    node.machine.boot = Boot::Bios;
    node.boot()?;
    let machine = node.ask(&["machine", "status"])?;
    assert_eq!(machine["slot"], "B", "{machine}");
    let slim = machine["kernel"].as_str().context("the kernel's release")?.to_owned();
    assert_eq!(node.console_text()?.matches(PID1).count(), 2, "one kexec");
    node.ferrite(&["slot", "rollback"])?;
    node.ferrite(&["machine", "reboot"])?;
    node.wait_for(READY, BOOT)?;
    let machine = node.ask(&["machine", "status"])?;
    assert_eq!(machine["slot"], "A", "{machine}");
    assert!(machine["kernel"] != slim.as_str(), "{machine}");
    Ok(())
}

/// Under lockdown, which Secure Boot turns on, the kernel refuses kernels that its owner's keys have not signed. The slot may
/// be as good as any: however often it is not started here, it stays as it was staged. Four boots are one more than it has
/// tries.
fn refused(name: &str, from: Kind, to: Kind) -> Result<Node> {
    let mut node = from_to(name, from, to)?;
    node.append("lockdown=integrity");
    let before = stage::slots(&node.disk())?;
    assert!(before.b.tries > 0 && before.b.tries < 4, "{before:?}");
    for boot in 1..=4 {
        node.power_on()?;
        node.wait_for("Lockdown: init: kexec of unsigned images is restricted", BOOT)?;
        node.wait_for(READY, BOOT).with_context(|| format!("boot {boot}"))?;
        let machine = node.ask(&["machine", "status"])?;
        assert_eq!(machine["slot"], "A");
        let warnings = machine["warnings"].to_string();
        assert!(
            warnings.contains("slot B cannot be booted: the running kernel refuses"),
            "{machine}"
        );
        node.cut()?;
        assert_eq!(stage::slots(&node.disk())?, before, "after boot {boot}");
    }
    Ok(node)
}

#[test]
fn a_kexec_that_lockdown_refuses_costs_no_slot_anything() -> Result<()> {
    let mut node = refused("slot-lockdown", Kind::Probed, Kind::Next)?;
    let before = stage::slots(&node.disk())?;
    // Nor does the machine restart for a slot that it cannot start, when the other one does not become ready.
    node.agent_does("hang")?;
    node.append("ferrite.ready_timeout_s=2");
    node.power_on()?;
    node.wait_for("staying, since the other slot cannot boot", BOOT)?;
    assert!(node.console_text()?.contains("slot B cannot boot here: the kernel refused"));
    node.cut()?;
    assert_eq!(stage::slots(&node.disk())?, before);
    // Where nobody refuses it, it is tried as if nothing had been.
    node.machine.fw_cfg.pop();
    if let Boot::Direct { command_line, .. } = &mut node.machine.boot {
        *command_line = command_line.replace(" lockdown=integrity", "");
    }
    node.append("ferrite.ready_timeout_s=300");
    node.boot()?;
    assert_eq!(node.ask(&["machine", "status"])?["slot"], "B");
    Ok(())
}

#[test]
fn debians_kernel_under_lockdown_costs_a_slot_with_the_slim_one_nothing() -> Result<()> {
    refused("slot-lockdown-debian", Kind::Debian, Kind::Probed).map(drop)
}

#[test]
fn a_person_can_go_back_to_the_other_slot_and_forth_again() -> Result<()> {
    let mut node = with_next("slot-verbs")?;
    // Chromium OS's tool and the node agree on what the attributes mean, in both directions.
    cgpt_sets(&node, Slot::A, ["3", "0", "1"])?;
    cgpt_sets(&node, Slot::B, ["7", "5", "0"])?;
    node.boot()?;
    let slots = node.ask(&["slot", "status"])?["slots"].clone();
    let a = json!({ "priority": 3, "tries": 0, "successful": true });
    assert_eq!(slots[0]["attributes"], a, "{slots}");
    assert_eq!(slots[1]["attributes"]["priority"], 7, "{slots}");
    // On the trial that follows nothing is to run yet: that says nothing against a slot, and keeps it from nothing.
    node.ferrite(&["import", &demo::busybox()?.display().to_string(), "--name", "busybox"])?;
    let timer = "name = \"nightly\"\nimage = \"busybox\"\ntimer = { every_s = 86400 }\n";
    fs::write(node.machine.directory.join("nightly.toml"), timer)?;
    node.ferrite(&["unit", "start", "nightly.toml"])?;
    for (verb, slot) in [("rollback", "A"), ("stage", "B")] {
        node.ferrite(&["slot", verb])?;
        node.ferrite(&["machine", "reboot"])?;
        node.wait_for(READY, BOOT).with_context(|| format!("boot after `slot {verb}`"))?;
        assert_eq!(node.ask(&["machine", "status"])?["slot"], slot, "after `slot {verb}`");
        assert_eq!(node.ask(&["unit", "status", "nightly"])?["state"], "scheduled");
    }
    let slots = node.ask(&["slot", "status"])?["slots"].clone();
    assert_eq!(
        slots[1]["attributes"]["successful"], true,
        "a slot with nothing but a timer: {slots}"
    );
    node.ferrite(&["slot", "mark-good"])?;
    node.cut()?;
    let slots = stage::slots(&node.disk())?;
    assert!(slots.a.successful && slots.b.successful, "{slots:?}");
    for (slot, ours) in [(Slot::A, slots.a), (Slot::B, slots.b)] {
        let ours = [ours.priority, ours.tries, u8::from(ours.successful)].map(|n| n.to_string());
        assert_eq!(cgpt_sees(&node, slot)?, ours, "{slot:?}");
    }
    Ok(())
}

#[test]
fn a_slot_that_never_gets_ready_is_left_after_its_tries() -> Result<()> {
    let mut node = Node::new("slot-never-ready", Kind::Product)?;
    stage_next(&node)?;
    node.agent_does("hang")?;
    node.append("ferrite.ready_timeout_s=4");
    node.power_on()?;
    node.wait_for(READY, FALL_BACK)?;
    assert_eq!(node.ask(&["machine", "status"])?["slot"], "A");
    // Three boots of B, each a kexec from A's kernel, and one of A.
    assert_eq!(node.console_text()?.matches(PID1).count(), 7);
    node.ferrite(&["machine", "poweroff"])?;
    node.wait_off(SOON)?;
    let slots = stage::slots(&node.disk())?;
    assert_eq!((slots.b.tries, slots.b.successful), (0, false));
    Ok(())
}

/// A slot whose card has no driver would be like that: nobody could reach the node to go back.
#[test]
fn a_slot_without_the_network_that_the_node_had_is_not_kept() -> Result<()> {
    let mut node = Node::new("slot-without-network", Kind::Product)?;
    node.boot()?;
    node.ferrite(&["machine", "poweroff"])?;
    node.wait_off(SOON)?;
    stage_next(&node)?;
    let staged = stage::slots(&node.disk())?.b;
    stage::set_slot(&node.disk(), Slot::B, SlotAttributes { tries: 1, ..staged })?;
    node.machine.network = Card::None;
    node.append("ferrite.ready_timeout_s=20");
    node.power_on()?;
    node.wait_for("slot B has 20 s to become ready", FALL_BACK)?;
    // The one that was good before stays, and says what it lacks.
    node.wait_for(READY, FALL_BACK)?;
    node.wait_for("no link has an address", FALL_BACK)?;
    assert!(!node.console_text()?.contains("running slot B"));
    node.cut()?;
    let slots = stage::slots(&node.disk())?;
    assert!(slots.a.successful && !slots.b.successful && slots.b.tries == 0, "{slots:?}");
    Ok(())
}

/// Stages the next version on a node with the plain product in A.
fn stage_next(node: &Node) -> Result<()> {
    let next = images::image(Kind::Next)?;
    let payload = Payload { kern: next.join("slot.kern"), root: next.join("slot.root") };
    stage::set_slot(&node.disk(), Slot::A, GOOD)?;
    stage::install(&node.disk(), Slot::B, &payload)?;
    Ok(())
}

/// Boots with one try for B, in which the probe does `words`, and expects A to be reached.
fn one_try(name: &str, words: &str, expected: &[&'static str]) -> Result<()> {
    let mut node = Node::new(name, Kind::Product)?;
    stage_next(&node)?;
    let staged = stage::slots(&node.disk())?.b;
    stage::set_slot(&node.disk(), Slot::B, SlotAttributes { tries: 1, ..staged })?;
    node.expected.extend(expected);
    node.agent_does(words)?;
    node.power_on()?;
    node.wait_for(READY, FALL_BACK)?;
    assert_eq!(node.ask(&["machine", "status"])?["slot"], "A");
    Ok(())
}

#[test]
fn a_slot_whose_kernel_panics_is_left() -> Result<()> {
    one_try("slot-panic", "panic-kernel", &["sysrq", "Kernel panic", "Call Trace"])
}

#[test]
fn a_slot_whose_init_hangs_is_left_by_the_watchdog() -> Result<()> {
    one_try("slot-init-hangs", "freeze-init", &[])
}

#[test]
fn a_bad_signature_boots_the_other_slot() -> Result<()> {
    let mut node = with_next("slot-bad-signature")?;
    stage::set_slot(&node.disk(), Slot::A, SlotAttributes { priority: 9, ..GOOD })?;
    let header = partition_start(&node.disk(), Slot::A.kern_partition())?;
    // Inside the document: the signature no longer fits.
    overwrite(&node.disk(), header + 100, |byte| byte ^ 1)?;
    let before = stage::slots(&node.disk())?.a;
    node.boot()?;
    assert_eq!(node.ask(&["machine", "status"])?["slot"], "B");
    node.cut()?;
    // Whether it is damaged or signed by another key of that name cannot be told: nobody takes it its place.
    assert_eq!(stage::slots(&node.disk())?.a, before);
    Ok(())
}

#[test]
fn a_proven_slot_that_fails_three_times_makes_room_for_the_other() -> Result<()> {
    let mut node = Node::new("slot-proven-hangs", Kind::Product)?;
    stage_next(&node)?;
    let proven = SlotAttributes { priority: 2, ..GOOD };
    stage::set_slot(&node.disk(), Slot::B, proven)?;
    node.agent_does("hang")?;
    node.append("ferrite.ready_timeout_s=4");
    node.power_on()?;
    node.wait_for(READY, FALL_BACK)?;
    let machine = node.ask(&["machine", "status"])?;
    assert_eq!(machine["slot"], "A");
    assert!(machine["warnings"].to_string().contains("slot B has started 3 times"), "{machine}");
    // Three boots of B, each a kexec from A's kernel, and one of A.
    assert_eq!(node.console_text()?.matches(PID1).count(), 7);
    node.ferrite(&["machine", "poweroff"])?;
    node.wait_off(SOON)?;
    let slots = stage::slots(&node.disk())?;
    assert!(slots.b.successful && slots.b.priority > 0, "it can still be booted: {slots:?}");
    assert!(slots.a.priority > slots.b.priority, "{slots:?}");
    assert_eq!((slots.a.tries, slots.a.successful), (0, true));
    // As Chromium's own tool sees it: successful, behind the other, with tries that mean nothing to it.
    for (field, expected) in [("-S", "1"), ("-T", "12"), ("-P", &slots.b.priority.to_string())] {
        let mut cgpt = std::process::Command::new("cgpt");
        let shown = ferrite_tests::programs::succeed(
            cgpt.args(["show", "-i", "4", field]).arg(node.disk()),
        )?;
        assert_eq!(shown.trim(), expected, "cgpt show {field}");
    }
    Ok(())
}

#[test]
fn the_only_slot_stays_whatever_it_does_and_damage_is_counted() -> Result<()> {
    let mut node = Node::new("slot-only", Kind::Probed)?;
    stage::set_slot(&node.disk(), Slot::A, GOOD)?;
    node.agent_does("hang")?;
    node.append("ferrite.ready_timeout_s=2 ferrite.fatal_delay_s=1");
    node.power_on()?;
    node.wait_for("staying, since the other slot cannot boot", BOOT)?;
    node.cut()?;
    assert_eq!(stage::slots(&node.disk())?.a, GOOD);
    // One flipped bit in what every boot reads.
    let root = partition_start(&node.disk(), Slot::A.root_partition())?;
    overwrite(&node.disk(), root + 1024 + 4, |byte| byte ^ 4)?;
    node.expected.extend(["verity", "erofs", "I/O error", "FATAL", "Buffer I/O", "is corrupted"]);
    node.power_on()?;
    node.wait_for("FATAL", BOOT)?;
    node.wait_for("FATAL", BOOT).context("it tries again")?;
    node.cut()?;
    let damaged = stage::slots(&node.disk())?.a;
    assert_eq!((damaged.priority, damaged.successful), (1, true), "{damaged:?}");
    assert!(damaged.tries >= 13, "two failures are counted: {damaged:?}");
    // The bit was a cable's: the slot is as good as ever.
    overwrite(&node.disk(), root + 1024 + 4, |byte| byte ^ 4)?;
    node.machine.fw_cfg.pop();
    node.boot()?;
    node.ferrite(&["machine", "poweroff"])?;
    node.wait_off(SOON)?;
    assert_eq!(stage::slots(&node.disk())?.a, GOOD);
    Ok(())
}

#[test]
fn what_a_person_and_the_platform_told_the_kernel_survives_kexec() -> Result<()> {
    let mut node = with_next("slot-arguments")?;
    write_oem(&node.disk(), "kernel-args", "# of this board\nplatform.word=1\n")?;
    node.append("nomodeset console=ttyS0,57600 person.word=\"two words\" ferrite.fatal_delay_s=3");
    node.boot()?;
    let line = node.probe(&["read", "/proc/cmdline"])?;
    let line = line["text"].as_str().unwrap_or_default();
    assert_eq!(node.ask(&["machine", "status"])?["slot"], "B", "{line}");
    let words = "platform.word=1 nomodeset console=ttyS0,57600 person.word=\"two words\" ferrite.fatal_delay_s=3";
    assert!(line.contains(words), "{line}");
    for once in ["nomodeset", "person.word", "platform.word", "ferrite.slot=B", "ferrite.disk="] {
        assert_eq!(line.matches(once).count(), 1, "{once} in {line}");
    }
    assert!(line.contains(&format!("ferrite.disk={}", guid(&node.disk())?)), "{line}");
    // A's kernel, B's, and B's with the platform's words.
    assert_eq!(node.console_text()?.matches(PID1).count(), 3);
    node.ferrite(&["machine", "poweroff"])?;
    node.wait_off(SOON)?;
    // Arguments with which no kernel comes up cost two starts, and no slot its place.
    write_oem(&node.disk(), "kernel-args", "rdinit=/none")?;
    node.expected.extend(["Kernel panic", "Call Trace"]);
    node.power_on()?;
    node.wait_for(READY, FALL_BACK)?;
    let machine = node.ask(&["machine", "status"])?;
    assert!(machine["warnings"].to_string().contains("kernel-args are left out"), "{machine}");
    assert_eq!(machine["slot"], "B");
    Ok(())
}

/// A node with a good slot A whose root is damaged at `places`, behind which slot B is staged, ends in B.
fn damaged_root(name: &str, places: &[u64]) -> Result<()> {
    let mut node = with_next(name)?;
    stage::set_slot(&node.disk(), Slot::A, SlotAttributes { priority: 9, ..GOOD })?;
    let root = partition_start(&node.disk(), Slot::A.root_partition())?;
    for place in places {
        overwrite(&node.disk(), root + place, |byte| byte ^ 4)?;
    }
    node.expected.extend(["verity", "erofs", "I/O error", "FATAL", "Buffer I/O"]);
    node.power_on()?;
    node.wait_for(READY, FALL_BACK)?;
    assert_eq!(node.ask(&["machine", "status"])?["slot"], "B");
    Ok(())
}

#[test]
fn a_flipped_bit_in_the_super_block_is_never_read_as_data() -> Result<()> {
    damaged_root("slot-flipped-super-block", &[1024 + 4])
}

#[test]
fn a_flipped_bit_in_the_agent_is_never_read_as_data() -> Result<()> {
    let node = Node::new("slot-flipped-agent-look", Kind::Probed)?;
    let root = extract(&node.disk(), Slot::A.root_partition())?;
    let mut dump = Command::new("dump.erofs");
    dump.args(["-e", "--path=/usr/bin/ferrite-agent"]).arg(root);
    let extents = succeed(&mut dump)?;
    drop(node);
    // The last number pair of a line is where an extent is on the disk: `…: START..END | LENGTH`.
    let places: Vec<u64> = extents
        .lines()
        .filter_map(|line| line.rsplit_once(':')?.1.split_once("..")?.0.trim().parse().ok())
        .collect();
    assert!(places.len() > 4, "{extents}");
    damaged_root("slot-flipped-agent", &places)
}

#[test]
fn without_a_good_slot_the_machine_says_so_and_reboots() -> Result<()> {
    let mut node = Node::new("slot-none", Kind::Product)?;
    for slot in Slot::ALL {
        stage::set_slot(&node.disk(), slot, SlotAttributes::default())?;
    }
    node.append("ferrite.fatal_delay_s=2");
    node.expected.push("FATAL");
    node.power_on()?;
    let message = node.wait_for("ferrite-init: FATAL", BOOT)?;
    assert!(message.contains("slot"), "{message}");
    node.wait_for(PID1, BOOT).context("reboot after the delay")?;
    Ok(())
}

/// What Chromium OS's tool sees: priority, tries, successful.
fn cgpt_sees(node: &Node, slot: Slot) -> Result<[String; 3]> {
    let see = |option| -> Result<String> {
        let mut cgpt = Command::new("cgpt");
        cgpt.args(["show", "-i", &slot.kern_partition().to_string(), option]).arg(node.disk());
        Ok(succeed(&mut cgpt)?.trim().to_owned())
    };
    Ok([see("-P")?, see("-T")?, see("-S")?])
}

/// Has Chromium OS's tool set priority, tries and successful.
fn cgpt_sets(node: &Node, slot: Slot, [priority, tries, successful]: [&str; 3]) -> Result<()> {
    let mut cgpt = Command::new("cgpt");
    cgpt.args(["add", "-i", &slot.kern_partition().to_string(), "-P", priority, "-T", tries]);
    succeed(cgpt.args(["-S", successful]).arg(node.disk())).map(drop)
}
