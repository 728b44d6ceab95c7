//! Against file systems that mke2fs made, damaged in every way that is known.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::process::Command;

use super::*;
use crate::irreversible::state::Problem;

/// A file system with one file, in a sparse file of `size_mib`.
pub(in crate::state) struct Image {
    _folder: tempfile::TempDir,
    pub(in crate::state) path: PathBuf,
}

impl Image {
    pub(in crate::state) fn empty(size_mib: u64) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state");
        File::create(&path).unwrap().set_len(size_mib << 20).unwrap();
        Self { _folder: folder, path }
    }

    /// As images have it: `image/src/disk/ext4.rs`.
    pub(in crate::state) fn ext4(size_mib: u64) -> Self {
        let image = Self::empty(size_mib);
        let features = "none,ext_attr,dir_index,filetype,extent,64bit,flex_bg,sparse_super,large_file,\
             huge_file,dir_nlink,extra_isize,metadata_csum,metadata_csum_seed,has_journal,orphan_file,resize_inode,\
             quota,project";
        let made = Command::new("/usr/sbin/mke2fs")
            .args(["-q", "-F", "-t", "ext4", "-b", "4096", "-I", "256", "-O", features])
            .args([
                "-E",
                "resize=4T,lazy_itable_init=0,lazy_journal_init=0,nodiscard,quotatype=prjquota",
            ])
            .arg(&image.path)
            .status()
            .unwrap();
        assert!(made.success());
        image.debugfs(&format!("write {} kept", std::env::current_exe().unwrap().display()));
        // debugfs does not count what it writes against the quotas.
        let mut count = Command::new("/usr/sbin/e2fsck");
        assert_eq!(
            count.args(["-f", "-y"]).arg(&image.path).output().unwrap().status.code(),
            Some(1)
        );
        image
    }

    /// Has debugfs change something.
    pub(in crate::state) fn debugfs(&self, request: &str) {
        let output = Command::new("/usr/sbin/debugfs")
            .args(["-w", "-R", request])
            .arg(&self.path)
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
    }

    /// The size of the file that was written.
    pub(in crate::state) fn kept(&self) -> bool {
        let output = Command::new("/usr/sbin/debugfs")
            .args(["-R", "stat kept"])
            .arg(&self.path)
            .output()
            .unwrap();
        let size = std::fs::metadata(std::env::current_exe().unwrap()).unwrap().len();
        String::from_utf8_lossy(&output.stdout).contains(&format!("Size: {size}"))
    }

    /// e2fsck finds nothing wrong.
    pub(in crate::state) fn is_sound(&self) -> bool {
        let mut check = Command::new("/usr/sbin/e2fsck");
        check.args(["-f", "-n"]).arg(&self.path).output().unwrap().status.success()
    }

    pub(in crate::state) fn write(&self, offset_bytes: u64, bytes: &[u8]) {
        File::options()
            .write(true)
            .open(&self.path)
            .unwrap()
            .write_all_at(bytes, offset_bytes)
            .unwrap();
    }

    pub(in crate::state) fn zero(&self, offset_bytes: u64, length: usize) {
        self.write(offset_bytes, &vec![0; length]);
    }
}

fn found(image: &Image) -> Ext4 {
    match look(&image.path) {
        Content::Ext4(ext4) => ext4,
        other => panic!("{other:?}"),
    }
}

const BACKUP: Option<Backup> = Some(Backup { block: 32768, block_bytes: 4096 });

#[test]
fn a_whole_file_system() {
    let image = Image::ext4(256);
    assert_eq!(found(&image), Ext4 { backup: None, flagged: false, top: true });
    image.debugfs("set_super_value state 3");
    assert_eq!(found(&image), Ext4 { backup: None, flagged: true, top: true });
}

#[test]
fn a_superblock_that_is_gone_is_found_by_its_backup() {
    let expected = Ext4 { backup: BACKUP, flagged: false, top: true };
    let random: Vec<u8> =
        (0..1024u32).map(|index| index.wrapping_mul(37).to_le_bytes()[0] | 1).collect();
    // Only the magic; the whole superblock; one bit, so that its checksum is wrong; its block; the first MiB.
    let damages: [&dyn Fn(&Image); 6] = [
        &|image| image.zero(1024 + 0x38, 2),
        &|image| image.zero(1024, 1024),
        &|image| image.write(1024 + 0x20, &[1]),
        &|image| image.write(1024, &random),
        &|image| image.zero(0, 4096),
        &|image| image.zero(0, 1 << 20),
    ];
    for (number, damage) in damages.iter().enumerate() {
        let image = Image::ext4(256);
        damage(&image);
        assert_eq!(found(&image), expected, "damage {number}");
    }
}

#[test]
fn small_blocks_have_backups_elsewhere() {
    let image = Image::empty(32);
    let mut make = Command::new("/usr/sbin/mke2fs");
    make.args(["-q", "-F", "-t", "ext4", "-b", "1024"]).arg(&image.path);
    assert!(make.status().unwrap().success());
    assert_eq!(found(&image), Ext4 { backup: None, flagged: false, top: true });
    image.zero(1024, 1024);
    let backup = Some(Backup { block: 8193, block_bytes: 1024 });
    assert_eq!(found(&image), Ext4 { backup, flagged: false, top: true });
}

#[test]
fn without_a_top_directory_it_is_said() {
    let image = Image::ext4(256);
    image.debugfs("clri <2>");
    assert_eq!(found(&image), Ext4 { backup: None, flagged: false, top: false });
    // Superblock, descriptors and inode tables: e2fsck would make an empty file system of it.
    let image = Image::ext4(256);
    image.zero(0, 16 << 20);
    assert_eq!(found(&image), Ext4 { backup: BACKUP, flagged: false, top: false });
}

#[test]
fn what_others_have_made_over_it_is_theirs() {
    for name in ["LUKS1", "LUKS2"] {
        let image = Image::ext4(256);
        let header = Image::empty(64);
        let mut format = Command::new("/usr/sbin/cryptsetup");
        format.args(["luksFormat", "--batch-mode", "--type", &name.to_lowercase()]);
        format.args([
            "--pbkdf",
            "pbkdf2",
            "--pbkdf-force-iterations",
            "1000",
            "--key-file",
            "/etc/hostname",
        ]);
        assert!(format.arg(&header.path).status().unwrap().success());
        // As on a disk: only the header's bytes are written.
        let bytes = std::fs::read(&header.path).unwrap();
        let length = bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1;
        image.write(0, &bytes[..length]);
        assert_eq!(
            look(&image.path),
            Content::Foreign { name: "LUKS, an encrypted volume" },
            "{name}"
        );
    }
    // btrfs and XFS leave the ext4 backups far behind them as they were.
    let image = Image::ext4(256);
    image.zero(0, 1 << 20);
    image.write(64 * 1024 + 64, b"_BHRfS_M");
    assert_eq!(look(&image.path), Content::Foreign { name: "btrfs" });
    let image = Image::ext4(256);
    image.zero(0, 4096);
    image.write(0, b"XFSB");
    assert_eq!(look(&image.path), Content::Foreign { name: "XFS" });
}

#[test]
fn a_mark_in_front_of_a_whole_superblock_is_not_repaired_away() {
    // cryptsetup before 2.0 left the old superblock where it was, behind its own header.
    let image = Image::ext4(256);
    image.write(0, b"LUKS\xba\xbe");
    assert_eq!(look(&image.path), Content::Foreign { name: "LUKS, an encrypted volume" });
}

/// The bytes that a tool writes into an empty partition; on a disk, those that it does not write stay as they were.
fn made_by(command: &str, arguments: &[&str]) -> Vec<u8> {
    let partition = Image::empty(256);
    let output = Command::new(command).args(arguments).arg(&partition.path).output().unwrap();
    assert!(output.status.success(), "{command}: {output:?}");
    std::fs::read(&partition.path).unwrap()
}

#[test]
fn who_writes_behind_a_superblock_that_stays_is_not_repaired_away() {
    let check = |image: &Image, expected: &'static str| {
        assert!(superblock::parse(&std::fs::read(&image.path).unwrap()[1024..2048]).is_some());
        assert_eq!(look(&image.path), Content::Foreign { name: expected });
    };
    for kind in ["-B", "-C"] {
        let bytes = made_by("/usr/sbin/make-bcache", &[kind]);
        assert!(bytes[..4096].iter().all(|byte| *byte == 0), "{kind}");
        let image = Image::ext4(256);
        image.write(4096, &bytes[4096..8192]);
        check(&image, "bcachefs or bcache");
    }
    let bytes = made_by("/usr/sbin/mkfs.btrfs", &["-q"]);
    let image = Image::ext4(256);
    image.write(64 << 10, &bytes[64 << 10..68 << 10]);
    check(&image, "btrfs");
    // mdadm --create, version 1.2 as it is unless one asks for another; it needs a kernel with RAID.
    let image = Image::ext4(256);
    let mut raid = vec![0; 4096];
    raid[..12].copy_from_slice(b"\xfc\x4e\x2b\xa9\x01\x00\x00\x00\x01\x00\x00\x00");
    raid[16..32].fill(0x5a);
    image.write(4096, &raid);
    check(&image, "a member of a Linux RAID");
    // cryptsetup's second header, the first of which somebody has lost.
    let image = Image::ext4(256);
    image.write(16 << 10, b"SKUL\xba\xbe\x00\x02");
    check(&image, "LUKS, an encrypted volume");
    // The first label of a ZFS leaves the first eight KiB alone; a list of pairs, as nvlist_pack writes it.
    let image = Image::ext4(256);
    image.write(
        16 << 10,
        b"\x01\x01\0\0\0\0\0\0\0\0\0\x01\0\0\0\x24\0\0\0\x20\0\0\0\x07version\0\0\0\0\x08",
    );
    check(&image, "ZFS");
}

/// Every byte of the front of one that was grown, filled and damaged is its own.
#[test]
fn ours_is_never_taken_for_somebody_elses() {
    let image = Image::ext4(256);
    File::options().write(true).open(&image.path).unwrap().set_len(300 << 30).unwrap();
    let grown = Command::new("/usr/sbin/resize2fs").arg(&image.path).output().unwrap();
    assert!(grown.status.success(), "{grown:?}");
    // 2400 groups: their descriptors reach beyond all marks.
    let whole = Ext4 { backup: None, flagged: false, top: true };
    assert_eq!(found(&image), whole);
    let bytes = File::open(&image.path).unwrap();
    let mut front = vec![0; foreign::FRONT_BYTES];
    bytes.read_exact_at(&mut front, 0).unwrap();
    let superblock = superblock::parse(&front[1024..2048]).unwrap();
    assert!(superblock.front_bytes() > foreign::FRONT_BYTES as u64, "{superblock:?}");
    assert!(
        front[4096..].chunks(64).all(|descriptor| descriptor[..12].iter().any(|byte| *byte != 0))
    );
    // Counts, flags and checksums may be anything, and each block of descriptors may be gone or garbage.
    for fill in [0x00, 0x01, 0x53, 0xff] {
        for descriptor in front[4096..].chunks_mut(64) {
            descriptor[0x0c..0x14].fill(fill);
            descriptor[0x18..0x20].fill(fill);
            descriptor[0x2c..0x34].fill(fill);
            descriptor[0x38..0x3c].fill(fill);
        }
        image.write(0, &front);
        assert!(matches!(look(&image.path), Content::Ext4(_)), "{fill}");
    }
    for fill in [0x00, 0x01, 0x53, 0xff] {
        image.write(4096, &vec![fill; foreign::FRONT_BYTES - 4096]);
        assert!(matches!(look(&image.path), Content::Ext4(_)), "all {fill}");
    }
}

#[test]
fn what_nobody_knows_is_not_ext4_although_backups_are_left() {
    for (offset_bytes, length) in [(0, 4096), (0, 1 << 20), (512, 512), (2048, 16), (4096, 64)] {
        let image = Image::ext4(256);
        image.zero(0, 4096);
        let secret: Vec<u8> = (0..length).map(|index: u32| index.to_le_bytes()[0] | 1).collect();
        image.write(offset_bytes, &secret);
        assert_eq!(look(&image.path), Content::Unknown, "{length} bytes at {offset_bytes}");
    }
}

#[test]
fn zeros_are_zeros_and_one_byte_is_something() {
    assert_eq!(look(&Image::empty(256).path), Content::Zeros);
    for offset_bytes in
        [0, 1024, 5 << 20, (64 << 20) - 1, (128 << 20) + 4095, (1 << 40) - 1, (1 << 40) - (1 << 20)]
    {
        let image = Image::empty(1 << 20);
        image.write(offset_bytes, &[1]);
        assert_eq!(look(&image.path), Content::Unknown, "a byte at {offset_bytes}");
    }
}

/// Whatever it is whose beginning, end and backups were wiped.
#[test]
fn one_byte_between_two_samples_is_something() {
    // Samples of 64 KiB are 240 KiB apart there.
    for offset_bytes in [(64 << 20) + (100 << 10), (512 << 20) + 77, (1 << 30) - (1 << 20) - 1] {
        for length in [1, 64 << 10] {
            let image = Image::empty(1024);
            image.write(offset_bytes, &vec![1; length]);
            assert_eq!(look(&image.path), Content::Unknown, "{length} bytes at {offset_bytes}");
        }
    }
}

#[test]
fn what_there_was_no_time_to_read_is_not_zeros() {
    let none = Path::new("/nonexistent");
    let image = Image::empty(1 << 20);
    let content = look_with(&image.path, none, Duration::ZERO);
    assert_eq!(content, Content::NotAllSeen { seen_bytes: 0, of_bytes: 1 << 40 });
    image.write((1 << 39) + (100 << 10), &[1]);
    let content = look_with(&image.path, none, Duration::from_secs(1));
    assert!(matches!(content, Content::NotAllSeen { seen_bytes: 1.., .. }), "{content:?}");
    let text = Problem::NotAllSeen { seen_bytes: 5 << 30, of_bytes: 1 << 40 }.to_string();
    assert!(text.contains("of its 1024 GiB there was time to read 5"), "{text}");
}

#[test]
fn what_cannot_be_read_is_neither_gone_nor_empty() {
    for path in ["/dev/does-not-exist", "/proc/self/mem", "/"] {
        let content = look(Path::new(path));
        assert!(matches!(content, Content::Unreadable { .. }), "{path}: {content:?}");
    }
}
