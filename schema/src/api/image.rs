//! Images in the node's store, and what happens to them.

use serde::{Deserialize, Serialize};

/// An image in the node's store.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Image {
    /// Reference.
    pub name: String,
    /// Manifest digest, `sha256:…`.
    pub digest: String,
    /// Bytes of its blobs.
    pub size_bytes: u64,
    /// Bytes on STATE, blobs and unpacked layers, that go when this image is removed.
    #[serde(default)]
    pub own_bytes: u64,
    /// Bytes on STATE that other images use as well.
    #[serde(default)]
    pub shared_bytes: u64,
    /// Units that name it.
    #[serde(default)]
    pub units: Vec<String>,
    /// When it was used last, seconds since the epoch.
    #[serde(default)]
    pub last_used_s: u64,
    /// Other names that it got from the same archive.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub also: Vec<String>,
}

/// What was removed from the image store.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Pruned {
    /// Names of images.
    pub images: Vec<String>,
    /// Bytes that were freed.
    pub freed_bytes: u64,
}

/// Kind of archive that an image is exported as.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum ExportFormat {
    /// OCI image layout.
    #[default]
    Oci,
    /// What `docker save` writes.
    Docker,
}

/// How far a pull is: the answer to `POST /v1/images/pull` is one [`PullEvent`] per line.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PullProgress {
    /// The image's full name.
    pub name: String,
    /// Its layers, bottom first; empty before its manifest is known.
    pub layers: Vec<LayerProgress>,
}

impl PullProgress {
    /// Bytes that are here, and bytes of all layers.
    #[must_use]
    pub fn bytes(&self) -> (u64, u64) {
        self.layers.iter().fold((0, 0), |(done, total), layer| {
            (done.saturating_add(layer.done_bytes), total.saturating_add(layer.size_bytes))
        })
    }
}

/// A layer that is being pulled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct LayerProgress {
    /// Digest of its blob.
    pub digest: String,
    /// Bytes of its blob.
    pub size_bytes: u64,
    /// Bytes that are here.
    pub done_bytes: u64,
    /// What happens to it.
    pub phase: LayerPhase,
}

/// What happens to a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum LayerPhase {
    /// Others come first.
    Waiting,
    /// It is on its way.
    Downloading,
    /// It is being unpacked.
    Unpacking,
    /// It can be used.
    Done,
}

/// A line of the answer to a pull.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum PullEvent {
    /// It goes on.
    Progress(PullProgress),
    /// The image is here.
    Done {
        /// The image.
        image: Image,
    },
    /// The image is not here.
    Failed {
        /// Why, one sentence.
        error: String,
    },
}
