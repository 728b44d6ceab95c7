//! Images built from real packages, which the first run fetches and later runs take from the user's cache.

use std::path::{Path, PathBuf};

use ferrite_image::build::{Parts, PartsRequest, parts};
use ferrite_image::initramfs::PublicKey;
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

fn example_parts(directory: &Path) -> Parts {
    let program = |name: &str| {
        let path = directory.join(name);
        std::fs::write(&path, format!("stands for {name}")).unwrap();
        path
    };
    let request = PartsRequest {
        configs: PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../configs"),
        variant: "cloud".to_owned(),
        version: "0.1.0".to_owned(),
        init: program("init"),
        agent: program("agent"),
        keys: vec![PublicKey { name: "test".to_owned(), hex: "ab".repeat(32) }],
        state_template: vec![0; 4096],
    };
    let store = store();
    let tools = Tools::obtain(&store, &mut Silent).unwrap();
    parts(&request, (&store, &tools), &mut Silent).unwrap()
}

#[test]
fn parts_are_made_from_real_packages() {
    let directory = tempfile::tempdir().unwrap();
    let parts = example_parts(directory.path());
    println!(
        "kernel {} initramfs {} root {}",
        parts.kernel.len(),
        parts.initramfs.len(),
        std::fs::metadata(&parts.root).unwrap().len()
    );
    for file in &parts.boot_files.esp {
        println!("{} {}", file.path, file.content.len());
    }
    if let Some(out) = std::env::var_os("OUT").map(PathBuf::from) {
        std::fs::write(out.join("kernel"), &parts.kernel).unwrap();
        std::fs::write(out.join("initramfs"), &parts.initramfs).unwrap();
        std::fs::write(out.join("cmdline"), &parts.command_line).unwrap();
        std::fs::copy(&parts.root, out.join("root.erofs")).unwrap();
        for file in &parts.boot_files.esp {
            let path = out.join("esp").join(&file.path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, &file.content).unwrap();
        }
    }
}
