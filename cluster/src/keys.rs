//! Keys in the store: the one place that knows how they are written.
//!
//! | key below `/ferrite/1/` | writer | content |
//! |---|---|---|
//! | `cluster` | who founds it, admins | [`crate::records::Cluster`] |
//! | `leader` | members, by compare-and-swap | [`crate::records::Leader`]; the fence is its revision of modification |
//! | `machines/ID` | the machine's relay | [`crate::records::Machine`] |
//! | `alive/ID` | the machine's relay, created only, with a lease | [`crate::records::Alive`] |
//! | `units/NAME` | members for a user | [`crate::records::Unit`] |
//! | `specs/HASH` | in the same transaction | [`crate::records::Spec`] |
//! | `assign/ID` | the leader | [`crate::records::Assignment`] |
//! | `state/ID` | the machine's relay | [`crate::records::State`] |
//! | `net/N` | the leader, created only | [`crate::records::Net`] |
//! | `join/tokens/DIGEST` | who founds it, admins; members spend it | [`crate::records::Token`] |
//! | `join/machines/ID` | members | [`crate::records::Admission`] |
//! | `revoked/SERIAL` | admins | [`crate::records::Revocation`] |
//! | `access/SERIAL` | admins | [`crate::records::Access`] |
//! | `forgotten/ID` | admins | [`crate::records::Forgotten`] |

use std::fmt;

use crate::names::{MachineId, SpecHash, TokenDigest, UnitName};

/// What all keys start with; the number is that of this arrangement of keys.
pub const PREFIX: &str = "/ferrite/1/";

/// A key of the store.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Key {
    /// What holds for the whole cluster.
    Cluster,
    /// Who leads.
    Leader,
    /// A machine, whether it is there or not.
    Machine(MachineId),
    /// The machine is there.
    Alive(MachineId),
    /// A unit that somebody submitted.
    Unit(UnitName),
    /// A version of a unit, for ever the same.
    Spec(SpecHash),
    /// What a machine is to run.
    Assign(MachineId),
    /// What a machine runs.
    State(MachineId),
    /// The machine that has this network.
    Net(u16),
    /// What lets machines in, by the token's digest.
    Token(TokenDigest),
    /// A machine that was let in.
    Admission(MachineId),
    /// A certificate that opens nothing any more, by its serial number.
    Revoked(String),
    /// A certificate that was given to a person, by its serial number.
    Access(String),
    /// A machine that was forgotten.
    Forgotten(MachineId),
}

/// A key that this version does not know.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("key {key}: {why}")]
pub struct UnknownKey {
    /// The key, as far as it is text.
    pub key: String,
    /// What is wrong with it.
    pub why: String,
}

impl Key {
    /// Understands a key.
    ///
    /// # Errors
    /// It is none of this version's.
    pub fn parse(bytes: &[u8]) -> Result<Self, UnknownKey> {
        let unknown = |why: String| UnknownKey { key: printable(bytes), why };
        let text = std::str::from_utf8(bytes).map_err(|error| unknown(error.to_string()))?;
        let rest = text
            .strip_prefix(PREFIX)
            .ok_or_else(|| unknown(format!("it does not start with {PREFIX}")))?;
        let (kind, name) = rest.split_once('/').unwrap_or((rest, ""));
        let name = name.to_owned();
        match kind {
            "cluster" if rest == kind => Ok(Self::Cluster),
            "leader" if rest == kind => Ok(Self::Leader),
            "machines" => machine(name).map(Self::Machine).map_err(unknown),
            "alive" => machine(name).map(Self::Alive).map_err(unknown),
            "assign" => machine(name).map(Self::Assign).map_err(unknown),
            "state" => machine(name).map(Self::State).map_err(unknown),
            "units" => {
                UnitName::try_from(name).map(Self::Unit).map_err(|bad| unknown(bad.to_string()))
            }
            "specs" => {
                SpecHash::try_from(name).map(Self::Spec).map_err(|bad| unknown(bad.to_string()))
            }
            "net" => match name.parse() {
                Ok(number) if format!("{number}") == name => Ok(Self::Net(number)),
                Ok(_) | Err(_) => Err(unknown(format!("a network's number is 0 to {}", u16::MAX))),
            },
            "join" => match name.split_once('/') {
                Some(("tokens", digest)) => TokenDigest::try_from(digest.to_owned())
                    .map(Self::Token)
                    .map_err(|bad| unknown(bad.to_string())),
                Some(("machines", id)) => {
                    machine(id.to_owned()).map(Self::Admission).map_err(unknown)
                }
                _ => Err(unknown("this version has no such kind of key".to_owned())),
            },
            "revoked" if is_serial(&name) => Ok(Self::Revoked(name)),
            "access" if is_serial(&name) => Ok(Self::Access(name)),
            "revoked" | "access" => {
                Err(unknown("a serial number has 1 to 64 hexadecimal digits".to_owned()))
            }
            "forgotten" => machine(name).map(Self::Forgotten).map_err(unknown),
            _ => Err(unknown("this version has no such kind of key".to_owned())),
        }
    }

    /// What all keys of machines' networks start with.
    #[must_use]
    pub fn nets() -> String {
        format!("{PREFIX}net/")
    }

    /// What all keys of tokens start with.
    #[must_use]
    pub fn tokens() -> String {
        format!("{PREFIX}join/tokens/")
    }

    /// What all keys of people's certificates start with.
    #[must_use]
    pub fn accesses() -> String {
        format!("{PREFIX}access/")
    }

    /// What all keys of revoked certificates start with.
    #[must_use]
    pub fn revocations() -> String {
        format!("{PREFIX}revoked/")
    }

    /// The key as it is stored.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        self.to_string().into_bytes()
    }
}

fn machine(name: String) -> Result<MachineId, String> {
    MachineId::try_from(name).map_err(|bad| bad.to_string())
}

/// A certificate's serial number, as it stands in a key.
#[must_use]
pub fn is_serial(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// Bytes of somebody's as one line for people.
fn printable(bytes: &[u8]) -> String {
    let most = bytes.get(..bytes.len().min(PRINTED_MAX_BYTES)).unwrap_or_default();
    String::from_utf8_lossy(most).chars().flat_map(char::escape_debug).collect()
}

/// Longest piece of a key that a message repeats.
const PRINTED_MAX_BYTES: usize = 160;

impl fmt::Display for Key {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(PREFIX)?;
        match self {
            Self::Cluster => out.write_str("cluster"),
            Self::Leader => out.write_str("leader"),
            Self::Machine(id) => write!(out, "machines/{id}"),
            Self::Alive(id) => write!(out, "alive/{id}"),
            Self::Unit(name) => write!(out, "units/{name}"),
            Self::Spec(hash) => write!(out, "specs/{hash}"),
            Self::Assign(id) => write!(out, "assign/{id}"),
            Self::State(id) => write!(out, "state/{id}"),
            Self::Net(number) => write!(out, "net/{number}"),
            Self::Token(digest) => write!(out, "join/tokens/{digest}"),
            Self::Admission(id) => write!(out, "join/machines/{id}"),
            Self::Revoked(serial) => write!(out, "revoked/{serial}"),
            Self::Access(serial) => write!(out, "access/{serial}"),
            Self::Forgotten(id) => write!(out, "forgotten/{id}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn known() -> Vec<Key> {
        let id: MachineId = "0123456789abcdef0123456789abcdef".parse().unwrap();
        vec![
            Key::Cluster,
            Key::Leader,
            Key::Machine(id.clone()),
            Key::Alive(id.clone()),
            Key::Unit("web@1".parse().unwrap()),
            Key::Spec(SpecHash::of(b"")),
            Key::Assign(id.clone()),
            Key::State(id),
            Key::Net(0),
            Key::Net(u16::MAX),
            Key::Token("ab".repeat(32).parse().unwrap()),
            Key::Admission("0123456789abcdef0123456789abcdef".parse().unwrap()),
            Key::Revoked("0a".to_owned()),
            Key::Access("0a".to_owned()),
            Key::Forgotten("0123456789abcdef0123456789abcdef".parse().unwrap()),
        ]
    }

    #[test]
    fn every_key_is_read_as_it_was_written() {
        for key in known() {
            assert_eq!(Key::parse(&key.bytes()), Ok(key.clone()), "{key}");
        }
    }

    #[test]
    fn what_is_no_key_is_refused_with_the_reason() {
        for (text, why) in [
            ("/other/1/leader", "does not start with /ferrite/1/"),
            ("/ferrite/1/", "no such kind"),
            ("/ferrite/1/leader/", "no such kind"),
            ("/ferrite/1/events/3", "no such kind"),
            ("/ferrite/1/machines/12", "is no machine ID"),
            ("/ferrite/1/machines", "is no machine ID"),
            ("/ferrite/1/units/..", "is no unit name"),
            ("/ferrite/1/units/a/b", "is no unit name"),
            ("/ferrite/1/specs/ab", "is no specification's hash"),
            ("/ferrite/1/join/tokens/ab", "is no token's digest"),
            ("/ferrite/1/join/machines/ab", "is no machine ID"),
            ("/ferrite/1/join/x", "no such kind"),
            ("/ferrite/1/revoked/xyz", "hexadecimal digits"),
            ("/ferrite/1/access/0A", "hexadecimal digits"),
            ("/ferrite/1/forgotten/0a", "is no machine ID"),
            ("/ferrite/1/net/01", "0 to 65535"),
            ("/ferrite/1/net/65536", "0 to 65535"),
        ] {
            let said = Key::parse(text.as_bytes()).unwrap_err().to_string();
            assert!(said.contains(why) && said.contains(text), "{text}: {said}");
        }
        assert!(Key::parse(b"/ferrite/1/\xff").unwrap_err().to_string().contains("utf-8"));
    }

    proptest! {
        #[test]
        fn a_key_is_understood_in_one_way_only(tail in "[a-z]{0,8}/?[-_.@/a-z0-9]{0,40}") {
            let bytes = format!("{PREFIX}{tail}").into_bytes();
            if let Ok(key) = Key::parse(&bytes) {
                prop_assert_eq!(key.bytes(), bytes);
            }
        }

        #[test]
        fn no_bytes_end_it(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            prop_assert!(Key::parse(&bytes).is_err() || bytes.starts_with(PREFIX.as_bytes()));
        }
    }
}
