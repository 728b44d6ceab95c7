//! The manifest of an image: from which place, by which indexes, and whether the rules let it in.

use std::sync::Arc;

use ferrite_schema::reference::Reference;

use super::http::Client;
use super::place::{self, Place};
use super::problem::Pull;
use super::registry::Registry;
use super::trust::Trust;
use super::{cosign, document};
use crate::choice::{self, Candidate, Choice, Look};
use crate::digest::Digest;
use crate::documents::{Document, Refuse};
use crate::signature::{Policy, Verdict};

/// The image that was chosen, as a registry has it.
pub(super) struct Found {
    pub(super) image: choice::Found,
    /// Its manifest.
    pub(super) bytes: Vec<u8>,
    pub(super) verdict: Verdict,
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
                let only = Candidate { digest, indexes, stated: false, names };
                Found::new(choice::Found::new(only, manifest), bytes)
            }
            Document::Index(index) => choose(Choice::of(index, &[digest]), name, place).await?,
        };
        let digests = [&found.image.indexes[..], &[found.image.digest]].concat();
        found.verdict = cosign::check(self.policy, reference, place, &digests).await?;
        Ok(found)
    }
}

/// The first document of an index that is an image for this node.
async fn choose(mut choice: Choice, name: &str, place: &Place) -> Result<Found, Pull> {
    let mut problem = None;
    while let Some(candidate) = choice.take() {
        let mut bytes = Vec::new();
        let looked = look(&candidate, name, place, &mut bytes).await;
        if let Some(image) = choice.hear(candidate, looked, &mut problem, is_about_one)? {
            return Ok(Found::new(image, bytes));
        }
    }
    let why = choice.none_fits();
    Err(problem.unwrap_or_else(|| Pull::Unfit { name: name.to_owned(), why }))
}

/// Looks at a document, whose bytes are then in `bytes`.
async fn look(
    candidate: &Candidate,
    name: &str,
    place: &Place,
    bytes: &mut Vec<u8>,
) -> Result<Look, Pull> {
    let version = candidate.digest.to_string();
    let document;
    (*bytes, document) = document::ask(place, &version, Some(candidate.digest), name).await?;
    let manifest = match document {
        Document::Index(index) => return Ok(Look::Index(index)),
        Document::Manifest(manifest) => manifest,
    };
    if let Some(what) = manifest.instead() {
        return Ok(Look::Other(what));
    }
    if !candidate.stated {
        let config = document::config(place, &manifest.config, name).await?;
        if let Some(other) = config.elsewhere() {
            return Ok(Look::Other(other.to_string()));
        }
    }
    Ok(Look::Image(manifest))
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
    fn new(image: choice::Found, bytes: Vec<u8>) -> Self {
        Self { image, bytes, verdict: Verdict::NotAsked, places: Vec::new() }
    }
}
