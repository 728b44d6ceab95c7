//! Putting slots into a disk that is not running.

use std::fs;

use ferrite_image::disk::{self, Parts, Toolbox};
use ferrite_image::inspect::{self, DiskReport, Report, Signature, SlotContent};
use ferrite_image::progress::Silent;
use ferrite_image::stage::{self, Payload, StageSlot};
use ferrite_image::verify;
use ferrite_layout::attributes::SlotAttributes;
use ferrite_layout::slot::{FRESH_TRIES, Slot};

use crate::fixture::{Fixture, HostTools, fixture, succeed};

/// Builds a second version of the fixture's image, and returns its payload.
fn second_version(fixture: &Fixture) -> Payload {
    let out = fixture.folder.path().join("second");
    fs::create_dir(&out).unwrap();
    let parts = Parts { version: "2.0.0".to_owned(), ..fixture.parts.clone() };
    let disk = disk::build(&parts, &fixture.layout, &HostTools, &out, &mut Silent).unwrap();
    Payload { kern: disk.slot_kern, root: disk.slot_root }
}

fn report(fixture: &Fixture) -> DiskReport {
    match inspect::inspect(&fixture.disk.raw, &[fixture.parts.key.trusted()]).unwrap() {
        Report::Disk(report) => report,
        other => panic!("a disk is reported as {other:?}"),
    }
}

fn version(content: &SlotContent) -> Option<(&str, Signature)> {
    match content {
        SlotContent::Present { signature, document } => Some((&document.version, *signature)),
        SlotContent::Empty | SlotContent::Damaged { .. } => None,
    }
}

#[test]
fn a_staged_slot_is_next_on_trial() {
    let fixture = fixture();
    let payload = second_version(&fixture);
    let before = report(&fixture);
    assert_eq!(before.next_boot.unwrap().slot, Slot::A);
    assert_eq!(before.slots[1].content, SlotContent::Empty);

    stage::install(&fixture.disk.raw, Slot::B, &payload).unwrap();

    let after = report(&fixture);
    assert_eq!(after.next_boot.unwrap().slot, Slot::B);
    assert_eq!(version(&after.slots[0].content), Some(("1.2.3", Signature::Trusted)));
    assert_eq!(version(&after.slots[1].content), Some(("2.0.0", Signature::Trusted)));
    let fresh = SlotAttributes { priority: 2, tries: FRESH_TRIES, successful: false };
    assert_eq!(after.slots[1].attributes, fresh);
    let verified =
        verify::verify(&fixture.disk.raw, &[fixture.parts.key.trusted()], &mut Silent).unwrap();
    assert_eq!(verified.slots.len(), 2);
    verify::verify_payload(&payload, &[fixture.parts.key.trusted()]).unwrap();
}

#[test]
fn a_payload_of_the_wrong_size_changes_nothing() {
    let fixture = fixture();
    let payload = second_version(&fixture);
    let before = fs::read(&fixture.disk.raw).unwrap();
    for path in [&payload.kern, &payload.root] {
        let whole = fs::read(path).unwrap();
        for wrong in [whole.len() - 4096, whole.len() + 4096] {
            fs::File::options().write(true).open(path).unwrap().set_len(wrong as u64).unwrap();
            let refused = stage::install(&fixture.disk.raw, Slot::B, &payload).unwrap_err();
            assert!(matches!(refused, StageSlot::Size { .. }), "{refused}");
        }
        fs::write(path, whole).unwrap();
    }
    assert!(fs::read(&fixture.disk.raw).unwrap() == before, "the disk was changed");
}

#[test]
fn cgpt_and_we_read_each_others_attributes() {
    let fixture = fixture();
    let disk = &fixture.disk.raw;
    let cgpt = |arguments: &[&str]| succeed(HostTools.command("cgpt").args(arguments).arg(disk));
    for (number, slot) in [("2", Slot::A), ("4", Slot::B)] {
        for (priority, tries, successful) in [(15, 0, true), (0, 15, false), (7, 3, true)] {
            let state = SlotAttributes { priority, tries, successful };
            stage::set_slot(disk, slot, state).unwrap();
            let read = |flag| cgpt(&["show", "-i", number, flag]).trim().parse::<u8>().unwrap();
            assert_eq!((read("-P"), read("-T"), read("-S")), (priority, tries, successful.into()));
        }
    }
    cgpt(&["add", "-i", "4", "-P", "9", "-T", "5", "-S", "1"]);
    let states = stage::slots(disk).unwrap();
    assert_eq!(states.b, SlotAttributes { priority: 9, tries: 5, successful: true });
    assert_eq!(states.a, SlotAttributes { priority: 7, tries: 3, successful: true });
    let shown = cgpt(&["show"]);
    for (label, kind) in [("KERN-A", "ChromeOS kernel"), ("ROOT-A", "ChromeOS rootfs")] {
        assert!(shown.contains(label) && shown.contains(kind), "{shown}");
    }
    assert!(!shown.contains("INVALID"), "{shown}");
}

#[test]
fn attributes_out_of_range_are_refused() {
    let fixture = fixture();
    let state = SlotAttributes { priority: 16, tries: 0, successful: false };
    let refused = stage::set_slot(&fixture.disk.raw, Slot::A, state).unwrap_err();
    assert!(matches!(refused, StageSlot::Field { .. }), "{refused}");
}
