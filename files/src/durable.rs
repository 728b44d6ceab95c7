//! Files that are either wholly there or not at all after a power cut. All of them are root's alone: configurations,
//! units and requests hold keys and passwords, and a container may be given any folder of the node to look at.

use std::fs::{self, DirBuilder, File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

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
    replace(path, content).map_err(|source| WriteFile { path: path.to_owned(), source })
}

fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let beside = folder.join(name);
    let mut file = create(&beside)?;
    let written = file.write_all(content).and_then(|()| file.sync_all());
    if let Err(error) = written.and_then(|()| fs::rename(&beside, path)) {
        // The first error is the one to report; a left-over file is overwritten by the next attempt.
        drop(fs::remove_file(&beside));
        return Err(error);
    }
    sync_folder(folder)
}

/// A new file that its owner alone can read, from its first moment on.
fn create(path: &Path) -> io::Result<File> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    File::options().write(true).create_new(true).mode(0o600).open(path)
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

/// Removes a file durably; one that is not there is fine.
///
/// # Errors
/// The file may be there still.
pub fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Ok(()) => sync_folder(path.parent().unwrap_or(Path::new("/"))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// Flushes the entries of a folder.
///
/// # Errors
/// Those of `open(2)` and `fsync(2)`.
pub fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Reads a file that may be absent.
///
/// # Errors
/// Everything but the file's absence.
pub fn read_optional(path: &Path) -> io::Result<Option<String>> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_and_nothing_is_left_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        write(&path, b"one").unwrap();
        write(&path, b"two").unwrap();
        assert_eq!(read_optional(&path).unwrap().as_deref(), Some("two"));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        remove(&path).unwrap();
        remove(&path).unwrap();
        assert_eq!(read_optional(&path).unwrap(), None);
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
