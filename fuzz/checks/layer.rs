//! Layers: our reader and the crate `tar` see the same entries wherever both see a whole archive, and applying a
//! layer touches nothing outside its folder.

use std::fs::{self, File};
use std::io::Read;
use std::os::fd::AsFd;

use ferrite_archive::{Kind, Tar};
use ferrite_store::unpack::below::Below;
use ferrite_store::unpack::{self, Limits};

/// Small, so that a run is quick.
const LIMITS: Limits =
    Limits { tar_max_bytes: 1 << 20, file_max_bytes: 1 << 20, entries_max: 64, steps_max: 1 << 12 };

/// Reads and applies `data`.
pub(crate) fn check(data: &[u8]) {
    compare(data);
    let folder = tempfile::tempdir().expect("a folder");
    let layer = folder.path().join("layer");
    fs::create_dir(&layer).expect("a folder");
    fs::write(folder.path().join("outside"), "secret").expect("a file");
    let root = File::open(&layer).expect("the folder");
    drop(unpack::unpack(data, root.as_fd(), &Below::default(), &LIMITS));
    assert_eq!(fs::read(folder.path().join("outside")).expect("the file"), b"secret");
    assert_eq!(fs::read_dir(folder.path()).expect("the folder").count(), 2, "outside");
    assert!(!layer.is_symlink());
}

/// Path and content of a regular file.
type Seen = (Vec<u8>, Vec<u8>);

fn compare(data: &[u8]) {
    // Holes are where the two differ by design: the crate knows only GNU's old ones.
    let (Some(ours), Some(theirs)) = (ours(data), theirs(data)) else { return };
    for (ours, theirs) in ours.iter().zip(&theirs) {
        assert_eq!(ours, theirs, "an archive that is read in two ways");
    }
    assert_eq!(ours.len(), theirs.len(), "an archive that is read in two ways");
}

fn ours(data: &[u8]) -> Option<Vec<Seen>> {
    let mut tar = Tar::new(data);
    let mut seen = Vec::new();
    while let Some(entry) = tar.next_entry().ok()? {
        if entry.extents.is_some() || seen.len() > 64 {
            return None;
        }
        let mut content = Vec::new();
        tar.data(|piece| {
            content.extend_from_slice(piece);
            Ok::<(), ferrite_archive::TarProblem>(())
        })
        .ok()?;
        if entry.kind == Kind::File {
            seen.push((entry.path, content));
        }
    }
    Some(seen)
}

fn theirs(data: &[u8]) -> Option<Vec<Seen>> {
    let mut archive = tar::Archive::new(data);
    let mut seen = Vec::new();
    for entry in archive.entries().ok()? {
        let mut entry = entry.ok()?;
        let path = entry.path_bytes().into_owned();
        let mut content = Vec::new();
        entry.read_to_end(&mut content).ok()?;
        let kind = entry.header().entry_type();
        let is_file = kind.is_file() || kind.is_contiguous();
        // Before ustar, a folder was a file whose name ends with a slash.
        if is_file && !path.ends_with(b"/") {
            seen.push((path, content));
        }
    }
    Some(seen)
}
