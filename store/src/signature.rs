//! Which images may be used: the node's rules, and whether a signature of cosign's counts by them. Where signatures come
//! from is `pull::cosign`.

mod bundle;
mod key;

use ferrite_schema::node_config::{SignaturePolicy, SignatureRule};
use ferrite_schema::reference::Reference;
use serde::Deserialize;

use self::key::{Key, signer};
use super::digest::Digest;
use super::store::Record;

/// What payloads call themselves.
const KIND: &str = "cosign container image signature";
/// The rules do not let an image in.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// A rule rejects its name.
    #[error(
        "refuse image {name}: the rule for {pattern:?} in [[signatures]] of the node's configuration rejects it"
    )]
    Rejected {
        /// Its name.
        name: String,
        /// The rule's pattern.
        pattern: String,
    },
    /// Nobody who is trusted signed it.
    #[error(
        "refuse image {name}: the rule for {pattern:?} in [[signatures]] of the node's configuration wants a signature, and {why}"
    )]
    Unsigned {
        /// Its name.
        name: String,
        /// The rule's pattern.
        pattern: String,
        /// What is there instead.
        why: String,
    },
    /// A key of the configuration is none.
    #[error(
        "read a key of the rule for {pattern:?} in [[signatures]]: it is not the PEM of an ECDSA P-256 public key"
    )]
    ReadKey {
        /// The rule's pattern.
        pattern: String,
    },
}

impl Refused {
    /// Nothing that a registry has could change it.
    #[must_use]
    pub fn is_final(&self) -> bool {
        match self {
            Self::Rejected { .. } | Self::ReadKey { .. } => true,
            Self::Unsigned { .. } => false,
        }
    }
}

/// What was found out about an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// No rule asks for a signature.
    NotAsked,
    /// The key with this digest signed it.
    SignedBy(Digest),
}

impl Verdict {
    /// The key, as records keep it.
    #[must_use]
    pub fn key(&self) -> Option<String> {
        match self {
            Self::NotAsked => None,
            Self::SignedBy(key) => Some(key.to_string()),
        }
    }
}

/// The node's rules.
#[derive(Debug, Clone, Default)]
pub struct Policy {
    rules: Vec<SignatureRule>,
}

/// A signature that an image must have.
#[derive(Debug)]
pub struct Demand {
    reference: Reference,
    pattern: String,
    keys: Vec<Key>,
}

#[derive(Debug, Deserialize)]
struct Payload {
    critical: Critical,
}

#[derive(Debug, Deserialize)]
struct Critical {
    identity: Identity,
    image: SignedImage,
    #[serde(rename = "type")]
    kind: String,
}

#[derive(Debug, Deserialize)]
struct Identity {
    #[serde(rename = "docker-reference")]
    reference: String,
}

#[derive(Debug, Deserialize)]
struct SignedImage {
    #[serde(rename = "docker-manifest-digest")]
    digest: String,
}

impl Policy {
    /// These rules, of which the first that fits counts.
    #[must_use]
    pub fn new(rules: Vec<SignatureRule>) -> Self {
        Self { rules }
    }

    fn rule(&self, name: &str) -> Option<&SignatureRule> {
        self.rules.iter().find(|rule| rule.fits(name))
    }

    /// Refuses what a rule rejects by name alone, before anything is asked of a registry.
    ///
    /// # Errors
    /// It is rejected.
    pub fn check_name(&self, reference: &Reference) -> Result<(), Refused> {
        match self.rule(&reference.name()) {
            Some(rule) if rule.policy == SignaturePolicy::Reject => {
                Err(Refused::Rejected { name: reference.to_string(), pattern: rule.name.clone() })
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Refuses what is stored under a name: rules may have changed since it came.
    ///
    /// # Errors
    /// It is rejected, or wants a signature that its record does not tell of. [`Refused::is_final`] says which.
    pub fn check_stored(&self, record: &Record, reference: &Reference) -> Result<(), Refused> {
        self.check_name(reference)?;
        let Some(rule) = self.rule(&reference.name()) else { return Ok(()) };
        if rule.policy != SignaturePolicy::Signed {
            return Ok(());
        }
        let keys = keys(rule)?;
        if keys.iter().any(|key| record.signed_by == Some(key.digest.to_string())) {
            return Ok(());
        }
        let why = match &record.signed_by {
            Some(_) => {
                "the key that let in the one on this node is not among the rule's keys any more"
            }
            None => "none was asked for when the one on this node was pulled or imported",
        };
        Err(refuse(rule, reference, why))
    }

    /// Refuses an archive under a name that a rule rejects or wants signed: an archive carries no signature.
    ///
    /// # Errors
    /// It is refused.
    pub fn check_import(&self, reference: &Reference) -> Result<(), Refused> {
        self.check_name(reference)?;
        match self.rule(&reference.name()) {
            Some(rule) if rule.policy == SignaturePolicy::Signed => {
                Err(refuse(rule, reference, "an archive has none"))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// What the rules ask of an image that is about to come from a registry; `None` where they ask for nothing.
    ///
    /// # Errors
    /// It is rejected.
    pub fn demand(&self, reference: &Reference) -> Result<Option<Demand>, Refused> {
        self.check_name(reference)?;
        match self.rule(&reference.name()) {
            Some(rule) if rule.policy == SignaturePolicy::Signed => Ok(Some(Demand {
                reference: reference.clone(),
                pattern: rule.name.clone(),
                keys: keys(rule)?,
            })),
            Some(_) | None => Ok(None),
        }
    }
}

impl Demand {
    /// The key that signed this payload, which must be about the image with this digest.
    ///
    /// # Errors
    /// What is wrong with it, as half a sentence.
    pub fn judge(
        &self,
        payload: &[u8],
        signature: &[u8],
        digest: &Digest,
    ) -> Result<Digest, &'static str> {
        judge(payload, signature, digest, (&self.reference, &self.keys))
    }

    /// The key that signed this bundle of cosign 3, which must be about the image with this digest.
    ///
    /// # Errors
    /// What is wrong with it, as half a sentence.
    pub fn judge_bundle(&self, bundle: &[u8], digest: &Digest) -> Result<Digest, &'static str> {
        bundle::judge(bundle, digest, &self.keys)
    }

    /// The refusal of an image without a signature that counts.
    #[must_use]
    pub fn unmet(self, why: String) -> Refused {
        Refused::Unsigned { name: self.reference.to_string(), pattern: self.pattern, why }
    }
}

fn refuse(rule: &SignatureRule, reference: &Reference, why: &str) -> Refused {
    let (name, pattern) = (reference.to_string(), rule.name.clone());
    Refused::Unsigned { name, pattern, why: why.to_owned() }
}

fn keys(rule: &SignatureRule) -> Result<Vec<Key>, Refused> {
    rule.keys
        .iter()
        .map(|pem| Key::read(pem).ok_or_else(|| Refused::ReadKey { pattern: rule.name.clone() }))
        .collect()
}

/// The key that signed this payload, which must be about this image.
fn judge(
    payload: &[u8],
    signature: &[u8],
    digest: &Digest,
    (reference, keys): (&Reference, &[Key]),
) -> Result<Digest, &'static str> {
    // Only bytes that a trusted key signed are read.
    let signer =
        signer(keys, payload, signature).ok_or("no key of the rule made the one it has")?;
    let payload: Payload =
        serde_json::from_slice(payload).map_err(|_json| "what is signed is not about an image")?;
    let critical = payload.critical;
    if critical.kind != KIND || critical.image.digest != digest.to_string() {
        return Err("the one it has is about another image");
    }
    let identity = critical.identity.reference;
    let same = identity.parse::<Reference>().is_ok_and(|one| one.name() == reference.name());
    if !same {
        return Err("the one it has is for another repository");
    }
    Ok(signer.digest)
}

#[cfg(test)]
mod tests;
#[cfg(test)]
pub(crate) use tests::make_key;
