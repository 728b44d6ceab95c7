//! Units on STATE: the document of each, and a mark on those that should run.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use ferrite_files::durable;
use ferrite_schema::unit::{self, Unit};

/// The store failed.
#[derive(Debug, thiserror::Error)]
pub enum UnitStoreProblem {
    /// The folder could not be used.
    #[error("read {}", path.display())]
    Read {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file could not be written.
    #[error(transparent)]
    Write(#[from] durable::WriteFile),
    /// A file could not be removed.
    #[error("remove {}", path.display())]
    Remove {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A unit cannot be written as TOML.
    #[error("write the unit as TOML")]
    Encode(#[from] toml::ser::Error),
}

/// A unit as the store has it.
#[derive(Debug, Clone, PartialEq)]
pub struct Stored {
    /// Its document.
    pub unit: Unit,
    /// It should run.
    pub wanted: bool,
    /// It was made from a template.
    pub made: bool,
    /// Its program has run on this node before.
    pub ran: bool,
    /// When its timer last fired, in seconds since the epoch.
    pub fired: Option<u64>,
    /// When a person stopped it last, in seconds since the epoch.
    pub stopped: Option<u64>,
}

/// The folder of units.
#[derive(Debug, Clone)]
pub struct UnitStore {
    root: PathBuf,
}

impl UnitStore {
    /// Opens the folder, making it.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn open(root: &Path) -> Result<Self, UnitStoreProblem> {
        durable::private_folder(root)
            .map_err(|source| UnitStoreProblem::Read { path: root.to_owned(), source })?;
        Ok(Self { root: root.to_owned() })
    }

    fn document(&self, name: &str) -> PathBuf {
        self.root.join(format!("{name}.toml"))
    }

    /// There is a document of this name, understood or not.
    pub(crate) fn holds(&self, name: &str) -> bool {
        self.document(name).exists()
    }

    fn mark(&self, name: &str, mark: Mark) -> PathBuf {
        self.root.join(format!("{name}.{}", mark.extension()))
    }

    fn number(&self, name: &str, mark: Mark) -> Option<u64> {
        fs::read_to_string(self.mark(name, mark)).ok()?.trim().parse().ok()
    }

    /// All units, and a sentence for each file that is none.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn load(&self) -> Result<(Vec<Stored>, Vec<String>), UnitStoreProblem> {
        let unreadable = |source| UnitStoreProblem::Read { path: self.root.clone(), source };
        let (mut units, mut warnings) = (Vec::new(), Vec::new());
        for entry in fs::read_dir(&self.root).map_err(unreadable)? {
            let path = entry.map_err(unreadable)?.path();
            if path.extension().is_none_or(|extension| extension != "toml") {
                continue;
            }
            let text = fs::read_to_string(&path)
                .map_err(|source| UnitStoreProblem::Read { path: path.clone(), source })?;
            match unit::parse(&text) {
                Ok(unit) => {
                    units.push(self.with_marks(unit));
                }
                Err(problem) => warnings.push(format!("{}: {problem}", path.display())),
            }
        }
        units.sort_by(|a, b| a.unit.name.cmp(&b.unit.name));
        Ok((units, warnings))
    }

    fn with_marks(&self, unit: Unit) -> Stored {
        let has = |mark| self.mark(&unit.name, mark).exists();
        let (wanted, made, ran) = (has(Mark::Wanted), has(Mark::Made), has(Mark::Ran));
        let fired = self.number(&unit.name, Mark::Fired);
        let stopped = self.number(&unit.name, Mark::Stopped);
        Stored { unit, wanted, made, ran, fired, stopped }
    }

    /// Keeps a unit's document, over the one of the same name.
    ///
    /// # Errors
    /// The older document stays.
    pub fn put(&self, unit: &Unit) -> Result<(), UnitStoreProblem> {
        let text = toml::to_string(unit)?;
        Ok(durable::write(&self.document(&unit.name), text.as_bytes())?)
    }

    /// Keeps whether a unit should run.
    ///
    /// # Errors
    /// What was kept before holds.
    pub fn want(&self, name: &str, wanted: bool) -> Result<(), UnitStoreProblem> {
        self.set(name, Mark::Wanted, wanted.then_some(""))
    }

    /// Keeps that a unit was made from a template, or that it no longer is.
    ///
    /// # Errors
    /// What was kept before holds.
    pub fn set_made(&self, name: &str, made: bool) -> Result<(), UnitStoreProblem> {
        self.set(name, Mark::Made, made.then_some(""))
    }

    /// Keeps when a unit's timer fired.
    ///
    /// # Errors
    /// What was kept before holds.
    pub fn set_fired(&self, name: &str, epoch_s: u64) -> Result<(), UnitStoreProblem> {
        self.set(name, Mark::Fired, Some(&epoch_s.to_string()))
    }

    /// Keeps when a person stopped a unit. Lost in a power cut, it is not missed.
    pub fn note_stopped(&self, name: &str, epoch_s: u64) {
        drop(fs::write(self.mark(name, Mark::Stopped), epoch_s.to_string()));
    }

    /// Keeps that a unit's program has run here. Lost in a power cut, it is written again.
    pub fn note_ran(&self, name: &str) {
        drop(fs::write(self.mark(name, Mark::Ran), ""));
    }

    fn set(&self, name: &str, mark: Mark, content: Option<&str>) -> Result<(), UnitStoreProblem> {
        let path = self.mark(name, mark);
        match content {
            Some(content) => Ok(durable::write(&path, content.as_bytes())?),
            None => {
                durable::remove(&path).map_err(|source| UnitStoreProblem::Remove { path, source })
            }
        }
    }

    /// Forgets a unit.
    ///
    /// # Errors
    /// It may come back with the next boot.
    pub fn remove(&self, name: &str) -> Result<(), UnitStoreProblem> {
        for mark in Mark::ALL {
            let path = self.mark(name, mark);
            match fs::remove_file(&path) {
                Err(source) if source.kind() != io::ErrorKind::NotFound => {
                    return Err(UnitStoreProblem::Remove { path, source });
                }
                Ok(()) | Err(_) => {}
            }
        }
        let path = self.document(name);
        durable::remove(&path).map_err(|source| UnitStoreProblem::Remove { path, source })
    }
}

/// What is kept about a unit beside its document, each in a file of its own.
#[derive(Debug, Clone, Copy)]
enum Mark {
    Wanted,
    Made,
    Ran,
    Fired,
    Stopped,
}

impl Mark {
    const ALL: [Self; 5] = [Self::Wanted, Self::Made, Self::Ran, Self::Fired, Self::Stopped];

    const fn extension(self) -> &'static str {
        match self {
            Self::Wanted => "wanted",
            Self::Made => "made",
            Self::Ran => "ran",
            Self::Fired => "fired",
            Self::Stopped => "stopped",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_and_wishes_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let store = UnitStore::open(folder.path()).unwrap();
        let unit = unit::parse("name = \"web\"\nimage = \"a:1\"\ncommand = [\"x\"]\n").unwrap();
        store.put(&unit).unwrap();
        store.want("web", true).unwrap();
        fs::write(folder.path().join("bad.toml"), "nonsense").unwrap();
        let (units, warnings) = store.load().unwrap();
        let stored =
            Stored { unit, wanted: true, made: false, ran: false, fired: None, stopped: None };
        assert_eq!(units, [stored]);
        assert_eq!(warnings.len(), 1);
        store.want("web", false).unwrap();
        assert!(!store.load().unwrap().0[0].wanted);
        store.set_fired("web", 7).unwrap();
        store.note_ran("web");
        assert_eq!(store.load().unwrap().0[0].fired, Some(7));
        store.remove("web").unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "only bad.toml is left");
        assert_eq!(store.load().unwrap().0, []);
    }
}
