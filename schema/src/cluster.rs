//! What a cluster and its machines are called, and what somebody with a certificate of it may do.
//!
//! A machine's name in its certificate is `MACHINE.node.CLUSTER`: its ID, never an address, since addresses change.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Digits of a cluster's and of a machine's ID: 128 bits.
const ID_DIGITS: usize = 32;
/// Longest name of a cluster: a label of a domain name (RFC 1035, section 2.3.4).
const NAME_MAX_BYTES: usize = 63;
/// What a machine's name has between its ID and its cluster.
const NODE: &str = ".node.";
/// Most of a text that a message repeats.
const SHOWN_MAX_CHARS: usize = 80;
/// How a role begins that stands in a certificate.
const ROLE: &str = "ferrite://";

/// A text that is not what it should be. The words say what would be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no {what}: {rule}")]
pub struct NotOne {
    text: String,
    what: &'static str,
    rule: &'static str,
}

impl NotOne {
    pub(crate) fn new(text: impl Into<String>, what: &'static str, rule: &'static str) -> Self {
        let text = text.into().chars().take(SHOWN_MAX_CHARS).collect();
        Self { text, what, rule }
    }
}

/// A cluster's ID: 32 hexadecimal digits, drawn once. Two clusters may have one name, never one ID.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ClusterId(String);

/// A cluster's name for people: a label of a domain name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ClusterName(String);

/// A machine's ID: 32 hexadecimal digits, made on its first boot.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MachineId(String);

/// What a machine is called in its certificate: `MACHINE.node.CLUSTER`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MachineName {
    /// The machine.
    pub machine: MachineId,
    /// The cluster that it belongs to.
    pub cluster: ClusterName,
}

/// What somebody may do, as the certificate says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Everything.
    Admin,
    /// Run units, and what belongs to that.
    Operator,
    /// Look.
    Reader,
    /// Be a machine of the cluster.
    Node,
    /// Be an etcd beside the others; it opens no door of the API.
    Peer,
}

impl Role {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Admin, Self::Operator, Self::Reader, Self::Node, Self::Peer];

    /// The word for it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Operator => "operator",
            Self::Reader => "reader",
            Self::Node => "node",
            Self::Peer => "peer",
        }
    }

    /// How it stands in a certificate, as a URI: `ferrite://CLUSTER-ID/ROLE`.
    #[must_use]
    pub fn uri(self, cluster: &ClusterId) -> String {
        format!("{ROLE}{cluster}/{}", self.word())
    }

    /// The role that a URI of a certificate gives, and in which cluster; `None` where the URI is about something else.
    ///
    /// # Errors
    /// It is about a role, and this version does not know it.
    pub fn of_uri(uri: &str) -> Option<Result<(ClusterId, Self), NotOne>> {
        let rest = uri.strip_prefix(ROLE)?;
        let known = || {
            let (cluster, word) = rest.split_once('/')?;
            let role = Self::ALL.into_iter().find(|role| role.word() == word)?;
            Some((ClusterId::try_from(cluster.to_owned()).ok()?, role))
        };
        let rule =
            "known are ferrite://CLUSTER-ID/ with admin, operator, reader, node or peer behind it";
        Some(known().ok_or_else(|| NotOne::new(uri, "role", rule)))
    }
}

impl fmt::Display for Role {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.word())
    }
}

impl MachineName {
    /// Reads it; `None` where it is none.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (machine, cluster) = text.split_once(NODE)?;
        Some(Self {
            machine: MachineId::try_from(machine.to_owned()).ok()?,
            cluster: ClusterName::try_from(cluster.to_owned()).ok()?,
        })
    }
}

impl fmt::Display for MachineName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}{NODE}{}", self.machine, self.cluster)
    }
}

fn is_hex(text: &str, digits: usize) -> bool {
    text.len() == digits && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

fn is_label(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=NAME_MAX_BYTES).contains(&text.len())
        && text.bytes().all(inner)
        && !text.starts_with('-')
        && !text.ends_with('-')
}

const HEX_RULE: &str = "it has 32 hexadecimal digits in lower case";

/// What the three have in common: a text that was looked at.
macro_rules! checked_text {
    ($name:ident, $what:literal, $rule:expr, $good:expr) => {
        impl TryFrom<String> for $name {
            type Error = NotOne;

            fn try_from(text: String) -> Result<Self, NotOne> {
                if $good(&text) { Ok(Self(text)) } else { Err(NotOne::new(text, $what, $rule)) }
            }
        }

        impl From<$name> for String {
            fn from(checked: $name) -> Self {
                checked.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(&self.0)
            }
        }

        impl std::str::FromStr for $name {
            type Err = NotOne;

            fn from_str(text: &str) -> Result<Self, NotOne> {
                Self::try_from(text.to_owned())
            }
        }

        impl $name {
            /// The text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
    };
}

checked_text!(ClusterId, "cluster ID", HEX_RULE, |text| is_hex(text, ID_DIGITS));
checked_text!(MachineId, "machine ID", HEX_RULE, |text| is_hex(text, ID_DIGITS));
checked_text!(
    ClusterName,
    "cluster name",
    "use lower-case letters, digits and dashes, at most 63, with no dash at an end",
    is_label
);

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0123456789abcdef0123456789abcdef";

    #[test]
    fn a_machines_name_is_read_as_it_is_written() {
        let text = format!("{ID}.node.dev");
        let name = MachineName::parse(&text).unwrap();
        assert_eq!((name.machine.as_str(), name.cluster.as_str()), (ID, "dev"));
        assert_eq!(name.to_string(), text);
        let upper = ID.to_uppercase();
        for bad in [
            "dev",
            "node-1.node.dev",
            ".node.dev",
            &format!("{ID}.node."),
            &format!("{ID}.node.a.b"),
            &format!("{ID}.node.Dev"),
            &format!("{upper}.node.dev"),
            &format!("x{ID}.node.dev"),
        ] {
            assert_eq!(MachineName::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn roles_are_read_as_they_are_written_and_unknown_ones_are_named() {
        let cluster: ClusterId = ID.parse().unwrap();
        for role in Role::ALL {
            let uri = role.uri(&cluster);
            assert_eq!(Role::of_uri(&uri), Some(Ok((cluster.clone(), role))), "{uri}");
        }
        assert_eq!(Role::of_uri("https://example.org/admin"), None);
        for bad in ["ferrite://", "ferrite://x/admin", &format!("ferrite://{ID}/root")] {
            let said = Role::of_uri(bad).unwrap().unwrap_err().to_string();
            assert!(said.contains(bad) && said.contains("known are"), "{said}");
        }
    }

    #[test]
    fn names_of_clusters_are_labels() {
        for good in ["dev", "a", "prod-2", &"x".repeat(63)] {
            good.parse::<ClusterName>().unwrap();
        }
        for bad in ["", "-a", "a-", "A", "a.b", "a_b", "é", &"x".repeat(64)] {
            let said = bad.parse::<ClusterName>().unwrap_err().to_string();
            assert!(said.contains("lower-case letters"), "{said}");
        }
    }
}
