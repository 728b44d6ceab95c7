//! Which of the documents that an index names becomes the image. Pure: what is looked at next, and what there is where none
//! is for this node.

use std::collections::VecDeque;

use super::digest::Digest;
use super::documents::{Entry, Index, Manifest};
use super::platform::HERE;

/// Most indexes in one another.
const INDEXES_MAX: usize = 4;
/// Most documents that are looked at for one image.
const LOOKS_MAX: usize = 32;
/// Most things that are named where none fits.
const NAMED_MAX: usize = 12;

/// A document to look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// What it must be.
    pub digest: Digest,
    /// The indexes that led to it, the first one first.
    pub indexes: Vec<Digest>,
    /// An index says that it is for this node. Of any other its configuration must say so.
    pub stated: bool,
    /// What it is called, by the first index that says so.
    pub names: Vec<String>,
}

/// What a document turns out to be.
#[derive(Debug)]
pub enum Look {
    /// An index itself, which leads on.
    Index(Index),
    /// An image for this node.
    Image(Manifest),
    /// Something else, which is this.
    Other(String),
}

/// The image that was chosen.
#[derive(Debug)]
pub struct Found {
    /// Its manifest's digest.
    pub digest: Digest,
    /// Its manifest.
    pub manifest: Manifest,
    /// What it is called, by the first index that says so.
    pub names: Vec<String>,
    /// The indexes that led to it, the first one first.
    pub indexes: Vec<Digest>,
    /// An index says that it is for this node.
    pub stated: bool,
}

impl Found {
    /// The document that was looked at.
    #[must_use]
    pub fn new(candidate: Candidate, manifest: Manifest) -> Self {
        let Candidate { digest, indexes, stated, names } = candidate;
        Self { digest, manifest, names, indexes, stated }
    }
}

/// A choice that is being made.
#[derive(Debug, Default)]
pub struct Choice {
    /// Next first.
    open: VecDeque<Candidate>,
    looks: usize,
    there: Vec<String>,
    too_deep: bool,
}

impl Choice {
    /// From an index, which others may have led to.
    #[must_use]
    pub fn of(index: Index, indexes: &[Digest]) -> Self {
        let mut choice = Self::default();
        choice.add(index, indexes, (false, &[]));
        choice
    }

    /// From one entry of an archive's own index.
    #[must_use]
    pub fn from_entry(entry: &Entry) -> Self {
        let (digest, stated, names) = (entry.blob.digest, entry.stated, entry.names.clone());
        let candidate = Candidate { digest, indexes: Vec::new(), stated, names };
        Self { open: [candidate].into(), ..Self::default() }
    }

    /// Those that are said to be for this node come first; what is said of an index holds for what is in it.
    fn add(&mut self, index: Index, indexes: &[Digest], (stated, names): (bool, &[String])) {
        self.there.extend(index.others);
        let candidate = |entry: &Entry| Candidate {
            digest: entry.blob.digest,
            indexes: indexes.to_vec(),
            stated: stated || entry.stated,
            names: if names.is_empty() { entry.names.clone() } else { names.to_vec() },
        };
        // Depth first: what an index holds is better known than what stands beside it.
        for entry in index.entries.iter().rev() {
            self.open.push_front(candidate(entry));
        }
    }

    /// The document to look at now.
    pub fn take(&mut self) -> Option<Candidate> {
        self.looks += 1;
        if self.looks > LOOKS_MAX { None } else { self.open.pop_front() }
    }

    /// Goes on with what a candidate turned out to be; the image where it is one. Of what only may be an image for this node
    /// another one may do: where `passes` says so of its problem, the first one is kept in `problem`.
    ///
    /// # Errors
    /// The candidate's problem is the choice's.
    pub fn hear<E>(
        &mut self,
        candidate: Candidate,
        looked: Result<Look, E>,
        problem: &mut Option<E>,
        passes: impl FnOnce(&E) -> bool,
    ) -> Result<Option<Found>, E> {
        match looked {
            Ok(Look::Index(index)) => self.enter(&candidate, index),
            Ok(Look::Image(manifest)) => return Ok(Some(Found::new(candidate, manifest))),
            Ok(Look::Other(what)) => self.instead(what),
            Err(error) if !candidate.stated && passes(&error) => {
                problem.get_or_insert(error);
            }
            Err(error) => return Err(error),
        }
        Ok(None)
    }

    /// It is an index itself.
    fn enter(&mut self, candidate: &Candidate, index: Index) {
        let indexes = [&candidate.indexes[..], &[candidate.digest]].concat();
        if indexes.len() > INDEXES_MAX {
            self.too_deep = true;
        } else {
            self.add(index, &indexes, (candidate.stated, &candidate.names));
        }
    }

    /// It is no image for this node, but this.
    fn instead(&mut self, what: impl Into<String>) {
        self.there.push(what.into());
    }

    /// What there is, where nothing was chosen.
    #[must_use]
    pub fn none_fits(self) -> String {
        if self.too_deep {
            return "its indexes lead on and on".to_owned();
        }
        none_fits(self.there)
    }

    /// What there is instead of an image.
    #[must_use]
    pub fn into_there(self) -> Vec<String> {
        self.there
    }
}

/// Half a sentence about what there is where nothing is for this node.
#[must_use]
pub fn none_fits(mut there: Vec<String>) -> String {
    let mut seen = std::collections::BTreeSet::new();
    there.retain(|one| seen.insert(one.clone()));
    let more = there.len().saturating_sub(NAMED_MAX);
    there.truncate(NAMED_MAX);
    match (there.is_empty(), more) {
        (true, _) => format!("there is none for {HERE}, and no other"),
        (false, 0) => format!("there is none for {HERE}; what there is: {}", there.join(", ")),
        (false, more) => {
            format!("there is none for {HERE}; what there is: {} and {more} more", there.join(", "))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::documents::Blob;

    fn entry(text: &str, stated: bool) -> Entry {
        let digest = Digest::of(text.as_bytes());
        let blob = Blob { digest, size_bytes: 1, media_type: String::new() };
        Entry { blob, stated, names: Vec::new(), tag: None }
    }

    fn index(entries: &[(&str, bool)], others: &[&str]) -> Index {
        let entries = entries.iter().map(|(text, stated)| entry(text, *stated)).collect();
        Index { entries, others: others.iter().map(|one| (*one).to_owned()).collect() }
    }

    #[test]
    fn documents_are_looked_at_in_order_and_those_inside_first() {
        let digest = |text: &str| Digest::of(text.as_bytes());
        let top = digest("top");
        let mut choice = Choice::of(index(&[("a", true), ("b", false)], &["linux/arm64"]), &[top]);
        let candidate = choice.take().unwrap();
        assert_eq!((candidate.digest, candidate.stated), (digest("a"), true));
        choice.enter(&candidate, index(&[("c", false)], &["linux/arm/v7", "linux/arm64"]));
        let inner = choice.take().unwrap();
        assert_eq!((inner.digest, inner.stated), (digest("c"), true));
        assert_eq!(inner.indexes, [top, digest("a")]);
        choice.instead("a Helm chart");
        assert_eq!(choice.take().unwrap().digest, digest("b"));
        assert_eq!(choice.take(), None);
        let text =
            "there is none for linux/amd64; what there is: linux/arm64, linux/arm/v7, a Helm chart";
        assert_eq!(choice.none_fits(), text);
        assert!(Choice::of(index(&[], &[]), &[]).none_fits().ends_with("and no other"));
    }

    #[test]
    fn only_what_may_be_for_this_node_may_be_broken() {
        let hear = |stated, passes: bool| {
            let mut choice = Choice::of(index(&[("a", stated), ("b", true)], &[]), &[]);
            let mut problem = None;
            let candidate = choice.take().unwrap();
            let heard = choice.hear(candidate, Err("broken"), &mut problem, |_| passes);
            (heard.map(|found| found.is_none()), problem)
        };
        assert_eq!(hear(false, true), (Ok(true), Some("broken")));
        assert_eq!(hear(false, false), (Err("broken"), None));
        assert_eq!(hear(true, true), (Err("broken"), None));
    }

    #[test]
    fn indexes_in_one_another_and_beside_one_another_have_an_end() {
        let mut choice = Choice::of(index(&[("a", false)], &[]), &[Digest::of(b"top")]);
        let mut looks = 0;
        while let Some(candidate) = choice.take() {
            looks += 1;
            choice.enter(&candidate, index(&[("a", false)], &[]));
        }
        assert_eq!(looks, INDEXES_MAX);
        assert!(choice.none_fits().contains("on and on"));
        let names: Vec<String> = (0..1000).map(|number| number.to_string()).collect();
        let many: Vec<(&str, bool)> = names.iter().map(|name| (name.as_str(), false)).collect();
        let mut choice = Choice::of(index(&many, &[]), &[]);
        let mut looks = 0;
        while choice.take().is_some() {
            looks += 1;
            choice.instead(looks.to_string());
        }
        assert_eq!(looks, LOOKS_MAX);
        assert!(choice.none_fits().ends_with(" and 20 more"));
    }
}
