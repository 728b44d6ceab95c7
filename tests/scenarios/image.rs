//! The image that people get, under other people's tools and ours.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use ferrite_layout::slot_header::{self, HEADER_BYTES};
use ferrite_tests::disk::{extract, partition_start};
use ferrite_tests::images::{self, Kind};
use ferrite_tests::programs::{artifacts, checkout, program, said, succeed};

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
    // 6 MiB into the root file system, which verity hashes by blocks of 4096.
    assert!(text.contains("slot A") && text.contains("block 1536 "), "{text}");
    Ok(())
}

/// User and group that own nothing, on every Debian.
const NOBODY: &str = "65534";

/// Everything that a build reads, in a folder that anybody may enter and `nobody` owns.
fn for_nobody(folder: &Path) -> Result<()> {
    let mut copy = Command::new("cp");
    copy.args(["-r", "--reflink=auto"]).arg(checkout().join("configs"));
    for name in ["ferrite", "ferrite-init", "ferrite-agent", "ferrite-container", "ferrite-shim"] {
        copy.arg(program(name)?);
    }
    succeed(copy.arg(folder))?;
    for (variable, below_home, part) in [
        ("XDG_CACHE_HOME", ".cache", "ferrite/packages"),
        ("XDG_DATA_HOME", ".local/share", "ferrite/keys"),
    ] {
        let home = || std::env::home_dir().map(|home| home.join(below_home));
        let source = std::env::var_os(variable).map(Into::into).or_else(home);
        let target = folder.join(variable).join(part);
        fs::create_dir_all(target.parent().context("a folder above")?)?;
        let source = source.context("find the home folder")?.join(part);
        succeed(Command::new("cp").args(["-r", "--reflink=auto"]).arg(source).arg(target))?;
    }
    if rustix::process::geteuid().is_root() {
        succeed(Command::new("chown").args(["-R", &format!("{NOBODY}:{NOBODY}")]).arg(folder))?;
    }
    Ok(())
}

#[test]
fn an_unprivileged_user_elsewhere_builds_the_same_bytes() -> Result<()> {
    let product = images::image(Kind::Product)?;
    let folder = tempfile::tempdir()?;
    for_nobody(folder.path())?;
    let ferrite = folder.path().join("ferrite");
    let mut build = if rustix::process::geteuid().is_root() {
        let mut drop_privileges = Command::new("setpriv");
        drop_privileges
            .args(["--reuid", NOBODY, "--regid", NOBODY, "--clear-groups", "--"])
            .arg(ferrite);
        drop_privileges
    } else {
        Command::new(ferrite)
    };
    build
        .args(["image", "build", "--variant", &images::variant(), "--out", "elsewhere"])
        .current_dir(folder.path());
    for variable in ["XDG_CACHE_HOME", "XDG_DATA_HOME"] {
        build.env(variable, folder.path().join(variable));
    }
    succeed(build.env("HOME", folder.path()).env("TZ", "Pacific/Auckland"))?;
    for file in ["disk.raw", "disk.qcow2", "kernel", "initramfs", "manifest.json", "sbom.spdx.json"]
    {
        let same = Command::new("cmp")
            .arg(product.join(file))
            .arg(folder.path().join("elsewhere").join(file))
            .output()?;
        assert!(same.status.success(), "{}", said(&same));
    }
    Ok(())
}
