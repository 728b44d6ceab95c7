//! What a node cannot use or cannot remove is set aside: out of the way, its bytes kept, and named.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::fs::{CWD, RenameFlags};
use rustix::io::Errno;

use crate::durable;
use crate::removal::{self, RemoveTree};

/// Beginning of the name of what is only there because it could not be removed: each start tries again.
const REMAINS: &str = "remains";
/// Beginning of the name of what could not be understood.
const UNREADABLE: &str = "unreadable";
/// Characters of its old name that a thing keeps.
const NAME_MAX: usize = 100;
/// Names that are tried for one thing.
const TRIES_MAX: u32 = 1000;

/// Something could not be set aside: it is where it was.
#[derive(Debug, thiserror::Error)]
#[error("set {} aside", path.display())]
pub struct SetAside {
    /// Where it is.
    pub path: PathBuf,
    /// Why.
    pub source: io::Error,
}

/// A thing could neither be removed nor set aside.
#[derive(Debug, thiserror::Error)]
#[error("{remains}, and it could not be set aside ({aside})")]
pub struct Stays {
    /// Why it was not removed.
    pub remains: RemoveTree,
    /// Why it was not moved.
    #[source]
    pub aside: SetAside,
}

/// A folder for things that are set aside, on the file system that they are on.
#[derive(Debug, Clone)]
pub struct Quarantine {
    folder: PathBuf,
}

impl Quarantine {
    /// Names the folder, which need not be there.
    #[must_use]
    pub fn at(folder: &Path) -> Self {
        Self { folder: folder.to_owned() }
    }

    /// The one beside a folder of the node's.
    #[must_use]
    pub fn beside(folder: &Path) -> Self {
        Self { folder: folder.parent().unwrap_or(Path::new("/")).join("quarantine") }
    }

    /// Sets aside what is in the way of the quarantine itself, beside where it is: a file, or a link to nothing, that has
    /// the name of one of the folders above it. Returns what people should know.
    #[must_use]
    pub fn clear_way(&self) -> Vec<String> {
        let mut above: Vec<&Path> = self.folder.ancestors().collect();
        above.reverse();
        let in_the_way = |path: &&Path| {
            let leads_to_one = path.is_dir() && *path != self.folder;
            fs::symlink_metadata(path).is_ok_and(|found| !found.is_dir()) && !leads_to_one
        };
        above.into_iter().filter(in_the_way).map(beside).collect()
    }

    /// Makes a folder of the node's that nobody else enters; where something else has its name, that is set aside. Returns what people should
    /// know.
    #[must_use]
    pub fn make_folder(&self, path: &Path) -> Option<String> {
        let there = fs::symlink_metadata(path);
        let said = match there {
            Ok(meta) if !meta.is_dir() => self.keep(path, "a folder should be there").ok(),
            Ok(_) | Err(_) => None,
        };
        match durable::private_folder(path) {
            Ok(()) => said,
            Err(error) => Some(cannot_make(path, &error)),
        }
    }

    /// Removes a tree; what cannot be removed is moved here, so that its place is free either way.
    ///
    /// # Errors
    /// It is where it was.
    pub fn remove(&self, path: &Path) -> Result<(), Stays> {
        let Err(remains) = removal::remove(path) else { return Ok(()) };
        match self.take(path, REMAINS) {
            Ok(to) => {
                let why = &remains.source;
                tracing::error!(path = %path.display(), to = %to.display(), entry = %remains.entry.display(), %why, "set-aside-not-removable");
                Ok(())
            }
            Err(aside) => Err(Stays { remains, aside }),
        }
    }

    /// Moves something that cannot be understood here, and returns the sentence about it for people.
    ///
    /// # Errors
    /// It is where it was.
    pub fn keep(&self, path: &Path, why: &str) -> Result<String, SetAside> {
        let to = self.take(path, UNREADABLE)?;
        tracing::error!(path = %path.display(), to = %to.display(), why, "set-aside-unreadable");
        Ok(format!("{} is not used: {why}; it was set aside as {}", path.display(), to.display()))
    }

    fn take(&self, path: &Path, what: &str) -> Result<PathBuf, SetAside> {
        let failed = |source| SetAside { path: path.to_owned(), source };
        durable::private_folder(&self.folder).map_err(failed)?;
        let seconds = seconds();
        let name: String = path
            .file_name()
            .unwrap_or(OsStr::new("root"))
            .to_string_lossy()
            .chars()
            .map(|letter| if letter.is_ascii_graphic() { letter } else { '_' })
            .take(NAME_MAX)
            .collect();
        for number in 0..TRIES_MAX {
            let to = self.folder.join(format!("{what}.{seconds}.{number}.{name}"));
            match rustix::fs::renameat_with(CWD, path, CWD, &to, RenameFlags::NOREPLACE) {
                Err(Errno::EXIST) => {}
                Err(errno) => return Err(failed(errno.into())),
                Ok(()) => {
                    // Not durable yet where this fails: then it is met again after a power cut, and set aside again.
                    drop(durable::sync_folder(&self.folder));
                    return Ok(to);
                }
            }
        }
        Err(failed(io::ErrorKind::AlreadyExists.into()))
    }

    /// Tries again to remove what could not be removed before.
    pub fn retry(&self) {
        for name in self.names().into_iter().filter(|name| name.starts_with(REMAINS)) {
            if let Err(error) = removal::remove(&self.folder.join(&name)) {
                tracing::warn!(name, entry = %error.entry.display(), why = %error.source, "remains-stay");
            }
        }
    }

    /// Names of what is here, in order.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.folder).into_iter().flatten().flatten();
        let mut names: Vec<String> =
            entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    /// What people should know about what is here.
    #[must_use]
    pub fn sentences(&self) -> Vec<String> {
        let folder = self.folder.display();
        let about = |name: &String| match name.starts_with(REMAINS) {
            true => format!("set aside, could not be removed: {folder}/{name}"),
            false => format!("set aside, could not be understood: {folder}/{name}"),
        };
        self.names().iter().map(about).collect()
    }
}

fn seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// Gives what has the name of a folder another one.
fn beside(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let seconds = seconds();
    for number in 0..TRIES_MAX {
        let to = path.with_file_name(format!("{name}.{UNREADABLE}.{seconds}.{number}"));
        match rustix::fs::renameat_with(CWD, path, CWD, &to, RenameFlags::NOREPLACE) {
            Err(Errno::EXIST) => {}
            Err(errno) => return cannot_make(path, &errno.into()),
            Ok(()) => {
                tracing::error!(path = %path.display(), to = %to.display(), "set-aside-no-folder");
                return format!(
                    "{} is not used: a folder should be there; it was set aside as {}",
                    path.display(),
                    to.display()
                );
            }
        }
    }
    cannot_make(path, &io::ErrorKind::AlreadyExists.into())
}

fn cannot_make(path: &Path, error: &io::Error) -> String {
    tracing::error!(path = %path.display(), %error, "folder-not-made");
    format!("make {}: {error}", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_in_the_place_of_a_folder_is_set_aside() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("units");
        let quarantine = Quarantine::beside(&path);
        assert_eq!(quarantine.make_folder(&path), None);
        fs::remove_dir(&path).unwrap();
        fs::write(&path, "x").unwrap();
        assert!(quarantine.make_folder(&path).unwrap().contains("set aside"));
        assert!(path.is_dir());
        assert_eq!(quarantine.names().len(), 1);
        assert!(quarantine.make_folder(Path::new("/proc/none/x")).unwrap().contains("make"));
    }

    #[test]
    fn what_is_in_the_way_of_the_quarantine_itself_is_set_aside_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let lib = folder.path().join("ferrite");
        let quarantine = Quarantine::at(&lib.join("quarantine"));
        assert!(quarantine.clear_way().is_empty(), "there is nothing yet");
        fs::write(&lib, "x").unwrap();
        assert_eq!(quarantine.clear_way().len(), 1);
        assert_eq!(quarantine.make_folder(&lib.join("units")), None);
        std::os::unix::fs::symlink("/", lib.join("quarantine")).unwrap();
        assert_eq!(quarantine.clear_way().len(), 1);
        fs::write(lib.join("web"), "y").unwrap();
        quarantine.keep(&lib.join("web"), "it is no text").unwrap();
        assert!(quarantine.clear_way().is_empty(), "all is well");
        let kept = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path());
        let kept: Vec<_> = kept.filter(|path| path != &lib).collect();
        assert_eq!(fs::read_to_string(&kept[0]).unwrap(), "x");
    }

    #[test]
    fn what_is_set_aside_keeps_its_bytes_and_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let quarantine = Quarantine::at(&folder.path().join("quarantine"));
        assert!(quarantine.sentences().is_empty());
        let path = folder.path().join("web.toml");
        for _ in 0..2 {
            fs::write(&path, b"\xff").unwrap();
            let said = quarantine.keep(&path, "it is no text").unwrap();
            assert!(said.contains("web.toml is not used: it is no text"), "{said}");
            assert!(!path.exists());
        }
        let names = quarantine.names();
        assert_eq!(names.len(), 2, "{names:?}");
        let kept = folder.path().join("quarantine").join(&names[0]);
        assert_eq!(fs::read(kept).unwrap(), b"\xff");
        quarantine.retry();
        assert_eq!(quarantine.sentences().len(), 2);
        assert!(quarantine.keep(&path, "it is gone").is_err());
    }

    #[test]
    fn what_can_be_removed_is_not_set_aside() {
        let folder = tempfile::tempdir().unwrap();
        let quarantine = Quarantine::at(&folder.path().join("quarantine"));
        fs::create_dir_all(folder.path().join("tree/a")).unwrap();
        quarantine.remove(&folder.path().join("tree")).unwrap();
        assert!(!folder.path().join("tree").exists());
        assert!(quarantine.names().is_empty());
    }

    #[test]
    fn remains_go_when_they_can() {
        let folder = tempfile::tempdir().unwrap();
        let quarantine = Quarantine::at(folder.path());
        fs::create_dir_all(folder.path().join("remains.1.0.x/a")).unwrap();
        fs::write(folder.path().join("unreadable.1.0.y"), "").unwrap();
        quarantine.retry();
        assert_eq!(quarantine.names(), ["unreadable.1.0.y"]);
    }
}
