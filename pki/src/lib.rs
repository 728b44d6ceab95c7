//! Certificates of a cluster: how they are made, asked for, read and believed. One way for the operator's computer, for
//! clusters on it, and for nodes. Nothing here does I/O.
//!
//! A root, which stays with the operator, certifies two issuers: one for nodes and users, one for etcd's peers. Leaves name
//! who they are for (`MACHINE.node.CLUSTER`, or a person) and what that one may do (`ferrite://CLUSTER-ID/ROLE`), and no
//! address.

mod dates;
mod facts;
mod make;
mod request;
mod secret;
mod verify;

pub use dates::{BACKDATED, Dates};
pub use facts::{
    Facts, ReadCertificate, certificates, facts, fingerprint, first_facts, is_signed_by,
};
pub use make::{
    Identity, Issuer, Leaf, MakeCertificate, NODE_LIFE, Name, UseIssuer, Uses, make_root,
    node_leaf, peer_leaf, user_leaf,
};
pub use request::{MakeRequest, ReadRequest, RequestedKey, make_key, make_request, read_request};
pub use secret::{DrawSecret, digest, draw};
pub use verify::{NodeVerifier, Pin, Unbelieved, sentence};

#[cfg(test)]
mod tests;
