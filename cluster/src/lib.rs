//! The heart of the cluster: what is stored, who decides, what is decided, and what nodes tell one another.
//!
//! Never runs a unit, opens a port or reads a file: whoever wires it gives it a store and hears what is to be done.

pub mod engine;
pub mod keys;
pub mod lead;
pub mod leadership;
pub mod names;
pub mod presence;
pub mod records;
pub mod store;
pub mod transactions;
