//! Named volumes: what is there, who names it, and their removal. They are made at their first use, by a shim.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use ferrite_files::quarantine::{Quarantine, Stays};
use ferrite_files::{removal, walk};
use ferrite_schema::api::Volume;
use ferrite_schema::names::VOLUME_UNFINISHED;
use ferrite_schema::unit::{Unit, VolumeSource};
use rustix::fs::FlockOperation;

/// A volume was not listed or removed.
#[derive(Debug, thiserror::Error)]
pub enum VolumesProblem {
    /// There is none with this name.
    #[error("find volume {name}: there is none")]
    Find {
        /// Name.
        name: String,
    },
    /// Nobody can say that none does.
    #[error("remove volume {name}: a unit may use it that is not known here: {why}")]
    Unknown {
        /// Name.
        name: String,
        /// Why.
        why: String,
    },
    /// Units name it.
    #[error("remove volume {name}: it belongs to {units}; `ferrite unit destroy` comes first")]
    InUse {
        /// Name.
        name: String,
        /// Their names.
        units: String,
    },
    /// The folder of volumes cannot be read.
    #[error("list the volumes in {}", path.display())]
    List {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is where it was.
    #[error("remove volume {name}")]
    Remove {
        /// Name.
        name: String,
        /// Why.
        source: io::Error,
    },
    /// It is gone from sight, but its files are there still; the next start tries again.
    #[error(transparent)]
    Stays(#[from] Stays),
}

/// The named volumes of a node.
#[derive(Debug, Clone)]
pub struct Volumes {
    folder: PathBuf,
}

/// Which units name which volumes.
pub type Users = BTreeMap<String, Vec<String>>;

/// The users of all named volumes of `units`, of each of which there may be several documents.
pub fn users<'a>(units: impl IntoIterator<Item = &'a Unit>) -> Users {
    let mut users = Users::new();
    for unit in units {
        for volume in &unit.volumes {
            if let Some(VolumeSource::Name(name)) = volume.source() {
                let units = users.entry(name.to_owned()).or_default();
                if !units.contains(&unit.name) {
                    units.push(unit.name.clone());
                }
            }
        }
    }
    users
}

impl Volumes {
    /// The volumes in `folder`, which need not be there.
    #[must_use]
    pub fn in_folder(folder: &Path) -> Self {
        Self { folder: folder.to_owned() }
    }

    /// All volumes by name; looks at every file of theirs.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn list(&self, users: &Users) -> Result<Vec<Volume>, VolumesProblem> {
        let failed = |source| VolumesProblem::List { path: self.folder.clone(), source };
        let entries = match fs::read_dir(&self.folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(failed)?,
        };
        let mut volumes = Vec::new();
        for entry in entries {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if !name.starts_with('.') {
                let units = users.get(&name).cloned().unwrap_or_default();
                volumes.push(volume(name, &entry.path(), units));
            }
        }
        volumes.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(volumes)
    }

    /// Removes a volume and what is in it. After a power cut it is either whole or gone.
    ///
    /// # Errors
    /// There is none with this name, or a unit names it, or one may (`unknown` says why), or its files stay.
    pub fn remove(
        &self,
        name: &str,
        users: &Users,
        unknown: Option<String>,
    ) -> Result<Volume, VolumesProblem> {
        let path = self.folder.join(name);
        let plain = !name.is_empty() && !name.starts_with('.') && !name.contains('/');
        if !plain || fs::symlink_metadata(&path).is_err() {
            return Err(VolumesProblem::Find { name: name.to_owned() });
        }
        if let Some(units) = users.get(name) {
            let units = units.join(", ");
            return Err(VolumesProblem::InUse { name: name.to_owned(), units });
        }
        if let Some(why) = unknown {
            return Err(VolumesProblem::Unknown { name: name.to_owned(), why });
        }
        let volume = volume(name.to_owned(), &path, Vec::new());
        let gone = self
            .take_away(&path)
            .map_err(|source| VolumesProblem::Remove { name: name.to_owned(), source })?;
        if let Some(gone) = gone {
            Quarantine::beside(&self.folder).remove(&gone)?;
        }
        Ok(volume)
    }

    fn take_away(&self, path: &Path) -> io::Result<Option<PathBuf>> {
        let lock = self.lock()?;
        let gone = removal::take_away(path)?;
        lock.sync_all()?;
        Ok(gone)
    }

    /// The lock of who makes a volume: nobody sees half of it, and nobody who makes one sees half of a removal.
    fn lock(&self) -> io::Result<File> {
        let lock = File::open(&self.folder)?;
        rustix::fs::flock(&lock, FlockOperation::LockExclusive)?;
        Ok(lock)
    }

    /// Removes what removals left when the power was cut, and what was never filled to its end.
    pub fn clean(&self) {
        clean(&self.folder);
        self.clean_unfinished();
    }

    /// Removes volumes whose shim ended before it had filled them. Waits for those that fill one now.
    pub fn clean_unfinished(&self) {
        if self.unfinished().is_empty() {
            return;
        }
        let taken = self.lock().map(|_lock| {
            let taken = |path: PathBuf| removal::take_away(&path).ok().flatten();
            self.unfinished().into_iter().filter_map(taken).collect::<Vec<PathBuf>>()
        });
        match taken {
            Ok(taken) => taken.iter().for_each(|gone| remove_gone(&self.folder, gone)),
            Err(error) => tracing::error!(%error, "volumes-not-locked"),
        }
    }

    fn unfinished(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(&self.folder).into_iter().flatten().flatten();
        let begun = |entry: &fs::DirEntry| {
            entry.file_name().as_encoded_bytes().starts_with(VOLUME_UNFINISHED.as_bytes())
        };
        entries.filter(begun).map(|entry| entry.path()).collect()
    }
}

/// Removes what was taken away in a folder before and is there still.
pub fn clean(folder: &Path) {
    for gone in removal::taken_away(folder) {
        remove_gone(folder, &gone);
    }
}

fn remove_gone(folder: &Path, gone: &Path) {
    if let Err(error) = Quarantine::beside(folder).remove(gone) {
        tracing::error!(error = ferrite_schema::chain(&error), "remains-stay");
    }
}

fn volume(name: String, path: &Path, units: Vec<String>) -> Volume {
    let count = walk::count(path);
    Volume { name, size_bytes: count.bytes, files: count.inodes, units }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unit(text: &str) -> Unit {
        toml::from_str(text).unwrap()
    }

    #[test]
    fn a_volume_goes_when_no_unit_names_it() {
        let folder = tempfile::tempdir().unwrap();
        let volumes = Volumes::in_folder(&folder.path().join("volumes"));
        assert!(volumes.list(&Users::new()).unwrap().is_empty());
        for file in ["data/deep/file", "cache/file"] {
            let path = folder.path().join("volumes").join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, [7; 5000]).unwrap();
        }
        let database = unit(
            "name = \"db\"\nimage = \"x\"\n[[volumes]]\nname = \"data\"\ntarget = \"/data\"\n\
             [[volumes]]\ntmpfs = \"1MiB\"\ntarget = \"/tmp\"\n",
        );
        let users = users([&database]);
        let listed = volumes.list(&users).unwrap();
        let names: Vec<_> = listed.iter().map(|volume| volume.name.as_str()).collect();
        assert_eq!(names, ["cache", "data"]);
        assert_eq!(
            (listed[0].units.len(), listed[1].units.as_slice()),
            (0, &["db".to_owned()][..])
        );
        assert!(listed[1].size_bytes >= 5000);
        assert_eq!(listed[1].files, 2, "a folder and a file");
        assert!(matches!(volumes.remove("data", &users, None), Err(VolumesProblem::InUse { .. })));
        for absent in ["other", "", ".", "..", "../volumes", ".gone-x"] {
            let refused = volumes.remove(absent, &users, None);
            assert!(matches!(refused, Err(VolumesProblem::Find { .. })), "{absent}");
        }
        let refused = volumes.remove("cache", &users, Some("unit web".to_owned()));
        assert!(matches!(refused, Err(VolumesProblem::Unknown { .. })), "{refused:?}");
        assert!(volumes.remove("cache", &users, None).unwrap().size_bytes >= 5000);
        assert_eq!(volumes.list(&users).unwrap().len(), 1);
    }

    /// Submitted anew without its volume, while it runs with it.
    #[test]
    fn a_volume_is_its_users_by_any_of_their_documents() {
        let with =
            "name = \"db\"\nimage = \"x\"\n[[volumes]]\nname = \"data\"\ntarget = \"/data\"\n";
        let (with, without) = (unit(with), unit("name = \"db\"\nimage = \"x\"\n"));
        for documents in [vec![&without, &with], vec![&with, &with], vec![&with, &without]] {
            assert_eq!(users(documents), Users::from([("data".to_owned(), vec!["db".to_owned()])]));
        }
    }

    #[test]
    fn what_a_power_cut_left_is_not_seen_and_goes() {
        let folder = tempfile::tempdir().unwrap();
        let left = folder.path().join(".gone-data");
        fs::create_dir_all(left.join("deep")).unwrap();
        let volumes = Volumes::in_folder(folder.path());
        assert!(volumes.list(&Users::new()).unwrap().is_empty());
        volumes.clean();
        assert!(!left.exists());
    }

    #[test]
    fn what_was_never_filled_to_its_end_goes_once_nobody_fills_it() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let begun = |name: &str| at(&format!("{VOLUME_UNFINISHED}{name}"));
        fs::create_dir_all(begun("filled").join("deep")).unwrap();
        let volumes = Volumes::in_folder(folder.path());
        // As a shim that fills it does, to its end.
        let lock = volumes.lock().unwrap();
        let own = volumes.clone();
        let cleaning = std::thread::spawn(move || own.clean());
        fs::rename(begun("filled"), at("filled")).unwrap();
        drop(lock);
        cleaning.join().unwrap();
        assert!(at("filled/deep").exists());
        fs::create_dir_all(begun("killed").join("deep")).unwrap();
        volumes.clean();
        let names: Vec<String> =
            volumes.list(&Users::new()).unwrap().into_iter().map(|volume| volume.name).collect();
        assert_eq!(names, ["filled"]);
        let all = fs::read_dir(folder.path()).unwrap().count();
        assert_eq!(all, 1, "nothing is left that is not seen");
        Volumes::in_folder(&at("none")).clean();
    }
}
