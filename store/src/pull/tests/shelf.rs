//! A registry of documents and blobs that tests put there.

use super::*;
use crate::documents::INDEX_TYPES;

/// What a registry has, by digest, by tag and by what is asked for otherwise.
#[derive(Clone, Default)]
pub(super) struct Shelf {
    all: Vec<(&'static str, Vec<u8>)>,
    named: Vec<(String, Digest)>,
}

impl Shelf {
    /// What [`Made`] is made of, without a tag.
    pub(super) fn of(made: &Made) -> Self {
        let mut shelf = Self::default();
        shelf.put(MANIFEST_TYPES[0], &made.manifest);
        shelf.put("", &made.config);
        shelf.put("", &made.layer);
        shelf
    }

    pub(super) fn put(&mut self, kind: &'static str, content: &[u8]) -> Digest {
        self.all.push((kind, content.to_vec()));
        Digest::of(content)
    }

    /// `name` is how a path ends: `manifests/1`.
    pub(super) fn name(&mut self, name: &str, digest: Digest) {
        self.named.push((name.to_owned(), digest));
    }

    pub(super) fn answer(&self, asked: &Asked) -> Answer {
        let path = asked.path.split('?').next().unwrap();
        let named = self.named.iter().find(|(name, _)| path.ends_with(&format!("/{name}")));
        let digest = named.map(|(_, digest)| *digest).or_else(|| {
            let known = path.contains("/manifests/") || path.contains("/blobs/");
            path.rsplit('/').next().unwrap().parse().ok().filter(|_| known)
        });
        let found = self.all.iter().find(|(_, content)| Some(Digest::of(content)) == digest);
        match found {
            Some((kind, content)) => {
                let mut answer = bytes(content, asked.from_byte);
                if !kind.is_empty() {
                    answer.headers_mut().insert(header::CONTENT_TYPE, kind.parse().unwrap());
                }
                answer
            }
            None => status(404),
        }
    }

    pub(super) async fn serve(self) -> Server {
        Server::start(move |asked| self.answer(asked)).await
    }
}

/// A descriptor of something on the shelf.
pub(super) fn entry(kind: &str, content: &[u8], more: &str) -> String {
    let (digest, size) = (Digest::of(content), content.len());
    format!(r#"{{"mediaType":"{kind}","digest":"{digest}","size":{size}{more}}}"#)
}

pub(super) fn index(entries: &[String]) -> Vec<u8> {
    let (kind, entries) = (INDEX_TYPES[0], entries.join(","));
    format!(r#"{{"schemaVersion":2,"mediaType":"{kind}","manifests":[{entries}]}}"#).into_bytes()
}

/// A manifest of something with this configuration and these layers.
pub(super) fn manifest_of(config: &str, layers: &[String], more: &str) -> Vec<u8> {
    let (kind, layers) = (MANIFEST_TYPES[0], layers.join(","));
    format!(
        r#"{{"schemaVersion":2,"mediaType":"{kind}","config":{config},"layers":[{layers}]{more}}}"#
    )
    .into_bytes()
}
