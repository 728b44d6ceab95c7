//! One blob from the places that have it: continued where it broke off, checked against its digest, kept.

use std::path::Path;

use ferrite_files::own;
use hyper::{StatusCode, header};

use super::partial::{Partial, WritePartial};
use super::place::Place;
use super::registry::Registry;
use crate::beside::beside;
use crate::digest::Digest;
use crate::documents::Blob;
use crate::store::{ImageStore, Store};

/// Tries in a row that bring nothing; every byte that comes starts the count anew.
const FRUITLESS_MAX: u32 = 5;

/// A blob could not be had.
#[derive(Debug, thiserror::Error)]
pub enum Download {
    /// No place gives it.
    #[error("download blob {digest}")]
    Get {
        /// The blob.
        digest: Digest,
        /// What the last place said.
        source: Registry,
    },
    /// What comes is something else.
    #[error("refuse blob {expected}: what {from} gives has the digest {found}")]
    RefuseContent {
        /// What the manifest says.
        expected: Digest,
        /// What it is.
        found: Digest,
        /// Where it came from.
        from: String,
    },
    /// What comes has another length.
    #[error(
        "refuse blob {digest}: {from} gives more than the {size_bytes} bytes that the manifest says"
    )]
    TooLong {
        /// The blob.
        digest: Digest,
        /// Its size.
        size_bytes: u64,
        /// Where it came from.
        from: String,
    },
    /// It ends early, again and again.
    #[error("download blob {digest}: {from} ends it after {got_bytes} of {size_bytes} bytes")]
    TooShort {
        /// The blob.
        digest: Digest,
        /// Its size.
        size_bytes: u64,
        /// What came.
        got_bytes: u64,
        /// Where it came from.
        from: String,
    },
    /// STATE does not take it.
    #[error(transparent)]
    Write(#[from] WritePartial),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] Store),
}

/// Brings `blob` into the store; `progress` hears how many bytes are here.
///
/// # Errors
/// It is not there. What came of it stays for another try, unless it was wrong.
pub async fn fetch(
    blob: &Blob,
    places: &[Place],
    images: &ImageStore,
    progress: &(impl Fn(u64) + Sync),
) -> Result<(), Download> {
    let path = images.partial(&blob.digest);
    let mut last = None;
    for place in places {
        match from(blob, place, &path, progress).await {
            Ok(()) => {
                let (images, digest) = (images.clone(), blob.digest);
                beside(move || images.keep(&[(digest, path)])).await?;
                progress(blob.size_bytes);
                return Ok(());
            }
            Err(error @ (Download::Write(_) | Download::Store(_))) => return Err(error),
            Err(error) => {
                tracing::info!(error = ferrite_schema::chain(&error), place = %place.origin(), "blob-not-had");
                last = Some(error);
            }
        }
    }
    Err(last.unwrap_or_else(|| Download::TooShort {
        digest: blob.digest,
        size_bytes: blob.size_bytes,
        got_bytes: 0,
        from: "no place".to_owned(),
    }))
}

/// How one transfer ended.
enum End {
    Whole(Digest),
    Short { got_bytes: u64, why: Option<Registry> },
    Long,
}

async fn from(
    blob: &Blob,
    place: &Place,
    path: &Path,
    progress: &(impl Fn(u64) + Sync),
) -> Result<(), Download> {
    let (digest, size_bytes) = (blob.digest, blob.size_bytes);
    let from = place.origin().to_string();
    let mut fruitless = 0;
    // A file that was begun by somebody else may be wrong from the start: it gets one try from nothing.
    let mut inherited = Partial::length(path) > 0;
    loop {
        let before = Partial::length(path);
        match transfer(blob, place, path, progress).await? {
            End::Whole(found) if found == digest => return Ok(()),
            End::Whole(_) if inherited => {
                inherited = false;
                discard(path)?;
            }
            End::Whole(found) => {
                discard(path)?;
                return Err(Download::RefuseContent { expected: digest, found, from });
            }
            End::Long => {
                discard(path)?;
                return Err(Download::TooLong { digest, size_bytes, from });
            }
            End::Short { got_bytes, why } => {
                fruitless = if got_bytes > before { 1 } else { fruitless + 1 };
                match why {
                    Some(error) if !error.is_transient() || fruitless >= FRUITLESS_MAX => {
                        return Err(Download::Get { digest, source: error });
                    }
                    None if fruitless >= FRUITLESS_MAX => {
                        return Err(Download::TooShort { digest, size_bytes, got_bytes, from });
                    }
                    Some(error) => tokio::time::sleep(error.pause(fruitless)).await,
                    None => {}
                }
            }
        }
    }
}

fn discard(path: &Path) -> Result<(), Download> {
    own::remove(path).map_err(|source| WritePartial { path: path.to_owned(), source }.into())
}

async fn transfer(
    blob: &Blob,
    place: &Place,
    path: &Path,
    progress: &(impl Fn(u64) + Sync),
) -> Result<End, Download> {
    let mut here = Partial::length(path);
    if here > blob.size_bytes {
        here = 0;
    }
    if here == blob.size_bytes {
        let (digest, _) = Partial::open(path, here)?.finish().await?;
        return Ok(End::Whole(digest));
    }
    let mut answer = match place.get(&format!("blobs/{}", blob.digest), "", here).await {
        Ok(answer) => answer,
        // The server cannot continue what we have.
        Err(Registry::Status { status: StatusCode::RANGE_NOT_SATISFIABLE, .. }) if here > 0 => {
            discard(path)?;
            return Ok(End::Short { got_bytes: 1, why: None });
        }
        Err(error) => return Ok(End::Short { got_bytes: here, why: Some(error) }),
    };
    if !continues(&answer, here) {
        here = 0;
    }
    let partial = Partial::open(path, here)?;
    progress(here);
    let why = loop {
        match answer.piece().await {
            Ok(Some(piece)) => {
                here = here.saturating_add(piece.len() as u64);
                if here > blob.size_bytes {
                    partial.finish().await?;
                    return Ok(End::Long);
                }
                if !partial.push(piece).await {
                    break None;
                }
                progress(here);
            }
            Ok(None) => break None,
            Err(error) => break Some(Registry::from(error)),
        }
    };
    let (digest, got_bytes) = partial.finish().await?;
    if got_bytes == blob.size_bytes {
        return Ok(End::Whole(digest));
    }
    Ok(End::Short { got_bytes, why })
}

/// The answer begins where we left off, and says so.
fn continues(answer: &super::http::Answer, from_byte: u64) -> bool {
    from_byte > 0
        && answer.status == StatusCode::PARTIAL_CONTENT
        && answer
            .headers
            .get(header::CONTENT_RANGE)
            .and_then(|value| value.to_str().ok()?.strip_prefix("bytes ")?.split_once('-'))
            .is_some_and(|(first, _)| first.parse() == Ok(from_byte))
}
