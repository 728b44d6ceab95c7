//! `[[signatures]]`: which images may be used on this node, and whose signature they need.

use serde::{Deserialize, Serialize};

use crate::host;
use crate::reference::{DOCKER_HUB, is_registry};

/// Docker Hub's own images may be named without their folder.
const LIBRARY: &str = "library/";

/// One rule. The first whose pattern fits an image's name counts; an image that none fits is accepted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignatureRule {
    /// Registry and repository, `*` standing for any characters: `docker.io/library/*`, `*`.
    pub name: String,
    /// What happens to images that it fits.
    pub policy: SignaturePolicy,
    /// Public keys (PEM, ECDSA P-256, as cosign makes them), for `signed`: one signature by one of them is enough.
    #[serde(default)]
    pub keys: Vec<String>,
}

/// What happens to an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SignaturePolicy {
    /// It may be used.
    Accept,
    /// It may not.
    Reject,
    /// It may where a known key signed it.
    Signed,
}

impl SignatureRule {
    /// Whether the rule is about `name`, a registry and repository as [`crate::reference::Reference::name`] has them. It
    /// is where its pattern fits any spelling of the name, so that no spelling leads around it.
    #[must_use]
    pub fn fits(&self, name: &str) -> bool {
        let (host, path) = name.split_once('/').unwrap_or((name, ""));
        let mut hosts = host::spellings(host);
        // With HTTP's port it is the same server only where that is spoken there: who forbids means it too, and who
        // allows may not.
        if self.policy != SignaturePolicy::Accept {
            hosts.extend(host::in_the_open(host));
        }
        let short = path.strip_prefix(LIBRARY).filter(|_| host == DOCKER_HUB);
        let pattern = self.pattern();
        hosts.iter().any(|host| {
            let mut paths = [Some(path), short].into_iter().flatten();
            paths.any(|path| fits(&pattern, &format!("{host}/{path}")))
        })
    }

    /// The pattern with the one spelling of its host, where it names one.
    fn pattern(&self) -> String {
        match self.name.split_once('/') {
            Some((host, path)) if host.contains('*') => {
                format!("{}/{path}", host.to_ascii_lowercase())
            }
            Some((host, path)) => {
                let host = host::canonical(host).unwrap_or_else(|| host.to_owned());
                format!("{host}/{path}")
            }
            None => self.name.to_ascii_lowercase(),
        }
    }

    /// A rule that fits no image's name looks as if it held, and does not.
    fn fits_nothing(&self) -> bool {
        let (host, path) = self.name.split_once('/').unwrap_or((&self.name, ""));
        !host.contains('*') && (path.is_empty() || !is_registry(host) || !host::is_host(host))
    }

    /// What is wrong with it, as one sentence.
    #[must_use]
    pub fn problem(&self) -> Option<String> {
        let name = &self.name;
        match (self.policy, self.keys.is_empty()) {
            _ if name.is_empty() => Some("a rule in [[signatures]] has an empty name".to_owned()),
            _ if self.fits_nothing() => Some(format!(
                "the name {name:?} in [[signatures]] fits no image: it begins with a registry and a slash (\"docker.io/library/nginx\"), or with a *"
            )),
            (SignaturePolicy::Signed, true) => Some(format!(
                "the rule in [[signatures]] for {name:?} asks for signatures and has no keys"
            )),
            (SignaturePolicy::Accept | SignaturePolicy::Reject, false) => Some(format!(
                "the rule in [[signatures]] for {name:?} has keys that nothing is checked with"
            )),
            _ => None,
        }
    }
}

/// The parts between stars must follow one another in the text; the outer ones sit at its ends.
fn fits(pattern: &str, text: &str) -> bool {
    let Some((start, rest)) = pattern.split_once('*') else { return pattern == text };
    let Some(mut text) = text.strip_prefix(start) else { return false };
    let (middle, end) = rest.rsplit_once('*').map_or(("", rest), |(middle, end)| (middle, end));
    for part in middle.split('*') {
        match text.find(part) {
            Some(at) => text = text.get(at + part.len()..).unwrap_or_default(),
            None => return false,
        }
    }
    text.ends_with(end)
}

#[cfg(test)]
mod tests {
    use super::{SignaturePolicy, SignatureRule, fits};

    fn rule(pattern: &str, policy: SignaturePolicy) -> SignatureRule {
        SignatureRule { name: pattern.to_owned(), policy, keys: Vec::new() }
    }

    #[test]
    fn no_spelling_leads_around_a_rule() {
        for (pattern, name, expected) in [
            ("quay.example/*", "quay.example/a", true),
            ("quay.example:443/a", "quay.example/a", true),
            ("Quay.Example/*", "quay.example/a", true),
            ("*:443/*", "quay.example/a", true),
            ("*.EXAMPLE/*", "quay.example/a", true),
            ("quay.example/*", "quay.example:5000/a", false),
            ("quay.example/*", "quay.example:4430/a", false),
            ("*:443/*", "quay.example:5000/a", false),
            ("index.docker.io/*", "docker.io/library/nginx", true),
            ("registry-1.docker.io:443/*", "docker.io/library/nginx", true),
            ("*.docker.io/*", "docker.io/library/nginx", true),
            ("docker.io/nginx", "docker.io/library/nginx", true),
            ("docker.io/ngin*", "docker.io/library/nginx", true),
            ("docker.io/nginx", "docker.io/team/nginx", false),
            ("quay.example/nginx", "quay.example/library/nginx", false),
            ("[::ffff:10.0.2.2]:5000/*", "10.0.2.2:5000/a", true),
            ("[0:0::1]/*", "[::1]/a", true),
        ] {
            for policy in [SignaturePolicy::Reject, SignaturePolicy::Accept] {
                assert_eq!(rule(pattern, policy).fits(name), expected, "{pattern} {name}");
            }
        }
        for (pattern, name) in [("a.b/*", "a.b:80/x"), ("a.b:80/*", "a.b/x")] {
            assert!(rule(pattern, SignaturePolicy::Reject).fits(name), "{pattern} {name}");
            assert!(rule(pattern, SignaturePolicy::Signed).fits(name), "{pattern} {name}");
            assert!(!rule(pattern, SignaturePolicy::Accept).fits(name), "{pattern} {name}");
        }
    }

    #[test]
    fn a_rule_that_fits_nothing_is_none() {
        for pattern in ["nginx", "team/*", "docker.io", "docker.io/", "a.b./*", "10.0.514/*", "A/*"]
        {
            let problem = rule(pattern, SignaturePolicy::Reject).problem().unwrap();
            assert!(problem.contains("fits no image"), "{problem}");
        }
        for pattern in ["*", "*/nginx", "docker.io/*", "localhost/*", "a.b:5000/*", "docker*"] {
            assert_eq!(rule(pattern, SignaturePolicy::Reject).problem(), None, "{pattern}");
        }
    }

    #[test]
    fn stars_stand_for_any_characters() {
        for (pattern, text, expected) in [
            ("*", "docker.io/library/nginx", true),
            ("docker.io/library/*", "docker.io/library/nginx", true),
            ("docker.io/library/*", "docker.io/libraryx/nginx", false),
            ("docker.io/nginx", "docker.io/nginx", true),
            ("docker.io/nginx", "docker.io/nginx2", false),
            ("*/nginx", "quay.example/a/nginx", true),
            ("a*b*c", "a-b-c", true),
            ("a*b*c", "a-c-b", false),
            ("ab*ba", "aba", false),
            ("a*bc*c", "abc", false),
        ] {
            assert_eq!(fits(pattern, text), expected, "{pattern} {text}");
        }
    }
}
