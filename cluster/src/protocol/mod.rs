//! `ferrite-node/1`: what a node and its relay, the agent of a member, say to one another. Only what is said; who carries it is
//! somebody else's business.
//!
//! Both ends send frames ([`frame`]), each a [`Message`] as JSON. A node begins with `hello`; the relay answers with `welcome`
//! and the version that both speak, or with `refused`. From then on the node says what it has and runs, and the relay streams
//! what concerns it. A relay lets a node write its own records only ([`may_write`]).

pub mod frame;
mod message;
mod rights;
mod stream;

pub use message::{
    AssignmentDelta, AssignmentSnapshot, CatalogueDelta, CatalogueSnapshot, Hello, Inquiry,
    KeepAlive, Member, Message, PROTOCOL, Peer, PeersSnapshot, SpecText, Standing, Unintelligible,
    VERSION, Welcome, agreed_version, decode, encode,
};
pub use rights::{NotYours, may_write};
pub use stream::{Behind, Follower};
