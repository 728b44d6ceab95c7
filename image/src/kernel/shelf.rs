//! Kernels that were built, in the cache, by their key; and the places where they are being built.
//!
//! | path below `kernels/` | content |
//! |---|---|
//! | `KEY/` | a kernel's products; the folder appears when all of it is there |
//! | `KEY.work/` | a build that goes on, or was cut off: of no use to anybody else |
//! | `KEY.lock` | locked by who builds, and by every process that the build started |
//! | `KEY.log` | what the last build said that failed |

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;
use rustix::io::{Errno, FdFlags};

use super::recipe::{self, PRODUCTS};
use crate::packages::cache::{Cache, CacheError, check_space, settle};

const WORK: &str = "work";
const LOCK: &str = "lock";
const LOG: &str = "log";

/// All kernels of a cache.
#[derive(Debug, Clone)]
pub struct Shelf {
    folder: PathBuf,
}

/// A kernel that was built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuiltKernel {
    /// What it was made from.
    pub key: String,
    /// Folder with its products.
    pub folder: PathBuf,
    /// Release, as `uname -r` says it.
    pub release: String,
}

impl BuiltKernel {
    /// A product, by its name in [`PRODUCTS`].
    #[must_use]
    pub fn product(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }
}

/// Where one kernel is built; nobody else does at the same time. What is in it goes when this does.
#[derive(Debug)]
pub struct Workplace {
    key: String,
    shelf: Shelf,
    _lock: File,
}

/// Why the shelf cannot be used.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum UseShelf {
    #[error("{act} {path}")]
    Access { act: &'static str, path: PathBuf, source: io::Error },
    #[error("keep {path}: the build was content and did not leave it, or left it empty")]
    NoProduct { path: PathBuf },
}

impl Shelf {
    /// The kernels of a cache.
    #[must_use]
    pub fn of(cache: &Cache) -> Self {
        Self { folder: cache.root().join("kernels") }
    }

    /// The folder with all of them.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Refuses to begin what would end for want of space.
    ///
    /// # Errors
    /// Less than `needed_bytes` are free.
    pub fn check_space(&self, needed_bytes: u64) -> Result<(), CacheError> {
        check_space(&self.folder, needed_bytes)
    }

    /// The kernel of that key, where it was built.
    #[must_use]
    pub fn find(&self, key: &str) -> Option<BuiltKernel> {
        let folder = self.folder.join(key);
        let whole = PRODUCTS
            .iter()
            .all(|(name, _)| fs::metadata(folder.join(name)).is_ok_and(|found| found.len() > 0));
        let release = fs::read_to_string(folder.join("release")).ok().filter(|_| whole)?;
        Some(BuiltKernel { key: key.to_owned(), folder, release: release.trim().to_owned() })
    }

    /// What the last build of that key said that failed.
    #[must_use]
    pub fn log(&self, key: &str) -> PathBuf {
        self.place(key, LOG)
    }

    /// Begins to build. Waits while another process builds the same kernel, which `busy` is told once; what builds left that
    /// were cut off is removed, of other kernels as well.
    ///
    /// # Errors
    /// The cache cannot be written.
    pub fn begin(&self, key: &str, busy: impl FnOnce()) -> Result<Workplace, UseShelf> {
        fs::create_dir_all(&self.folder).map_err(access("make", &self.folder))?;
        let path = self.place(key, LOCK);
        let lock = open_lock(&path)?;
        if !try_lock(&lock, &path)? {
            busy();
            rustix::fs::flock(&lock, FlockOperation::LockExclusive)
                .map_err(|errno| access("lock", &path)(errno.into()))?;
        }
        rustix::io::fcntl_setfd(&lock, FdFlags::empty())
            .map_err(|errno| access("share", &path)(errno.into()))?;
        self.remove_remains()?;
        let workplace = Workplace { key: key.to_owned(), shelf: self.clone(), _lock: lock };
        workplace.clear()?;
        fs::create_dir(workplace.path()).map_err(access("make", &workplace.path()))?;
        Ok(workplace)
    }

    /// Removes work that nobody does any more.
    fn remove_remains(&self) -> Result<(), UseShelf> {
        let entries = fs::read_dir(&self.folder).map_err(access("read", &self.folder))?;
        for entry in entries.flatten() {
            let path = entry.path();
            if path.extension().is_some_and(|extension| extension == WORK) {
                let lock_path = path.with_extension(LOCK);
                let lock = open_lock(&lock_path)?;
                if try_lock(&lock, &lock_path)? {
                    remove(&path)?;
                }
            }
        }
        Ok(())
    }

    fn place(&self, key: &str, extension: &str) -> PathBuf {
        self.folder.join(format!("{key}.{extension}"))
    }
}

impl Workplace {
    /// Folder to build in.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.shelf.place(&self.key, WORK)
    }

    /// Keeps the products of a build in `root`: the kernel is there, whole, or it is not.
    ///
    /// # Errors
    /// A product is missing; the cache cannot be written.
    pub fn keep(self, root: &Path) -> Result<BuiltKernel, UseShelf> {
        let made = self.path().join("made");
        fs::create_dir(&made).map_err(access("make", &made))?;
        for (name, below_output) in PRODUCTS {
            let (from, to) = (recipe::product(root, below_output), made.join(name));
            match fs::metadata(&from) {
                Ok(found) if found.len() > 0 => {}
                Ok(_) | Err(_) => return Err(UseShelf::NoProduct { path: from }),
            }
            fs::rename(&from, &to).map_err(access("keep", &from))?;
            // A kernel that is there after a loss of power is there with all its bytes.
            File::open(&to).and_then(|file| file.sync_all()).map_err(access("write", &to))?;
        }
        let target = self.shelf.folder.join(&self.key);
        // One that is not whole was damaged since.
        remove(&target)?;
        settle(&made, &target).map_err(access("make", &target))?;
        drop(fs::remove_file(self.shelf.log(&self.key)));
        let found = self.shelf.find(&self.key);
        found.ok_or(UseShelf::NoProduct { path: target })
    }

    fn clear(&self) -> Result<(), UseShelf> {
        remove(&self.path())
    }
}

impl Drop for Workplace {
    fn drop(&mut self) {
        // What stays is removed by the next build.
        drop(self.clear());
    }
}

/// The lock goes on to every process that is started: whoever still writes into a place keeps others out.
fn open_lock(path: &Path) -> Result<File, UseShelf> {
    let file = File::options().write(true).create(true).truncate(false).open(path);
    file.map_err(access("open", path))
}

fn try_lock(lock: &File, path: &Path) -> Result<bool, UseShelf> {
    match rustix::fs::flock(lock, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(true),
        Err(Errno::WOULDBLOCK) => Ok(false),
        Err(errno) => Err(access("lock", path)(errno.into())),
    }
}

fn remove(path: &Path) -> Result<(), UseShelf> {
    #[expect(clippy::disallowed_methods, reason = "our own build's folder")]
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result.map_err(access("remove", path)),
    }
}

fn access<'path>(
    act: &'static str,
    path: &'path Path,
) -> impl FnOnce(io::Error) -> UseShelf + 'path {
    move |source| UseShelf::Access { act, path: path.to_owned(), source }
}
