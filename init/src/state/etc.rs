//! `/etc`: a tmpfs that points at what the root and STATE hold.

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

/// Links in `/etc`: name and target.
const LINKS: [(&str, &str); 6] = [
    ("ferrite/slot-keys", "/usr/share/ferrite/slot-keys"),
    ("ssl/certs/ca-certificates.crt", "/usr/share/ca-certificates.crt"),
    ("machine-id", ferrite_schema::names::MACHINE_ID_FILE),
    ("os-release", ferrite_schema::names::OS_RELEASE),
    ("mtab", "/proc/self/mounts"),
    // Written by whoever brings up the network.
    ("resolv.conf", "/run/ferrite/resolv.conf"),
];
/// Files in `/etc`: name and content.
const FILES: [(&str, &str); 4] = [
    ("hosts", "127.0.0.1 localhost\n::1 localhost\n"),
    ("passwd", "root:x:0:0:root:/:/nonexistent\nnobody:x:65534:65534:nobody:/:/nonexistent\n"),
    ("group", "root:x:0:\nnobody:x:65534:\n"),
    ("nsswitch.conf", "hosts: files dns\n"),
];

/// A file of `/etc` that could not be made.
#[derive(Debug, thiserror::Error)]
#[error("make {path}")]
pub struct FillEtc {
    path: PathBuf,
    source: io::Error,
}

/// Fills `etc`, which is empty.
///
/// # Errors
/// The first thing that cannot be made.
pub fn fill(etc: &Path) -> Result<(), FillEtc> {
    for (name, target) in LINKS {
        make(&etc.join(name), |path| symlink(target, path))?;
    }
    for (name, content) in FILES {
        make(&etc.join(name), |path| fs::write(path, content))?;
    }
    Ok(())
}

fn make(path: &Path, write: impl FnOnce(&Path) -> io::Result<()>) -> Result<(), FillEtc> {
    path.parent()
        .map_or(Ok(()), fs::create_dir_all)
        .and_then(|()| write(path))
        .map_err(|source| FillEtc { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn etc_is_filled_once() {
        let etc = tempfile::tempdir().unwrap();
        fill(etc.path()).unwrap();
        let keys = fs::read_link(etc.path().join("ferrite/slot-keys")).unwrap();
        assert_eq!(keys, Path::new("/usr/share/ferrite/slot-keys"));
        assert!(fs::read_to_string(etc.path().join("hosts")).unwrap().contains("localhost"));
        assert!(fill(etc.path()).is_err());
    }
}
