//! The folders of clusters: where they are, who works on one, and files in them.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::problem::ClusterError;
use crate::context::xdg_directory;

const NAME_MAX_BYTES: usize = 32;
const OWNER_ONLY_FILE: u32 = 0o600;
const OWNER_ONLY_FOLDER: u32 = 0o700;

/// The folder that holds all clusters.
pub(super) fn of_all() -> Result<PathBuf, ClusterError> {
    Ok(xdg_directory("XDG_DATA_HOME", ".local/share")?.join("clusters"))
}

/// The folder of the cluster `name`, which need not exist.
pub(super) fn of(name: &str) -> Result<PathBuf, ClusterError> {
    if !is_name(name) {
        return Err(ClusterError::BadName { name: name.to_owned() });
    }
    Ok(of_all()?.join(name))
}

/// Folder of a node's machine, in its cluster's.
pub(super) fn of_node(cluster: &Path, node: &str) -> PathBuf {
    cluster.join(node)
}

/// A cluster's name becomes part of host names: letters, digits and inner dashes.
fn is_name(name: &str) -> bool {
    name.len() <= NAME_MAX_BYTES
        && name.starts_with(|first: char| first.is_ascii_alphabetic())
        && !name.ends_with('-')
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

/// Held while something is done to a cluster; given back when dropped, or when the process ends.
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
}

/// Takes the lock of the cluster `name`. It lies beside the cluster's folder, so that it outlives it.
pub(super) fn lock(name: &str) -> Result<Lock, ClusterError> {
    let path = of(name)?.with_extension("lock");
    make_private(&of_all()?)?;
    let file = File::create(&path).map_err(|source| ClusterError::Write { path, source })?;
    match rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Lock { _file: file }),
        Err(_) => Err(ClusterError::Busy { name: name.to_owned() }),
    }
}

/// Makes a folder that only its owner can look into, and those above it.
pub(super) fn make_private(path: &Path) -> Result<(), ClusterError> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(OWNER_ONLY_FOLDER)
        .create(path)
        .map_err(|source| ClusterError::Write { path: path.to_owned(), source })
}

/// Writes a file that only its owner can read, all or nothing.
pub(super) fn write_private(path: &Path, bytes: &[u8]) -> Result<(), ClusterError> {
    let write = || -> io::Result<()> {
        let mut file = tempfile::Builder::new()
            .permissions(fs::Permissions::from_mode(OWNER_ONLY_FILE))
            .tempfile_in(path.parent().unwrap_or(Path::new(".")))?;
        file.write_all(bytes)?;
        file.as_file().sync_all()?;
        file.persist(path).map_err(|error| error.error).map(drop)
    };
    write().map_err(|source| ClusterError::Write { path: path.to_owned(), source })
}

/// Reads a file; `None` where it is absent.
pub(super) fn read_if_there(path: &Path) -> Result<Option<Vec<u8>>, ClusterError> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(ClusterError::Read { path: path.to_owned(), source }),
    }
}

/// Deletes a folder and what is in it. Absent is fine.
#[expect(clippy::disallowed_methods, reason = "the command's own folder of a few files")]
pub(super) fn delete(path: &Path) -> Result<(), ClusterError> {
    match fs::remove_dir_all(path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(ClusterError::Write { path: path.to_owned(), source })
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_host_names_and_stay_in_their_folder() {
        for name in ["dev", "a", "web-2", "X1", &"x".repeat(32)] {
            assert!(is_name(name), "{name}");
        }
        for name in ["", "-a", "a-", "1a", "..", "a/b", "a.b", "a b", "a_b", "é", &"x".repeat(33)]
        {
            assert!(!is_name(name), "{name}");
        }
    }

    #[test]
    fn private_files_are_private_and_replaced_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        write_private(&path, b"one").unwrap();
        write_private(&path, b"two").unwrap();
        assert_eq!(read_if_there(&path).unwrap().unwrap(), b"two");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing else is left");
        assert!(read_if_there(&folder.path().join("absent")).unwrap().is_none());
    }
}
