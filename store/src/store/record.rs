//! A record per name: what makes an image one that can be run.

use ferrite_schema::api::Image;
use serde::{Deserialize, Serialize};

use super::ledger::Claim;
use crate::digest::{Digest, NotADigest};
use crate::stack::Stack;

/// An image that can be run: everything it names is in the store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Reference.
    pub name: String,
    /// Digest of the manifest.
    pub manifest: String,
    /// Digest of the configuration.
    pub config: String,
    /// Digests of the layers' tars, bottom first.
    pub layers: Vec<String>,
    /// Bytes of all its blobs.
    pub size_bytes: u64,
    /// Digests of the layers' blobs, bottom first. Records of older versions lack them: the manifest has them too.
    #[serde(default)]
    pub blobs: Vec<String>,
    /// Digest of the key whose signature let the image in, where one was asked for.
    #[serde(default)]
    pub signed_by: Option<String>,
    /// Full name that it is kept under. Records of older versions lack it.
    #[serde(default)]
    pub key: Option<String>,
    /// Digests of the indexes that led to its manifest: a name with one of them means this image too.
    #[serde(default)]
    pub indexes: Vec<String>,
    /// Somebody brought it here as an archive: there may be no other one of it.
    #[serde(default)]
    pub imported: bool,
}

impl Record {
    /// Whether a name that is pinned to this digest means it.
    #[must_use]
    pub fn is_at(&self, digest: &str) -> bool {
        self.manifest == digest || self.indexes.iter().any(|index| index == digest)
    }

    /// Its layers.
    ///
    /// # Errors
    /// One is not named by a digest.
    pub fn stack(&self) -> Result<Stack, NotADigest> {
        let tars: Result<_, _> = self.layers.iter().map(|layer| layer.parse()).collect();
        Ok(Stack::new(tars?))
    }

    /// Everything that it stands for, but for its name.
    pub(super) fn claim(&self) -> Result<Claim, NotADigest> {
        let blobs = [&self.manifest, &self.config].into_iter().chain(&self.blobs);
        Ok(Claim {
            blobs: blobs.map(|blob| blob.parse()).collect::<Result<_, _>>()?,
            layers: self.stack()?.folders().iter().copied().collect(),
            ..Claim::default()
        })
    }

    /// What the API shows.
    #[must_use]
    pub fn summary(&self) -> Image {
        Image {
            name: self.name.clone(),
            digest: self.manifest.clone(),
            size_bytes: self.size_bytes,
            ..Image::default()
        }
    }
}

/// A record of which everything can be looked up.
pub(super) fn understand(bytes: &[u8]) -> Result<Record, String> {
    let record: Record = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    let all = [&record.manifest, &record.config].into_iter();
    for digest in all.chain(&record.layers).chain(&record.blobs) {
        digest.parse::<Digest>().map_err(|error| error.to_string())?;
    }
    Ok(record)
}

#[cfg(test)]
pub(crate) fn empty_record() -> Record {
    let digest = Digest::of(b"").to_string();
    Record {
        name: "a".to_owned(),
        manifest: digest.clone(),
        config: digest,
        layers: vec![],
        size_bytes: 3,
        blobs: vec![],
        signed_by: None,
        key: None,
        indexes: vec![],
        imported: false,
    }
}
