//! Why an archive is not imported.

use std::io;
use std::path::PathBuf;

use crate::digest::{Digest, NotADigest};
use crate::documents::Refuse;
use crate::layer::Layer;
use crate::signature;
use crate::store::Store;

/// An archive could not be imported.
#[derive(Debug, thiserror::Error)]
pub enum Import {
    /// The archive could not be read.
    #[error("read the archive")]
    ReadArchive(#[source] io::Error),
    /// It is no tar that is read here.
    #[error("read the archive")]
    ReadTar(#[from] ferrite_archive::TarProblem),
    /// It is not an archive of an image.
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
    /// A name is pinned to another image.
    #[error(
        "refuse the name {name}: the archive's image has the digest {found}, not {wanted}; leave the digest out, or take the archive that has it"
    )]
    RefuseName {
        /// The name.
        name: String,
        /// Its digest.
        wanted: String,
        /// Digest of the archive's manifest.
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
    /// An index or a manifest is refused.
    #[error(transparent)]
    Document(#[from] Refuse),
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
    /// The node's rules do not let it in.
    #[error(transparent)]
    Policy(#[from] signature::Refused),
}

pub(super) fn refuse(why: impl Into<String>) -> Import {
    Import::RefuseArchive { why: why.into() }
}
