//! Names that occur in keys: checked once, where they come in.

use std::fmt;

pub use ferrite_schema::cluster::MachineId;
use ferrite_schema::unit::names::is_unit_name;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// A text that is no name of the kind that was expected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{}` is no {kind}: {rule}", shown(text))]
pub struct BadName {
    /// What it should have been.
    pub kind: &'static str,
    /// What was found.
    pub text: String,
    /// What one looks like.
    pub rule: &'static str,
}

/// Longest piece of somebody's text that a message repeats, in characters.
const SHOWN_MAX: usize = 80;

/// Somebody's text, fit for a message of one line.
fn shown(text: &str) -> String {
    let mut shown: String = text.chars().take(SHOWN_MAX).flat_map(char::escape_debug).collect();
    if text.chars().nth(SHOWN_MAX).is_some() {
        shown.push('…');
    }
    shown
}

/// Longest that is said of somebody's document, in characters.
const SAID_MAX: usize = 300;

/// What a decoder says of somebody's document, with pieces of that in it: fit for a message of one line.
pub(crate) fn said(text: &str) -> String {
    let mut said = String::new();
    for letter in text.chars().take(SAID_MAX) {
        if letter.is_control() {
            said.extend(letter.escape_default());
        } else {
            said.push(letter);
        }
    }
    if text.chars().nth(SAID_MAX).is_some() {
        said.push('…');
    }
    said
}

/// The path of a field in somebody's document; `.` for the whole, and where its name is nothing.
pub(crate) fn path_of(path: &impl fmt::Display) -> String {
    let path = said(&path.to_string());
    if path.is_empty() { ".".to_owned() } else { path }
}

/// A type whose values are texts that keep a rule.
macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $kind:literal, $check:expr, $rule:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = BadName;

            fn try_from(text: String) -> Result<Self, BadName> {
                let fits: fn(&str) -> bool = $check;
                if fits(&text) {
                    Ok(Self(text))
                } else {
                    Err(BadName { kind: $kind, text, rule: $rule })
                }
            }
        }

        impl std::str::FromStr for $name {
            type Err = BadName;

            fn from_str(text: &str) -> Result<Self, BadName> {
                Self::try_from(text.to_owned())
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str(&self.0)
            }
        }
    };
}

name!(
    /// Name of a unit, of a template (`web@`) or of one instance (`web@1`).
    UnitName,
    "unit name",
    is_unit_name,
    "it has letters, digits, `-`, `_` and `.`, at most 64 bytes, and `@` before an instance's name"
);

name!(
    /// SHA-256 of a specification's bytes, in hexadecimal: what is below its key never changes.
    SpecHash,
    "specification's hash",
    is_digest,
    "it has 64 hexadecimal digits in lower case"
);

name!(
    /// SHA-256 of a token, in hexadecimal: the token itself is nowhere in the store.
    TokenDigest,
    "token's digest",
    is_digest,
    "it has 64 hexadecimal digits in lower case"
);

fn is_digest(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

impl SpecHash {
    /// The hash of these bytes.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(hex::encode(Sha256::digest(bytes)))
    }
}

impl UnitName {
    /// It is a template's: it never runs itself.
    #[must_use]
    pub fn is_template(&self) -> bool {
        ferrite_schema::unit::template::is_template(&self.0)
    }

    /// Name of the replica with this number, counted from 1: `web@3`. There is none for a name that has an `@` or is too
    /// long for it.
    #[must_use]
    pub fn replica(&self, number: u32) -> Option<Self> {
        if self.0.contains('@') {
            return None;
        }
        Self::try_from(format!("{}@{number}", self.0)).ok()
    }

    /// The unit whose replica this may be, and which: `web` and 3 for `web@3`. Only a number as [`Self::replica`] writes it counts.
    #[must_use]
    pub fn replica_of(&self) -> Option<(Self, u32)> {
        let (prefix, number) = self.0.split_once('@')?;
        let number: u32 = number.parse().ok()?;
        let unit = Self::try_from(prefix.to_owned()).ok()?;
        (unit.replica(number).as_ref() == Some(self)).then_some((unit, number))
    }

    /// The service that answers for it: what is before `@`.
    #[must_use]
    pub fn service(&self) -> &str {
        self.0.split_once('@').map_or(self.0.as_str(), |(prefix, _)| prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replica_knows_its_unit_and_nothing_else_does() {
        let web: UnitName = "web".parse().unwrap();
        let third = web.replica(3).unwrap();
        assert_eq!(third.as_str(), "web@3");
        assert_eq!(third.replica_of(), Some((web, 3)));
        assert_eq!(third.replica(1), None);
        for none in ["web", "web@", "web@03", "web@x", "web@3.0", "web@99999999999"] {
            assert_eq!(none.parse::<UnitName>().unwrap().replica_of(), None, "{none}");
        }
        let long: UnitName = "x".repeat(64).parse().unwrap();
        assert_eq!(long.replica(1), None);
    }

    #[test]
    fn what_is_no_name_is_said_in_one_short_line() {
        let said = "../\n".repeat(100).parse::<UnitName>().unwrap_err().to_string();
        assert!(said.starts_with("`../\\n../\\n"), "{said}");
        assert!(!said.contains('\n') && said.chars().count() < 320, "{said}");
        assert!("0123456789ABCDEF0123456789abcdef".parse::<MachineId>().is_err());
        assert!(serde_json::from_str::<MachineId>("\"0123\"").is_err());
    }
}
