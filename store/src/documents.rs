//! What indexes and manifests say, OCI's and Docker's. Pure: bytes in, a document or a refusal out.
//!
//! A document that can be read as both an index and a manifest is refused (CVE-2021-41190), and so is one that
//! is called otherwise than it calls itself: two readers must never see two images in the same bytes.

use serde::Deserialize;

use super::annotations::{Annotations, IMAGE_NAME, Known, REF_NAME};
use super::bounded::Bounded;
use super::digest::{Digest, NotADigest};

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
}

/// One of an index's documents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The document.
    pub blob: Blob,
    /// It is an index itself.
    pub is_index: bool,
    /// Name of the image in it, where the index gives one.
    pub name: Option<String>,
}

/// An index or a manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Document {
    /// Images to choose from: those that this machine can run.
    Index(Vec<Entry>),
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
    #[serde(default)]
    media_type: String,
    digest: String,
    size: u64,
    #[serde(default)]
    urls: Option<Bounded<String, URLS_MAX>>,
    platform: Option<Platform>,
    #[serde(default)]
    annotations: Option<Known>,
}

#[derive(Debug, Deserialize)]
struct Platform {
    architecture: String,
    os: String,
    variant: Option<String>,
}

impl Platform {
    /// Every x86-64 machine runs `v1`; later levels need what this one may lack.
    fn fits(&self) -> bool {
        self.os == "linux"
            && self.architecture == "amd64"
            && self.variant.as_deref().is_none_or(|variant| matches!(variant, "" | "v1"))
    }
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
        (None, Some(config), Some(layers)) if is(&MANIFEST_TYPES) => manifest(config, layers.0),
        (Some(_), _, _) if wire.artifact_type.is_none() => {
            Err(refuse("it could be taken for an index and for a manifest"))
        }
        _ => Err(refuse("it is neither an index nor an image's manifest")),
    }
}

fn index(entries: Vec<WireBlob>) -> Result<Document, Refuse> {
    let mut fitting = Vec::new();
    for mut entry in entries {
        let is_index = INDEX_TYPES.contains(&entry.media_type.as_str());
        let fits = entry.platform.as_ref().is_none_or(Platform::fits);
        let name = entry.annotations.take().and_then(|Known(mut all)| {
            let full = all.remove(IMAGE_NAME);
            full.or_else(|| all.remove(REF_NAME))
        });
        // Attestations and other artifacts are none of our business.
        if fits && (is_index || MANIFEST_TYPES.contains(&entry.media_type.as_str())) {
            fitting.push(Entry { blob: blob(&entry)?, is_index, name });
        }
    }
    Ok(Document::Index(fitting))
}

fn manifest(config: WireBlob, layers: Vec<WireBlob>) -> Result<Document, Refuse> {
    let config = blob(&config)?;
    let blobs = layers.iter().map(blob).collect::<Result<Vec<Blob>, Refuse>>()?;
    let annotations =
        layers.into_iter().map(|layer| layer.annotations.unwrap_or_default().0).collect();
    Ok(Document::Manifest(Manifest { config, layers: blobs, annotations }))
}

fn blob(wire: &WireBlob) -> Result<Blob, Refuse> {
    if wire.size > BLOB_MAX_BYTES {
        return Err(refuse(format!(
            "a blob of {} bytes is larger than {BLOB_MAX_BYTES}",
            wire.size
        )));
    }
    if wire.urls.as_ref().is_some_and(|urls| !urls.0.is_empty()) {
        return Err(refuse("a layer of it is to be fetched from an address of its own"));
    }
    Ok(Blob {
        digest: wire.digest.parse()?,
        size_bytes: wire.size,
        media_type: wire.media_type.clone(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn refused(text: &str, announced: Option<&str>, expected: &str) {
        let error = parse(text.as_bytes(), announced).unwrap_err();
        assert!(
            ferrite_schema::chain(&error).contains(expected),
            "{}",
            ferrite_schema::chain(&error)
        );
    }

    #[test]
    fn ambiguous_documents_are_refused() {
        let both = format!(
            r#"{{"schemaVersion":2,"manifests":[],"config":{{"digest":"{HEX}","size":1}},"layers":[]}}"#
        );
        refused(&both, None, "index and for a manifest");
        let index = r#"{"schemaVersion":2,"manifests":[]}"#;
        refused(index, Some(MANIFEST_TYPES[0]), "index and for a manifest");
        let called =
            format!(r#"{{"schemaVersion":2,"mediaType":"{}","manifests":[]}}"#, INDEX_TYPES[0]);
        refused(&called, Some(MANIFEST_TYPES[0]), "calls itself");
        refused(&called, Some(INDEX_TYPES[1]), "calls itself");
        assert_eq!(parse(called.as_bytes(), Some("text/plain")).unwrap(), Document::Index(vec![]));
    }

    #[test]
    fn old_and_foreign_documents_are_refused() {
        refused(r#"{"schemaVersion":1,"fsLayers":[]}"#, None, "schema 1");
        refused(r#"{"schemaVersion":1,"manifests":[]}"#, None, "schemaVersion");
        refused(r#"{"schemaVersion":2}"#, None, "neither");
        refused("[]", None, "read the image's");
        let layer = |more: &str| {
            format!(
                r#"{{"schemaVersion":2,"config":{{"digest":"{HEX}","size":1}},"layers":[{{"digest":"{HEX}"{more}}}]}}"#
            )
        };
        refused(
            &layer(r#","size":1,"urls":["https://evil.example/x"]"#),
            None,
            "address of its own",
        );
        refused(&layer(r#","size":99999999999999"#), None, "larger than");
        refused(&layer(r#","size":-1"#), None, "read the image's");
        parse(layer(r#","size":1"#).as_bytes(), None).unwrap();
    }

    #[test]
    fn lists_without_end_are_refused_at_their_first_entry_too_many() {
        let blob = |more: &str| format!(r#"{{"digest":"{HEX}","size":1{more}}}"#);
        let layers = vec![blob(""); 30_000].join(",");
        let text = format!(r#"{{"schemaVersion":2,"config":{},"layers":[{layers}"#, blob(""));
        refused(&text, None, "more than 500 entries");
        let text = format!(r#"{{"schemaVersion":2,"manifests":[{layers}"#);
        refused(&text, None, "more than 1000 entries");
        // Annotations that mean nothing here are not kept.
        let many: Vec<String> = (0..50_000).map(|number| format!(r#""{number}":"""#)).collect();
        let noted = format!(r#","annotations":{{{},"{REF_NAME}":"a"}}"#, many.join(","));
        let text =
            format!(r#"{{"schemaVersion":2,"config":{},"layers":[{}]}}"#, blob(""), blob(&noted));
        let Document::Manifest(manifest) = parse(text.as_bytes(), None).unwrap() else { panic!() };
        assert_eq!(manifest.annotations[0].len(), 1);
    }

    #[test]
    fn digests_are_no_paths() {
        let text = r#"{"schemaVersion":2,"layers":[],"config":{"digest":"sha256:../../etc/passwd","size":1}}"#;
        refused(text, None, "only sha256");
    }

    #[test]
    fn of_an_index_only_what_runs_here_counts() {
        let entry = |kind: &str, platform: &str| {
            format!(r#"{{"mediaType":"{kind}","digest":"{HEX}","size":7{platform}}}"#)
        };
        let platform = |os: &str, arch: &str, more: &str| {
            format!(r#","platform":{{"os":"{os}","architecture":"{arch}"{more}}}"#)
        };
        let manifest = MANIFEST_TYPES[0];
        let text = format!(
            r#"{{"schemaVersion":2,"manifests":[{},{},{},{},{}]}}"#,
            entry(manifest, &platform("linux", "arm64", "")),
            entry(manifest, &platform("linux", "amd64", r#","variant":"v3""#)),
            entry(manifest, &platform("linux", "amd64", "")),
            entry(manifest, &platform("unknown", "unknown", "")),
            entry("application/x", &platform("linux", "amd64", "")),
        );
        let Document::Index(entries) = parse(text.as_bytes(), None).unwrap() else { panic!() };
        assert_eq!(entries.len(), 1);
    }
}
