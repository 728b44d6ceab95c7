//! How a machine asks to belong to a cluster, and what it is answered (`ferrite-join/1`).
//!
//! Machines of one cluster are upgraded one at a time: what a newer one says beyond these keys is passed over.

use serde::{Deserialize, Serialize};

use crate::cluster::{ClusterId, ClusterName, MachineId};
use crate::node_config::Secret;

/// The protocol's name in TLS (ALPN), on the API's port.
pub const PROTOCOL: &[u8] = b"ferrite-join/1";
/// The one request, a POST with a JSON document.
pub const PATH: &str = "/v1/join";
/// Longest request, in bytes. An ECDSA request for a certificate has some 400.
pub const REQUEST_MAX_BYTES: usize = 4096;
/// Longest answer that is read, in bytes: three certificates and some addresses.
pub const ANSWER_MAX_BYTES: usize = 64 * 1024;
/// Longest text of a token, a digest or a boot ID, in bytes.
pub const WORD_MAX_BYTES: usize = 128;

/// What a machine says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinRequest {
    /// The cluster that it wants to belong to.
    pub cluster: ClusterId,
    /// The machine.
    pub machine: MachineId,
    /// What its configuration has for a token; a machine that the cluster knows needs none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<Secret>,
    /// Request for a certificate (PKCS #10, PEM). Only its key counts, and that it is signed with it.
    pub csr: String,
    /// Digest of what the machine is made of; a copy of its disk in another machine has another one.
    pub hardware: String,
    /// The kernel's ID of this boot; a copy of a machine's disk has another one.
    pub boot: String,
}

/// What it is answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinAnswer {
    /// The machine's certificate, then the issuer's, then the root (PEM).
    pub certificate: String,
    /// The cluster.
    pub cluster: ClusterRecord,
}

/// What a machine keeps of its cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterRecord {
    /// ID.
    pub id: ClusterId,
    /// Name.
    pub name: ClusterName,
    /// How often the cluster was recovered from a loss of its records; starts with 1.
    #[serde(default = "first_epoch")]
    pub epoch: u64,
    /// Where members are reached, as `HOST:PORT`.
    #[serde(default)]
    pub members: Vec<String>,
}

const fn first_epoch() -> u64 {
    1
}

/// A refusal that a machine can understand without reading the sentence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinRefusal {
    /// Which.
    pub reason: RefusalReason,
    /// The sentence: what is wrong and what to do.
    pub error: String,
}

/// Why a machine may not belong to the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RefusalReason {
    /// The request cannot be understood.
    BadRequest,
    /// It asks for another cluster.
    OtherCluster,
    /// The token is not known here, or there is none.
    WrongToken,
    /// The token was for so many machines, and they have come.
    TokenUsedUp,
    /// The token's time is over.
    TokenExpired,
    /// A machine of this ID is alive, and is another one.
    Clone,
    /// A machine of this ID is known with another key.
    OtherKey,
    /// A certificate of this machine was revoked.
    Revoked,
    /// The answering node cannot say now: try again, or another one.
    Unavailable,
    /// A reason that this version does not know.
    #[serde(other)]
    Unknown,
}
