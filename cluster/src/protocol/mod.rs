//! `ferrite-node/1`: what a node and its relay, the agent of a member, say to one another. Only what is said; who carries it is
//! somebody else's business.
//!
//! Both ends send frames ([`frame`]), each a [`Message`] as JSON. A node begins with `hello`; the relay answers with `welcome`
//! and the version that both speak, or with `refused`. From then on the node says what it has and runs, and the relay streams
//! what concerns it. A relay lets a node write its own records only ([`may_write`]).
//!
//! What every node is told grows with the cluster, and a frame does not: a catalogue or a list of peers that is too long for one
//! goes in pieces ([`encode_in_pieces`]), which a [`Follower`] puts together. A node of a version that knows nothing of pieces
//! takes each for what it is without: of the catalogue it misses a part of services that are too long for a frame alone.

pub mod frame;
mod message;
mod pieces;
mod rights;
mod stream;

pub use message::{
    AssignmentDelta, AssignmentSnapshot, CatalogueDelta, CatalogueSnapshot, Hello, Inquiry,
    KeepAlive, Member, Message, PROTOCOL, Peer, PeersPiece, PeersSnapshot, REVOKED_SINCE,
    RevokedPiece, SPOKEN, SpecText, Standing, Unintelligible, VERSION, Welcome, agreed_version,
    decode, encode,
};
pub use pieces::encode_in_pieces;
pub use rights::{NotYours, may_write};
pub use stream::{Behind, Follower};
