//! An image of the store as an archive: an OCI layout, or what `docker save` writes.

use std::fs::File;
use std::io::{self, Write};

use ferrite_schema::api::ExportFormat;
use serde_json::json;

use super::access::{self, Opened, Unusable};
use super::digest::{Digest, NotADigest};
use super::documents::{self, MANIFEST_TYPES};
use super::signature::Policy;
use super::store::{ImageStore, Lease, Store};

/// A tar's block.
const BLOCK_BYTES: u64 = 512;

/// An image could not be exported.
#[derive(Debug, thiserror::Error)]
pub enum Export {
    /// It cannot be used.
    #[error(transparent)]
    Unusable(#[from] Unusable),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] Store),
    /// The archive cannot be written.
    #[error("write the archive")]
    Write(#[source] io::Error),
}

impl From<NotADigest> for Export {
    fn from(error: NotADigest) -> Self {
        Self::Unusable(error.into())
    }
}

/// Content of a file of the archive.
#[derive(Debug)]
enum Content {
    Text(Vec<u8>),
    Blob(Digest),
}

/// What the archive will hold, in this order.
#[derive(Debug)]
pub struct Plan {
    images: ImageStore,
    files: Vec<(String, Content, u64)>,
    /// Its blobs stay until it is written.
    _lease: Lease,
}

/// Looks up what belongs to the image. The rules hold for it as for a unit: what may not run here does not leave as if
/// it were fine either.
///
/// # Errors
/// It cannot be used, or a blob of it is not here.
pub fn plan(
    images: &ImageStore,
    policy: &Policy,
    name: &str,
    format: ExportFormat,
) -> Result<Plan, Export> {
    let Opened { record, manifest, manifest_bytes: bytes, lease, .. } =
        access::open(images, policy, name)?;
    let digest: Digest = record.manifest.parse()?;
    let mut plan = Plan { images: images.clone(), files: Vec::new(), _lease: lease };
    let key = images.key(&record.name);
    match format {
        ExportFormat::Oci => {
            let own: serde_json::Value = serde_json::from_slice(&bytes).unwrap_or_default();
            let kind = own.get("mediaType").and_then(|kind| kind.as_str());
            let tag = key.rsplit_once(':').map_or("latest", |(_, tag)| tag);
            let index = json!({
                "schemaVersion": 2,
                "mediaType": documents::INDEX_TYPES[0],
                "manifests": [{
                    "mediaType": kind.unwrap_or(MANIFEST_TYPES[0]),
                    "digest": digest.to_string(),
                    "size": bytes.len(),
                    "annotations": {
                        "org.opencontainers.image.ref.name": tag,
                        "io.containerd.image.name": key,
                    },
                }],
            });
            plan.text("oci-layout", json!({ "imageLayoutVersion": "1.0.0" }).to_string());
            plan.text("index.json", index.to_string());
            plan.blob(&blob_path(&digest), digest)?;
            plan.blob(&blob_path(&manifest.config.digest), manifest.config.digest)?;
            for layer in &manifest.layers {
                plan.blob(&blob_path(&layer.digest), layer.digest)?;
            }
        }
        ExportFormat::Docker => {
            let config = format!("{}.json", manifest.config.digest.hex());
            let path = |digest: &Digest| format!("{}.tar", digest.hex());
            let layers: Vec<String> =
                manifest.layers.iter().map(|layer| path(&layer.digest)).collect();
            let list = json!([{ "Config": config, "RepoTags": [key], "Layers": layers }]);
            plan.blob(&config, manifest.config.digest)?;
            for layer in &manifest.layers {
                plan.blob(&path(&layer.digest), layer.digest)?;
            }
            plan.text("manifest.json", list.to_string());
        }
    }
    Ok(plan)
}

fn blob_path(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

impl Plan {
    fn text(&mut self, path: &str, text: String) {
        let size = text.len() as u64;
        self.files.push((path.to_owned(), Content::Text(text.into_bytes()), size));
    }

    /// A blob that two layers share is written once.
    fn blob(&mut self, path: &str, digest: Digest) -> Result<(), Export> {
        if self.files.iter().any(|(other, ..)| other == path) {
            return Ok(());
        }
        let file = self.images.blob(&digest);
        let meta = std::fs::metadata(&file).map_err(|source| Store::Read { path: file, source })?;
        self.files.push((path.to_owned(), Content::Blob(digest), meta.len()));
        Ok(())
    }

    /// Length of the archive.
    #[must_use]
    pub fn archive_bytes(&self) -> u64 {
        let files = self.files.iter().map(|(_, _, size)| {
            BLOCK_BYTES.saturating_add(size.div_ceil(BLOCK_BYTES).saturating_mul(BLOCK_BYTES))
        });
        files.fold(2 * BLOCK_BYTES, u64::saturating_add)
    }

    /// Writes the archive. The same image gives the same bytes.
    ///
    /// # Errors
    /// A blob cannot be read, or nobody takes the archive.
    pub fn write(&self, out: &mut impl Write) -> Result<(), Export> {
        let mut builder = tar::Builder::new(out);
        for (path, content, size) in &self.files {
            let mut header = tar::Header::new_ustar();
            header.set_size(*size);
            header.set_mode(0o644);
            header.set_mtime(0);
            let result = match content {
                Content::Text(text) => builder.append_data(&mut header, path, &text[..]),
                Content::Blob(digest) => File::open(self.images.blob(digest))
                    .and_then(|file| builder.append_data(&mut header, path, file)),
            };
            result.map_err(Export::Write)?;
        }
        builder.finish().map_err(Export::Write)
    }
}
