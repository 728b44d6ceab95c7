//! Secrets of the node's configuration as files in a container.

use std::fmt;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use super::bad_value::{BadValue, bad};
use super::container_check::is_plain_path;
use super::definition::Unit;
use super::names::is_plain_name;

/// Where secrets are that have no place of their own.
pub const SECRETS_FOLDER: &str = "/run/secrets";
/// Most files of one unit.
const SECRETS_MAX: usize = 64;
/// What is the runtime's own in a container.
const RESERVED: [&str; 3] = ["/dev", "/proc", "/sys"];

/// A secret of the node's configuration (`[secrets]`) as a file that the unit's user alone can read: its name, or a table where
/// the file has a place of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(untagged)]
pub enum SecretFile {
    /// In `/run/secrets`, by its name.
    Named(String),
    /// Somewhere else.
    Placed(PlacedSecret),
}

/// A secret whose file has a place of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct PlacedSecret {
    /// Its name in the node's configuration.
    pub name: String,
    /// Where its file is in the container.
    pub target: String,
}

impl SecretFile {
    /// Its name in the node's configuration.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Named(name) => name,
            Self::Placed(placed) => &placed.name,
        }
    }

    /// Where its file is in the container.
    #[must_use]
    pub fn target(&self) -> String {
        match self {
            Self::Named(name) => format!("{SECRETS_FOLDER}/{name}"),
            Self::Placed(placed) => placed.target.clone(),
        }
    }
}

/// By hand: what is wrong with a table is said of its key, and not of the table.
impl<'de> Deserialize<'de> for SecretFile {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;

        impl<'de> Visitor<'de> for Either {
            type Value = SecretFile;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("a secret's name, or a table of `name` and `target`")
            }

            fn visit_str<E: Error>(self, name: &str) -> Result<SecretFile, E> {
                Ok(SecretFile::Named(name.to_owned()))
            }

            fn visit_map<A: MapAccess<'de>>(self, table: A) -> Result<SecretFile, A::Error> {
                PlacedSecret::deserialize(MapAccessDeserializer::new(table)).map(SecretFile::Placed)
            }
        }

        deserializer.deserialize_any(Either)
    }
}

/// `path` is `folder`, or something in it.
fn is_in(path: &str, folder: &str) -> bool {
    path.strip_prefix(folder).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

pub(super) fn check(unit: &Unit) -> Result<(), BadValue> {
    if unit.secrets.len() > SECRETS_MAX {
        return bad(["secrets"], format!("use at most {SECRETS_MAX}"));
    }
    let mut targets: Vec<String> = Vec::new();
    for (index, secret) in unit.secrets.iter().enumerate() {
        let index = index.to_string();
        if !is_plain_name(secret.name()) {
            return bad(["secrets", &index], "name a secret of the node's `[secrets]`");
        }
        let target = secret.target();
        self::target(&target, &index)?;
        if targets.iter().any(|other| is_in(&target, other) || is_in(other, &target)) {
            let why =
                format!("another secret has its file at {target} already, or above or below it");
            return bad(["secrets", &index], why);
        }
        targets.push(target);
    }
    volumes(unit, &targets)
}

fn target(target: &str, index: &str) -> Result<(), BadValue> {
    let at = ["secrets", index, "target"];
    if !is_plain_path(target) {
        return bad(at, "use an absolute path in the container, without `.`, `..` and a last `/`");
    }
    let reserved = RESERVED.iter().any(|folder| is_in(target, folder));
    if reserved || target == "/" || target == SECRETS_FOLDER {
        let why = "it is a file of its own: not the root, not /run/secrets itself, and nothing in /dev, /proc and /sys";
        return bad(at, why);
    }
    Ok(())
}

/// Secrets are mounted after volumes, and would hide those that are where they are.
fn volumes(unit: &Unit, targets: &[String]) -> Result<(), BadValue> {
    let in_folder = targets.iter().any(|target| is_in(target, SECRETS_FOLDER));
    let folder = in_folder.then(|| SECRETS_FOLDER.to_owned());
    for (index, volume) in unit.volumes.iter().enumerate() {
        let hides = |place: &&String| is_in(&volume.target, place);
        if let Some(place) = targets.iter().chain(&folder).find(hides) {
            let at = ["volumes", &index.to_string(), "target"];
            return bad(
                at,
                format!("the unit's secrets are at {place}: use another place for one of the two"),
            );
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::unit::parse;

    fn unit(more: &str) -> Result<Unit, String> {
        let text = format!("name = \"web\"\nimage = \"i\"\n{more}");
        parse(&text).map_err(|problem| problem.to_string())
    }

    #[test]
    fn a_name_or_a_table_says_which_secret_is_where() {
        let text = "secrets = [\"db\", { name = \"tls.key\", target = \"/etc/tls/key.pem\" }]";
        let unit = unit(text).unwrap();
        let files: Vec<_> =
            unit.secrets.iter().map(|s| (s.name().to_owned(), s.target())).collect();
        let expected = [("db", "/run/secrets/db"), ("tls.key", "/etc/tls/key.pem")];
        assert_eq!(files, expected.map(|(name, target)| (name.to_owned(), target.to_owned())));
        // As the API and the store have it.
        let written = toml::to_string(&unit).unwrap();
        assert!(written.contains("secrets = [\"db\", { name = "), "{written}");
        assert_eq!(parse(&written).unwrap(), unit);
    }

    #[test]
    fn what_cannot_be_is_refused_where_it_stands() {
        for (text, words) in [
            ("secrets = [\"../x\"]", "line 3, column 12: secrets[1]: name a secret"),
            ("secrets = [\"\"]", "secrets[1]: name a secret"),
            ("secrets = [\"db\", \"db\"]", "line 3, column 18: secrets[2]: another secret"),
            (
                "secrets = [1]",
                "line 3, column 12: invalid type: integer `1`, expected a secret's name",
            ),
            ("secrets = \"db\"", "line 3, column 11: invalid type: string"),
            // What other engines call it.
            ("secrets = [{ source = \"db\", target = \"/x\" }]", "unknown field `source`"),
            (
                "secrets = [{ name = \"db\", target = \"/x\", mode = 0o444 }]",
                "unknown field `mode`",
            ),
            ("secrets = [{ name = \"db\" }]", "missing field `target`"),
            (
                "secrets = [{ name = \"db\", target = \"x\" }]",
                "secrets[1].target: use an absolute path",
            ),
            ("secrets = [{ name = \"db\", target = \"/a/../x\" }]", "use an absolute path"),
            ("secrets = [{ name = \"db\", target = \"/run/secrets\" }]", "a file of its own"),
            ("secrets = [{ name = \"db\", target = \"/\" }]", "a file of its own"),
            ("secrets = [{ name = \"db\", target = \"/proc/x\" }]", "a file of its own"),
            ("secrets = [{ name = \"db\", target = \"/dev/shm/x\" }]", "a file of its own"),
            (
                "secrets = [\"a\", { name = \"b\", target = \"/run/secrets/a/b\" }]",
                "secrets[2]: another",
            ),
            (
                "secrets = [\"a\"]\n[[volumes]]\ntmpfs = \"1MiB\"\ntarget = \"/run/secrets\"",
                "line 6, column 1: volumes[1].target: the unit's secrets",
            ),
            (
                "secrets = [\"a\"]\n[[volumes]]\nname = \"v\"\ntarget = \"/run/secrets/k8s\"",
                "the unit's secrets are at /run/secrets",
            ),
            (
                "secrets = [{ name = \"a\", target = \"/x/y\" }]\n[[volumes]]\nname = \"v\"\ntarget = \"/x/y\"",
                "the unit's secrets are at /x/y",
            ),
        ] {
            let problem = unit(text).unwrap_err();
            assert!(problem.contains(words), "{text}: {problem}");
        }
        let many: Vec<String> = (0..=SECRETS_MAX).map(|number| format!("\"s{number}\"")).collect();
        let problem = unit(&format!("secrets = [{}]", many.join(", "))).unwrap_err();
        assert!(problem.contains("use at most 64"), "{problem}");
    }

    #[test]
    fn what_can_be_is_taken() {
        for text in [
            "secrets = [\"a\"]\n[[volumes]]\ntmpfs = \"1MiB\"\ntarget = \"/run\"",
            "secrets = [{ name = \"a\", target = \"/x/y\" }]\n[[volumes]]\nname = \"v\"\ntarget = \"/x\"",
            // Elsewhere, that folder is as any other.
            "secrets = [{ name = \"a\", target = \"/x\" }]\n[[volumes]]\nname = \"v\"\ntarget = \"/run/secrets\"",
            // The same one for two programs of an image.
            "secrets = [\"a\", { name = \"a\", target = \"/x\" }]",
            "secrets = [{ name = \"a\", target = \"/run/secrets/sub/a\" }, \"ab\", \"a.b\"]",
        ] {
            unit(text).unwrap();
        }
        let template = "name = \"web@\"\nimage = \"i\"\nsecrets = [\"key-%i\"]";
        let instance = crate::unit::instance(&parse(template).unwrap(), "web@7").unwrap();
        assert_eq!(instance.secrets, [SecretFile::Named("key-7".to_owned())]);
    }
}
