//! `[cluster]`: which cluster the node belongs to, how it finds it, and what lets it in. A node without it is alone.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::cluster_network::{ClusterNetworkConfig, UnfitNetwork};
use super::registries::Secret;
use crate::cluster::{ClusterId, ClusterName, NotOne};
use crate::host;
use crate::names::API_PORT;

/// Most members that begin a cluster together; more only make every write slower.
pub const EXPECT_MAX: u8 = 7;
/// Most addresses that are asked.
pub const JOIN_MAX: usize = 64;
/// Shortest token, in bytes: 128 bits as hexadecimal digits. It is all that a stranger has to guess.
const TOKEN_MIN_BYTES: usize = 32;
/// Longest, in bytes: no more than a request to join may have for a word.
const TOKEN_MAX_BYTES: usize = 128;
/// Bytes of a root's fingerprint (SHA-256), as hexadecimal digits.
const FINGERPRINT_DIGITS: usize = 64;
const FINGERPRINT: &str = "sha256:";
/// Most labels, and their longest names and values.
const LABELS_MAX: usize = 64;
const LABEL_NAME_MAX_BYTES: usize = 63;
const LABEL_MAX_BYTES: usize = 253;

/// The cluster of a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "Written")]
pub struct ClusterConfig {
    /// ID: what the node belongs to, whatever else has this name.
    pub id: ClusterId,
    /// Name, which stands in the certificates.
    pub name: ClusterName,
    /// What every certificate of the cluster must come from.
    pub root: Root,
    /// What lets a machine in that the cluster does not know yet.
    pub token: Option<Token>,
    /// Where members are reached.
    pub join: Vec<JoinAddress>,
    /// What makes the node one that may run etcd.
    pub member: Option<MemberConfig>,
    /// What the cluster's network is to be, where this node begins the cluster.
    pub network: ClusterNetworkConfig,
}

/// The cluster's root: known before anything is asked, so that nobody is believed for having answered first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Root {
    /// Its certificate (PEM).
    Certificate(String),
    /// SHA-256 of its certificate (DER).
    Fingerprint(Fingerprint),
}

/// What only nodes have that may become members.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberConfig {
    /// So many nodes that may become members must be reachable and never have been members; then the one with the lowest
    /// ID begins the cluster.
    pub expect: u8,
    /// What certifies nodes and users.
    pub node_issuer: IssuerConfig,
    /// What certifies etcd's peers.
    pub peer_issuer: IssuerConfig,
}

/// A certificate that certifies others, and its key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IssuerConfig {
    /// Certificate (PEM), signed by the root.
    pub certificate: Certificate,
    /// Private key (PEM).
    pub key: PrivateKey,
}

/// A PEM text of one or more certificates. Whether they are any, who reads them says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Certificate(String);

/// A PEM text of a private key, which no log shows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PrivateKey(Secret);

/// SHA-256 of a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Fingerprint(pub [u8; FINGERPRINT_DIGITS / 2]);

/// What lets a machine in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Token(Secret);

/// Where a member is reached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct JoinAddress {
    /// Host name or address, IPv6 without brackets.
    pub host: String,
    /// Port.
    pub port: u16,
}

/// How it is written.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename = "cluster")]
struct Written {
    id: ClusterId,
    name: ClusterName,
    #[serde(skip_serializing_if = "Option::is_none")]
    root: Option<Certificate>,
    #[serde(skip_serializing_if = "Option::is_none")]
    root_fingerprint: Option<Fingerprint>,
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<Token>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    join: Vec<JoinAddress>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expect: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    node_issuer: Option<IssuerConfig>,
    #[serde(skip_serializing_if = "Option::is_none")]
    peer_issuer: Option<IssuerConfig>,
    #[serde(default, skip_serializing_if = "ClusterNetworkConfig::is_empty")]
    network: ClusterNetworkConfig,
}

/// Keys that do not go together. The words say what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
enum Together {
    #[error(
        "[cluster] needs `root` (the certificate) or `root_fingerprint`: without one anybody could say to be the cluster"
    )]
    NoRoot,
    #[error("[cluster] has both `root` and `root_fingerprint`: leave one out")]
    TwoRoots,
    #[error(
        "[cluster] has {0} and not {1}: a node that may become a member has `node_issuer`, `peer_issuer` and `expect`, any other none of them"
    )]
    HalfMember(&'static str, &'static str),
    #[error(
        "[cluster] may make this node a member, and members show the whole root: give `root` instead of `root_fingerprint`"
    )]
    MemberWithoutRoot,
    #[error(
        "[cluster] expect = {0}: it counts the nodes that begin the cluster together, 1 to {EXPECT_MAX}"
    )]
    Expect(u8),
    #[error(
        "[cluster] has no `token`, and without one nobody lets this node in: take the one that `ferrite config new` wrote"
    )]
    NoToken,
    #[error("[cluster] join has {0} addresses, and more than {JOIN_MAX} are not asked")]
    ManyAddresses(usize),
    #[error("[cluster.network]: {0}")]
    Network(#[from] UnfitNetwork),
}

impl TryFrom<Written> for ClusterConfig {
    type Error = Together;

    fn try_from(written: Written) -> Result<Self, Together> {
        let root = match (written.root, written.root_fingerprint) {
            (Some(root), None) => Root::Certificate(root.0),
            (None, Some(fingerprint)) => Root::Fingerprint(fingerprint),
            (None, None) => return Err(Together::NoRoot),
            (Some(_), Some(_)) => return Err(Together::TwoRoots),
        };
        let member = match (written.expect, written.node_issuer, written.peer_issuer) {
            (None, None, None) => None,
            (Some(expect), Some(node_issuer), Some(peer_issuer)) => {
                if !(1..=EXPECT_MAX).contains(&expect) {
                    return Err(Together::Expect(expect));
                }
                Some(MemberConfig { expect, node_issuer, peer_issuer })
            }
            (Some(_), None, _) => return Err(Together::HalfMember("`expect`", "`node_issuer`")),
            (Some(_), _, None) => return Err(Together::HalfMember("`expect`", "`peer_issuer`")),
            (None, Some(_), _) => return Err(Together::HalfMember("`node_issuer`", "`expect`")),
            (None, None, Some(_)) => return Err(Together::HalfMember("`peer_issuer`", "`expect`")),
        };
        match (&member, &root, &written.token) {
            (Some(_), Root::Fingerprint(_), _) => return Err(Together::MemberWithoutRoot),
            (None, _, None) => return Err(Together::NoToken),
            _ => {}
        }
        if written.join.len() > JOIN_MAX {
            return Err(Together::ManyAddresses(written.join.len()));
        }
        let Written { id, name, token, join, network, .. } = written;
        let machines = member.as_ref().map_or(1, |member| member.expect.into());
        network.check(machines, join.iter().map(|join| join.host.as_str()))?;
        Ok(Self { id, name, root, token, join, member, network })
    }
}

impl From<ClusterConfig> for Written {
    fn from(config: ClusterConfig) -> Self {
        let (root, root_fingerprint) = match config.root {
            Root::Certificate(text) => (Some(Certificate(text)), None),
            Root::Fingerprint(fingerprint) => (None, Some(fingerprint)),
        };
        let (expect, node_issuer, peer_issuer) = match config.member {
            Some(member) => {
                (Some(member.expect), Some(member.node_issuer), Some(member.peer_issuer))
            }
            None => (None, None, None),
        };
        let ClusterConfig { id, name, token, join, network, .. } = config;
        Self {
            id,
            name,
            root,
            root_fingerprint,
            token,
            join,
            expect,
            node_issuer,
            peer_issuer,
            network,
        }
    }
}

/// One block at least, and nothing in it that is not of such a block.
fn is_pem(text: &str, ends_with: &str) -> bool {
    let (begin, end) = (format!("{ends_with}-----"), "-----END ");
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let first = lines.next().unwrap_or_default();
    first.starts_with("-----BEGIN ")
        && first.ends_with(&begin)
        && lines.next_back().is_some_and(|last| last.starts_with(end) && last.ends_with(&begin))
}

impl TryFrom<String> for Certificate {
    type Error = NotOne;

    fn try_from(text: String) -> Result<Self, NotOne> {
        let rule = "it is the text from -----BEGIN CERTIFICATE----- to -----END CERTIFICATE-----, both with it";
        if is_pem(&text, "CERTIFICATE") {
            Ok(Self(text))
        } else {
            Err(NotOne::new(text.as_str(), "certificate", rule))
        }
    }
}

impl TryFrom<String> for PrivateKey {
    type Error = NotOne;

    fn try_from(text: String) -> Result<Self, NotOne> {
        let rule = "it is the text from -----BEGIN PRIVATE KEY----- to -----END PRIVATE KEY-----, both with it";
        if is_pem(&text, "PRIVATE KEY") {
            Ok(Self(Secret(text)))
        } else {
            // What was put here may be a key all the same.
            Err(NotOne::new("(secret)", "private key", rule))
        }
    }
}

impl TryFrom<String> for Fingerprint {
    type Error = NotOne;

    fn try_from(text: String) -> Result<Self, NotOne> {
        let read = || {
            let digits = text.strip_prefix(FINGERPRINT)?;
            let good = digits.len() == FINGERPRINT_DIGITS
                && digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
            let mut bytes = [0; FINGERPRINT_DIGITS / 2];
            for (index, byte) in bytes.iter_mut().enumerate() {
                *byte = u8::from_str_radix(digits.get(2 * index..2 * index + 2)?, 16).ok()?;
            }
            good.then_some(Self(bytes))
        };
        let rule = "it is `sha256:` and 64 hexadecimal digits in lower case";
        read().ok_or_else(|| NotOne::new(text.as_str(), "fingerprint", rule))
    }
}

impl From<Fingerprint> for String {
    fn from(fingerprint: Fingerprint) -> Self {
        let digits: String = fingerprint.0.iter().map(|byte| format!("{byte:02x}")).collect();
        format!("{FINGERPRINT}{digits}")
    }
}

impl TryFrom<String> for Token {
    type Error = NotOne;

    fn try_from(text: String) -> Result<Self, NotOne> {
        let good = (TOKEN_MIN_BYTES..=TOKEN_MAX_BYTES).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric());
        let rule = "it has 32 to 128 letters and digits, as `ferrite config new` makes one";
        if good { Ok(Self(Secret(text))) } else { Err(NotOne::new("(secret)", "token", rule)) }
    }
}

impl TryFrom<String> for JoinAddress {
    type Error = NotOne;

    fn try_from(text: String) -> Result<Self, NotOne> {
        let rule = "write `HOST:PORT` or `HOST`, an IPv6 address in brackets";
        let wrong = || NotOne::new(text.as_str(), "address", rule);
        if !host::is_host(&text) {
            return Err(wrong());
        }
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => {
                (host, port.parse().ok().filter(|port| *port != 0).ok_or_else(wrong)?)
            }
            Some(_) | None => (text.as_str(), API_PORT),
        };
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        Ok(Self { host: bare.unwrap_or(host).to_owned(), port })
    }
}

impl From<JoinAddress> for String {
    fn from(address: JoinAddress) -> Self {
        address.to_string()
    }
}

impl std::fmt::Display for JoinAddress {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { host, port } = self;
        if host.contains(':') {
            write!(formatter, "[{host}]:{port}")
        } else {
            write!(formatter, "{host}:{port}")
        }
    }
}

macro_rules! text_within {
    ($name:ident, $text:expr) => {
        impl From<$name> for String {
            fn from(within: $name) -> Self {
                $text(within)
            }
        }
    };
}

text_within!(Certificate, |within: Certificate| within.0);
text_within!(PrivateKey, |within: PrivateKey| within.0.0);
text_within!(Token, |within: Token| within.0.0);

impl Certificate {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl PrivateKey {
    /// The secret itself.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0.0
    }
}

impl Token {
    /// The secret itself.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0.0
    }
}

/// What is wrong with `[metadata]`, as one sentence.
pub(super) fn metadata_problem(labels: &BTreeMap<String, String>) -> Option<String> {
    let name = |byte: u8| byte.is_ascii_alphanumeric() || b"._-/".contains(&byte);
    if labels.len() > LABELS_MAX {
        return Some(format!(
            "[metadata] has {} labels, and at most {LABELS_MAX} are kept",
            labels.len()
        ));
    }
    labels.iter().find_map(|(label, value)| {
        let named = (1..=LABEL_NAME_MAX_BYTES).contains(&label.len()) && label.bytes().all(name);
        if !named {
            return Some(format!(
                "the label {label:?} in [metadata] has no name of letters, digits, `.`, `_`, `-` and `/`, at most {LABEL_NAME_MAX_BYTES}"
            ));
        }
        let good = value.len() <= LABEL_MAX_BYTES && !value.chars().any(char::is_control);
        (!good).then(|| {
            format!("the value of {label:?} in [metadata] is longer than {LABEL_MAX_BYTES} bytes, or has control characters in it")
        })
    })
}

#[cfg(test)]
#[path = "cluster_tests.rs"]
mod tests;
