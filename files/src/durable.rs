//! Files that are either wholly there or not at all after a power cut. All of them are root's alone: configurations,
//! units and requests hold keys and passwords, and a container may be given any folder of the node to look at. Whatever
//! else had the name of a file, or its name with `.new` behind it, is gone afterwards: see [`crate::own`].

use std::fs::{self, DirBuilder, File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::own;

/// Bits of a mode that let others than the owner do something.
const OTHERS: u32 = 0o077;

/// A file could not be written durably.
#[derive(Debug, thiserror::Error)]
#[error("write {}", path.display())]
pub struct WriteFile {
    /// The file.
    pub path: PathBuf,
    /// Why.
    pub source: io::Error,
}

/// Replaces the content of `path`: written beside it, flushed, renamed, and the rename flushed too. Only
/// its owner can read it, whoever could read what it replaces.
///
/// # Errors
/// The file keeps what it held before.
pub fn write(path: &Path, content: &[u8]) -> Result<(), WriteFile> {
    replace(path, content, File::sync_all)
        .and_then(|()| sync_folder(above(path)))
        .map_err(|source| WriteFile { path: path.to_owned(), source })
}

/// The same without waiting for the disk: after a power cut the file may hold what it held before, or nothing.
///
/// # Errors
/// The file keeps what it held before.
pub fn note(path: &Path, content: &[u8]) -> Result<(), WriteFile> {
    replace(path, content, |_file| Ok(()))
        .map_err(|source| WriteFile { path: path.to_owned(), source })
}

fn replace(
    path: &Path,
    content: &[u8],
    flush: impl FnOnce(&File) -> io::Result<()>,
) -> io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let beside = above(path).join(name);
    let mut file = own::create(&beside)?;
    let written = file.write_all(content).and_then(|()| flush(&file));
    if let Err(error) = written.and_then(|()| own::rename(&beside, path)) {
        // The first error is the one to report; a left-over file is overwritten by the next attempt.
        drop(fs::remove_file(&beside));
        return Err(error);
    }
    Ok(())
}

fn above(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new("/"))
}

/// Makes a folder that nobody but its owner enters; one that is there already is closed to others.
///
/// # Errors
/// It cannot be made or closed.
pub fn private_folder(path: &Path) -> io::Result<()> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let found = fs::symlink_metadata(path)?;
    if !found.is_dir() {
        return Err(io::ErrorKind::NotADirectory.into());
    }
    if found.permissions().mode() & OTHERS != 0 {
        fs::set_permissions(path, Permissions::from_mode(0o700))?;
    }
    Ok(())
}

/// As [`private_folder`], and what has its name and is none is removed. For folders that hold nothing which anybody misses.
///
/// # Errors
/// It cannot be made or closed, or what has its name stays.
pub fn own_folder(path: &Path) -> io::Result<()> {
    if fs::symlink_metadata(path).is_ok_and(|found| !found.is_dir()) {
        own::remove(path)?;
    }
    private_folder(path)
}

/// Removes a file durably, or what else has its name; nothing being there is fine.
///
/// # Errors
/// It may be there still.
pub fn remove(path: &Path) -> io::Result<()> {
    if fs::symlink_metadata(path).is_err_and(|error| error.kind() == io::ErrorKind::NotFound) {
        return Ok(());
    }
    own::remove(path)?;
    sync_folder(above(path))
}

/// Flushes the entries of a folder.
///
/// # Errors
/// Those of `open(2)` and `fsync(2)`.
pub fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::own::tests::{KINDS, assert_own, plant};

    #[test]
    fn what_has_the_name_of_a_file_keeps_nobody_from_writing_and_removing_it() {
        type Write = fn(&Path, &[u8]) -> Result<(), WriteFile>;
        for (kind, write) in
            KINDS.into_iter().flat_map(|kind| [(kind, write as Write), (kind, note as Write)])
        {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("a");
            // As well as its own name, the one under which its next content is written.
            plant(kind, &path);
            plant(kind, &folder.path().join("a.new"));
            write(&path, b"one").unwrap();
            assert_own(kind, &path, "one");
            assert!(!folder.path().join("a.new").exists(), "{kind}");
            fs::remove_file(&path).unwrap();
            plant(kind, &path);
            remove(&path).unwrap();
            assert!(fs::symlink_metadata(&path).is_err(), "{kind}");
        }
    }

    #[test]
    fn a_folder_is_made_whatever_has_its_name() {
        for kind in KINDS.into_iter().filter(|kind| *kind != "a folder") {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("a");
            plant(kind, &path);
            own_folder(&path).unwrap();
            assert!(fs::symlink_metadata(&path).unwrap().is_dir(), "{kind}");
        }
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("kept"), "").unwrap();
        own_folder(folder.path()).unwrap();
        assert!(folder.path().join("kept").exists());
    }

    #[test]
    fn a_file_is_replaced_and_nothing_is_left_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        write(&path, b"one").unwrap();
        write(&path, b"two").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        remove(&path).unwrap();
        remove(&path).unwrap();
        assert!(!path.exists());
    }

    #[test]
    fn nobody_else_reads_what_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        let path = folder.path().join("a");
        // As an earlier version left them: the file, and what a power cut left beside it.
        for name in ["a", "a.new"] {
            fs::write(folder.path().join(name), "old").unwrap();
            fs::set_permissions(folder.path().join(name), Permissions::from_mode(0o644)).unwrap();
        }
        write(&path, b"secret").unwrap();
        assert_eq!(mode(&path), 0o600);
        let private = folder.path().join("b/c");
        private_folder(&private).unwrap();
        assert_eq!(mode(&private), 0o700);
        fs::set_permissions(&private, Permissions::from_mode(0o755)).unwrap();
        private_folder(&private).unwrap();
        assert_eq!(mode(&private), 0o700);
        assert!(private_folder(&path).is_err());
    }

    #[test]
    fn an_error_names_the_file() {
        let error = write(Path::new("/nonexistent-folder/a"), b"").unwrap_err();
        assert_eq!(error.to_string(), "write /nonexistent-folder/a");
    }
}
