//! Units on STATE: the document of each, and a mark on those that should run.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use ferrite_schema::unit::{self, Unit};

use crate::durable;

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
        fs::create_dir_all(root)
            .map_err(|source| UnitStoreProblem::Read { path: root.to_owned(), source })?;
        Ok(Self { root: root.to_owned() })
    }

    fn document(&self, name: &str) -> PathBuf {
        self.root.join(format!("{name}.toml"))
    }

    fn mark(&self, name: &str) -> PathBuf {
        self.root.join(format!("{name}.wanted"))
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
                    let wanted = self.mark(&unit.name).exists();
                    units.push(Stored { unit, wanted });
                }
                Err(problem) => warnings.push(format!("{}: {problem}", path.display())),
            }
        }
        units.sort_by(|a, b| a.unit.name.cmp(&b.unit.name));
        Ok((units, warnings))
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
        let path = self.mark(name);
        if wanted {
            return Ok(durable::write(&path, b"")?);
        }
        durable::remove(&path).map_err(|source| UnitStoreProblem::Remove { path, source })
    }

    /// Forgets a unit.
    ///
    /// # Errors
    /// It may come back with the next boot.
    pub fn remove(&self, name: &str) -> Result<(), UnitStoreProblem> {
        self.want(name, false)?;
        let path = self.document(name);
        durable::remove(&path).map_err(|source| UnitStoreProblem::Remove { path, source })
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
        assert_eq!(units, [Stored { unit: unit.clone(), wanted: true }]);
        assert_eq!(warnings.len(), 1);
        store.want("web", false).unwrap();
        assert!(!store.load().unwrap().0[0].wanted);
        store.remove("web").unwrap();
        assert_eq!(store.load().unwrap().0, []);
    }
}
