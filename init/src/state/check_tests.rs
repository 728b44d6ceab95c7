//! The host's e2fsck on file systems that were damaged: the way from what is found to what is done.

use super::super::look::{look, tests::Image};
use super::*;
use crate::irreversible::state::{Act, Content, Evidence, Problem, next};

/// Looks, decides and checks, as the node does, until something is to be mounted or left alone.
fn settle(image: &Image) -> (Act, Vec<String>) {
    let mut evidence = Evidence { damaged: true, ..Evidence::new(look(&image.path)) };
    let mut said = Vec::new();
    loop {
        match next(&evidence) {
            Act::Check { from } => {
                let (checked, lines) = check(image.path.clone(), from);
                said.extend(lines);
                evidence.runs += 1;
                evidence.checked = Some(checked);
            }
            act => return (act, said),
        }
    }
}

fn bytes(image: &Image) -> Vec<u8> {
    std::fs::read(&image.path).unwrap()
}

#[test]
fn a_file_system_without_its_superblock_is_repaired_whole() {
    let damages: [&dyn Fn(&Image); 4] = [
        &|image| image.zero(1024, 1024),
        &|image| image.zero(0, 1 << 20),
        &|image| image.write(1024 + 0x20, &[1]),
        // Group descriptors, while the superblock is whole.
        &|image| image.zero(4096, 4096),
    ];
    for (number, damage) in damages.iter().enumerate() {
        let image = Image::ext4(256);
        damage(&image);
        let (act, said) = settle(&image);
        assert_eq!(act, Act::Mount, "damage {number}: {said:?}");
        assert!(image.kept(), "damage {number}: {said:?}");
        let Content::Ext4(ext4) = look(&image.path) else { panic!("damage {number}") };
        assert_eq!((ext4.backup, ext4.top), (None, true), "damage {number}");
    }
}

#[test]
fn a_bitmap_with_a_bad_checksum_is_repaired() {
    let image = Image::ext4(256);
    image.debugfs("set_bg 0 block_bitmap_csum 1");
    assert_eq!(settle(&image).0, Act::Mount);
    assert!(image.kept());
}

/// The kernel says that there may be orphans for as long as a file system is mounted.
#[test]
fn damage_to_one_that_was_not_unmounted_and_has_quotas_is_repaired() {
    let damages = [
        &["set_bg 0 block_bitmap_csum 1"][..],
        &["set_bg 1 inode_bitmap_csum 1", "set_bg 0 block_bitmap_csum 1"],
        &["set_bg 0 block_bitmap_csum 1", "set_super_value state 2"],
        // A file that was removed while it was open.
        &[
            "set_bg 0 block_bitmap_csum 1",
            "unlink open",
            "sif open links_count 0",
            "ssv last_orphan 15",
        ],
        // The quotas' own file: gone, too short, pointing elsewhere, pointing nowhere.
        &["clri <12>", "set_bg 0 block_bitmap_csum 1"],
        &["clri <12>"],
        &["sif <12> size 1024"],
        &["sif <12> block[5] 40"],
    ];
    for damage in damages {
        let image = Image::ext4(256);
        image.debugfs("write /etc/passwd open");
        image.debugfs("feature orphan_present");
        for request in damage {
            image.debugfs(request);
        }
        let (act, said) = settle(&image);
        assert_eq!(act, Act::Mount, "{damage:?}: {said:#?}");
        assert!(image.kept(), "{damage:?}: {said:#?}");
        assert!(image.is_sound(), "{damage:?}: {said:#?}");
    }
}

/// What e2fsck says of each group comes before that it ends over the quotas.
#[test]
fn damage_in_every_group_is_repaired_as_well() {
    let image = Image::ext4(4096);
    image.debugfs("feature orphan_present");
    for group in 0..32 {
        // Checksums of the block bitmap and of the descriptor itself, in descriptors of 64 bytes.
        for field in [0x18, 0x1e] {
            image.write(4096 + group * 64 + field, &[1, 1]);
        }
    }
    let (act, said) = settle(&image);
    assert_eq!(act, Act::Mount, "{said:#?}");
    assert!(image.kept() && image.is_sound(), "{said:#?}");
}

#[test]
fn features_that_e2fsck_does_not_know_leave_every_byte_as_it_is() {
    for feature in ["FEATURE_I30", "FEATURE_R30", "casefold"] {
        let image = Image::ext4(256);
        image.debugfs(&format!("feature {feature}"));
        let before = bytes(&image);
        let (act, _) = settle(&image);
        assert!(
            matches!(act, Act::Rescue(Problem::CheckFailed { .. } | Problem::ErrorsLeft)),
            "{feature}: {act:?}"
        );
        assert!(before == bytes(&image), "{feature}: e2fsck has written");
    }
}

#[test]
fn a_partition_that_ends_too_early_is_left_as_it_is() {
    let image = Image::ext4(256);
    std::fs::File::options().write(true).open(&image.path).unwrap().set_len(200 << 20).unwrap();
    let before = bytes(&image);
    let (act, said) = settle(&image);
    assert!(matches!(act, Act::Rescue(_)), "{act:?}: {said:?}");
    assert!(before == bytes(&image), "e2fsck has written: {said:?}");
}

#[test]
fn an_empty_top_is_not_made_unasked() {
    let image = Image::ext4(256);
    image.zero(0, 16 << 20);
    let before = bytes(&image);
    assert_eq!(settle(&image).0, Act::Rescue(Problem::TopGone));
    assert!(before == bytes(&image));
}

#[test]
fn what_a_disk_does_not_give_is_not_written_over() {
    let text = "e2fsck 1.47\nError reading block 33 (Input/output error).  Ignore error? no\n";
    let mut command = Command::new("/usr/bin/printf");
    command.arg(text);
    let run = run(command).unwrap();
    assert!(run.read_error.unwrap().contains("block 33"));
}

/// Whoever runs in a container chooses the names that e2fsck prints.
#[test]
fn a_files_name_is_no_error_of_the_disk() {
    for name in ["short read", "Can't read an inode", "Error reading block 7 (short read)"] {
        let image = Image::ext4(256);
        image.debugfs(&format!("write /etc/passwd \"{name}\""));
        image.debugfs(&format!("clri \"{name}\""));
        let (act, said) = settle(&image);
        assert!(said.iter().any(|line| line.contains(name)), "{name}: {said:?}");
        assert_eq!(act, Act::Mount, "{name}: {said:?}");
        assert!(image.kept() && image.is_sound(), "{name}: {said:?}");
    }
}

#[test]
fn only_beginnings_of_lines_say_that_the_disk_does_not_read() {
    for line in [
        "Error reading block 33 (Input/output error) while getting next inode from scan.  Ignore error? no",
        "e2fsck: Input/output error while trying to open /dev/vda1",
        "/usr/sbin/e2fsck: Attempt to read block from filesystem resulted in short read while trying to open /dev/vda1",
        "e2fsck: Can't read an inode bitmap while retrying to read bitmaps for /dev/vda1",
    ] {
        assert!(is_read_error(line), "{line}");
    }
    for line in [
        "Entry 'e2fsck: Input/output error' in /x (12) has deleted/unused inode 15.  Clear? no",
        "Entry 'a' in /Error reading block 3 (12) has deleted/unused inode 15.  Clear? no",
        "/dev/vda1: Input/output error",
        "",
    ] {
        assert!(!is_read_error(line), "{line}");
    }
    // A line in pieces, the second of which begins with a name.
    let mut command = Command::new("/usr/bin/printf");
    command.arg(format!("{:4096}Error reading block 3\\n", "Entry '"));
    assert_eq!(super::run(command).unwrap().read_error, None);
}

#[test]
fn much_output_is_read_and_little_of_it_kept() {
    let mut command = Command::new("/usr/bin/seq");
    command.arg("200000");
    let run = run(command).unwrap();
    assert_eq!((run.status.success(), run.lines.len(), run.read_error), (true, LINES_MAX, None));
}
