//! Where an image may be without a registry: on this node under another name, or on a machine nearby.

use std::fmt;
use std::path::Path;
use std::pin::Pin;

use ferrite_schema::reference::Reference;

use crate::digest::Digest;
use crate::store::{ImageStore, Record, Store};

/// Says whether the archive that came is the image. Where it is not, the next machine is asked.
pub type Take<'a> = &'a (dyn Fn() -> Answer<'a> + Sync);
/// Whether it was so.
pub type Answer<'a> = Pin<Box<dyn Future<Output = bool> + Send + 'a>>;
/// What came of asking.
pub type Asked<'a> = Pin<Box<dyn Future<Output = Brought> + Send + 'a>>;

/// What machines nearby gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Brought {
    /// The image, and it was taken.
    Taken,
    /// Nothing: nobody has it.
    Nobody,
    /// Nothing now. Some may have it and could not be asked, or have it and did not give it; who, half a sentence.
    Perhaps(String),
}

/// Machines that may have an image. What they give is believed as far as its digest goes, and no further: nothing is asked of them
/// that has none.
pub trait Nearby: fmt::Debug + Send + Sync {
    /// Brings the image with this manifest as an archive to `path`, from one machine after the other until it is taken.
    fn fetch<'a>(&'a self, manifest: &'a Digest, path: &'a Path, take: Take<'a>) -> Asked<'a>;
}

/// An image with this digest; one of the same repository, where there is one: its signature was for that.
pub(super) fn with_digest(
    images: &ImageStore,
    digest: &str,
    reference: &Reference,
) -> Result<Option<Record>, Store> {
    let (records, _) = images.records_read()?;
    let mut found: Vec<Record> = records
        .into_iter()
        .map(|(record, _)| record)
        .filter(|record| record.is_at(digest))
        .collect();
    let is_of = |record: &Record| {
        images.reference(&record.name).is_ok_and(|own| own.name() == reference.name())
    };
    if let Some(same) = found.iter().position(is_of) {
        return Ok(Some(found.swap_remove(same)));
    }
    Ok(found.pop().map(|record| Record { signed_by: None, ..record }))
}

/// The name of an image that is here and has this manifest, for a machine that asks.
///
/// # Errors
/// The records cannot be read.
pub fn name_of(images: &ImageStore, manifest: &str) -> Result<Option<String>, Store> {
    let (records, _) = images.records_read()?;
    let found = records.into_iter().find(|(record, _)| record.manifest == manifest);
    Ok(found.map(|(record, _)| record.name))
}
