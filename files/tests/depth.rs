//! Trees of any depth, with few open files. A process of its own: the limit is the process's.

#![expect(clippy::unwrap_used, reason = "a test may fail at any step")]

use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::Path;

use ferrite_files::{removal, walk};
use rustix::fs::{Mode, OFlags};
use rustix::process::{Resource, Rlimit};

const LEVELS: usize = 20_000;
/// As long as names may be: the path has five megabytes.
const NAME_BYTES: usize = 255;

fn deep(folder: &Path, levels: usize) {
    let name = "d".repeat(NAME_BYTES);
    let mut current: OwnedFd = File::open(folder).unwrap().into();
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    for _ in 0..levels {
        rustix::fs::mkdirat(&current, &name, Mode::RWXU).unwrap();
        let file = OFlags::WRONLY | OFlags::CREATE | OFlags::CLOEXEC;
        drop(rustix::fs::openat(&current, "f", file, Mode::RUSR).unwrap());
        current = rustix::fs::openat(&current, &name, flags, Mode::empty()).unwrap();
    }
}

#[test]
fn twenty_thousand_levels_are_counted_and_removed_with_forty_open_files() {
    // On some disks each folder that is made costs milliseconds.
    let memory = Path::new("/dev/shm");
    let folder = match memory.is_dir() {
        true => tempfile::tempdir_in(memory).unwrap(),
        false => tempfile::tempdir().unwrap(),
    };
    let tree = folder.path().join("tree");
    std::fs::create_dir(&tree).unwrap();
    deep(&tree, LEVELS);
    let limit = Rlimit { current: Some(40), maximum: Some(40) };
    rustix::process::setrlimit(Resource::Nofile, limit).unwrap();
    let count = walk::count(&tree);
    assert_eq!(count.inodes, 2 * LEVELS as u64);
    assert!(count.whole);
    removal::remove(&tree).unwrap();
    assert!(!tree.exists());
}
