//! Parts that make no disk: the reason is named, and nothing is left behind.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use ferrite_image::disk::{self, BiosLoader, BuildDisk, OemFile, Parts};
use ferrite_image::keys::{self, KeyError, SlotKey};
use ferrite_image::progress::Silent;
use tempfile::TempDir;

use crate::fixture::{HostTools, noise, parts, small_layout};

/// Builds after `change`, which must fail, and returns the error's text.
fn refusal(change: impl FnOnce(&mut Parts, &Path)) -> String {
    let folder = TempDir::new().unwrap();
    let mut parts = parts(folder.path());
    change(&mut parts, folder.path());
    let out = folder.path().join("out");
    fs::create_dir(&out).unwrap();
    let error: BuildDisk =
        disk::build(&parts, &small_layout(), &HostTools, &out, &mut Silent).unwrap_err();
    let left: Vec<_> = fs::read_dir(&out).unwrap().collect();
    assert!(left.is_empty(), "left behind: {left:?}");
    error.to_string()
}

#[test]
fn parts_too_large_name_both_sizes() {
    let kernel = refusal(|parts, _| fs::write(&parts.kernel, noise(9 << 20, 1)).unwrap());
    assert_eq!(
        kernel,
        "fit slot header, kernel and initramfs into KERN-A: it has 10153984 bytes (10 MiB), the \
         partition 8388608 bytes (8 MiB)"
    );
    let root = refusal(|parts, _| fs::write(&parts.root, noise(5 << 20, 1)).unwrap());
    assert!(root.starts_with("fit root file system with its verity tree into ROOT-A"), "{root}");
    let esp = refusal(|parts, folder| {
        parts.esp[0].source = folder.join("large");
        fs::write(folder.join("large"), noise(41 << 20, 1)).unwrap();
    });
    assert!(esp.starts_with("fit the files of the EFI system partition into EFI-SYSTEM"), "{esp}");
    let oem = refusal(|parts, _| parts.oem[0].content = noise(9 << 20, 1));
    assert!(oem.starts_with("fit the files of the OEM partition into OEM"), "{oem}");
}

#[test]
fn parts_that_fit_barely_and_then_do_not_are_still_named() {
    // The files alone fit; with the file system's own tables they do not.
    let esp = refusal(|parts, folder| {
        parts.esp[0].source = folder.join("large");
        fs::write(folder.join("large"), vec![1; (40 << 20) - 600_000]).unwrap();
        parts.esp.truncate(1);
    });
    assert!(esp.starts_with("fit the files of the EFI system partition"), "{esp}");
    let oem = refusal(|parts, _| parts.oem[0].content = noise(8_300_000, 1));
    assert!(oem.starts_with("fit the files of the OEM partition"), "{oem}");
}

#[test]
fn parts_that_are_missing_or_malformed_are_named() {
    let missing = refusal(|parts, folder| parts.initramfs = folder.join("absent"));
    assert!(missing.starts_with("read ") && missing.ends_with("/absent"), "{missing}");
    let odd = refusal(|parts, _| fs::write(&parts.root, noise(5000, 1)).unwrap());
    assert!(odd.ends_with("5000 bytes are not whole blocks of 4096, or none"), "{odd}");
    let long = refusal(|parts, _| parts.cmdline = "x".repeat(20_000));
    assert_eq!(long, "make the slot header");
    let directory = refusal(|parts, _| {
        let boot_code = parts.kernel.clone();
        parts.bios = Some(BiosLoader { boot_code, directory: "/../up".to_owned() });
    });
    assert!(directory.starts_with("put \"../up\" onto EFI-SYSTEM"), "{directory}");
}

#[test]
fn names_cannot_leave_their_directory() {
    for name in ["", "../up", "a/b", "-option", ".hidden", "a b", "a\"b", "a\nb"] {
        let oem = refusal(|parts, _| {
            parts.oem.push(OemFile { name: name.to_owned(), content: Vec::new() });
        });
        assert_eq!(
            oem,
            format!(
                "put {name:?} onto OEM: the name is empty, or has parts that are not plain names"
            )
        );
    }
    for path in ["", "/EFI", "EFI//BOOT", "EFI/../up", "EFI/-o"] {
        let esp = refusal(|parts, _| parts.esp[0].path = path.to_owned());
        assert!(esp.starts_with(&format!("put {path:?} onto EFI-SYSTEM")), "{esp}");
    }
}

#[test]
fn keys_are_private_kept_and_read_back() {
    let folder = TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name);
    let key = SlotKey::create(folder.path(), "release").unwrap();
    let mode = |name| fs::metadata(path(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("release.key"), mode("release.pub")), (0o600, 0o644));
    let again = SlotKey::load(&path("release.key")).unwrap();
    assert_eq!(again.signing_key().to_bytes(), key.signing_key().to_bytes());
    assert!(!again.is_development());
    let trusted = keys::load_trusted(&path("release.pub")).unwrap();
    assert_eq!((trusted.name, trusted.key), ("release".to_owned(), key.trusted().key));

    let taken = SlotKey::create(folder.path(), "release").unwrap_err();
    assert!(matches!(taken, KeyError::Exists { .. }), "{taken}");
    assert_eq!(fs::read_to_string(path("release.pub")).unwrap(), key.public_text());
    fs::set_permissions(path("release.key"), fs::Permissions::from_mode(0o640)).unwrap();
    assert!(matches!(SlotKey::load(&path("release.key")), Err(KeyError::TooOpen { .. })));
}

#[test]
fn the_development_key_is_made_once_and_its_name_is_reserved() {
    let folder = TempDir::new().unwrap();
    let one = SlotKey::development(folder.path()).unwrap();
    let other = SlotKey::development(folder.path()).unwrap();
    assert!(one.is_development());
    assert_eq!(one.signing_key().to_bytes(), other.signing_key().to_bytes());
    let reserved = SlotKey::create(folder.path(), "development");
    assert!(matches!(reserved, Err(KeyError::Reserved)));
    for name in ["", "a/b", "..", "a b", &"x".repeat(65)] {
        assert!(matches!(SlotKey::create(folder.path(), name), Err(KeyError::Name { .. })));
    }
    let all = keys::load_trusted_directory(folder.path()).unwrap();
    assert_eq!(all.len(), 1);
    assert!(keys::load_trusted_directory(&folder.path().join("absent")).unwrap().is_empty());
    fs::write(folder.path().join("bad.pub"), "zz").unwrap();
    let bad = keys::load_trusted_directory(folder.path());
    assert!(matches!(bad, Err(KeyError::Digits { .. })));
}
