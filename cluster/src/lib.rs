//! The heart of the cluster: what is stored, who decides, what is decided, and what nodes tell one another.
//!
//! | module | what it knows |
//! |---|---|
//! | [`keys`], [`names`], [`records`] | what is stored, and below which key |
//! | [`store`] | the store as everybody sees it; etcd's, and one in memory |
//! | [`engine`] | what is placed where, and why: pure |
//! | [`leadership`], [`presence`] | who leads, and which machines are there: pure |
//! | [`lead`] | the leader's loop around those |
//! | [`catalogue`] | which services are answered for by whom: pure |
//! | [`outlook`], [`numbers`] | what a member tells every node, and which network a machine has: pure |
//! | [`protocol`] | what a node and its relay say to one another: pure |
//! | [`transactions`] | how machines join and report, and units are submitted |
//!
//! Never runs a unit, opens a port or reads a file: whoever wires it gives it a store and hears what is to be done.

pub mod catalogue;
pub mod engine;
pub mod keys;
pub mod lead;
pub mod leadership;
pub mod names;
pub mod numbers;
pub mod outlook;
pub mod presence;
pub mod protocol;
pub mod records;
pub mod store;
pub mod transactions;
