//! References to images, as people write them: `nginx`, `quay.example/team/app:1.2`, `app@sha256:…`.

use std::fmt;
use std::str::FromStr;

use crate::host;
pub use crate::host::DOCKER_HUB;

/// Folder of Docker Hub's own images.
const LIBRARY: &str = "library";
/// The tag that is meant where neither tag nor digest is given.
const LATEST: &str = "latest";
/// Longest registry and repository together: the limit of every registry.
const NAME_MAX_BYTES: usize = 255;
/// Longest tag.
const TAG_MAX_BYTES: usize = 128;
/// Hexadecimal digits of a SHA-256 digest.
const DIGEST_HEX_CHARS: usize = 64;

/// An image's full name. Two texts that mean the same image give equal values.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reference {
    registry: String,
    repository: String,
    tag: Option<String>,
    digest: Option<String>,
}

/// A text is no reference.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("read image reference {text:?}: {why}")]
pub struct NotAReference {
    /// The text, cut.
    pub text: String,
    /// What is wrong with it.
    pub why: &'static str,
}

impl Reference {
    /// Reads a reference; a name without a registry belongs to `default_registry`.
    ///
    /// # Errors
    /// Says which part is wrong.
    pub fn parse(text: &str, default_registry: &str) -> Result<Self, NotAReference> {
        let refuse = |why| NotAReference { text: text.chars().take(NAME_MAX_BYTES).collect(), why };
        // People paste addresses out of their browsers.
        if text.contains("://") {
            return Err(refuse("leave out what is before `://`: a registry is named by its host"));
        }
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest)),
            None => (text, None),
        };
        if digest.is_some_and(|digest| !is_digest(digest)) {
            return Err(refuse(
                "a digest is `sha256:` and 64 lower-case hexadecimal digits, other algorithms are not taken",
            ));
        }
        let (name, tag) = match rest.rsplit_once(':') {
            // A colon before a slash belongs to the registry's port.
            Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
            Some(_) | None => (rest, None),
        };
        if tag.is_some_and(|tag| !is_tag(tag)) {
            return Err(refuse("a tag has 1 to 128 letters, digits, `_`, `.` and `-`"));
        }
        let (registry, repository) = match name.split_once('/') {
            Some((first, rest)) if is_registry(first) => (first, rest),
            Some(_) | None => (default_registry, name),
        };
        let registry = host::canonical(registry)
            .ok_or_else(|| refuse("its registry is not a host with or without a port"))?;
        if !repository.split('/').all(is_component) {
            return Err(refuse(
                "its repository is not made of lower-case letters, digits and single separators",
            ));
        }
        let repository = if registry == DOCKER_HUB && !repository.contains('/') {
            format!("{LIBRARY}/{repository}")
        } else {
            repository.to_owned()
        };
        if registry.len() + 1 + repository.len() > NAME_MAX_BYTES {
            return Err(refuse("it is longer than 255 characters"));
        }
        let tag = match (tag, digest) {
            (None, None) => Some(LATEST),
            (tag, _) => tag,
        };
        Ok(Self {
            registry,
            repository,
            tag: tag.map(str::to_owned),
            digest: digest.map(str::to_owned),
        })
    }

    /// Host of the registry, with its port where it was named.
    #[must_use]
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// Path in the registry.
    #[must_use]
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// The tag, where one counts.
    #[must_use]
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// `sha256:…`, where the reference is pinned.
    #[must_use]
    pub fn digest(&self) -> Option<&str> {
        self.digest.as_deref()
    }

    /// What a registry is asked for: the digest, which a tag beside it does not change.
    #[must_use]
    pub fn version(&self) -> &str {
        self.digest.as_deref().or(self.tag.as_deref()).unwrap_or(LATEST)
    }

    /// Registry and repository: what signatures and their rules are about.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{}/{}", self.registry, self.repository)
    }

    /// The same repository at another tag.
    #[must_use]
    pub fn with_tag(&self, tag: &str) -> Self {
        Self { tag: Some(tag.to_owned()), digest: None, ..self.clone() }
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.registry, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(formatter, ":{tag}")?;
        }
        match &self.digest {
            Some(digest) => write!(formatter, "@{digest}"),
            None => Ok(()),
        }
    }
}

impl FromStr for Reference {
    type Err = NotAReference;

    /// With [`DOCKER_HUB`] as the default registry.
    fn from_str(text: &str) -> Result<Self, NotAReference> {
        Self::parse(text, DOCKER_HUB)
    }
}

/// Whether the first part of a name is a registry and not a folder. Letters in upper case alone do not make it one:
/// a name that is written in lower case must mean the same.
#[must_use]
pub fn is_registry(first: &str) -> bool {
    first == "localhost" || first.contains(['.', ':', '['])
}

fn is_tag(tag: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    tag.len() <= TAG_MAX_BYTES
        && tag.bytes().next().is_some_and(word)
        && tag.bytes().all(|byte| word(byte) || byte == b'.' || byte == b'-')
}

fn is_digest(digest: &str) -> bool {
    digest.strip_prefix("sha256:").is_some_and(|hex| {
        hex.len() == DIGEST_HEX_CHARS
            && hex.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    })
}

/// Words of lower-case letters and digits between separators: `.`, `_`, `__` or any number of `-`.
fn is_component(component: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = component.as_bytes();
    let ends_well = |byte: Option<&u8>| byte.is_some_and(|byte| word(*byte));
    if !ends_well(bytes.first()) || !ends_well(bytes.last()) {
        return false;
    }
    component
        .split(|character: char| character.is_ascii_lowercase() || character.is_ascii_digit())
        .all(|between| {
            matches!(between, "" | "." | "_" | "__") || between.bytes().all(|byte| byte == b'-')
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn check(text: &str, expected: &str) {
        let reference: Reference = text.parse().unwrap();
        assert_eq!(reference.to_string(), expected, "{text}");
        assert_eq!(expected.parse::<Reference>().unwrap(), reference, "{text} is not stable");
    }

    #[test]
    fn short_names_mean_docker_hub() {
        check("nginx", "docker.io/library/nginx:latest");
        check("nginx:1.27", "docker.io/library/nginx:1.27");
        check("team/app", "docker.io/team/app:latest");
        check("index.docker.io/nginx", "docker.io/library/nginx:latest");
        check(&format!("nginx@sha256:{HEX}"), &format!("docker.io/library/nginx@sha256:{HEX}"));
    }

    #[test]
    fn registries_are_told_from_folders() {
        check("localhost/app", "localhost/app:latest");
        check("localhost:5000/a/b:x", "localhost:5000/a/b:x");
        check("quay.example/app", "quay.example/app:latest");
        check("10.0.2.2:5000/app", "10.0.2.2:5000/app:latest");
        check("[::1]:5000/app", "[::1]:5000/app:latest");
        check("[0:0:0:0:0:0:0:1]:5000/app", "[::1]:5000/app:latest");
        // A rule for Docker Hub, or for a host, cannot be spelled away.
        check("Docker.io/nginx", "docker.io/library/nginx:latest");
        check("Index.Docker.IO/nginx", "docker.io/library/nginx:latest");
        check("Registry.example/app", "registry.example/app:latest");
        check("registry-1.docker.io:443/nginx", "docker.io/library/nginx:latest");
        check("registry.example:443/app", "registry.example/app:latest");
        check("[::ffff:10.0.2.2]:5000/app", "10.0.2.2:5000/app:latest");
        assert!("10.0.514:5000/app".parse::<Reference>().is_err());
        assert!("Registry/app".parse::<Reference>().is_err());
        check("local/hello:1.0", "docker.io/local/hello:1.0");
        let other = Reference::parse("nginx", "quay.example:5000").unwrap();
        assert_eq!(other.to_string(), "quay.example:5000/nginx:latest");
    }

    #[test]
    fn a_digest_counts_more_than_a_tag() {
        let both: Reference = format!("a/b:1@sha256:{HEX}").parse().unwrap();
        assert_eq!(both.version(), format!("sha256:{HEX}"));
        assert_eq!(both.tag(), Some("1"));
    }

    #[test]
    fn what_is_no_reference_is_refused() {
        let long = format!("a/{}", "b".repeat(300));
        let tag = format!("a:{}", "t".repeat(129));
        for text in [
            "",
            "/",
            "a/",
            "/a",
            "a//b",
            "a b",
            "A",
            "a:",
            "a:-x",
            "a@",
            "a@sha256:12",
            "a..b",
            "a___b",
            "-a",
            "a-",
            "../a",
            "a/../b",
            "x.y:0/a",
            "x.y:99999/a",
            "x.y:/a",
            "x.y:+80/a",
            "x.y:080/a",
            ":1",
            "@",
            "http://x/y",
            "https://x.y/a:1",
            "x.y:80:80/a",
            "[fe80::1%25eth0]/a",
            "[::1]:/a",
            "[::1]x/a",
            "-x.y/a",
            "[::1/a",
            "[zz]:1/a",
            "a@sha512:00",
            "a:b:c",
            "é",
            "a\n",
            "a?x=1",
            "a#b",
            "a%2fb",
            &long,
            &tag,
        ] {
            assert!(text.parse::<Reference>().is_err(), "{text:?}");
        }
    }
}
