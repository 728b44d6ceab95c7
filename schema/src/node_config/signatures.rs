//! `[[signatures]]`: which images may be used on this node, and whose signature they need.

use serde::{Deserialize, Serialize};

/// What names HTTPS's port where a host may do without.
const HTTPS_PORT: &str = ":443";

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
    /// Whether the rule is about `name`, a registry and repository. A registry at HTTPS's own port is the same one as
    /// without a port: neither spelling leads around a rule for the other.
    #[must_use]
    pub fn fits(&self, name: &str) -> bool {
        let (host, path) = name.split_once('/').unwrap_or((name, ""));
        let other = match host.strip_suffix(HTTPS_PORT) {
            Some(host) => format!("{host}/{path}"),
            None if host.ends_with(']') || !host.contains(':') => {
                format!("{host}{HTTPS_PORT}/{path}")
            }
            None => return fits(&self.name, name),
        };
        fits(&self.name, name) || fits(&self.name, &other)
    }

    /// What is wrong with it, as one sentence.
    #[must_use]
    pub fn problem(&self) -> Option<String> {
        let name = &self.name;
        match (self.policy, self.keys.is_empty()) {
            _ if name.is_empty() => Some("a rule in [[signatures]] has an empty name".to_owned()),
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

    #[test]
    fn a_port_that_goes_without_saying_leads_around_no_rule() {
        for (pattern, name, expected) in [
            ("quay.example/*", "quay.example:443/a", true),
            ("quay.example:443/a", "quay.example/a", true),
            ("quay.example/a", "quay.example:443/a", true),
            ("quay.example/*", "quay.example:5000/a", false),
            ("quay.example/*", "quay.example:4430/a", false),
            ("*:443/*", "quay.example:5000/a", false),
        ] {
            let (name_of, policy) = (pattern.to_owned(), SignaturePolicy::Reject);
            let rule = SignatureRule { name: name_of, policy, keys: Vec::new() };
            assert_eq!(rule.fits(name), expected, "{pattern} {name}");
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
