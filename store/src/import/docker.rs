//! What `docker save` writes: a list of images, each with a configuration and the tars of its layers. Since that has no
//! manifest, one is made.

use std::fs;
use std::path::Path;

use serde::Deserialize;
use serde_json::json;

use super::archive::{ArchiveContent, Place};
use super::{Found, Import, parse, refuse};
use crate::digest::Digest;
use crate::documents::{self, Document, MANIFEST_TYPES};

/// Most links from one to the next.
const LINKS_MAX: usize = 8;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Saved {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

/// The image in the archive, with a manifest that is put beside its blobs.
pub(super) fn convert(
    archive: &mut ArchiveContent,
    wanted: Option<&str>,
    folder: &Path,
) -> Result<Found, Import> {
    let saved: Vec<Saved> = parse(archive.docker.as_deref().unwrap_or_default(), "manifest.json")?;
    let called =
        |one: &&Saved| one.repo_tags.iter().flatten().any(|tag| Some(tag.as_str()) == wanted);
    let one = match saved.as_slice() {
        [] => return Err(refuse("it holds no image")),
        [only] => only,
        several => several
            .iter()
            .find(called)
            .ok_or_else(|| refuse("it holds several images; save one"))?,
    };
    let blob = |path: &str| -> Result<(Digest, u64), Import> {
        let digest = find(archive, path)?;
        let size = archive.blobs.get(&digest).map(|(_, bytes)| *bytes);
        Ok((digest, size.ok_or(Import::FindBlob { digest })?))
    };
    let descriptor = |kind: &str, (digest, size): (Digest, u64)| json!({ "mediaType": kind, "digest": digest.to_string(), "size": size });
    let config = descriptor("application/vnd.oci.image.config.v1+json", blob(&one.config)?);
    let mut layers = Vec::new();
    for layer in &one.layers {
        layers.push(descriptor("application/vnd.oci.image.layer.v1.tar", blob(layer)?));
    }
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPES[0],
        "config": config,
        "layers": layers,
    });
    let bytes = manifest.to_string().into_bytes();
    let Document::Manifest(manifest) = documents::parse(&bytes, None)? else {
        return Err(refuse("its manifest is none"));
    };
    let digest = Digest::of(&bytes);
    let path = folder.join("manifest");
    ferrite_files::durable::write(&path, &bytes)
        .map_err(|error| Import::Stage { path: error.path, source: error.source })?;
    let length = fs::metadata(&path).map_or(0, |meta| meta.len());
    archive.blobs.insert(digest, (path, length));
    let name = one.repo_tags.iter().flatten().next().cloned();
    Ok(Found { digest, manifest, name })
}

fn find(archive: &ArchiveContent, path: &str) -> Result<Digest, Import> {
    let mut path = path.strip_prefix("./").unwrap_or(path);
    for _ in 0..LINKS_MAX {
        match archive.files.get(path) {
            Some(Place::Blob(digest)) => return Ok(*digest),
            Some(Place::Link(target)) => path = target,
            None => {
                return Err(refuse(format!("it holds no file {path:?}, which its manifest names")));
            }
        }
    }
    Err(refuse(format!("the link {path:?} in it leads on and on")))
}
