//! Damage in every area of a disk, and the name that `verify` has for it.

use std::error::Error;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;

use ferrite_image::disk;
use ferrite_image::keys::SlotKey;
use ferrite_image::progress::Silent;
use ferrite_image::qcow2;
use ferrite_image::stage;
use ferrite_image::verify::{self, VerifyImage};
use ferrite_layout::attributes::SlotAttributes;
use ferrite_layout::slot::Slot;
use ferrite_layout::slot_header::TrustedKey;
use tempfile::TempDir;

use crate::fixture::{Fixture, HostTools, fixture, noise, parts, small_layout};

const BACKUP_TABLE_SECTORS: u64 = 33;

/// What `verify` says, with all its causes; empty when it is content.
fn verdict(disk: &Path, trusted: &[TrustedKey]) -> String {
    match verify::verify(disk, trusted, &mut Silent) {
        Ok(_) => String::new(),
        Err(error) => chain(&error),
    }
}

fn chain(error: &VerifyImage) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

impl Fixture {
    fn verdict(&self) -> String {
        verdict(&self.disk.raw, &[self.parts.key.trusted()])
    }

    fn offset(&self, number: u32) -> u64 {
        self.layout.partition(number).unwrap().offset_bytes
    }

    /// Flips a bit in each of `length` bytes, asks for the verdict, and puts them back.
    fn verdict_with_damage(&self, offset_bytes: u64, length: usize) -> String {
        let disk = File::options().read(true).write(true).open(&self.disk.raw).unwrap();
        let mut whole = vec![0; length];
        disk.read_exact_at(&mut whole, offset_bytes).unwrap();
        let damaged: Vec<u8> = whole.iter().map(|byte| byte ^ 0x10).collect();
        disk.write_all_at(&damaged, offset_bytes).unwrap();
        let verdict = self.verdict();
        disk.write_all_at(&whole, offset_bytes).unwrap();
        verdict
    }
}

#[test]
fn damage_is_named() {
    let fixture = fixture();
    let document = &fixture.disk.document;
    let (kern, root) = (fixture.offset(2), fixture.offset(3));
    let kernel = kern + document.kernel.offset_bytes;
    let initramfs = kern + document.initramfs.offset_bytes;
    let tree = root + document.root.hash_offset_bytes;
    let esp = fixture.offset(12);
    let end = fixture.layout.disk_bytes();
    let backup_entries = end - BACKUP_TABLE_SECTORS * 512;
    assert_eq!(fixture.verdict(), "");
    for (offset_bytes, expected) in [
        (510, "check the boot sector"),
        (512, "check the primary partition table: there is no header"),
        (512 + 40, "check the primary partition table: its header is damaged"),
        (1024 + 5, "check the primary partition table: its entries are damaged"),
        (end - 512, "check the backup partition table: there is no header"),
        (end - 512 + 40, "check the backup partition table: its header is damaged"),
        (backup_entries + 5, "check the backup partition table: its entries are damaged"),
        (kern, "check slot A: check its header: read slot header: the slot is empty"),
        (kern + 8, "check slot A: check its header: read slot header: format version"),
        (kern + 20, "check slot A: check its header: check slot signature"),
        (kern + 100, "check slot A: check its header: "),
        (kernel, "check slot A: check the kernel: its SHA-256"),
        (kernel + document.kernel.size_bytes - 1, "check slot A: check the kernel: its SHA-256"),
        (initramfs, "check slot A: check the initramfs: its SHA-256"),
        (root, "check slot A: check the root: check verity data: block 0 "),
        (root + 300_000, "check slot A: check the root: check verity data: block 73 "),
        (tree, "check slot A: check the root: check verity tree: its superblock"),
        (tree + 90, "check slot A: check the root: check verity tree: its superblock"),
        (tree + 4096, "check slot A: check the root: check verity tree: the root hash is"),
        (tree + 2 * 4096, "check slot A: check the root: check verity tree: hash block 1 "),
        (fixture.offset(8) + 1024, "check partition OEM: check the ext4 superblock"),
        (fixture.offset(8) + 1024 + 56, "check partition OEM: check the superblock: it is not"),
        (fixture.offset(1) + 1024 + 4, "check partition STATE: check the ext4 superblock"),
        (esp + 13, "check partition EFI-SYSTEM: check the fat32 superblock: it differs"),
        (esp + 510, "check partition EFI-SYSTEM: check the superblock: it is not"),
        (esp + 32 * 512, "check partition EFI-SYSTEM: check the fat32 tables"),
    ] {
        let verdict = fixture.verdict_with_damage(offset_bytes, 1);
        assert!(verdict.starts_with(expected), "byte {offset_bytes}: {verdict:?}");
    }
    assert_eq!(fixture.verdict(), "");
}

#[test]
fn a_disk_without_a_table_is_no_disk() {
    let fixture = fixture();
    let disk = File::options().write(true).open(&fixture.disk.raw).unwrap();
    disk.write_all_at(&[0; 512], 512).unwrap();
    disk.write_all_at(&[0; 512], fixture.layout.disk_bytes() - 512).unwrap();
    let verdict = fixture.verdict();
    assert!(verdict.contains("no valid copy (primary: there is no header"), "{verdict}");
}

#[test]
fn truncation_is_named() {
    let fixture = fixture();
    let disk = File::options().write(true).open(&fixture.disk.raw).unwrap();
    let whole = fixture.layout.disk_bytes();
    for (size_bytes, expected) in [
        (whole - 512, "was the disk cut short?"),
        (whole / 2, "was the disk cut short?"),
        (600, "a disk of 600 bytes is too small"),
        (0, "a disk of 0 bytes is too small"),
    ] {
        disk.set_len(size_bytes).unwrap();
        let verdict = fixture.verdict();
        assert!(verdict.contains(expected), "{size_bytes} bytes: {verdict}");
    }
}

#[test]
fn other_files_are_told_apart() {
    let fixture = fixture();
    let folder = fixture.folder.path();
    let text = folder.join("text");
    fs::write(&text, "not a disk\n".repeat(100_000)).unwrap();
    assert!(verdict(&text, &[]).contains("neither a disk image nor a slot payload"));
    assert!(verdict(folder, &[]).contains("it is not a file"));
    assert!(verdict(&folder.join("absent"), &[]).starts_with("open "));
    let qcow2 = folder.join("disk.qcow2");
    qcow2::convert(&fixture.disk.raw, &qcow2).unwrap();
    assert!(verdict(&qcow2, &[]).contains("this is a qcow2 image"));
}

#[test]
fn only_trusted_keys_count() {
    let fixture = fixture();
    let other = SlotKey::create(&fixture.folder.path().join("other"), "release").unwrap();
    let verdict_for = |key: TrustedKey| verdict(&fixture.disk.raw, &[key]);
    assert!(verdict_for(other.trusted()).contains("key \"development\", which is not trusted"));
    let impostor = TrustedKey { name: "development".to_owned(), ..other.trusted() };
    assert!(verdict_for(impostor).contains("it does not match the document"));
}

#[test]
fn a_slot_table_and_content_must_agree() {
    let fixture = fixture();
    let disk = &fixture.disk.raw;
    let trial = SlotAttributes { priority: 3, tries: 1, successful: false };
    stage::set_slot(disk, Slot::B, trial).unwrap();
    let verdict = fixture.verdict();
    assert!(verdict.starts_with("check slot B: check its header: it is empty"), "{verdict}");
    for slot in Slot::ALL {
        stage::set_slot(disk, slot, SlotAttributes::default()).unwrap();
    }
    assert!(fixture.verdict().starts_with("find a slot to boot"));
}

#[test]
fn a_root_that_is_no_file_system_is_named() {
    let folder = TempDir::new().unwrap();
    let parts = parts(folder.path());
    fs::write(&parts.root, noise(40_960, 9)).unwrap();
    let built =
        disk::build(&parts, &small_layout(), &HostTools, folder.path(), &mut Silent).unwrap();
    let verdict = verdict(&built.raw, &[parts.key.trusted()]);
    let expected = "check slot A: check the root: check the superblock: it is not that of erofs";
    assert_eq!(verdict, expected);
}
