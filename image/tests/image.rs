//! Images built from real packages, which the first run fetches and later runs take from the user's cache.

use ferrite_image::packages::PackageStore;
use ferrite_image::packages::cache::Cache;
use ferrite_image::progress::Silent;
use ferrite_image::tools::Tools;

fn store() -> PackageStore {
    PackageStore { cache: Cache::of_user().unwrap(), mirror: None, refresh: false }
}

#[test]
fn every_tool_runs_and_is_called_by_its_own_name() {
    let tools = Tools::obtain(&store(), &mut Silent).unwrap();
    for (tool, argument, expected) in [
        ("mkfs.erofs", "--version", "erofs-utils"),
        ("fsck.erofs", "--version", "erofs-utils"),
        ("mkfs.ext4", "-V", "mke2fs"),
        ("e2fsck", "-V", "e2fsck"),
        ("mkfs.fat", "--help", "mkfs.fat"),
        ("mcopy", "-V", "mcopy"),
        ("depmod", "--version", "kmod"),
        ("xz", "--version", "xz"),
        ("syslinux", "--version", "syslinux"),
    ] {
        let output = tools.command(tool).arg(argument).output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8_lossy(&text);
        assert!(text.contains(expected), "{tool}: {text}");
    }
    assert!(tools.file("usr/lib/syslinux/mbr/gptmbr.bin").is_file());
    assert!(tools.file("usr/lib/systemd/boot/efi/linuxx64.efi.stub").is_file());
}
