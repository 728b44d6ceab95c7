//! What indexes and manifests say, OCI's and Docker's. Pure: bytes in, a document or a refusal out.
//!
//! A document that can be read as both an index and a manifest is refused (CVE-2021-41190), and so is one that
//! is called otherwise than it calls itself: two readers must never see two images in the same bytes.

use serde::Deserialize;

use super::annotations::{Annotations, IMAGE_NAME, Known, REF_NAME};
use super::bounded::Bounded;
use super::digest::{Digest, NotADigest};
use super::platform::{Fit, Platform};

/// Largest index, manifest or configuration.
pub const DOCUMENT_MAX_BYTES: u64 = 4 << 20;

/// Most layers of an image: overlayfs takes 500.
pub const LAYERS_MAX: usize = 500;
/// Most entries of an index.
const ENTRIES_MAX: usize = 1000;
/// Most addresses that a layer names; none is taken.
const URLS_MAX: usize = 16;
/// Largest blob that is taken from anybody.
pub const BLOB_MAX_BYTES: u64 = 32 << 30;
/// Media types of indexes.
pub const INDEX_TYPES: [&str; 2] = [
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
];
/// Media types of manifests.
pub const MANIFEST_TYPES: [&str; 2] = [
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
];

/// Media types of images' configurations. The last ones are what registries and builders of former years made of them.
pub const CONFIG_TYPES: [&str; 6] = [
    "application/vnd.oci.image.config.v1+json",
    "application/vnd.docker.container.image.v1+json",
    "",
    "application/octet-stream",
    "application/json",
    "text/html",
];
/// What artifacts have that need no configuration.
const EMPTY_TYPE: &str = "application/vnd.oci.empty.v1+json";
/// Longest media type that is shown.
const SHOWN_MAX_CHARS: usize = 100;

/// A document is not what an honest registry or archive gives.
#[derive(Debug, thiserror::Error)]
pub enum Refuse {
    /// It is not JSON of the right shape.
    #[error("read the image's index or manifest")]
    Read(#[source] serde_json::Error),
    /// A digest in it is none.
    #[error(transparent)]
    Digest(#[from] NotADigest),
    /// It says something that cannot be.
    #[error("refuse the image's index or manifest: {why}")]
    Content {
        /// What.
        why: String,
    },
}

/// A reference to a blob.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blob {
    /// What it must be.
    pub digest: Digest,
    /// How long it must be.
    pub size_bytes: u64,
    /// What it is called; layers are told by their first bytes, not by this.
    pub media_type: String,
}

/// An image: its configuration and its layers, bottom first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// The configuration.
    pub config: Blob,
    /// The layers.
    pub layers: Vec<Blob>,
    /// Annotations of the layers, in their order; signatures are kept there.
    pub annotations: Vec<Annotations>,
    /// What it calls itself where it is no image.
    pub artifact_type: Option<String>,
}

impl Manifest {
    /// What it is instead of an image, as half a sentence. Layers that are called tars may be none; those that are called
    /// something else are something else.
    #[must_use]
    pub fn instead(&self) -> Option<String> {
        let own = self.artifact_type.as_deref().filter(|own| !own.is_empty());
        let mut layers = self.layers.iter().map(|layer| layer.media_type.as_str());
        let kind = self.config.media_type.as_str();
        if !CONFIG_TYPES.contains(&kind) {
            // An empty configuration says less than what lies beside it.
            let first = layers.next().filter(|_| kind == EMPTY_TYPE);
            return Some(artifact(own.or(first).unwrap_or(kind)));
        }
        let other = layers.find(|kind| {
            let tar =
                kind.contains("tar") || kind.contains("gzip") || kind.contains("octet-stream");
            !kind.is_empty() && (!tar || kind.ends_with("+encrypted"))
        })?;
        Some(if other.ends_with("+encrypted") {
            "an image with encrypted layers".to_owned()
        } else {
            artifact(own.unwrap_or(other))
        })
    }
}

/// What people call an artifact of this media type.
fn artifact(kind: &str) -> String {
    let word = match kind {
        kind if kind.starts_with("application/vnd.cncf.helm.") => "a Helm chart",
        kind if kind.starts_with("application/vnd.wasm.") => "a WebAssembly module",
        kind if kind.starts_with("application/vnd.docker.plugin.") => "a plugin for Docker",
        kind if kind.contains("in-toto") || kind.contains("attestation") => "an attestation",
        kind if kind.contains("spdx") || kind.contains("cyclonedx") => "a bill of materials",
        kind if kind.contains("sigstore") || kind.contains("cosign") => "a signature",
        _ => "an artifact",
    };
    let kind: String = kind.chars().filter(|c| !c.is_control()).take(SHOWN_MAX_CHARS).collect();
    format!("{word} ({kind})")
}

/// One of an index's documents that may be an image for this node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The document.
    pub blob: Blob,
    /// The index says that it is for this node.
    pub stated: bool,
    /// Name of the image in it, where the index gives one.
    pub names: Vec<String>,
    /// What else it is called: its tag, or the name once more.
    pub tag: Option<String>,
}

/// What an index names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Index {
    /// What may be for this node; what is said to be comes first.
    pub entries: Vec<Entry>,
    /// What else there is.
    pub others: Vec<String>,
}

/// An index or a manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Document {
    /// Images to choose from.
    Index(Index),
    /// An image.
    Manifest(Manifest),
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wire {
    schema_version: Option<u64>,
    media_type: Option<String>,
    manifests: Option<Bounded<WireBlob, ENTRIES_MAX>>,
    config: Option<WireBlob>,
    layers: Option<Bounded<WireBlob, LAYERS_MAX>>,
    fs_layers: Option<serde::de::IgnoredAny>,
    artifact_type: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireBlob {
    media_type: Option<String>,
    artifact_type: Option<String>,
    digest: Option<String>,
    size: Option<u64>,
    #[serde(default)]
    urls: Option<Bounded<String, URLS_MAX>>,
    platform: Option<Platform>,
    #[serde(default)]
    annotations: Option<Known>,
}

fn refuse(why: impl Into<String>) -> Refuse {
    Refuse::Content { why: why.into() }
}

/// Reads a document; `announced` is what its sender calls it.
///
/// # Errors
/// It is refused.
pub fn parse(bytes: &[u8], announced: Option<&str>) -> Result<Document, Refuse> {
    let wire: Wire = serde_json::from_slice(bytes).map_err(Refuse::Read)?;
    if wire.fs_layers.is_some() {
        return Err(refuse("it is of Docker's schema 1, which has no checked content"));
    }
    if wire.schema_version != Some(2) {
        return Err(refuse("its schemaVersion is not 2"));
    }
    let announced = announced.map(|text| text.split(';').next().unwrap_or_default().trim());
    let own = wire.media_type.as_deref();
    let known = |name: &str| INDEX_TYPES.contains(&name) || MANIFEST_TYPES.contains(&name);
    if let (Some(own), Some(announced)) = (own, announced)
        && known(announced)
        && own != announced
    {
        return Err(refuse(format!("it is sent as {announced} and calls itself {own}")));
    }
    let called = own.or(announced.filter(|name| known(name)));
    let is = |types: &[&str]| called.is_none_or(|name| types.contains(&name));
    match (wire.manifests, wire.config, wire.layers) {
        (Some(manifests), None, None) if is(&INDEX_TYPES) => index(manifests.0),
        // Empty lists are `null` where Go wrote them.
        (None, None, None) if called.is_some_and(|name| INDEX_TYPES.contains(&name)) => {
            index(Vec::new())
        }
        (None, Some(config), layers) if is(&MANIFEST_TYPES) => {
            let layers = layers.map_or_else(Vec::new, |layers| layers.0);
            manifest(config, layers, wire.artifact_type)
        }
        (Some(_), _, _) if wire.artifact_type.is_none() => {
            Err(refuse("it could be taken for an index and for a manifest"))
        }
        _ => Err(refuse("it is neither an index nor an image's manifest")),
    }
}

fn index(entries: Vec<WireBlob>) -> Result<Document, Refuse> {
    let (mut stated, mut unstated, mut others) = (Vec::new(), Vec::new(), Vec::new());
    for mut entry in entries {
        let kind = entry.media_type.as_deref().unwrap_or_default();
        let document = [&INDEX_TYPES[..], &MANIFEST_TYPES[..], &[""]].concat().contains(&kind);
        let own = entry.artifact_type.as_deref().unwrap_or_default();
        let fit = entry.platform.as_ref().map_or(Fit::Unstated, Platform::fit);
        let list = match fit {
            // What builders say about an image is none of our business.
            Fit::Unknown => continue,
            Fit::Exact | Fit::Unstated | Fit::Other if !document => {
                others.push(artifact(kind));
                continue;
            }
            Fit::Exact | Fit::Unstated | Fit::Other if !CONFIG_TYPES.contains(&own) => {
                others.push(artifact(own));
                continue;
            }
            Fit::Other => {
                others.push(entry.platform.as_ref().map(Platform::to_string).unwrap_or_default());
                continue;
            }
            Fit::Exact => &mut stated,
            Fit::Unstated => &mut unstated,
        };
        let mut annotations = entry.annotations.take().unwrap_or_default().0;
        let mut named = |key| annotations.remove(key).filter(|name| !name.is_empty());
        let (full, tag) = (named(IMAGE_NAME), named(REF_NAME));
        let names = full.or_else(|| tag.clone()).into_iter().collect();
        list.push(Entry { blob: blob(&entry)?, stated: fit == Fit::Exact, names, tag });
    }
    stated.append(&mut unstated);
    Ok(Document::Index(Index { entries: stated, others }))
}

fn manifest(
    config: WireBlob,
    layers: Vec<WireBlob>,
    artifact_type: Option<String>,
) -> Result<Document, Refuse> {
    let config = blob(&config)?;
    let blobs = layers.iter().map(blob).collect::<Result<Vec<Blob>, Refuse>>()?;
    let annotations =
        layers.into_iter().map(|layer| layer.annotations.unwrap_or_default().0).collect();
    Ok(Document::Manifest(Manifest { config, layers: blobs, annotations, artifact_type }))
}

fn blob(wire: &WireBlob) -> Result<Blob, Refuse> {
    let digest = wire.digest.as_deref().ok_or_else(|| refuse("a blob of it has no digest"))?;
    let size_bytes = wire.size.ok_or_else(|| refuse("a blob of it has no size"))?;
    if size_bytes > BLOB_MAX_BYTES {
        let why = format!("a blob of {size_bytes} bytes is larger than {BLOB_MAX_BYTES}");
        return Err(refuse(why));
    }
    if wire.urls.as_ref().is_some_and(|urls| !urls.0.is_empty()) {
        return Err(refuse("a layer of it is to be fetched from an address of its own"));
    }
    Ok(Blob {
        digest: digest.parse()?,
        size_bytes,
        media_type: wire.media_type.clone().unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests;
