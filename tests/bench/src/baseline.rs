//! What boots are compared with: the same kernel with nothing but a static init, and Debian with systemd and podman.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use ferrite_image::initramfs_archive;
use ferrite_image::tree::{Node, Tree};

/// Says when multi-user.target was reached.
const STAMP_UNIT: &str = "[Unit]\nAfter=multi-user.target\n[Service]\nType=oneshot\nStandardOutput=null\n\
                          ExecStart=/usr/bin/ferrite-probe stamp multi-user\n";
/// First program of Debian: says that it is and becomes systemd.
const STAMP_INIT: &str = "#!/bin/sh\n/usr/bin/ferrite-probe stamp debian-pid1\nexec /sbin/init\n";
/// Room for Debian's tree and what it writes while it boots.
const DEBIAN_DISK: &str = "2G";

/// An initramfs with the probe as its only program.
pub(crate) fn bare_initramfs(probe: &Path, directory: &Path) -> Result<PathBuf> {
    let mut tree = Tree::default();
    let content = fs::read(probe).with_context(|| format!("read {}", probe.display()))?;
    tree.insert("init", Node::File { content, executable: true })?;
    let path = directory.join("bare.cpio");
    fs::write(&path, initramfs_archive::cpio(&tree)?)?;
    Ok(path)
}

/// A raw ext4 disk with Debian from `tar`, the probe in it, booting to multi-user.target.
pub(crate) fn debian_disk(tar: &Path, probe: &Path, directory: &Path) -> Result<PathBuf> {
    let root = directory.join("debian");
    fs::create_dir(&root)?;
    run(Command::new("tar").arg("-C").arg(&root).arg("-xf").arg(tar))?;
    fs::copy(probe, root.join("usr/bin/ferrite-probe"))?;
    let init = root.join("usr/bin/stamp-init");
    fs::write(&init, STAMP_INIT)?;
    run(Command::new("chmod").arg("755").arg(&init))?;
    let units = root.join("etc/systemd/system");
    fs::write(units.join("stamp.service"), STAMP_UNIT)?;
    let wants = units.join("graphical.target.wants");
    fs::create_dir_all(&wants)?;
    std::os::unix::fs::symlink("../stamp.service", wants.join("stamp.service"))?;
    let default = units.join("default.target");
    if default.is_symlink() {
        fs::remove_file(&default)?;
    }
    std::os::unix::fs::symlink("/usr/lib/systemd/system/graphical.target", default)?;
    let disk = directory.join("debian.raw");
    run(Command::new("truncate").args(["-s", DEBIAN_DISK]).arg(&disk))?;
    run(Command::new("mke2fs").args(["-q", "-t", "ext4", "-d"]).arg(&root).arg(&disk))?;
    #[expect(clippy::disallowed_methods, reason = "the benchmark's own folder on the host")]
    fs::remove_dir_all(&root)?;
    Ok(disk)
}

fn run(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("run {command:?}"))?;
    ensure!(status.success(), "{command:?} ended with {status}");
    Ok(())
}
