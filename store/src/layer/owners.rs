//! Owners of a layer's files that not every unit has, noted on the layer's folder.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use ferrite_files::walk::{self, Next, Step};
use rustix::fs::{CWD, Mode, OFlags, XattrFlags};

use crate::far_ids::FarIds;

/// Attribute for them, and what ordinary users, who run tests, have instead. Folders of older versions lack it.
const NOTES: [&str; 2] = ["trusted.ferrite.owners", "user.ferrite.owners"];
/// Longest note.
const NOTE_MAX_BYTES: usize = 4096;

/// Notes them. What cannot be noted is looked for when it is asked for.
pub(super) fn note(folder: &File, far: &FarIds) {
    let text = far.to_string();
    let is_set = |name: &&str| {
        rustix::fs::fsetxattr(folder, *name, text.as_bytes(), XattrFlags::empty()).is_ok()
    };
    NOTES.iter().any(is_set);
}

/// Those of the layer in `folder`.
pub(super) fn of(folder: &Path) -> io::Result<FarIds> {
    if let Some(noted) = noted(folder) {
        return Ok(noted);
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let opened: OwnedFd = rustix::fs::openat(CWD, folder, flags, Mode::empty())?;
    let opened = File::from(opened);
    let mut found = FarIds::default();
    let top = rustix::fs::fstat(&opened)?;
    found.add(top.st_uid);
    found.add(top.st_gid);
    walk::walk(opened.try_clone()?.into(), |step| {
        if let Step::Entry { stat, .. } = step {
            found.add(stat.st_uid);
            found.add(stat.st_gid);
        }
        Ok(Next::Down)
    })?;
    note(&opened, &found);
    Ok(found)
}

fn noted(folder: &Path) -> Option<FarIds> {
    let mut text = [0; NOTE_MAX_BYTES];
    let read = |name: &&str| rustix::fs::lgetxattr(folder, *name, &mut text[..]).ok();
    let length = NOTES.iter().find_map(read)?;
    std::str::from_utf8(text.get(..length)?).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_noted_is_not_looked_for_and_what_is_not_is_noted_then() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(folder.path().join("a/b")).unwrap();
        // Whoever runs this test is no far owner.
        assert_eq!(of(folder.path()).unwrap(), FarIds::default());
        assert_eq!(noted(folder.path()), Some(FarIds::default()));
        let mut far = FarIds::default();
        far.add(431_982);
        note(&File::open(folder.path()).unwrap(), &far);
        assert_eq!(of(folder.path()).unwrap(), far);
        // What is damaged is not believed.
        let opened = File::open(folder.path()).unwrap();
        let damage = |name| rustix::fs::fsetxattr(&opened, name, b"70000-x", XattrFlags::empty());
        assert!(NOTES.map(damage).iter().any(Result::is_ok));
        assert_eq!(of(folder.path()).unwrap(), FarIds::default());
        assert!(of(&folder.path().join("absent")).is_err());
    }
}

#[cfg(test)]
mod as_root {
    use std::os::unix::fs::{chown, lchown, symlink};

    use super::*;

    #[test]
    fn owners_are_found_wherever_they_are() {
        let folder = tempfile::tempdir().unwrap();
        let place = |name: &str| folder.path().join(name);
        std::fs::create_dir(place("a")).unwrap();
        std::fs::write(place("a/file"), "").unwrap();
        symlink("nowhere", place("a/link")).unwrap();
        chown(place("a"), Some(65_535), Some(100_001)).unwrap();
        chown(place("a/file"), Some(100_000), Some(7)).unwrap();
        lchown(place("a/link"), Some(431_982), None).unwrap();
        chown(folder.path(), Some(70_000), None).unwrap();
        assert_eq!(of(folder.path()).unwrap().to_string(), "70000 100000-100001 431982");
    }
}
