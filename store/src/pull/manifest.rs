//! The manifest of an image: from which place, by which indexes, and whether the rules let it in.

use std::sync::Arc;

use ferrite_schema::reference::Reference;

use super::http::Client;
use super::place::{self, Place};
use super::problem::Pull;
use super::registry::Registry;
use super::trust::Trust;
use super::{cosign, document};
use crate::choice::{Choice, Step};
use crate::digest::Digest;
use crate::documents::{Document, Index, Manifest, Refuse};
use crate::signature::{Policy, Verdict};

/// A manifest with what its bytes and its choice were.
pub(super) struct Found {
    pub(super) manifest: Manifest,
    pub(super) digest: Digest,
    pub(super) bytes: Vec<u8>,
    pub(super) verdict: Verdict,
    /// The indexes that led to it.
    pub(super) indexes: Vec<Digest>,
    /// An index says that it is for this node.
    pub(super) stated: bool,
    /// The places, the one that had the manifest first.
    pub(super) places: Vec<Place>,
}

/// What a search goes by.
pub(super) struct Search<'a> {
    pub(super) client: &'a Client,
    pub(super) trust: &'a Arc<Trust>,
    pub(super) policy: &'a Policy,
}

impl Search<'_> {
    /// Finds the manifest for this machine and has its signature checked.
    pub(super) async fn find(&self, reference: &Reference, name: &str) -> Result<Found, Pull> {
        let mut places = place::places(reference, self.client, self.trust);
        let mut last = None;
        for index in 0..places.len() {
            let Some(place) = places.get(index).cloned() else { break };
            match self.find_at(reference, name, &place).await {
                Ok(mut found) => {
                    places.swap(0, index);
                    found.places = places;
                    return Ok(found);
                }
                Err(error) => {
                    let is_mirror = index + 1 < places.len();
                    if is_mirror {
                        let error = ferrite_schema::chain(&error);
                        tracing::warn!(error, mirror = %place.origin(), "mirror-passed-over");
                    }
                    last = Some(error);
                }
            }
        }
        let why = "its registry has no address".to_owned();
        Err(last.unwrap_or_else(|| Pull::Unfit { name: name.to_owned(), why }))
    }

    async fn find_at(
        &self,
        reference: &Reference,
        name: &str,
        place: &Place,
    ) -> Result<Found, Pull> {
        let pinned = reference.digest().map(str::parse::<Digest>).transpose();
        let expected = pinned.map_err(|error| Pull::Document {
            name: name.to_owned(),
            source: Refuse::Digest(error),
        })?;
        let (bytes, document) = document::ask(place, reference.version(), expected, name).await?;
        let digest = Digest::of(&bytes);
        let mut found = match document {
            Document::Manifest(manifest) => {
                if let Some(what) = manifest.instead() {
                    let why = format!("it is no image, but {what}");
                    return Err(Pull::Unfit { name: name.to_owned(), why });
                }
                let (indexes, names) = (Vec::new(), Vec::new());
                Found::new(manifest, bytes, &Step { digest, indexes, stated: false, names })
            }
            Document::Index(index) => choose(Choice::of(index, &[digest]), name, place).await?,
        };
        let digests = [&found.indexes[..], &[found.digest]].concat();
        found.verdict = cosign::check(self.policy, reference, place, &digests).await?;
        Ok(found)
    }
}

/// The first document of an index that is an image for this node.
async fn choose(mut choice: Choice, name: &str, place: &Place) -> Result<Found, Pull> {
    let mut problem = None;
    while let Some(step) = choice.take() {
        match look(&step, name, place).await {
            Ok(Look::Index(index)) => choice.enter(&step, index),
            Ok(Look::Image(found)) => return Ok(*found),
            Ok(Look::Other(what)) => choice.instead(what),
            // Of what only may be an image for this node another one may do.
            Err(error) if !step.stated && is_about_one(&error) => {
                problem.get_or_insert(error);
            }
            Err(error) => return Err(error),
        }
    }
    let why = choice.none_fits();
    Err(problem.unwrap_or_else(|| Pull::Unfit { name: name.to_owned(), why }))
}

/// What a document turns out to be.
enum Look {
    Index(Index),
    Image(Box<Found>),
    Other(String),
}

async fn look(step: &Step, name: &str, place: &Place) -> Result<Look, Pull> {
    let version = step.digest.to_string();
    let (bytes, document) = document::ask(place, &version, Some(step.digest), name).await?;
    let manifest = match document {
        Document::Index(index) => return Ok(Look::Index(index)),
        Document::Manifest(manifest) => manifest,
    };
    if let Some(what) = manifest.instead() {
        return Ok(Look::Other(what));
    }
    if !step.stated {
        let config = document::config(place, &manifest.config, name).await?;
        if let Some(other) = config.elsewhere() {
            return Ok(Look::Other(other.to_string()));
        }
    }
    Ok(Look::Image(Box::new(Found::new(manifest, bytes, step))))
}

/// The registry lacks this one document, or has nonsense in its place.
fn is_about_one(error: &Pull) -> bool {
    match error {
        Pull::Registry { source, .. } => matches!(source, Registry::Missing { .. }),
        Pull::RefuseManifest { .. } | Pull::Document { .. } | Pull::ReadConfig { .. } => true,
        _ => false,
    }
}

impl Found {
    fn new(manifest: Manifest, bytes: Vec<u8>, step: &Step) -> Self {
        Self {
            manifest,
            digest: step.digest,
            bytes,
            verdict: Verdict::NotAsked,
            indexes: step.indexes.clone(),
            stated: step.stated,
            places: Vec::new(),
        }
    }
}
