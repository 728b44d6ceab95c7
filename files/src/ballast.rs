//! Empty files that take inodes which their owner wants back one day: see [`crate::reserve`].
//!
//! Their names are the numbers from 0 on. Nothing is flushed: what a power cut leaves is completed or removed.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::{durable, own};

/// A ballast in a folder of its own.
#[derive(Debug, Clone)]
pub struct Ballast {
    folder: PathBuf,
}

impl Ballast {
    /// The one in `folder`, which need not be there.
    #[must_use]
    pub fn in_folder(folder: &Path) -> Self {
        Self { folder: folder.to_owned() }
    }

    /// How many files there are.
    #[must_use]
    pub fn files(&self) -> u64 {
        let entries = fs::read_dir(&self.folder).into_iter().flatten().flatten();
        u64::try_from(entries.count()).unwrap_or(u64::MAX)
    }

    /// It was made once.
    #[must_use]
    pub fn exists(&self) -> bool {
        self.folder.exists()
    }

    /// It was made once, and of so many files some are not there now. Looks at the last, which comes last and goes first.
    #[must_use]
    pub fn let_go(&self, files: u64) -> bool {
        self.exists() && !self.file(files.saturating_sub(1)).exists()
    }

    fn file(&self, number: u64) -> PathBuf {
        self.folder.join(number.to_string())
    }

    /// Makes files or removes them until there are so many.
    ///
    /// # Errors
    /// There are not; what could be done before is done.
    pub fn set(&self, files: u64) -> io::Result<()> {
        if self.files() == files {
            return Ok(());
        }
        durable::own_folder(&self.folder)?;
        let mut surplus = BTreeSet::new();
        for entry in fs::read_dir(&self.folder)? {
            let name = entry?.file_name();
            let number = name.to_str().and_then(|name| name.parse::<u64>().ok());
            if number.is_none_or(|number| number >= files) {
                surplus.insert((number, name));
            }
        }
        for (_, name) in surplus.iter().rev() {
            own::remove(&self.folder.join(name))?;
        }
        for number in 0..files {
            // One that is there stays.
            own::open(&self.file(number))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;
    use crate::own::tests::plant;

    #[test]
    fn what_was_left_half_made_is_completed_and_all_of_it_goes() {
        let folder = tempfile::tempdir().unwrap();
        let ballast = Ballast::in_folder(&folder.path().join("reserve"));
        assert_eq!(ballast.files(), 0);
        assert!(!ballast.let_go(10), "it was never made");
        ballast.set(10).unwrap();
        assert_eq!((ballast.files(), ballast.let_go(10)), (10, false));
        // A check of the file system took one from the middle, and somebody left a file of their own.
        for name in ["3", "9"] {
            fs::remove_file(folder.path().join("reserve").join(name)).unwrap();
        }
        File::create(folder.path().join("reserve/#77")).unwrap();
        ballast.set(10).unwrap();
        let mut names: Vec<_> = fs::read_dir(folder.path().join("reserve"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert_eq!(names, ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"]);
        ballast.set(4).unwrap();
        assert_eq!((ballast.files(), ballast.let_go(10)), (4, true));
        ballast.set(0).unwrap();
        assert_eq!(ballast.files(), 0);
    }

    #[test]
    fn what_has_the_name_of_a_file_is_no_ballast() {
        for kind in ["a folder", "a FIFO", "a link", "a dangling link"] {
            let folder = tempfile::tempdir().unwrap();
            let ballast = Ballast::in_folder(&folder.path().join("reserve"));
            ballast.set(1).unwrap();
            plant(kind, &folder.path().join("reserve/2"));
            ballast.set(4).unwrap();
            let path = folder.path().join("reserve/2");
            assert!(fs::symlink_metadata(path).unwrap().is_file(), "{kind}");
            fs::remove_file(folder.path().join("reserve/3")).unwrap();
            plant(kind, &folder.path().join("reserve/3"));
            ballast.set(0).unwrap();
            assert_eq!(ballast.files(), 0, "{kind}");
            plant(kind, &folder.path().join("another"));
            Ballast::in_folder(&folder.path().join("another")).set(1).unwrap();
        }
    }

    #[test]
    fn a_folder_that_cannot_be_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        File::create(folder.path().join("file")).unwrap();
        assert!(Ballast::in_folder(&folder.path().join("file/reserve")).set(1).is_err());
    }
}
