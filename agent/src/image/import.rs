//! Import of an OCI archive: a tar of an OCI image layout, as skopeo, umoci and buildah write it.
//!
//! One pass over the tar puts its blobs into the store's staging folder under digests that *we* compute; after
//! that the documents are followed from the index down. Nothing is named in the store before everything that
//! it needs is there, checked and flushed.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use oci_spec::image::{Descriptor, ImageConfiguration, ImageIndex, ImageManifest, MediaType};
use serde::de::DeserializeOwned;

use super::digest::{Digest, Hashing, NotADigest};
use super::layer::{Layer, Layers};
use super::store::{self, ImageStore, Record, Store};

/// Largest index, manifest or configuration.
pub const DOCUMENT_MAX_BYTES: u64 = 4 << 20;
/// Most blobs in an archive.
const BLOBS_MAX: usize = 10_000;
/// Most indexes in one another.
const INDEX_DEPTH_MAX: usize = 4;
/// Annotation that holds the reference in the index.
const REF_NAME: &str = "org.opencontainers.image.ref.name";

/// An archive could not be imported.
#[derive(Debug, thiserror::Error)]
pub enum Import {
    /// The archive could not be read.
    #[error("read the archive")]
    ReadArchive(#[source] io::Error),
    /// It is not an OCI archive.
    #[error("refuse the archive: {why}")]
    RefuseArchive {
        /// What is wrong with it.
        why: String,
    },
    /// A blob's content is not what its name says.
    #[error("refuse blob sha256:{name}: its content has the digest {found}")]
    RefuseBlob {
        /// Its name in the archive.
        name: String,
        /// What it is.
        found: Digest,
    },
    /// A document names a blob that neither the archive nor the store has.
    #[error("find blob {digest}: the archive does not hold it")]
    FindBlob {
        /// Its digest.
        digest: Digest,
    },
    /// A document is not what it should be.
    #[error("read the image's {what}")]
    ReadDocument {
        /// Which.
        what: &'static str,
        /// Why.
        source: serde_json::Error,
    },
    /// A blob could not be staged.
    #[error("write {}", path.display())]
    Stage {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A document holds something that is not a digest.
    #[error(transparent)]
    Digest(#[from] NotADigest),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] Store),
    /// A layer could not be unpacked.
    #[error(transparent)]
    Layer(#[from] Layer),
}

/// Imports the archive at `path` as `name`, or under the name that it gives itself.
///
/// # Errors
/// The image is not in the store; blobs and layers that were good may be.
pub fn import(
    path: &Path,
    name: Option<&str>,
    images: &ImageStore,
    layers: &Layers,
) -> Result<Record, Import> {
    if let Some(name) = name {
        store::check_name(name)?;
    }
    let folder = images
        .staging()
        .join(format!("import-{}", path.file_name().unwrap_or_default().to_string_lossy()));
    fs::create_dir_all(&folder).map_err(|source| Import::Stage { path: folder.clone(), source })?;
    let result =
        read_archive(path, &folder).and_then(|archive| archive.adopt(name, images, layers));
    // Left-overs are removed at the next start too; what counts is the import's own result.
    drop(fs::remove_dir_all(&folder));
    result
}

/// What an archive holds, with its blobs in the staging folder.
struct ArchiveContent {
    index: Vec<u8>,
    blobs: HashMap<Digest, (PathBuf, u64)>,
}

fn read_archive(path: &Path, folder: &Path) -> Result<ArchiveContent, Import> {
    let file = File::open(path).map_err(Import::ReadArchive)?;
    let mut archive = tar::Archive::new(io::BufReader::with_capacity(64 * 1024, file));
    let (mut layout, mut index) = (None, None);
    let mut blobs = HashMap::new();
    for entry in archive.entries().map_err(Import::ReadArchive)? {
        let mut entry = entry.map_err(Import::ReadArchive)?;
        if !entry.header().entry_type().is_file() {
            continue;
        }
        let raw = entry.path_bytes().into_owned();
        let entry_path = String::from_utf8_lossy(&raw).into_owned();
        let entry_path = entry_path.strip_prefix("./").unwrap_or(&entry_path);
        if let Some(name) = entry_path.strip_prefix("blobs/sha256/") {
            if blobs.len() >= BLOBS_MAX {
                return Err(refuse(format!("it holds more than {BLOBS_MAX} blobs")));
            }
            let (digest, staged) = stage(&mut entry, name, folder)?;
            blobs.insert(digest, staged);
        } else if entry_path == "index.json" {
            index = Some(read_small(&mut entry)?);
        } else if entry_path == "oci-layout" {
            layout = Some(read_small(&mut entry)?);
        }
    }
    if layout.is_none() {
        return Err(refuse("it is not an OCI archive: it holds no file `oci-layout`".to_owned()));
    }
    let index = index.ok_or_else(|| refuse("it holds no file `index.json`".to_owned()))?;
    Ok(ArchiveContent { index, blobs })
}

fn refuse(why: String) -> Import {
    Import::RefuseArchive { why }
}

fn read_small(reader: &mut impl Read) -> Result<Vec<u8>, Import> {
    let mut bytes = Vec::new();
    reader.take(DOCUMENT_MAX_BYTES + 1).read_to_end(&mut bytes).map_err(Import::ReadArchive)?;
    if bytes.len() as u64 > DOCUMENT_MAX_BYTES {
        return Err(refuse(format!("a document in it is larger than {DOCUMENT_MAX_BYTES} bytes")));
    }
    Ok(bytes)
}

/// Writes a blob to the staging folder and checks that it is what its name says.
fn stage(
    reader: &mut impl Read,
    name: &str,
    folder: &Path,
) -> Result<(Digest, (PathBuf, u64)), Import> {
    let expected = Digest::from_hex(name)?;
    let path = folder.join(expected.hex());
    let failed = |source| Import::Stage { path: path.clone(), source };
    let mut writer = Hashing::new(File::create(&path).map_err(failed)?);
    copy(reader, &mut writer, &path)?;
    let (found, bytes, file) = writer.finish();
    if found != expected {
        return Err(Import::RefuseBlob { name: expected.hex(), found });
    }
    file.sync_all().map_err(failed)?;
    Ok((expected, (path, bytes)))
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

fn parse<T: DeserializeOwned>(bytes: &[u8], what: &'static str) -> Result<T, Import> {
    serde_json::from_slice(bytes).map_err(|source| Import::ReadDocument { what, source })
}

fn digest_of(descriptor: &Descriptor) -> Result<Digest, Import> {
    Ok(descriptor.digest().to_string().parse()?)
}

impl ArchiveContent {
    /// Follows the documents, moves the image's blobs into the store, unpacks its layers and names it.
    fn adopt(
        self,
        name: Option<&str>,
        images: &ImageStore,
        layers: &Layers,
    ) -> Result<Record, Import> {
        let (descriptor, own_name) = self.choose(&self.index, images, 0)?;
        let name = match name {
            Some(name) => name.to_owned(),
            None => own_name
                .ok_or_else(|| refuse("it does not name its image: give a name".to_owned()))?,
        };
        store::check_name(&name)?;
        let manifest_digest = digest_of(&descriptor)?;
        let manifest: ImageManifest = parse(&self.document(&manifest_digest, images)?, "manifest")?;
        let config_digest = digest_of(manifest.config())?;
        let config: ImageConfiguration =
            parse(&self.document(&config_digest, images)?, "configuration")?;
        let tars = config.rootfs().diff_ids();
        if tars.len() != manifest.layers().len() {
            return Err(refuse(
                "its manifest and configuration name different numbers of layers".to_owned(),
            ));
        }
        let mut needed = vec![manifest_digest, config_digest];
        for layer in manifest.layers() {
            needed.push(digest_of(layer)?);
        }
        let size_bytes = self.keep(&needed, images)?;
        let mut unpacked = Vec::new();
        for (layer, tar) in manifest.layers().iter().zip(tars) {
            let digest: Digest = tar.to_string().parse()?;
            layers.ensure(&digest, &images.blob(&digest_of(layer)?))?;
            unpacked.push(digest.to_string());
        }
        let record = Record {
            name,
            manifest: manifest_digest.to_string(),
            config: config_digest.to_string(),
            layers: unpacked,
            size_bytes,
            blobs: needed.iter().skip(2).map(Digest::to_string).collect(),
            signed_by: None,
        };
        images.put(&record)?;
        Ok(record)
    }

    /// The manifest for this machine, and the name that the index gives it.
    fn choose(
        &self,
        index: &[u8],
        images: &ImageStore,
        depth: usize,
    ) -> Result<(Descriptor, Option<String>), Import> {
        let index: ImageIndex = parse(index, "index")?;
        let fits = |descriptor: &&Descriptor| {
            descriptor.platform().as_ref().is_none_or(|platform| {
                platform.architecture().to_string() == "amd64"
                    && platform.os().to_string() == "linux"
            })
        };
        let mut fitting = index.manifests().iter().filter(fits);
        let (first, second) = (fitting.next(), fitting.next());
        let chosen = match (first, second) {
            (Some(only), None) => only,
            (None, _) => return Err(refuse("it holds no image for linux/amd64".to_owned())),
            (Some(_), Some(_)) => {
                return Err(refuse("it holds several images; export one".to_owned()));
            }
        };
        let name = chosen.annotations().as_ref().and_then(|all| all.get(REF_NAME)).cloned();
        match chosen.media_type() {
            MediaType::ImageManifest => Ok((chosen.clone(), name)),
            MediaType::ImageIndex if depth < INDEX_DEPTH_MAX => {
                let inner = self.document(&digest_of(chosen)?, images)?;
                let (descriptor, inner_name) = self.choose(&inner, images, depth + 1)?;
                Ok((descriptor, name.or(inner_name)))
            }
            other => Err(refuse(format!("it holds a {other} where an image manifest should be"))),
        }
    }

    fn document(&self, digest: &Digest, images: &ImageStore) -> Result<Vec<u8>, Import> {
        match self.blobs.get(digest) {
            Some((path, _)) => read_small(&mut File::open(path).map_err(Import::ReadArchive)?),
            None if images.blob(digest).exists() => {
                Ok(images.read_document(digest, DOCUMENT_MAX_BYTES)?)
            }
            None => Err(Import::FindBlob { digest: *digest }),
        }
    }

    /// Moves what is needed into the store; returns its size.
    fn keep(&self, needed: &[Digest], images: &ImageStore) -> Result<u64, Import> {
        let mut moves = Vec::new();
        let mut size_bytes = 0_u64;
        let mut unique = needed.to_vec();
        unique.sort_unstable();
        unique.dedup();
        for digest in &unique {
            if let Some((path, bytes)) = self.blobs.get(digest) {
                moves.push((*digest, path.clone()));
                size_bytes = size_bytes.saturating_add(*bytes);
            } else {
                let stored = fs::metadata(images.blob(digest));
                let stored = stored.map_err(|_absent| Import::FindBlob { digest: *digest })?;
                size_bytes = size_bytes.saturating_add(stored.len());
            }
        }
        images.keep(&moves)?;
        Ok(size_bytes)
    }
}

#[cfg(test)]
mod tests;
