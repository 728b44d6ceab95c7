//! Layers over layers: whatever an upper one says, the lower one stays as it is, nothing outside changes, and the same comes of
//! the same.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use ferrite_store::unpack::below::Below;
use ferrite_store::unpack::{self, Limits};

/// Small, so that a run is quick.
const LIMITS: Limits =
    Limits { tar_max_bytes: 1 << 20, file_max_bytes: 1 << 16, entries_max: 64, steps_max: 1 << 12 };

/// Applies two layers: the first byte says how many blocks of a tar are the lower one's.
pub(crate) fn check(data: &[u8]) {
    let Some((blocks, tars)) = data.split_first() else { return };
    let (low, high) = tars.split_at(tars.len().min(usize::from(*blocks) * 512));
    let folder = tempfile::tempdir().expect("a folder");
    let place = |name: &str| folder.path().join(name);
    fs::write(place("outside"), "secret").expect("a file");
    let apply = |name: &str, tar: &[u8], below: &Below| {
        fs::create_dir(place(name)).expect("a folder");
        let root = File::open(place(name)).expect("the folder");
        unpack::unpack(tar, root.as_fd(), below, &LIMITS).is_ok()
    };
    if !apply("low", low, &Below::default()) {
        return;
    }
    let before = seen(&place("low"));
    let over = || {
        let mut below = Below::default();
        below.add(&place("low")).expect("the lower layer");
        below
    };
    let applied = apply("high", high, &over());
    assert_eq!(seen(&place("low")), before, "the lower layer is another one");
    assert_eq!(fs::read(place("outside")).expect("the file"), b"secret");
    assert_eq!(fs::read_dir(folder.path()).expect("the folder").count(), 3, "outside");
    assert_eq!(apply("again", high, &over()), applied, "it is applied once and not twice");
    if applied {
        assert_eq!(seen(&place("again")), seen(&place("high")), "another layer comes of the same");
    }
}

/// Mode, owner, size, device and content or target of everything in a folder, by its path there.
type Seen = BTreeMap<PathBuf, (u32, u32, u32, u64, u64, Vec<u8>)>;

fn seen(folder: &Path) -> Seen {
    let mut all = Seen::new();
    let mut left = vec![folder.to_owned()];
    while let Some(path) = left.pop() {
        let meta = fs::symlink_metadata(&path).expect("what was listed");
        let kind = meta.file_type();
        let content = match (kind.is_file(), kind.is_symlink()) {
            (true, _) => fs::read(&path).unwrap_or_default(),
            (_, true) => {
                fs::read_link(&path).expect("the link").into_os_string().into_encoded_bytes()
            }
            _ => Vec::new(),
        };
        let size = if kind.is_dir() { 0 } else { meta.len() };
        let inside = path.strip_prefix(folder).expect("a path in it").to_owned();
        all.insert(inside, (meta.mode(), meta.uid(), meta.gid(), size, meta.rdev(), content));
        if kind.is_dir() {
            // One that nobody may look into is looked into by root alone.
            let entries = fs::read_dir(&path).into_iter().flatten().flatten();
            left.extend(entries.map(|entry| entry.path()));
        }
    }
    all
}
