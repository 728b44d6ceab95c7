//! Units on STATE: the document of each, and a mark on those that should run.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use ferrite_files::quarantine::Quarantine;
use ferrite_files::small::{ReadSmall, read_small_text};
use ferrite_files::{durable, own};
use ferrite_schema::unit::{self, Unit};

/// Longest document of a unit, and longest mark, that is read.
const DOCUMENT_MAX_BYTES: u64 = 4 << 20;
const MARK_MAX_BYTES: u64 = 64;

/// The store failed.
#[derive(Debug, thiserror::Error)]
pub enum UnitStoreProblem {
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
    /// The cluster wants it here.
    pub assigned: bool,
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
    quarantine: Quarantine,
}

impl UnitStore {
    /// Names the folder, which need not be there.
    #[must_use]
    pub fn at(root: &Path) -> Self {
        Self { root: root.to_owned(), quarantine: Quarantine::beside(root) }
    }

    fn document(&self, name: &str) -> PathBuf {
        self.root.join(format!("{name}.toml"))
    }

    /// Why there may be documents beside those of units that are known.
    pub(crate) fn unknown(&self, is_known: impl Fn(&str) -> bool) -> Option<String> {
        let read = || -> std::io::Result<Vec<String>> {
            let mut names = Vec::new();
            for entry in fs::read_dir(&self.root)? {
                let path = entry?.path();
                let stem = path.file_stem().and_then(OsStr::to_str).unwrap_or_default();
                if path.extension() == Some(OsStr::new("toml")) && !is_known(stem) {
                    names.push(stem.to_owned());
                }
            }
            Ok(names)
        };
        match read() {
            Ok(names) if names.is_empty() => None,
            Ok(names) => {
                Some(format!("documents of units are not understood here: {}", names.join(", ")))
            }
            // No unit was ever kept.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => Some(format!("read {}: {error}", self.root.display())),
        }
    }

    /// There is a document of this name, understood or not.
    pub(crate) fn holds(&self, name: &str) -> bool {
        self.document(name).exists()
    }

    fn mark(&self, name: &str, mark: Mark) -> PathBuf {
        self.root.join(format!("{name}.{}", mark.extension()))
    }

    fn number(&self, name: &str, mark: Mark) -> Option<u64> {
        read_small_text(&self.mark(name, mark), MARK_MAX_BYTES).ok()??.trim().parse().ok()
    }

    /// Makes the folder, and reads all units; a sentence for each file that is none. Each is taken alone: nothing that is
    /// wrong with one keeps the others from running.
    ///
    /// A document that is no text, or has another name than its unit, is set aside. One that is text and not
    /// understood stays: a newer version wrote it, or an older one, and the next slot may understand it.
    #[must_use]
    pub fn load(&self) -> (Vec<Stored>, Vec<String>) {
        let mut units = Vec::new();
        let mut warnings: Vec<String> =
            self.quarantine.make_folder(&self.root).into_iter().collect();
        let entries = match fs::read_dir(&self.root) {
            Ok(entries) => entries,
            Err(error) => {
                warnings.push(format!("no units: read {}: {error}", self.root.display()));
                return (units, warnings);
            }
        };
        for entry in entries {
            let path = match entry {
                Ok(entry) => entry.path(),
                Err(error) => {
                    warnings.push(format!("units may lack: read {}: {error}", self.root.display()));
                    break;
                }
            };
            let extension = path.extension().and_then(OsStr::to_str);
            if extension == Some(Mark::Cluster.extension()) {
                path.file_stem()
                    .and_then(OsStr::to_str)
                    .into_iter()
                    .for_each(|name| self.sweep(name));
            }
            if extension != Some("toml") {
                continue;
            }
            match read(&path) {
                Ok(unit) => units.push(self.with_marks(unit)),
                Err(NoUnit::SetAside(why)) => {
                    warnings.push(match self.quarantine.keep(&path, &why) {
                        Ok(said) => said,
                        Err(error) => format!("{why}; {}", ferrite_schema::chain(&error)),
                    })
                }
                Err(NoUnit::Leave(why)) => {
                    warnings.push(format!("{} is not used: {why}", path.display()));
                }
            }
        }
        units.sort_by(|a, b| a.unit.name.cmp(&b.unit.name));
        (units, warnings)
    }

    fn with_marks(&self, unit: Unit) -> Stored {
        let has = |mark| self.mark(&unit.name, mark).exists();
        let (wanted, made, ran) = (has(Mark::Wanted), has(Mark::Made), has(Mark::Ran));
        let fired = self.number(&unit.name, Mark::Fired);
        let stopped = self.number(&unit.name, Mark::Stopped);
        let assigned = has(Mark::Cluster);
        Stored { unit, wanted, made, assigned, ran, fired, stopped }
    }

    /// Keeps a unit's document, over the one of the same name.
    ///
    /// # Errors
    /// The older document stays.
    pub fn put(&self, unit: &Unit) -> Result<(), UnitStoreProblem> {
        let text = toml::to_string(unit)?;
        Ok(durable::write(&self.document(&unit.name), text.as_bytes())?)
    }

    /// Keeps the document of a unit that the cluster wants here, over the one of the same name.
    ///
    /// # Errors
    /// The older document stays.
    pub fn put_assigned(&self, unit: &Unit) -> Result<(), UnitStoreProblem> {
        // Without its document the mark means nothing, and is gone with the next start; a document without its mark would
        // be somebody else's unit.
        let mark = self.mark(&unit.name, Mark::Cluster);
        let marked = mark.exists();
        self.set(&unit.name, Mark::Cluster, Some(""))?;
        self.put(unit).inspect_err(|_error| {
            if !marked {
                drop(durable::remove(&mark));
            }
        })
    }

    /// Takes away the mark of a document that is not there.
    fn sweep(&self, name: &str) {
        if !self.holds(name) {
            drop(durable::remove(&self.mark(name, Mark::Cluster)));
        }
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
        self.note(name, Mark::Stopped, &epoch_s.to_string());
    }

    /// Keeps that a unit's program has run here. Lost in a power cut, it is written again.
    pub fn note_ran(&self, name: &str) {
        self.note(name, Mark::Ran, "");
    }

    fn note(&self, name: &str, mark: Mark, content: &str) {
        if let Err(error) = durable::note(&self.mark(name, mark), content.as_bytes()) {
            tracing::warn!(error = ferrite_schema::chain(&error), "mark-not-kept");
        }
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
            own::remove(&path).map_err(|source| UnitStoreProblem::Remove { path, source })?;
        }
        let path = self.document(name);
        durable::remove(&path).map_err(|source| UnitStoreProblem::Remove { path, source })?;
        self.sweep(name);
        Ok(())
    }
}

/// Why a file is no unit.
enum NoUnit {
    SetAside(String),
    Leave(String),
}

fn read(path: &Path) -> Result<Unit, NoUnit> {
    let text = match read_small_text(path, DOCUMENT_MAX_BYTES) {
        Ok(Some(text)) => text,
        Ok(None) => return Err(NoUnit::Leave("it is gone".to_owned())),
        // The disk may give it another time.
        Err(ReadSmall::Read(error)) => return Err(NoUnit::Leave(error.to_string())),
        Err(other) => return Err(NoUnit::SetAside(other.to_string())),
    };
    let unit = unit::parse(&text).map_err(|problem| NoUnit::Leave(problem.to_string()))?;
    match path.file_stem().is_some_and(|stem| stem == unit.name.as_str()) {
        true => Ok(unit),
        // Two files of one unit would take turns.
        false => Err(NoUnit::SetAside(format!("it holds unit {}", unit.name))),
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
    /// The cluster wants it here. It goes after the document.
    Cluster,
}

impl Mark {
    /// Those that go before the document.
    const ALL: [Self; 5] = [Self::Wanted, Self::Made, Self::Ran, Self::Fired, Self::Stopped];

    const fn extension(self) -> &'static str {
        match self {
            Self::Wanted => "wanted",
            Self::Made => "made",
            Self::Ran => "ran",
            Self::Fired => "fired",
            Self::Stopped => "stopped",
            Self::Cluster => "cluster",
        }
    }
}

#[cfg(test)]
mod tests;
