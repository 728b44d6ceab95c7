//! Which image of an archive is meant, and what it is called there.

use std::fs::File;

use super::archive::{ArchiveContent, parse, read_small};
use super::problem::{Import, refuse};
use crate::choice::{Candidate, Choice, Found, Look, none_fits};
use crate::config::ImageConfig;
use crate::digest::Digest;
use crate::documents::{self, DOCUMENT_MAX_BYTES, Document, Entry, Index, Manifest};
use crate::store::ImageStore;

/// Most names that are shown.
const SHOWN_MAX: usize = 8;
/// How the name of an image without one is written by Docker.
const NAMELESS: &str = "<none>";

/// What is chosen by.
pub(super) struct Chooser<'a> {
    pub(super) archive: &'a ArchiveContent,
    pub(super) images: &'a ImageStore,
    pub(super) wanted: Option<&'a str>,
}

impl Chooser<'_> {
    /// The image in an OCI layout: the one that is called as it shall be called, or the only one. One image may have
    /// several names, and several documents one name: one for each kind of machine.
    pub(super) fn choose(&self, index: &[u8]) -> Result<Found, Import> {
        let Document::Index(Index { entries, mut others }) = documents::parse(index, None)? else {
            return Err(refuse("its `index.json` is none"));
        };
        let called = self.called(&entries);
        let is_named = !called.is_empty();
        let entries = if is_named { called } else { entries.iter().collect() };
        let (mut images, mut problem) = (Vec::<Found>::new(), None);
        for entry in by_digest(&entries) {
            match self.look_through(Choice::from_entry(&entry)) {
                Ok(Ok(found)) if is_named => return Ok(found),
                Ok(Ok(found)) => images.push(found),
                Ok(Err(what)) => others.extend(what),
                Err(error) if !entry.stated => {
                    problem.get_or_insert(error);
                }
                Err(error) => return Err(error),
            }
        }
        let first = images.first().map(|one| self.keys(&one.names));
        let several = images.iter().any(|one| Some(self.keys(&one.names)) != first);
        let nameless = images.len() > 1 && images.iter().any(|one| one.names.is_empty());
        if several || nameless {
            return Err(
                self.several(images.iter().map(|one| (&one.names[..], one.digest.to_string())))
            );
        }
        let none = || problem.unwrap_or_else(|| refuse(none_fits(others)));
        images.into_iter().next().ok_or_else(none)
    }

    /// What may be an image for this node, down to its manifest; or what it is instead.
    fn look_through(&self, mut choice: Choice) -> Result<Result<Found, Vec<String>>, Import> {
        let mut problem = None;
        while let Some(candidate) = choice.take() {
            let looked = self.look(&candidate);
            if let Some(found) = choice.hear(candidate, looked, &mut problem, |_| true)? {
                return Ok(Ok(found));
            }
        }
        problem.map_or_else(|| Ok(Err(choice.into_there())), Err)
    }

    fn look(&self, candidate: &Candidate) -> Result<Look, Import> {
        let bytes = self.document(&candidate.digest)?;
        Ok(match documents::parse(&bytes, None)? {
            Document::Index(index) => Look::Index(index),
            Document::Manifest(manifest) => match self.instead(candidate, &manifest)? {
                Some(what) => Look::Other(what),
                None => Look::Image(manifest),
            },
        })
    }

    fn instead(
        &self,
        candidate: &Candidate,
        manifest: &Manifest,
    ) -> Result<Option<String>, Import> {
        match manifest.instead() {
            None if !candidate.stated => {
                let config = self.document(&manifest.config.digest)?;
                let config: ImageConfig = parse(&config, "configuration")?;
                Ok(config.elsewhere().map(|other| other.to_string()))
            }
            what => Ok(what),
        }
    }

    /// A document of the archive, or one that the store has already.
    pub(super) fn document(&self, digest: &Digest) -> Result<Vec<u8>, Import> {
        match self.archive.blobs.get(digest) {
            Some((path, _)) => read_small(&mut File::open(path).map_err(Import::ReadArchive)?),
            None if self.images.blob(digest).exists() => {
                Ok(self.images.read_document(digest, DOCUMENT_MAX_BYTES)?)
            }
            None => Err(Import::FindBlob { digest: *digest }),
        }
    }

    /// Entries with the wanted name in any spelling, or, where none has it, with its tag alone: skopeo writes no more.
    fn called<'e>(&self, entries: &'e [Entry]) -> Vec<&'e Entry> {
        let by_name =
            |entry: &&Entry| self.is_wanted(&entry.names) || self.is_wanted(entry.tag.as_slice());
        let found: Vec<&Entry> = entries.iter().filter(by_name).collect();
        if !found.is_empty() {
            return found;
        }
        let wanted = self.wanted.and_then(|name| self.images.reference(name).ok());
        let Some(tag) = wanted.as_ref().and_then(|wanted| wanted.tag()) else { return found };
        let by_tag = |entry: &&Entry| entry.tag.as_deref() == Some(tag);
        entries.iter().filter(by_tag).collect()
    }

    /// Whether one of these names is the wanted one, however either is spelled.
    pub(super) fn is_wanted(&self, names: &[String]) -> bool {
        let wanted = self.wanted.map(|name| self.images.key(name));
        names.iter().any(|name| Some(self.images.key(name)) == wanted)
    }

    fn keys(&self, names: &[String]) -> Vec<String> {
        let mut keys: Vec<String> = names.iter().map(|name| self.images.key(name)).collect();
        keys.sort_unstable();
        keys.dedup();
        keys
    }

    /// The refusal of an archive of which it is not clear what is meant.
    pub(super) fn several<'n>(
        &self,
        images: impl Iterator<Item = (&'n [String], String)>,
    ) -> Import {
        let shown = |(names, digest): (&[String], String)| names.first().cloned().unwrap_or(digest);
        let mut shown: Vec<String> = images.map(shown).collect();
        let more = shown.len().saturating_sub(SHOWN_MAX);
        shown.truncate(SHOWN_MAX);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        let shown = format!("{:?}{more}", shown.join(", "));
        match self.wanted {
            Some(wanted) => {
                refuse(format!("it holds several images, and none is called {wanted:?}: {shown}"))
            }
            None => refuse(format!("it holds several images; give the name of one: {shown}")),
        }
    }
}

/// Entries of one document made one, with all names.
fn by_digest(entries: &[&Entry]) -> Vec<Entry> {
    let mut merged: Vec<Entry> = Vec::new();
    for entry in entries {
        match merged.iter_mut().find(|one| one.blob.digest == entry.blob.digest) {
            Some(one) => {
                one.names.extend(entry.names.iter().cloned());
                one.stated |= entry.stated;
            }
            None => merged.push((*entry).clone()),
        }
    }
    merged
}

/// Names without those that say that there is none.
pub(super) fn real(names: Vec<String>) -> Vec<String> {
    names.into_iter().filter(|name| !name.is_empty() && !name.starts_with(NAMELESS)).collect()
}
