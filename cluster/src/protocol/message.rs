//! Messages.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::catalogue::{Catalogue, Delta, Service};
use crate::names::{MachineId, SpecHash, UnitName, path_of, said};
use crate::records::{Assigned, Machine, Networks, State};

/// Name of the protocol, for the upgrade of a connection.
pub const PROTOCOL: &str = "ferrite-node/1";
/// The version that this agent speaks best. With 2 came `revoked`.
pub const VERSION: u32 = 2;
/// The first version of nodes that are told which certificates open nothing any more.
pub const REVOKED_SINCE: u32 = 2;
/// The versions that it speaks.
pub const SPOKEN: [u32; 2] = [1, VERSION];

/// Something that a node or a relay says. Fields that a version does not know are passed over; of a message that it does not
/// know it says so ([`Unintelligible`]), and the agreed version says that it is not sent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum Message {
    /// A first word, too: somebody wants to know how the other one stands to the cluster. It is answered by `standing`, and
    /// that is all.
    Inquire(Inquiry),
    /// The answer.
    Standing(Standing),
    /// A first word, too: who has this image? It is answered by `image` or `refused`.
    SeekImage {
        /// Its name, or the digest of its manifest.
        image: String,
    },
    /// A first word, too: the image with this manifest is wanted. It is answered by `image` and the archive, or by `refused`.
    WantImage {
        /// Digest of its manifest.
        manifest: String,
    },
    /// The image is here.
    Image {
        /// What its name means.
        digest: String,
        /// So many bytes of an archive follow, an OCI layout, and they are no messages.
        #[serde(default)]
        archive_bytes: u64,
    },
    /// A node's first word.
    Hello(Hello),
    /// A relay's first word to a node that it knows.
    Welcome(Welcome),
    /// A relay's last word.
    Refused {
        /// Why, for people on the node's side.
        why: String,
        /// The node is a copy of a machine that is alive: what it has of the cluster's is that machine's.
        #[serde(default, skip_serializing_if = "is_false")]
        copy: bool,
        /// The cluster has forgotten the machine, or revoked its certificate: what it has of the cluster's is given to others.
        #[serde(default, skip_serializing_if = "is_false")]
        revoked: bool,
    },
    /// A node: its record.
    Register {
        /// The record.
        machine: Box<Machine>,
        /// What it runs now.
        state: State,
    },
    /// A node is there; or, from a relay to the raft leader's agent, all its nodes are.
    KeepAlive(KeepAlive),
    /// The answer to it: those whose lease is gone must register again.
    KeptAlive {
        /// The number of what is answered.
        number: u64,
        /// Machines whose lease is gone.
        gone: Vec<MachineId>,
        /// A read after the renewal has found the node there by its own lease. Where that is wanted alone.
        #[serde(default, skip_serializing_if = "is_false")]
        held: bool,
    },
    /// A node: what it runs.
    State {
        /// Counts its reports.
        number: u64,
        /// What it runs.
        state: State,
    },
    /// A relay: the report is in the store.
    Stored {
        /// The number of the report.
        number: u64,
    },
    /// A relay: all that the node is to run.
    Assignment(AssignmentSnapshot),
    /// A relay: what changed of it.
    AssignmentDelta(AssignmentDelta),
    /// A relay: who runs etcd, or is to.
    Members {
        /// All of them.
        members: Vec<Member>,
        /// A quorum was asked after this node had said `hello`: who is not among them is none.
        #[serde(default)]
        fresh: bool,
    },
    /// A node wants versions of units that it does not have.
    WantSpecs {
        /// Their hashes.
        hashes: Vec<SpecHash>,
    },
    /// A relay: a version of a unit.
    Spec(SpecText),
    /// A node wants these services' instances, or all where there is no list.
    Subscribe {
        /// Names of services.
        services: Option<Vec<String>>,
    },
    /// A relay: the catalogue.
    Catalogue(CatalogueSnapshot),
    /// A relay: what changed of it.
    CatalogueDelta(CatalogueDelta),
    /// A relay: the machines of the cluster's network, the node itself among them.
    Peers(PeersPiece),
    /// A relay: certificates that open nothing any more. To nodes of version 2.
    Revoked(RevokedPiece),
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it")]
const fn is_false(value: &bool) -> bool {
    !*value
}

/// Who asks another machine of the cluster how it stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inquiry {
    /// ID of the cluster that the asking one belongs to.
    pub cluster: String,
    /// Who asks.
    pub machine: MachineId,
    /// ID of its boot: by it a machine knows another one that has its ID.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot_id: Option<String>,
}

/// How a machine stands to the cluster. It decides who begins one, so that what is not known is never said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// The machine.
    pub machine: MachineId,
    /// ID of its boot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot_id: Option<String>,
    /// It may run etcd.
    pub eligible: bool,
    /// It runs etcd, or has begun to: its data may be the cluster's.
    pub member: bool,
    /// Its etcd answers: it can be a relay.
    pub serves: bool,
    /// Its etcd answers for itself, whether it agrees with others or not.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub answers: bool,
    /// The cluster's epoch, while it serves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<u64>,
    /// It has seen the cluster's store in any boot: there is a cluster, or there was one.
    pub knows: bool,
}

/// A machine that runs etcd, or is to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// The machine.
    pub machine: MachineId,
    /// Addresses at which it was last known.
    pub addresses: Vec<IpAddr>,
    /// It learns still, and has no vote.
    pub learner: bool,
}

/// A node's first word.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// Versions that it speaks.
    pub versions: Vec<u32>,
    /// ID of the cluster that it belongs to.
    pub cluster: String,
    /// Who it is. The relay believes the certificate, and compares.
    pub machine: MachineId,
    /// ID of its boot.
    pub boot_id: String,
    /// Digest of what it is made of: by it a restart is told from a copy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hardware: Option<String>,
    /// What it understands of units.
    pub level: u32,
}

/// A relay's first word.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Welcome {
    /// The version that is spoken from now on.
    pub version: u32,
    /// The cluster's epoch: what was cached in an earlier one counts for nothing.
    pub epoch: u64,
    /// The relay.
    pub relay: MachineId,
    /// Seconds after which a node that says nothing is gone.
    pub ttl_s: u32,
    /// Milliseconds within which etcd elects a leader; absent from relays that do not say it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub election_ms: Option<u32>,
}

/// Machines are there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeepAlive {
    /// Counts them.
    pub number: u64,
    /// Machines that said so since the last one; a node names itself.
    pub machines: Vec<MachineId>,
    /// It is wanted to be known whether the renewal counts: the node runs what must not run twice.
    #[serde(default, skip_serializing_if = "is_false")]
    pub asks: bool,
}

/// All that a node is to run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AssignmentSnapshot {
    /// Revision of the store.
    pub revision: i64,
    /// By the instance's name.
    pub instances: BTreeMap<UnitName, Assigned>,
}

/// What changed of what a node is to run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AssignmentDelta {
    /// Revision that it starts from.
    pub base: i64,
    /// Revision that it leads to.
    pub revision: i64,
    /// New, or changed.
    pub put: BTreeMap<UnitName, Assigned>,
    /// Gone.
    pub removed: Vec<UnitName>,
}

/// A version of a unit, as it is stored: its hash is of these bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpecText {
    /// Its hash.
    pub hash: SpecHash,
    /// The record; absent where there is none of this hash.
    pub text: Option<String>,
}

/// The catalogue as one member sees it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CatalogueSnapshot {
    /// Counts the relay's catalogues.
    pub revision: i64,
    /// The catalogue.
    pub catalogue: Catalogue,
    /// It is the beginning of one: it counts once pieces have come that lead to the same revision, up to one without this.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub more: bool,
}

/// What changed of the catalogue.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CatalogueDelta {
    /// Revision that it starts from.
    pub base: i64,
    /// Revision that it leads to.
    pub revision: i64,
    /// What changed.
    pub delta: Delta,
    /// Further instances of services that a piece before this one began.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub further: BTreeMap<String, Service>,
    /// It is a piece of what changed: all of it counts once one has come without this.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub more: bool,
}

/// The cluster's network: who is in it, and where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeersSnapshot {
    /// Networks that machines have theirs of.
    pub networks: Networks,
    /// All machines that are known, whether they are there or not.
    pub peers: BTreeMap<MachineId, Peer>,
}

/// The cluster's network, or a piece of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeersPiece {
    /// The networks, and machines.
    #[serde(flatten)]
    pub peers: PeersSnapshot,
    /// These machines are beside those of the piece before, and not all there are.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub further: bool,
    /// More pieces follow.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub more: bool,
}

impl From<PeersSnapshot> for PeersPiece {
    fn from(peers: PeersSnapshot) -> Self {
        Self { peers, further: false, more: false }
    }
}

/// Certificates that open nothing any more, or a piece of them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevokedPiece {
    /// Their serial numbers.
    pub serials: BTreeSet<String>,
    /// These are beside those of the piece before, and not all there are.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub further: bool,
    /// More pieces follow.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub more: bool,
}

impl From<BTreeSet<String>> for RevokedPiece {
    fn from(serials: BTreeSet<String>) -> Self {
        Self { serials, further: false, more: false }
    }
}

/// A machine of the cluster's network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peer {
    /// Its name for people.
    pub name: String,
    /// Number of its network; absent until it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub number: Option<u16>,
    /// Its public key, in base64; absent where it takes no part.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Addresses at which it is reached.
    pub addresses: Vec<IpAddr>,
    /// Longest packet that goes through its networks, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u32>,
}

/// A message that this version does not understand.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("understand a message: {field}: {why}")]
pub struct Unintelligible {
    /// Path of the field; `.` where it is the whole.
    pub field: String,
    /// What is wrong with it.
    pub why: String,
}

/// Understands a message.
///
/// # Errors
/// It is no JSON, of a type that this version does not know, or has a field that it must not have.
pub fn decode(bytes: &[u8]) -> Result<Message, Unintelligible> {
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let message: Message = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let field = path_of(error.path());
        Unintelligible { field, why: said(&error.into_inner().to_string()) }
    })?;
    reader
        .end()
        .map_err(|error| Unintelligible { field: ".".to_owned(), why: error.to_string() })?;
    check(&message)?;
    Ok(message)
}

/// A specification is what its hash says, whoever sent it.
fn check(message: &Message) -> Result<(), Unintelligible> {
    if let Message::Spec(SpecText { hash, text: Some(text) }) = message
        && SpecHash::of(text.as_bytes()) != *hash
    {
        let why = format!("it is not what its hash {hash} says");
        return Err(Unintelligible { field: "text".to_owned(), why });
    }
    Ok(())
}

/// A message's bytes.
///
/// # Errors
/// Never in practice: all that messages have can be JSON.
pub fn encode(message: &Message) -> Result<Vec<u8>, Unintelligible> {
    serde_json::to_vec(message)
        .map_err(|error| Unintelligible { field: ".".to_owned(), why: error.to_string() })
}

/// The highest version that both ends speak.
#[must_use]
pub fn agreed_version(theirs: &[u32]) -> Option<u32> {
    theirs.iter().copied().filter(|version| SPOKEN.contains(version)).max()
}

#[cfg(test)]
mod tests;
