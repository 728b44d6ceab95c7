//! What `docker save` writes: a list of images, each with a configuration and the tars of its layers. Since that has no
//! manifest, one is made.

use std::fs;
use std::path::Path;

use serde::Deserialize;
use serde_json::json;

use super::archive::{ArchiveContent, BLOBS, Place, parse};
use super::choose::{Chooser, real};
use super::problem::{Import, refuse};
use crate::bounded::Bounded;
use crate::choice::Found;
use crate::digest::Digest;
use crate::documents::{self, Document, LAYERS_MAX, MANIFEST_TYPES};
use crate::store::ImageStore;

/// Most images of an archive, and most names of one.
const IMAGES_MAX: usize = 256;
const TAGS_MAX: usize = 64;
/// Most links from one to the next.
const LINKS_MAX: usize = 8;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Saved {
    config: String,
    #[serde(default)]
    repo_tags: Option<Bounded<String, TAGS_MAX>>,
    #[serde(default)]
    layers: Option<Bounded<String, LAYERS_MAX>>,
}

impl Saved {
    fn layers(&self) -> &[String] {
        self.layers.as_ref().map_or(&[], |layers| &layers.0)
    }
}

/// An image with all of its names, also where each of them has an entry of its own.
fn merged(saved: Vec<Saved>) -> Vec<(Saved, Vec<String>)> {
    let mut images: Vec<(Saved, Vec<String>)> = Vec::new();
    for mut one in saved {
        let tags = real(one.repo_tags.take().map_or_else(Vec::new, |tags| tags.0));
        let same = |(other, _): &&mut (Saved, Vec<String>)| {
            other.config == one.config && other.layers() == one.layers()
        };
        match images.iter_mut().find(same) {
            Some((_, names)) => names.extend(tags),
            None => images.push((one, tags)),
        }
    }
    images
}

/// The image in the archive, with a manifest that is put beside its blobs.
pub(super) fn convert(
    archive: &mut ArchiveContent,
    (images, wanted): (&ImageStore, Option<&str>),
    folder: &Path,
) -> Result<Found, Import> {
    let saved: Option<Bounded<Saved, IMAGES_MAX>> =
        parse(archive.docker.as_deref().unwrap_or_default(), "manifest.json")?;
    let saved = merged(saved.map_or_else(Vec::new, |saved| saved.0));
    let chooser = Chooser { archive, images, wanted };
    let (one, names) = match saved.as_slice() {
        [] => return Err(refuse("it holds no image")),
        [only] => only,
        several => several.iter().find(|(_, names)| chooser.is_wanted(names)).ok_or_else(|| {
            chooser.several(several.iter().map(|(one, names)| (&names[..], one.config.clone())))
        })?,
    };
    let blob = |path: &str| -> Result<(Digest, u64), Import> {
        let digest = find(archive, path)?;
        let size = archive.blobs.get(&digest).map(|(_, bytes)| *bytes);
        Ok((digest, size.ok_or(Import::FindBlob { digest })?))
    };
    let descriptor = |kind: &str, (digest, size): (Digest, u64)| json!({ "mediaType": kind, "digest": digest.to_string(), "size": size });
    let config = descriptor("application/vnd.oci.image.config.v1+json", blob(&one.config)?);
    let mut layers = Vec::new();
    for layer in one.layers() {
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
    let (names, indexes) = (names.clone(), Vec::new());
    Ok(Found { digest, manifest, names, indexes, stated: false })
}

fn find(archive: &ArchiveContent, path: &str) -> Result<Digest, Import> {
    let mut path = path.strip_prefix("./").unwrap_or(path);
    for _ in 0..LINKS_MAX {
        let blob = path.strip_prefix(BLOBS).and_then(|hex| Digest::from_hex(hex).ok());
        let blob = blob.filter(|digest| archive.blobs.contains_key(digest));
        match (blob, archive.files.get(path)) {
            (Some(digest), _) => return Ok(digest),
            (None, Some(Place::Blob(digest))) => return Ok(*digest),
            (None, Some(Place::Link(target))) => path = target,
            (None, None) => {
                return Err(refuse(format!("it holds no file {path:?}, which its manifest names")));
            }
        }
    }
    Err(refuse(format!("the link {path:?} in it leads on and on")))
}
