//! The node's own files, written under names where somebody else may have put anything: a folder, a FIFO, a link, a
//! device. Such a thing keeps nobody waiting, nothing is written through it, and it makes room: nobody keeps the node
//! from writing what is its own.
//!
//! Everything that is written on STATE goes through here, or is made by a name that is new.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use rustix::fs::OFlags;
use rustix::io::Errno;

use crate::removal;

/// Its owner alone reads it, from its first moment on.
const MODE: u32 = 0o600;

/// A new, empty file to write. Whatever had its name is removed.
///
/// # Errors
/// It cannot be made, or what has its name stays.
pub fn create(path: &Path) -> io::Result<File> {
    remove(path)?;
    File::options().write(true).create_new(true).mode(MODE).open(path)
}

/// The file that is there, to read and to add to; an empty one where there is none, or where something else than a file of
/// one name is there, which is removed.
///
/// # Errors
/// It can neither be opened nor made.
pub fn open(path: &Path) -> io::Result<File> {
    // Looked at first, since opening a device may already do something; and then once more, since the name may by now be
    // another thing's.
    if fs::symlink_metadata(path).is_ok_and(|found| is_own(&found)) {
        let flags = OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::NOCTTY | OFlags::CLOEXEC;
        let opened = File::options()
            .read(true)
            .append(true)
            .custom_flags(flags.bits().cast_signed())
            .open(path);
        match opened {
            Ok(file) if is_own(&file.metadata()?) => return Ok(file),
            Err(error) if !is_another(&error) => return Err(error),
            Ok(_) | Err(_) => {}
        }
    }
    remove(path)?;
    File::options().read(true).append(true).create_new(true).mode(MODE).open(path)
}

/// Gives the file `from` the name `to`, whatever had it.
///
/// # Errors
/// It has the name that it had.
pub fn rename(from: &Path, to: &Path) -> io::Result<()> {
    match fs::rename(from, to) {
        Err(error) if Errno::from_io_error(&error) == Some(Errno::ISDIR) => {
            remove(to)?;
            fs::rename(from, to)
        }
        other => other,
    }
}

/// Removes what has a name, whatever it is; nothing being there is fine.
///
/// # Errors
/// Something of it stays.
pub fn remove(path: &Path) -> io::Result<()> {
    removal::remove(path).map_err(|error| error.source)
}

/// Removes what has a name unless it is a file of one name, for those who only read what has it.
///
/// # Errors
/// It cannot be looked at, or something of it stays.
pub fn remove_another(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(found) if is_own(&found) => Ok(()),
        Ok(_) => remove(path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// A file, and under no second name, by which it would be another's too.
fn is_own(found: &fs::Metadata) -> bool {
    found.is_file() && found.nlink() == 1
}

/// It became something else, or went, since it was looked at.
fn is_another(error: &io::Error) -> bool {
    let errno = Errno::from_io_error(error);
    matches!(errno, Some(Errno::LOOP | Errno::ISDIR | Errno::NXIO | Errno::NOENT))
}

#[cfg(test)]
pub(crate) mod tests {
    use std::io::{Read as _, Seek as _, Write as _};
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use rustix::fs::{CWD, Mode, mkfifoat};

    use super::*;

    /// Everything that may have the name of a file, and what it would be written through to.
    pub(crate) const KINDS: [&str; 6] =
        ["nothing", "a folder", "a FIFO", "a link", "a dangling link", "a hard link"];

    /// Puts one of them at `path`.
    pub(crate) fn plant(kind: &str, path: &Path) {
        let beside = path.with_extension("another's");
        fs::write(&beside, "another's").unwrap();
        match kind {
            "nothing" => {}
            "a folder" => {
                fs::create_dir_all(path.join("deep")).unwrap();
                fs::write(path.join("deep/file"), "x").unwrap();
            }
            "a FIFO" => mkfifoat(CWD, path, Mode::RUSR | Mode::WUSR).unwrap(),
            "a link" => symlink(&beside, path).unwrap(),
            "a dangling link" => symlink(path.with_extension("made"), path).unwrap(),
            "a hard link" => fs::hard_link(&beside, path).unwrap(),
            other => panic!("{other}"),
        }
    }

    /// Nothing was written through it, and `path` is a file of its own.
    pub(crate) fn assert_own(kind: &str, path: &Path, content: &str) {
        let found = fs::symlink_metadata(path).unwrap();
        assert!(is_own(&found), "{kind}");
        assert_eq!(found.permissions().mode() & 0o777, MODE, "{kind}");
        assert_eq!(fs::read_to_string(path).unwrap(), content, "{kind}");
        let beside = fs::read_to_string(path.with_extension("another's")).unwrap();
        assert_eq!(beside, "another's", "{kind}");
        assert!(!path.with_extension("made").exists(), "{kind}");
    }

    #[test]
    fn a_file_is_made_whatever_has_its_name() {
        for kind in KINDS {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("a");
            plant(kind, &path);
            create(&path).unwrap().write_all(b"one").unwrap();
            assert_own(kind, &path, "one");
            plant_over(kind, &path);
            let mut file = open(&path).unwrap();
            file.write_all(b"two").unwrap();
            let mut content = String::new();
            file.rewind().unwrap();
            file.read_to_string(&mut content).unwrap();
            let expected = if kind == "nothing" { "onetwo" } else { "two" };
            assert_eq!(content, expected, "{kind}");
            assert_own(kind, &path, expected);
        }
    }

    fn plant_over(kind: &str, path: &Path) {
        if kind != "nothing" {
            fs::remove_file(path).unwrap();
        }
        plant(kind, path);
    }

    #[test]
    fn a_name_is_given_whatever_has_it() {
        for kind in KINDS {
            let folder = tempfile::tempdir().unwrap();
            let (from, path) = (folder.path().join("from"), folder.path().join("a"));
            plant(kind, &path);
            create(&from).unwrap().write_all(b"one").unwrap();
            rename(&from, &path).unwrap();
            assert_own(kind, &path, "one");
        }
    }

    #[test]
    fn what_cannot_be_made_is_an_error() {
        let nowhere = Path::new("/nonexistent-folder/a");
        for error in [create(nowhere).unwrap_err(), open(nowhere).unwrap_err()] {
            assert_eq!(error.kind(), io::ErrorKind::NotFound);
        }
    }
}
