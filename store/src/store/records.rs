//! The store's records, a file per name.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use ferrite_files::durable;
use ferrite_files::small::{ReadSmall, read_small};
use ferrite_schema::api::Image;

use super::record::{Record, understand};
use super::{ImageStore, Store};
use crate::digest::Digest;

/// Longest record of an image that is read.
const RECORD_MAX_BYTES: u64 = 4 << 20;

/// Records with the time of their last use, and the first problem with one that the disk does not give.
pub(crate) type RecordsRead = (Vec<(Record, u64)>, Option<Store>);

impl ImageStore {
    fn record_path(&self, name: &str) -> PathBuf {
        // A reference holds `/` and `:`; its digest is a file name of fixed length.
        self.records().join(format!("{}.json", Digest::of(name.as_bytes()).hex()))
    }

    /// Writes a record over the one of the same name.
    ///
    /// # Errors
    /// The older record stays.
    pub fn put(&self, record: &Record) -> Result<(), Store> {
        let path = self.record_path(&self.key(&record.name));
        let text = serde_json::to_vec_pretty(record)
            .map_err(|source| Store::Encode { path: path.clone(), source })?;
        Ok(durable::write(&path, &text)?)
    }

    /// The record of a name, however it is spelled.
    ///
    /// # Errors
    /// It is there and cannot be read.
    pub fn get(&self, name: &str) -> Result<Option<Record>, Store> {
        match self.read_record(&self.record_path(&self.key(name)))? {
            Some(record) => Ok(Some(record)),
            // Older versions kept records under names as they were given.
            None => self.read_record(&self.record_path(name)),
        }
    }

    /// Forgets a name; its blobs and layers are for the collector. `false` where there is none.
    ///
    /// # Errors
    /// The record is there still.
    pub fn forget(&self, name: &str) -> Result<bool, Store> {
        let mut found = false;
        for path in [self.record_path(&self.key(name)), self.record_path(name)] {
            found |= path.exists();
            durable::remove(&path).map_err(|source| Store::Read { path, source })?;
        }
        Ok(found)
    }

    /// Notes that the image is used now. Not worth an error: the collector only takes it for unused longer.
    pub fn note_use(&self, record: &Record) {
        let times = rustix::fs::Timestamps {
            last_access: rustix::fs::Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_NOW },
            last_modification: rustix::fs::Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_NOW },
        };
        let path = self.record_path(&self.key(&record.name));
        let noted =
            rustix::fs::utimensat(rustix::fs::CWD, &path, &times, rustix::fs::AtFlags::empty());
        if let Err(error) = noted {
            tracing::debug!(%error, image = record.name, "image-use-not-noted");
        }
    }

    /// All records with the time of their last use, seconds since the epoch.
    ///
    /// # Errors
    /// The disk does not give a record: what it names must not be taken for unused.
    pub fn records_by_use(&self) -> Result<Vec<(Record, u64)>, Store> {
        let (records, unread) = self.records_read()?;
        unread.map_or(Ok(records), Err)
    }

    /// As [`ImageStore::records_by_use`], with the first of those that the disk does not give in place of an error.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub(crate) fn records_read(&self) -> Result<RecordsRead, Store> {
        let folder = self.records();
        let unreadable = |source| Store::Read { path: folder.clone(), source };
        let (mut records, mut unread) = (Vec::new(), None);
        for entry in fs::read_dir(&folder).map_err(unreadable)? {
            let path = entry.map_err(unreadable)?.path();
            if path.extension().is_none_or(|extension| extension != "json") {
                continue;
            }
            let used = fs::symlink_metadata(&path).map_or(0, |meta| meta.mtime());
            match self.read_record(&path) {
                Ok(None) => {}
                Ok(Some(record)) => records.push((record, u64::try_from(used).unwrap_or(0))),
                Err(error) => {
                    tracing::error!(error = ferrite_schema::chain(&error), "image-record-not-read");
                    unread.get_or_insert(error);
                }
            }
        }
        records.sort_by_key(|(_, used)| *used);
        Ok((records, unread))
    }

    /// Reads a record; one that cannot be understood is set aside, and its image is not here any more.
    fn read_record(&self, path: &Path) -> Result<Option<Record>, Store> {
        let why = match read_small(path, RECORD_MAX_BYTES) {
            Ok(Some(bytes)) => match understand(&bytes) {
                Ok(record) => return Ok(Some(record)),
                Err(why) => why,
            },
            Ok(None) => return Ok(None),
            Err(ReadSmall::Read(source)) => {
                return Err(Store::Read { path: path.to_owned(), source });
            }
            Err(other) => other.to_string(),
        };
        self.quarantine.keep(path, &why)?;
        Ok(None)
    }

    /// All images, by name.
    ///
    /// # Errors
    /// A record cannot be read.
    pub fn list(&self) -> Result<Vec<Image>, Store> {
        let records = self.records_by_use()?;
        let mut images: Vec<Image> = records
            .into_iter()
            .map(|(record, last_used_s)| Image { last_used_s, ..record.summary() })
            .collect();
        images.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(images)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::empty_record;

    fn record(name: &str) -> Record {
        Record { name: name.to_owned(), ..empty_record() }
    }

    #[test]
    fn records_are_found_by_name_and_listed_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let store = ImageStore::open(folder.path());
        store.put(&record("b/c:1")).unwrap();
        store.put(&record("a")).unwrap();
        assert_eq!(store.get("b/c:1").unwrap(), Some(record("b/c:1")));
        assert_eq!(store.get("none").unwrap(), None);
        let names: Vec<_> = store.list().unwrap().into_iter().map(|image| image.name).collect();
        assert_eq!(names, ["a", "b/c:1"]);
    }

    #[test]
    fn a_record_that_is_none_is_set_aside_and_hides_nobody() {
        let folder = tempfile::tempdir().unwrap();
        let store = ImageStore::open(&folder.path().join("images"));
        store.put(&record("good")).unwrap();
        let no_digest = Record { layers: vec!["sha256:12".to_owned()], ..record("digest") };
        fs::write(store.record_path("text"), b"\xff{").unwrap();
        fs::write(store.record_path("torn"), "{\"name\":").unwrap();
        fs::write(store.record_path("digest"), serde_json::to_vec(&no_digest).unwrap()).unwrap();
        fs::create_dir(store.record_path("folder")).unwrap();
        let made =
            std::process::Command::new("mkfifo").arg(store.record_path("fifo")).status().unwrap();
        assert!(made.success());
        assert_eq!(store.get("torn").unwrap(), None);
        let names: Vec<_> = store.list().unwrap().into_iter().map(|image| image.name).collect();
        assert_eq!(names, ["good"]);
        assert_eq!(store.quarantine.names().len(), 5);
        assert_eq!(store.records_by_use().unwrap().len(), 1);
    }

    #[test]
    fn every_spelling_of_a_name_finds_its_image() {
        let folder = tempfile::tempdir().unwrap();
        let store = ImageStore::open(folder.path());
        store.put(&record("local/hello")).unwrap();
        store.put(&record("Not A Reference")).unwrap();
        for name in ["local/hello", "local/hello:latest", "docker.io/local/hello"] {
            assert_eq!(store.get(name).unwrap(), Some(record("local/hello")), "{name}");
        }
        assert_eq!(store.get("quay.example/local/hello").unwrap(), None);
        assert_eq!(store.get("Not A Reference").unwrap(), Some(record("Not A Reference")));
        // A record of an older version lies under the name as it was given.
        let old = store.record_path("old/one");
        fs::write(&old, serde_json::to_vec(&record("old/one")).unwrap()).unwrap();
        assert_eq!(store.get("old/one").unwrap(), Some(record("old/one")));
        assert!(store.forget("old/one").unwrap());
        assert!(store.forget("docker.io/local/hello:latest").unwrap());
        assert!(!store.forget("local/hello").unwrap());
        assert_eq!(store.list().unwrap().len(), 1);
    }
}
