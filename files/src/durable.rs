//! Files that are either wholly there or not at all after a power cut.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// A file could not be written durably.
#[derive(Debug, thiserror::Error)]
#[error("write {}", path.display())]
pub struct WriteFile {
    /// The file.
    pub path: PathBuf,
    /// Why.
    pub source: io::Error,
}

/// Replaces the content of `path`: written beside it, flushed, renamed, and the rename flushed too.
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
    let mut file = File::create(&beside)?;
    let written = file.write_all(content).and_then(|()| file.sync_all());
    if let Err(error) = written.and_then(|()| fs::rename(&beside, path)) {
        // The first error is the one to report; a left-over file is overwritten by the next attempt.
        drop(fs::remove_file(&beside));
        return Err(error);
    }
    sync_folder(folder)
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
    fn an_error_names_the_file() {
        let error = write(Path::new("/nonexistent-folder/a"), b"").unwrap_err();
        assert_eq!(error.to_string(), "write /nonexistent-folder/a");
    }
}
