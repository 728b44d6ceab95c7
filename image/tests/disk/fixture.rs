//! A small disk and the tools to look at it.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use ferrite_image::disk::{self, Disk, EspFile, OemFile, Parts, Toolbox};
use ferrite_image::keys::SlotKey;
use ferrite_image::progress::Silent;
use ferrite_layout::disk_layout::DiskLayout;
use tempfile::TempDir;

/// The disk layout of the project, with everything that can be small made small.
pub(crate) fn small_layout() -> DiskLayout {
    include_str!("../../../configs/disk-layout.toml")
        .replace("\"256 MiB\"", "\"40 MiB\"")
        .replace("\"64 MiB\"", "\"8 MiB\"")
        .replace("\"1 GiB\"", "\"4 MiB\"")
        .replace("\"512 MiB\"", "\"64 MiB\"")
        .parse()
        .unwrap()
}

/// The programs that this machine has installed.
#[derive(Debug)]
pub(crate) struct HostTools;

impl Toolbox for HostTools {
    fn command(&self, name: &str) -> Command {
        let mut command = Command::new(name);
        let path = std::env::var("PATH").unwrap_or_default();
        command.env("PATH", format!("{path}:/usr/sbin:/sbin"));
        command
    }
}

/// A disk in a folder of its own.
pub(crate) struct Fixture {
    pub(crate) folder: TempDir,
    pub(crate) layout: DiskLayout,
    pub(crate) parts: Parts,
    pub(crate) disk: Disk,
}

/// Builds the small disk.
pub(crate) fn fixture() -> Fixture {
    let folder = TempDir::new().unwrap();
    let layout = small_layout();
    let parts = parts(folder.path());
    let out = folder.path().join("out");
    fs::create_dir(&out).unwrap();
    let disk = disk::build(&parts, &layout, &HostTools, &out, &mut Silent).unwrap();
    Fixture { folder, layout, parts, disk }
}

/// Parts with content that compresses badly, so that damage anywhere shows.
pub(crate) fn parts(folder: &Path) -> Parts {
    let tree = folder.join("tree");
    fs::create_dir_all(tree.join("usr/bin")).unwrap();
    fs::write(tree.join("usr/bin/program"), noise(600_000, 1)).unwrap();
    fs::write(tree.join("usr/os-release"), "NAME=Ferrite\n").unwrap();
    let root = folder.join("root.erofs");
    let mut command = HostTools.command("mkfs.erofs");
    command.args(["--quiet", "-T0", "-U00000000-0000-0000-0000-000000000001", "--all-root"]);
    succeed(command.arg(&root).arg(&tree));
    let (kernel, initramfs) = (folder.join("kernel"), folder.join("initramfs"));
    fs::write(&kernel, noise(1_500_001, 2)).unwrap();
    fs::write(&initramfs, noise(700_003, 3)).unwrap();
    Parts {
        version: "1.2.3".to_owned(),
        variant: "test".to_owned(),
        boot_id: "b007".to_owned(),
        esp: vec![
            EspFile { path: "EFI/BOOT/BOOTX64.EFI".to_owned(), source: kernel.clone() },
            EspFile {
                path: "syslinux/syslinux.cfg".to_owned(),
                source: tree.join("usr/os-release"),
            },
        ],
        bios: None,
        oem: vec![OemFile {
            name: "cloud-config.toml".to_owned(),
            content: b"#cloud-config\n".to_vec(),
        }],
        key: SlotKey::development(&folder.join("keys")).unwrap(),
        cmdline: "console=ttyS0".to_owned(),
        kernel,
        initramfs,
        root,
    }
}

/// Bytes that look random and are always the same (xorshift).
pub(crate) fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    })
    .take(length)
    .collect()
}

/// Runs a command that must succeed, and returns what it printed.
pub(crate) fn succeed(command: &mut Command) -> String {
    let (output, text) = run(command);
    assert!(output.status.success(), "{command:?}: {}\n{text}", output.status);
    text
}

/// Runs a command, and returns what it printed on both its streams.
pub(crate) fn run(command: &mut Command) -> (Output, String) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let text = String::from_utf8_lossy(&[&output.stdout[..], &output.stderr].concat()).into_owned();
    (output, text)
}

impl Fixture {
    /// Copies a partition of the disk into a file of its own.
    pub(crate) fn extract(&self, number: u32) -> PathBuf {
        let partition = self.layout.partition(number).unwrap();
        let mut bytes = vec![0; usize::try_from(partition.size_bytes).unwrap()];
        let disk = File::open(&self.disk.raw).unwrap();
        disk.read_exact_at(&mut bytes, partition.offset_bytes).unwrap();
        let path = self.folder.path().join(&partition.label);
        fs::write(&path, bytes).unwrap();
        path
    }
}
