//! The root file system: can it be written, what in it can be executed.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::Serialize;

/// What came of an attempt to write.
#[derive(Debug, Serialize)]
pub(crate) struct Attempt {
    path: PathBuf,
    written: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    errno: Option<i32>,
}

/// A file with an execute permission.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Executable {
    path: PathBuf,
    mode: String,
    size_bytes: u64,
}

const EXECUTE_BITS: u32 = 0o111;
const PERMISSION_BITS: u32 = 0o7777;

/// Tries to make a file in `folder`, and removes it again.
pub(crate) fn try_to_write(folder: &Path) -> Attempt {
    let file = folder.join(".ferrite-probe");
    let outcome = fs::write(&file, b"probe").and_then(|()| fs::remove_file(&file));
    Attempt {
        path: folder.to_owned(),
        written: outcome.is_ok(),
        error: outcome.as_ref().err().map(io::Error::to_string),
        errno: outcome.err().and_then(|error| error.raw_os_error()),
    }
}

/// Every executable file below `folder` on the same file system, sorted. Links are not followed.
pub(crate) fn executables(folder: &Path) -> io::Result<Vec<Executable>> {
    let device = fs::symlink_metadata(folder)?.dev();
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder)? {
            let path = entry?.path();
            let metadata = fs::symlink_metadata(&path)?;
            if metadata.is_dir() {
                if metadata.dev() == device {
                    folders.push(path);
                }
            } else if metadata.is_file() && metadata.mode() & EXECUTE_BITS != 0 {
                let mode = format!("{:04o}", metadata.mode() & PERMISSION_BITS);
                found.push(Executable { path, mode, size_bytes: metadata.size() });
            }
        }
    }
    found.sort_by(|one, other| one.path.cmp(&other.path));
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::{executables, try_to_write};
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn executable_files_are_found_and_links_are_not() {
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path().join("usr/bin");
        std::fs::create_dir_all(&inner).unwrap();
        for (name, mode) in [("tool", 0o755), ("set-uid", 0o4711), ("data", 0o644)] {
            std::fs::write(inner.join(name), name).unwrap();
            std::fs::set_permissions(inner.join(name), PermissionsExt::from_mode(mode)).unwrap();
        }
        std::os::unix::fs::symlink("tool", inner.join("link")).unwrap();
        let found = executables(folder.path()).unwrap();
        let seen: Vec<_> = found
            .iter()
            .map(|file| {
                (file.path.strip_prefix(&inner).unwrap().to_str().unwrap(), file.mode.as_str())
            })
            .collect();
        assert_eq!(seen, [("set-uid", "4711"), ("tool", "0755")]);
    }

    #[test]
    fn attempts() {
        let folder = tempfile::tempdir().unwrap();
        assert!(try_to_write(folder.path()).written);
        assert_eq!(folder.path().read_dir().unwrap().count(), 0);
        let attempt = try_to_write(std::path::Path::new("/proc"));
        assert!(!attempt.written && attempt.errno.is_some());
    }
}
