//! What gets into a new volume, and what does not.

use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};

use ferrite_schema::shim::IdRange;
use ferrite_schema::unit::Resources;

use super::*;

#[test]
fn an_owner_whom_the_container_does_not_have_is_nobody_and_grants_nothing() {
    let ids = IdRange { first: 1_048_576, count: 65_536 };
    let (own, all) = (Owners::without_namespace(ids, &[]), Owners::nodes());
    let folder = tempfile::tempdir().unwrap();
    let mut stat = rustix::fs::stat(folder.path()).unwrap();
    for (seen, kind, owners, user, expected) in [
        // Its root, its last user, and the first of its neighbour.
        (1_048_576, 0o100_000, &own, 0, 0o6755),
        (1_114_111, 0o100_000, &own, 65_535, 0o6755),
        (1_114_112, 0o100_000, &own, NOBODY, 0o755),
        // The kernel's word for an owner that the layers' mount does not have.
        (65_534, 0o100_000, &own, NOBODY, 0o755),
        (0, 0o100_000, &own, NOBODY, 0o755),
        (u32::MAX - 1, 0o100_000, &own, NOBODY, 0o755),
        // A folder's bit says whose group its files get.
        (65_534, 0o040_000, &own, NOBODY, 0o6755),
        // One that shares the node's users has them all.
        (70_000, 0o100_000, &all, 70_000, 0o6755),
    ] {
        (stat.st_uid, stat.st_gid, stat.st_mode) = (seen, seen, kind | 0o6755);
        let owner = on_disk(&stat, owners);
        let found = (owner.user.as_raw(), owner.group.as_raw(), owner.mode.as_raw_mode());
        assert_eq!(found, (user, user, expected), "{seen}");
        assert_eq!(owner.is_own, user != NOBODY, "{seen}");
    }
}

#[test]
fn any_depth_is_copied_with_its_modes() {
    let folder = tempfile::tempdir().unwrap();
    let image = folder.path().join("image");
    let levels = 300;
    fs::create_dir_all(image.join("data").join("d/".repeat(levels))).unwrap();
    fs::write(image.join("data").join("d/".repeat(levels)).join("file"), "text").unwrap();
    for sealed in ["data/d/d", "data/d"] {
        fs::set_permissions(image.join(sealed), fs::Permissions::from_mode(0o555)).unwrap();
    }
    let (root, owners) = (Root::open(&image).unwrap(), Owners::nodes());
    let volume = folder.path().join("volumes/one");
    let nothing = Claim { resources: &Resources::default(), volumes: 1 };
    seed(&volume, &root, "/data", &owners, nothing).unwrap();
    let deepest = volume.join("d/".repeat(levels)).join("file");
    assert_eq!(fs::read_to_string(deepest).unwrap(), "text");
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!((mode(&volume.join("d/d")), mode(&volume.join("d/d/d"))), (0o555, 0o755));
    for tree in [&image, &volume] {
        ferrite_files::removal::remove(tree).unwrap();
    }
}

#[test]
fn a_volume_starts_with_what_the_image_has_and_is_never_filled_twice() {
    let folder = tempfile::tempdir().unwrap();
    let image = folder.path().join("image");
    fs::create_dir_all(image.join("data/deep")).unwrap();
    fs::write(image.join("data/deep/file"), "text").unwrap();
    fs::set_permissions(image.join("data/deep"), fs::Permissions::from_mode(0o711)).unwrap();
    symlink("/etc/passwd", image.join("data/link")).unwrap();
    let (root, owners) = (Root::open(&image).unwrap(), Owners::nodes());
    let volume = folder.path().join("volumes/one");
    let nothing = Claim { resources: &Resources::default(), volumes: 1 };
    seed(&volume, &root, "/data", &owners, nothing).unwrap();
    assert_eq!(fs::read_to_string(volume.join("deep/file")).unwrap(), "text");
    let mode = fs::metadata(volume.join("deep")).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o711);
    assert_eq!(fs::read_link(volume.join("link")).unwrap(), Path::new("/etc/passwd"));
    fs::remove_file(volume.join("link")).unwrap();
    seed(&volume, &root, "/data", &owners, nothing).unwrap();
    assert!(!volume.join("link").exists());
    assert_eq!(fs::read_dir(folder.path().join("volumes")).unwrap().count(), 1);
}

/// An image with a folder `data`, and where its volume is to be.
fn image_and_volume() -> (tempfile::TempDir, PathBuf, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let (image, volume) = (folder.path().join("image"), folder.path().join("volumes/one"));
    fs::create_dir_all(image.join("data")).unwrap();
    (folder, image, volume)
}

fn seed_from(image: &Path, target: &str, volume: &Path) -> Result<(), SeedProblem> {
    let (root, owners) = (Root::open(image).unwrap(), Owners::nodes());
    let nothing = Claim { resources: &Resources::default(), volumes: 1 };
    seed(volume, &root, target, &owners, nothing)
}

/// Ten kilobytes of a tar are 32 GiB of zeros otherwise.
#[test]
fn holes_of_an_image_take_nothing_of_state() {
    let (_folder, image, volume) = image_and_volume();
    let file = File::create(image.join("data/holes")).unwrap();
    file.set_len(1 << 34).unwrap();
    file.write_all_at(b"data", 1 << 33).unwrap();
    seed_from(&image, "/data", &volume).unwrap();
    let copied = File::open(volume.join("holes")).unwrap();
    let meta = copied.metadata().unwrap();
    assert_eq!(meta.len(), 1 << 34);
    assert!(meta.blocks() * 512 < 1 << 20, "{} blocks", meta.blocks());
    let mut data = [0; 4];
    copied.read_exact_at(&mut data, 1 << 33).unwrap();
    assert_eq!(&data, b"data");
}

/// A small file with a thousand names is a thousand files otherwise.
#[test]
fn names_of_one_file_stay_names_of_one_file() {
    let (_folder, image, volume) = image_and_volume();
    for (file, others) in [("one", 300_u64), ("two", 1), ("three", 0)] {
        let first = image.join("data").join(file);
        fs::write(&first, file).unwrap();
        fs::create_dir_all(image.join("data/names")).unwrap();
        for number in 0..others {
            fs::hard_link(&first, image.join(format!("data/names/{file}-{number}"))).unwrap();
        }
    }
    // A name outside of what is copied.
    fs::hard_link(image.join("data/three"), image.join("outside")).unwrap();
    seed_from(&image, "/data", &volume).unwrap();
    for (file, names) in [("one", 301), ("two", 2), ("three", 1)] {
        assert_eq!(fs::metadata(volume.join(file)).unwrap().nlink(), names, "{file}");
        assert_eq!(fs::read_to_string(volume.join(file)).unwrap(), file);
    }
    let inode = |name: &str| fs::metadata(volume.join(name)).unwrap().ino();
    assert_eq!(inode("names/one-299"), inode("one"));
}

#[test]
fn what_could_not_be_filled_leaves_nothing() {
    let (folder, image, volume) = image_and_volume();
    let failed = seed_from(&image, "/nothing", &volume);
    assert!(matches!(failed, Err(SeedProblem::Copy { .. })), "{failed:?}");
    assert_eq!(fs::read_dir(folder.path().join("volumes")).unwrap().count(), 0);
    // Nor is anything taken over from one that was killed.
    let left = folder.path().join("volumes").join(format!("{}one", names::VOLUME_UNFINISHED));
    fs::create_dir(&left).unwrap();
    fs::write(left.join("half"), "").unwrap();
    seed_from(&image, "/data", &volume).unwrap();
    assert!(!left.exists() && !volume.join("half").exists());
}

#[test]
fn a_full_disk_is_said_with_the_volumes_name() {
    for errno in [Errno::NOSPC, Errno::DQUOT] {
        for unmade in [Unmade::Copy(errno.into()), Unmade::Make(errno.into())] {
            let problem = unmade.of(Path::new("/var/lib/ferrite/volumes/db"), "/data");
            let text = ferrite_schema::chain(&problem);
            let begin = "volume db: no space for what the image has in /data";
            assert!(text.starts_with(begin), "{text}");
            assert!(text.contains(&io::Error::from(errno).to_string()), "{text}");
        }
    }
    let other = Unmade::Copy(Errno::IO.into()).of(Path::new("/v/db"), "/data");
    assert!(matches!(other, SeedProblem::Copy { .. }));
}
