//! One pass over an archive: its small documents in memory, its blobs in the staging folder.

use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};

use ferrite_archive::{Entry, Kind, Tar};
use serde::de::DeserializeOwned;

use super::problem::{Import, refuse};
use crate::digest::{Digest, Hashing};
use crate::documents::DOCUMENT_MAX_BYTES;
use crate::layer;

/// Most files and links in an archive, and most entries of any kind.
const FILES_MAX: usize = 10_000;
const ENTRIES_MAX: u64 = 100_000;
/// Longest path, and longest target of a link: those of Docker's archives have less than a hundred.
const PATH_MAX_BYTES: usize = 512;
/// Most bytes of a decompressed archive.
const ARCHIVE_MAX_BYTES: u64 = 64 << 30;
/// Where an OCI layout has its blobs.
pub(super) const BLOBS: &str = "blobs/sha256/";

/// What an archive holds, with its blobs in the staging folder.
#[derive(Default)]
pub(super) struct ArchiveContent {
    /// It says that it is an OCI layout.
    pub(super) layout: bool,
    /// `index.json`
    pub(super) index: Option<Vec<u8>>,
    /// `manifest.json` of `docker save`
    pub(super) docker: Option<Vec<u8>>,
    /// Files by content, with their sizes.
    pub(super) blobs: HashMap<Digest, (PathBuf, u64)>,
    /// Files that Docker's manifest may name, by path, but for those whose path is their digest; a link has the path that
    /// it leads to.
    pub(super) files: HashMap<String, Place>,
}

/// Where a file of the archive is.
pub(super) enum Place {
    Blob(Digest),
    Link(String),
}

pub(super) fn read(path: &Path, folder: &Path) -> Result<ArchiveContent, Import> {
    let reader = layer::decompress(path).map_err(Import::ReadArchive)?.take(ARCHIVE_MAX_BYTES);
    let mut pass = Pass {
        tar: Tar::new(BufReader::with_capacity(64 * 1024, reader)),
        folder,
        content: ArchiveContent::default(),
        paths: BTreeSet::new(),
    };
    let mut count = 0_u64;
    while let Some(entry) = pass.tar.next_entry()? {
        count += 1;
        if count > ENTRIES_MAX {
            return Err(refuse(format!("it has more than {ENTRIES_MAX} entries")));
        }
        match entry.kind {
            Kind::File | Kind::Symlink | Kind::Link => pass.one(&entry)?,
            Kind::Folder | Kind::Fifo | Kind::Char | Kind::Block => {}
            Kind::GnuSparse
            | Kind::GnuLongName
            | Kind::GnuLongLink
            | Kind::Pax
            | Kind::PaxGlobal => {}
        }
    }
    let content = pass.content;
    if !content.layout && content.docker.is_none() {
        let why = "it is neither an OCI archive (it holds no file `oci-layout`) nor one of Docker";
        return Err(refuse(why));
    }
    Ok(content)
}

/// The pass, where it is.
struct Pass<'a, R> {
    tar: Tar<R>,
    folder: &'a Path,
    content: ArchiveContent,
    /// What was there already: one of two files of a name would be checked, and the other one used.
    paths: BTreeSet<Digest>,
}

impl<R: BufRead> Pass<'_, R> {
    fn one(&mut self, entry: &Entry) -> Result<(), Import> {
        if entry.path.len() > PATH_MAX_BYTES || entry.link.len() > PATH_MAX_BYTES {
            return Err(refuse(format!("a path in it is longer than {PATH_MAX_BYTES} bytes")));
        }
        let path = String::from_utf8_lossy(&entry.path);
        let path = path.strip_prefix("./").unwrap_or(&path).to_owned();
        let number = self.paths.len();
        if number >= FILES_MAX {
            return Err(refuse(format!("it holds more than {FILES_MAX} files")));
        }
        if !self.paths.insert(Digest::of(path.as_bytes())) {
            return Err(refuse(format!("it holds {path:?} twice")));
        }
        let link = String::from_utf8_lossy(&entry.link);
        match entry.kind {
            Kind::File => self.file(entry, path, number),
            Kind::Symlink => {
                self.content.files.insert(path.clone(), Place::Link(joined(&path, &link)));
                Ok(())
            }
            // The target of a hard link counts from the archive's root.
            _ => {
                self.content.files.insert(path, Place::Link(joined("", &link)));
                Ok(())
            }
        }
    }

    fn file(&mut self, entry: &Entry, path: String, number: usize) -> Result<(), Import> {
        if entry.extents.is_some() {
            return Err(refuse(format!("{path:?} in it is a file with holes")));
        }
        match path.as_str() {
            "oci-layout" => {
                self.small()?;
                self.content.layout = true;
            }
            "index.json" => self.content.index = Some(self.small()?),
            "manifest.json" => self.content.docker = Some(self.small()?),
            "repositories" => {}
            _ => {
                let expected = path.strip_prefix(BLOBS).map(Digest::from_hex).transpose()?;
                let (digest, staged) =
                    self.stage(expected, &self.folder.join(number.to_string()))?;
                self.content.blobs.insert(digest, staged);
                if expected.is_none() {
                    self.content.files.insert(path, Place::Blob(digest));
                }
            }
        }
        Ok(())
    }

    fn small(&mut self) -> Result<Vec<u8>, Import> {
        if self.tar.data_left() > DOCUMENT_MAX_BYTES {
            return Err(too_large());
        }
        let mut bytes = Vec::new();
        self.tar.data(|piece| {
            bytes.extend_from_slice(piece);
            Ok::<_, Import>(())
        })?;
        Ok(bytes)
    }

    /// Writes a file to the staging folder and, where its name is its digest, checks that.
    fn stage(
        &mut self,
        expected: Option<Digest>,
        path: &Path,
    ) -> Result<(Digest, (PathBuf, u64)), Import> {
        let failed = |source| Import::Stage { path: path.to_owned(), source };
        let mut writer = Hashing::new(File::create_new(path).map_err(failed)?);
        self.tar.data(|piece| writer.write_all(piece).map_err(failed))?;
        let (found, bytes, file) = writer.finish();
        if let Some(expected) = expected
            && found != expected
        {
            return Err(Import::RefuseBlob { name: expected.hex(), found });
        }
        file.sync_all().map_err(failed)?;
        Ok((found, (path.to_owned(), bytes)))
    }
}

/// Where a link's target is, from the archive's root. `..` above it goes nowhere: names are looked up, not opened.
fn joined(path: &str, target: &str) -> String {
    let mut parts: Vec<&str> = path.split('/').collect();
    parts.pop();
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

pub(super) fn parse<T: DeserializeOwned>(bytes: &[u8], what: &'static str) -> Result<T, Import> {
    serde_json::from_slice(bytes).map_err(|source| Import::ReadDocument { what, source })
}

/// Reads a document.
pub(super) fn read_small(reader: &mut impl Read) -> Result<Vec<u8>, Import> {
    let mut bytes = Vec::new();
    reader.take(DOCUMENT_MAX_BYTES + 1).read_to_end(&mut bytes).map_err(Import::ReadArchive)?;
    if bytes.len() as u64 > DOCUMENT_MAX_BYTES { Err(too_large()) } else { Ok(bytes) }
}

fn too_large() -> Import {
    refuse(format!("a document in it is larger than {DOCUMENT_MAX_BYTES} bytes"))
}
