//! Applies a layer's tar to a folder, as overlayfs wants it over the layers below, without ever leaving that folder.
//!
//! The tar is hostile input. Every way to a folder is walked by our own steps, each of which opens a name itself and follows
//! no link, so neither `..` nor a symlink of any layer leads out; the last name of an entry is never followed. Owner,
//! mode, set-id bits and mtime are kept: an image's `su` must work, and containers run with `no_new_privs` unless their
//! unit says otherwise. What an entry does not name stays as it is below. Whiteouts become overlayfs's: a character device
//! 0/0 where there is something to hide, or the `opaque` attribute; nothing in the tar becomes one otherwise. Other devices
//! are made, so that what counts on them is right, and dead: whatever layers are seen through is mounted `nodev`.

pub mod below;
mod folders;
mod meta;
mod names;
mod open;
mod problem;
mod target;

use std::ffi::OsStr;
use std::io::{self, BufRead};
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use ferrite_archive::content::NotWritten;
use ferrite_archive::{Entry, Kind, Tar, TarProblem};

use self::below::Below;
use self::meta::Meta;
use self::names::Role;
use self::problem::Problem;
use self::target::Target;
use super::far_ids::FarIds;

/// How much a layer may hold.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Bytes of the tar, decompressed. Stops decompression bombs before they fill STATE.
    pub tar_max_bytes: u64,
    /// Bytes of one file with its holes: what reads it reads them all.
    pub file_max_bytes: u64,
    /// Entries: inodes and this program's time are finite too.
    pub entries_max: u64,
    /// Looks at folders and links that the ways of all entries lead through, in each layer below: a few links make a short path
    /// long, again for each entry.
    pub steps_max: u64,
}

/// A layer could not be applied.
#[derive(Debug, thiserror::Error)]
pub enum Unpack {
    /// The stream is not a tar, or ends early.
    #[error(transparent)]
    ReadTar(#[from] TarProblem),
    /// An entry that no honest layer has.
    #[error("refuse entry {}: {why}", path.display())]
    RefuseEntry {
        /// Its path in the tar.
        path: PathBuf,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The kernel refused an entry.
    #[error("create {}", path.display())]
    CreateEntry {
        /// Its path in the tar.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The layer is larger than the limits allow.
    #[error("unpack more than {limit} {what}")]
    TooMuch {
        /// The limit.
        limit: u64,
        /// Of what.
        what: &'static str,
    },
}

/// What a layer is found to hold.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Unpacked {
    /// Bytes of its files.
    pub bytes: u64,
    /// Owners that not every unit has.
    pub far: FarIds,
}

/// Applies the tar that `reader` gives to the empty folder `root`, which is to lie over `below`, and reads `reader` to its
/// end. Modes are right where the calling thread's umask is 0.
///
/// # Errors
/// The folder then holds a part of the layer and must be thrown away.
pub fn unpack(
    reader: impl BufRead,
    root: BorrowedFd<'_>,
    below: &Below,
    limits: &Limits,
) -> Result<Unpacked, Unpack> {
    let mut tar = Tar::new(Capped { inner: reader, left: limits.tar_max_bytes });
    let result = apply(&mut tar, root, below, limits);
    result.map_err(|error| match error {
        Unpack::ReadTar(TarProblem::Read(source))
            if source.get_ref().is_some_and(|inner| inner.is::<Exhausted>()) =>
        {
            Unpack::TooMuch { limit: limits.tar_max_bytes, what: "bytes" }
        }
        other => other,
    })
}

fn apply<R: BufRead>(
    tar: &mut Tar<R>,
    root: BorrowedFd<'_>,
    below: &Below,
    limits: &Limits,
) -> Result<Unpacked, Unpack> {
    let mut target =
        Target::new(root, below, limits.steps_max).map_err(|problem| named(problem, b"."))?;
    let (mut count, mut found) = (0_u64, Unpacked::default());
    while let Some(entry) = tar.next_entry()? {
        count += 1;
        if count > limits.entries_max {
            return Err(Unpack::TooMuch { limit: limits.entries_max, what: "entries" });
        }
        if entry.size > limits.file_max_bytes {
            return Err(Unpack::TooMuch { limit: limits.file_max_bytes, what: "bytes of a file" });
        }
        found.bytes = found.bytes.saturating_add(tar.data_left());
        for id in [entry.uid, entry.gid] {
            // What is none is refused below.
            found.far.add(u32::try_from(id).unwrap_or(u32::MAX));
        }
        one(tar, &mut target, &entry).map_err(|problem| named(problem, &entry.path))?;
    }
    target
        .finish_folders()
        .map_err(|(path, source)| Unpack::CreateEntry { path: shown(&path), source })?;
    tar.drain()?;
    Ok(found)
}

fn named(problem: Problem, path: &[u8]) -> Unpack {
    match problem {
        Problem::Refused(why) => Unpack::RefuseEntry { path: shown(path), why },
        Problem::Failed(NotWritten::Disk(source)) => {
            Unpack::CreateEntry { path: shown(path), source }
        }
        Problem::Failed(NotWritten::Tar(problem)) => Unpack::ReadTar(problem),
    }
}

fn shown(path: &[u8]) -> PathBuf {
    Path::new(OsStr::from_bytes(path)).to_owned()
}

fn one<R: BufRead>(
    tar: &mut Tar<R>,
    target: &mut Target<'_>,
    entry: &Entry,
) -> Result<(), Problem> {
    let meta = Meta::of(entry)?;
    let parts = names::components(&entry.path)?;
    let Some((name, folder)) = parts.split_last() else {
        return match entry.kind {
            Kind::Folder => target.set_root(&meta),
            _ => Err(Problem::Refused("it would replace the root")),
        };
    };
    let role = names::role(name, folder)?;
    if matches!(role, Role::Ignored) {
        return Ok(());
    }
    match target.enter(folder) {
        // Under what is no folder there is nothing to hide.
        Err(problem) if !matches!(role, Role::Plain) && problem.is_no_folder() => return Ok(()),
        other => other?,
    }
    match role {
        Role::Plain | Role::Ignored => {}
        Role::Opaque => return target.set_opaque(),
        Role::Whiteout(hidden) => return target.whiteout(hidden),
    }
    match entry.kind {
        Kind::File => target.file(name, &meta, entry, tar),
        Kind::Folder => target.folder(name, &meta),
        Kind::Symlink => target.symlink(name, &entry.link, &meta),
        Kind::Link => target.hard_link(name, &names::components(&entry.link)?, &parts),
        Kind::Fifo => target.fifo(name, &meta),
        Kind::Char | Kind::Block => target.device(name, entry, &meta),
        Kind::GnuSparse | Kind::GnuLongName | Kind::GnuLongLink | Kind::Pax | Kind::PaxGlobal => {
            Err(Problem::Refused("it is of an unknown type"))
        }
    }
}

/// Marker of the error that [`Capped`] gives.
#[derive(Debug, thiserror::Error)]
#[error("the limit is reached")]
struct Exhausted;

/// Fails, where `take` would quietly end, after so many bytes.
struct Capped<R> {
    inner: R,
    left: u64,
}

impl<R: BufRead> io::Read for Capped<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.fill_buf()?.read(buffer)?;
        self.consume(count);
        Ok(count)
    }
}

impl<R: BufRead> BufRead for Capped<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        let buffer = self.inner.fill_buf()?;
        if buffer.is_empty() {
            return Ok(buffer);
        }
        let room = buffer.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        match buffer.get(..room) {
            Some(part) if !part.is_empty() => Ok(part),
            Some(_) | None => Err(io::Error::other(Exhausted)),
        }
    }

    fn consume(&mut self, count: usize) {
        self.left = self.left.saturating_sub(count as u64);
        self.inner.consume(count);
    }
}

#[cfg(test)]
mod as_root;
#[cfg(test)]
mod attacks;
#[cfg(test)]
mod tests;
