//! One pass over an archive: its small documents in memory, its blobs in the staging folder.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use super::{Import, refuse};
use crate::digest::{Digest, Hashing};
use crate::documents::DOCUMENT_MAX_BYTES;
use crate::layer;

/// Most blobs in an archive.
const BLOBS_MAX: usize = 10_000;
/// Most bytes of a decompressed archive.
const ARCHIVE_MAX_BYTES: u64 = 64 << 30;

/// What an archive holds, with its blobs in the staging folder.
pub(super) struct ArchiveContent {
    /// It says that it is an OCI layout.
    pub(super) layout: bool,
    /// `index.json`
    pub(super) index: Option<Vec<u8>>,
    /// `manifest.json` of `docker save`
    pub(super) docker: Option<Vec<u8>>,
    /// Files by content, with their sizes.
    pub(super) blobs: HashMap<Digest, (PathBuf, u64)>,
    /// Files that Docker's manifest may name, by path; a link has the path that it leads to.
    pub(super) files: HashMap<String, Place>,
}

/// Where a file of the archive is.
pub(super) enum Place {
    Blob(Digest),
    Link(String),
}

pub(super) fn read(path: &Path, folder: &Path) -> Result<ArchiveContent, Import> {
    let reader = layer::decompress(path).map_err(Import::ReadArchive)?.take(ARCHIVE_MAX_BYTES);
    let mut archive = tar::Archive::new(reader);
    let mut content = ArchiveContent {
        layout: false,
        index: None,
        docker: None,
        blobs: HashMap::new(),
        files: HashMap::new(),
    };
    for entry in archive.entries().map_err(Import::ReadArchive)? {
        let mut entry = entry.map_err(Import::ReadArchive)?;
        let raw = entry.path_bytes().into_owned();
        let path = String::from_utf8_lossy(&raw).into_owned();
        let path = path.strip_prefix("./").unwrap_or(&path).to_owned();
        if content.files.len() >= BLOBS_MAX {
            return Err(refuse(format!("it holds more than {BLOBS_MAX} files")));
        }
        if entry.header().entry_type().is_symlink() {
            if let Some(target) = entry.link_name_bytes() {
                let target = joined(&path, &String::from_utf8_lossy(&target));
                content.files.insert(path, Place::Link(target));
            }
        } else if entry.header().entry_type().is_file() {
            take(&mut content, &mut entry, path, folder)?;
        }
    }
    if !content.layout && content.docker.is_none() {
        let why = "it is neither an OCI archive (it holds no file `oci-layout`) nor one of Docker";
        return Err(refuse(why));
    }
    Ok(content)
}

fn take(
    content: &mut ArchiveContent,
    entry: &mut impl Read,
    path: String,
    folder: &Path,
) -> Result<(), Import> {
    match path.as_str() {
        "oci-layout" => {
            read_small(entry)?;
            content.layout = true;
        }
        "index.json" => content.index = Some(read_small(entry)?),
        "manifest.json" => content.docker = Some(read_small(entry)?),
        "repositories" => {}
        _ => {
            let expected = path.strip_prefix("blobs/sha256/").map(Digest::from_hex).transpose()?;
            let number = content.files.len();
            let (digest, staged) = stage(entry, expected, &folder.join(number.to_string()))?;
            content.blobs.insert(digest, staged);
            content.files.insert(path, Place::Blob(digest));
        }
    }
    Ok(())
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

pub(super) fn read_small(reader: &mut impl Read) -> Result<Vec<u8>, Import> {
    let mut bytes = Vec::new();
    reader.take(DOCUMENT_MAX_BYTES + 1).read_to_end(&mut bytes).map_err(Import::ReadArchive)?;
    if bytes.len() as u64 > DOCUMENT_MAX_BYTES {
        return Err(refuse(format!("a document in it is larger than {DOCUMENT_MAX_BYTES} bytes")));
    }
    Ok(bytes)
}

/// Writes a file to the staging folder and, where its name is its digest, checks that.
fn stage(
    reader: &mut impl Read,
    expected: Option<Digest>,
    path: &Path,
) -> Result<(Digest, (PathBuf, u64)), Import> {
    let failed = |source| Import::Stage { path: path.to_owned(), source };
    let mut writer = Hashing::new(File::create(path).map_err(failed)?);
    copy(reader, &mut writer, path)?;
    let (found, bytes, file) = writer.finish();
    if let Some(expected) = expected
        && found != expected
    {
        return Err(Import::RefuseBlob { name: expected.hex(), found });
    }
    file.sync_all().map_err(failed)?;
    Ok((found, (path.to_owned(), bytes)))
}

/// As `io::copy`, but tells the archive's errors from the disk's.
fn copy(reader: &mut impl Read, writer: &mut impl Write, path: &Path) -> Result<(), Import> {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match reader.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(count) => writer
                .write_all(buffer.get(..count).unwrap_or_default())
                .map_err(|source| Import::Stage { path: path.to_owned(), source })?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Import::ReadArchive(error)),
        }
    }
}
