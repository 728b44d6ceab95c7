//! The one door to an image that is on the node. Whoever uses one (a start of a container, an export, a pull that asks
//! whether there is anything to do) comes through here, so that what holds for images holds at every use: the node's
//! rules, the digest that a name is pinned to, the documents' digests, and that every layer is there to its end.

use std::io;
use std::path::PathBuf;

use ferrite_schema::reference::{NotAReference, Reference};

use crate::config::ImageConfig;
use crate::digest::{Digest, NotADigest};
use crate::documents::{self, DOCUMENT_MAX_BYTES, Document, Manifest, Refuse};
use crate::far_ids::FarIds;
use crate::layer::Layers;
use crate::signature::{self, Policy};
use crate::stack::Stack;
use crate::store::{ImageStore, Lease, Record, Store};

/// An image cannot be used as it is on the node.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    /// Its name is none.
    #[error(transparent)]
    Reference(#[from] NotAReference),
    /// The node's rules do not let it be used.
    #[error(transparent)]
    Policy(#[from] signature::Refused),
    /// It is not here.
    #[error("image {name} is not on this node; pull or import it")]
    Absent {
        /// Its name.
        name: String,
    },
    /// Its record belongs to another name.
    #[error("what is kept as image {name} calls itself {own}; pull or import it again")]
    Misnamed {
        /// The name that was asked for.
        name: String,
        /// The record's own.
        own: String,
    },
    /// It is not what its name is pinned to.
    #[error("what is kept as image {name} has the digest {found}; pull or import it again")]
    Pinned {
        /// Its name.
        name: String,
        /// Digest of its manifest.
        found: String,
    },
    /// Its manifest or configuration is not here, or not what its digest says.
    #[error(
        "the {what} of image {name} is not on this node as it was; pull or import the image again"
    )]
    Read {
        /// Its name.
        name: String,
        /// Which document.
        what: &'static str,
        /// Why.
        source: Store,
    },
    /// Its manifest is refused.
    #[error("use image {name}")]
    Refuse {
        /// Its name.
        name: String,
        /// Why.
        source: Refuse,
    },
    /// Its configuration is not one.
    #[error("read the configuration of image {name}")]
    ReadConfig {
        /// Its name.
        name: String,
        /// Why.
        source: serde_json::Error,
    },
    /// Its parts do not fit together.
    #[error("use image {name}: {why}; pull or import it again")]
    Unfit {
        /// Its name.
        name: String,
        /// Why.
        why: &'static str,
    },
    /// A layer is not here, or not to its end.
    #[error(
        "layer {digest} of image {name} is not on this node to its end; pull or import the image again"
    )]
    Layer {
        /// Its name.
        name: String,
        /// Digest of the layer's tar.
        digest: Digest,
    },
    /// A layer cannot be read.
    #[error("look at whom files of layer {digest} of image {name} belong to")]
    Owners {
        /// Its name.
        name: String,
        /// Digest of the layer's tar.
        digest: Digest,
        /// Why.
        source: io::Error,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] Store),
    /// A record holds something that is not a digest.
    #[error(transparent)]
    Digest(#[from] NotADigest),
}

impl Unusable {
    /// Pulling the image could not make it usable.
    #[must_use]
    pub fn is_final(&self) -> bool {
        match self {
            Self::Reference(_) => true,
            Self::Policy(refused) => refused.is_final(),
            Self::Absent { .. }
            | Self::Misnamed { .. }
            | Self::Pinned { .. }
            | Self::Read { .. }
            | Self::Refuse { .. }
            | Self::ReadConfig { .. }
            | Self::Unfit { .. }
            | Self::Layer { .. }
            | Self::Owners { .. }
            | Self::Store(_)
            | Self::Digest(_) => false,
        }
    }

    /// A rule of the node's configuration is why.
    #[must_use]
    pub fn is_by_rule(&self) -> bool {
        matches!(self, Self::Policy(_))
    }
}

/// An image that may be used. While it lives, nothing of it is collected.
#[derive(Debug)]
pub struct Opened {
    /// What the store keeps of it.
    pub record: Record,
    /// Its manifest.
    pub manifest: Manifest,
    /// Its manifest's bytes.
    pub manifest_bytes: Vec<u8>,
    /// Its configuration.
    pub config: ImageConfig,
    /// Its layers.
    pub stack: Stack,
    /// Keeps it from being collected.
    pub lease: Lease,
}

/// Opens the image called `name`; its layers are asked for with [`Opened::folders`].
///
/// # Errors
/// It cannot be used as it is.
pub fn open(images: &ImageStore, policy: &Policy, name: &str) -> Result<Opened, Unusable> {
    let reference = images.reference(name)?;
    // A name that is rejected is refused whatever is here.
    policy.check_name(&reference)?;
    let found = images.lease(name)?;
    let (record, lease) = found.ok_or_else(|| Unusable::Absent { name: name.to_owned() })?;
    belongs(images, &record, &reference, name)?;
    policy.check_stored(&record, &reference)?;
    let unfit = |why| Unusable::Unfit { name: name.to_owned(), why };
    let document = |what, digest: &Digest| {
        let read = images.read_document(digest, DOCUMENT_MAX_BYTES);
        read.map_err(|source| Unusable::Read { name: name.to_owned(), what, source })
    };
    let manifest_bytes = document("manifest", &record.manifest.parse()?)?;
    let manifest = documents::parse(&manifest_bytes, None)
        .map_err(|source| Unusable::Refuse { name: name.to_owned(), source })?;
    let Document::Manifest(manifest) = manifest else {
        return Err(unfit("what its record names as its manifest is an index"));
    };
    if manifest.config.digest.to_string() != record.config {
        return Err(unfit("its record and its manifest name different configurations"));
    }
    let config = document("configuration", &manifest.config.digest)?;
    let config: ImageConfig = serde_json::from_slice(&config)
        .map_err(|source| Unusable::ReadConfig { name: name.to_owned(), source })?;
    let tars = config.tars()?;
    if tars.iter().map(Digest::to_string).ne(record.layers.iter().cloned())
        || tars.len() != manifest.layers.len()
    {
        return Err(unfit("its record, its manifest and its configuration name different layers"));
    }
    Ok(Opened { record, manifest, manifest_bytes, config, stack: Stack::new(tars), lease })
}

/// Refuses a record that is not one of this name.
fn belongs(
    images: &ImageStore,
    record: &Record,
    reference: &Reference,
    name: &str,
) -> Result<(), Unusable> {
    let own = record.key.clone().unwrap_or_else(|| images.key(&record.name));
    if own != reference.to_string() {
        return Err(Unusable::Misnamed { name: name.to_owned(), own });
    }
    match reference.digest() {
        Some(digest) if !record.is_at(digest) => {
            Err(Unusable::Pinned { name: name.to_owned(), found: record.manifest.clone() })
        }
        Some(_) | None => Ok(()),
    }
}

impl Opened {
    /// The folders of its layers, bottom first.
    ///
    /// # Errors
    /// One is not here to its end.
    pub fn folders(&self, layers: &Layers) -> Result<Vec<PathBuf>, Unusable> {
        let missing = self.stack.steps().find(|step| !layers.is_whole(step.folder));
        match missing {
            Some(step) => {
                Err(Unusable::Layer { name: self.record.name.clone(), digest: *step.tar })
            }
            None => Ok(self.stack.folders().iter().map(|folder| layers.path(folder)).collect()),
        }
    }

    /// Owners of files of its layers that not every unit has.
    ///
    /// # Errors
    /// A layer cannot be read.
    pub fn far_ids(&self, layers: &Layers) -> Result<FarIds, Unusable> {
        let mut all = FarIds::default();
        for step in self.stack.steps() {
            let found = layers.far_ids(step.folder).map_err(|source| Unusable::Owners {
                name: self.record.name.clone(),
                digest: *step.tar,
                source,
            })?;
            all.extend(&found);
        }
        Ok(all)
    }
}

#[cfg(test)]
mod tests;
