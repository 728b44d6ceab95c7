//! The image that people get, under other people's tools and ours.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use ferrite_layout::slot_header::{self, HEADER_BYTES};
use ferrite_tests::disk::{extract, partition_start};
use ferrite_tests::images::{self, Kind};
use ferrite_tests::programs::{artifacts, program, said, succeed};

/// A copy of the product's disk in a folder of the scenario's own, to take apart.
fn disk_copy(name: &str) -> Result<std::path::PathBuf> {
    let folder = artifacts()?.join(name);
    fs::create_dir_all(&folder)?;
    let disk = folder.join("disk.raw");
    let image = images::image(Kind::Product)?;
    succeed(Command::new("cp").arg("--sparse=always").arg(image.join("disk.raw")).arg(&disk))?;
    Ok(disk)
}

fn content(program: &str, arguments: &[&str], file: &Path) -> Result<String> {
    succeed(Command::new(program).args(arguments).arg(file))
}

#[test]
fn other_peoples_tools_are_content_with_the_product() -> Result<()> {
    let disk = disk_copy("foreign-tools")?;
    let verdict = content("sgdisk", &["-v"], &disk)?;
    assert!(verdict.contains("No problems found"), "{verdict}");
    let table = content("cgpt", &["show"], &disk)?;
    for words in ["KERN-A", "ROOT-A", "priority=1 tries=3 successful=0", "EFI System Partition"] {
        assert!(table.contains(words), "{words:?} in {table}");
    }
    content("e2fsck", &["-f", "-n"], &extract(&disk, 1)?)?;
    content("e2fsck", &["-f", "-n"], &extract(&disk, 8)?)?;
    content("fsck.fat", &["-n"], &extract(&disk, 12)?)?;

    let kern = fs::read(extract(&disk, 2)?)?;
    let header = kern.get(..HEADER_BYTES).context("KERN-A is too short")?;
    let root = slot_header::decode_unverified(header)?.root;
    let file = extract(&disk, 3)?;
    let mut verity = Command::new("veritysetup");
    verity.arg("verify").arg(&file).arg(&file).arg(&root.root_hash);
    succeed(verity.arg(format!("--hash-offset={}", root.hash_offset_bytes)))?;
    content("fsck.erofs", &[], &file)?;
    let qcow2 = images::image(Kind::Product)?.join("disk.qcow2");
    content("qemu-img", &["check", "-q"], &qcow2).map(drop)
}

#[test]
fn verify_is_content_with_the_product_and_names_the_first_damage() -> Result<()> {
    let disk = disk_copy("verify")?;
    let verify = || -> Result<(Option<i32>, String)> {
        let output =
            Command::new(program("ferrite")?).args(["image", "verify"]).arg(&disk).output()?;
        Ok((output.status.code(), said(&output)))
    };
    let (code, text) = verify()?;
    assert_eq!(code, Some(0), "{text}");
    let root = partition_start(&disk, 3)?;
    ferrite_tests::disk::zero(&disk, root + (6 << 20), 4096)?;
    let (code, text) = verify()?;
    assert_eq!(code, Some(4), "{text}");
    assert!(text.contains("ROOT-A") || text.contains("verity"), "{text}");
    Ok(())
}
