//! What a node remembers of itself across boots: its ID and some randomness; its clock is a file of its own.
//!
//! What has one of these names on STATE and is no such file, whoever put it there, is set aside, named, and made anew. Nothing
//! there is waited for or followed.

use std::fs;
use std::io;
use std::path::Path;

use ferrite_files::durable;
use ferrite_files::quarantine::Quarantine;
use ferrite_files::small::{self, ReadSmall};
use ferrite_schema::chain;
use ferrite_schema::names;
use rustix::rand::{GetRandomFlags, getrandom};

use crate::log;

/// Randomness for the next boot.
const SEED_FILE: &str = "/var/lib/ferrite/random-seed";
/// As much as the kernel's pool holds, twice.
const SEED_BYTES: usize = 512;
/// Most that a seed may have: those of other versions are stirred in as well.
const SEED_MAX_BYTES: u64 = 64 * 1024;
/// Most that a machine's ID may have: there may be blanks around it.
const MACHINE_ID_MAX_BYTES: u64 = 4096;

/// Files that are remembered, and what was wrong with them.
#[derive(Debug)]
pub struct Memory {
    quarantine: Quarantine,
    said: Vec<String>,
}

impl Memory {
    /// That on STATE, which is mounted.
    #[must_use]
    pub fn on_state() -> Self {
        let mut memory = Self::with(Quarantine::at(Path::new(names::QUARANTINE_DIR)));
        for sentence in memory.quarantine.clear_way() {
            log::warn(format_args!("{sentence}"));
            memory.said.push(sentence);
        }
        memory
    }

    pub(super) const fn with(quarantine: Quarantine) -> Self {
        Self { quarantine, said: Vec::new() }
    }

    /// What people should know.
    #[must_use]
    pub fn said(self) -> Vec<String> {
        self.said
    }

    /// Makes the machine's ID on the first boot; `true` when it was new.
    ///
    /// # Errors
    /// The disk does not give the one that there is, which then stays; there is no randomness, or STATE does not take it.
    pub fn ensure_machine_id(&mut self) -> io::Result<bool> {
        self.ensure_id(Path::new(names::MACHINE_ID_FILE))
    }

    fn ensure_id(&mut self, path: &Path) -> io::Result<bool> {
        let found = self.read(path, MACHINE_ID_MAX_BYTES)?;
        if found.as_deref().is_some_and(|bytes| is_machine_id(bytes.trim_ascii())) {
            return Ok(false);
        }
        if found.is_some() {
            self.set_aside(path, "it is no machine ID");
        }
        let mut id = [0; 16];
        getrandom(&mut id, GetRandomFlags::empty())?;
        keep(path, format!("{}\n", hex::encode(id)).as_bytes())?;
        Ok(true)
    }

    /// Stirs the last boot's seed into the kernel's pool and writes another: a seed is used once. It is not
    /// credited as entropy, since somebody may have copied the disk.
    ///
    /// # Errors
    /// STATE does not take the new seed.
    pub fn refresh_seed(&mut self) -> io::Result<()> {
        self.refresh(Path::new(SEED_FILE), Path::new("/dev/urandom"))
    }

    fn refresh(&mut self, path: &Path, pool: &Path) -> io::Result<()> {
        // One that the disk does not give is of no use to anybody.
        if let Ok(Some(seed)) = self.read(path, SEED_MAX_BYTES) {
            fs::write(pool, seed)?;
        }
        let mut seed = vec![0; SEED_BYTES];
        getrandom(&mut seed, GetRandomFlags::empty())?;
        keep(path, &seed)
    }

    /// What `path` holds; nothing where something else than a small file had the name.
    fn read(&mut self, path: &Path, max_bytes: u64) -> io::Result<Option<Vec<u8>>> {
        match small::read_small(path, max_bytes) {
            Ok(content) => Ok(content),
            Err(ReadSmall::Read(error)) => Err(error),
            Err(problem) => {
                self.set_aside(path, &problem.to_string());
                Ok(None)
            }
        }
    }

    /// Sets aside what has the name of a file that is never read, and is no file.
    pub(super) fn free(&mut self, path: &Path) {
        if fs::symlink_metadata(path).is_ok_and(|found| !found.is_file()) {
            self.set_aside(path, "it is no file");
        }
    }

    fn set_aside(&mut self, path: &Path, why: &str) {
        let sentence = self.quarantine.keep(path, why).unwrap_or_else(|error| {
            format!("{} is not used: {why}; {}", path.display(), chain(&error))
        });
        log::warn(format_args!("{sentence}"));
        self.said.push(sentence);
    }
}

/// Keeps a file in the folder of what the OS itself remembers, which a new STATE lacks.
fn keep(path: &Path, content: &[u8]) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    durable::write(path, content).map_err(|error| error.source)
}

fn is_machine_id(text: &[u8]) -> bool {
    text.len() == 32 && text.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::path::PathBuf;

    use rustix::fs::{CWD, Mode, mkfifoat};

    use super::*;

    struct Place {
        _folder: tempfile::TempDir,
        file: PathBuf,
        memory: Memory,
    }

    impl Place {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let memory = Memory::with(Quarantine::at(&folder.path().join("quarantine")));
            Self { file: folder.path().join("file"), _folder: folder, memory }
        }
    }

    /// Everything that a name may lead to and that is no small file.
    fn no_files() -> [&'static dyn Fn(&Path); 5] {
        [
            &|path| mkfifoat(CWD, path, Mode::RUSR | Mode::WUSR).unwrap(),
            &|path| symlink("/dev/zero", path).unwrap(),
            &|path| symlink("/dev/console", path).unwrap(),
            &|path| fs::create_dir_all(path.join("something")).unwrap(),
            &|path| fs::File::create(path).unwrap().set_len(1 << 40).unwrap(),
        ]
    }

    #[test]
    fn a_torn_machine_id_is_none() {
        assert!(is_machine_id(b"0123456789abcdef0123456789abcdef"));
        assert!(!is_machine_id(b"0123456789abcdef0123456789abcde"));
        assert!(!is_machine_id(b"0123456789ABCDEF0123456789ABCDEF"));
        assert!(!is_machine_id(b""));
    }

    #[test]
    fn an_id_is_made_once_and_what_is_none_is_kept_aside() {
        let mut place = Place::new();
        assert!(place.memory.ensure_id(&place.file).unwrap());
        let id = fs::read(&place.file).unwrap();
        assert!(!place.memory.ensure_id(&place.file).unwrap());
        assert_eq!(fs::read(&place.file).unwrap(), id);
        fs::write(&place.file, "torn").unwrap();
        assert!(place.memory.ensure_id(&place.file).unwrap());
        assert_eq!((place.memory.said.len(), place.memory.quarantine.names().len()), (1, 1));
    }

    #[test]
    fn what_is_no_file_neither_hangs_nor_stays_in_the_way() {
        for (number, make) in no_files().iter().enumerate() {
            let mut place = Place::new();
            make(&place.file);
            assert!(place.memory.ensure_id(&place.file).unwrap(), "{number}");
            assert!(!place.memory.ensure_id(&place.file).unwrap(), "{number}");
            assert_eq!(place.memory.said.len(), 1, "{number}");

            let mut place = Place::new();
            let pool = place.file.with_file_name("pool");
            make(&place.file);
            place.memory.refresh(&place.file, &pool).unwrap();
            assert!(!pool.exists(), "{number}");
            let seed = fs::read(&place.file).unwrap();
            assert_eq!(seed.len(), SEED_BYTES, "{number}");
            place.memory.refresh(&place.file, &pool).unwrap();
            assert_eq!(fs::read(&pool).unwrap(), seed, "{number}");
            assert!(fs::read(&place.file).unwrap() != seed, "{number}");
            assert_eq!(place.memory.quarantine.names().len(), 1, "{number}");
        }
    }
}
