//! The cluster's store, as everybody here sees it: etcd, a relay in front of it, or memory. Nobody else knows which.
//!
//! Its rules are etcd's. The store has a revision, which each transaction that changes something raises by one, and which all
//! that it changed then carries. A key knows the revisions that made and last changed it. A lease that ends takes its keys along.

mod cluster_store;
mod entry;
mod etcd;
mod history;
mod maintenance;
mod membership;
mod memory;
mod problem;
mod transaction;

pub use cluster_store::{ClusterStore, Watch};
pub use entry::{Change, Entry, LeaseId, Listing, Revision};
pub use etcd::{Etcd, RaftStatus};
pub use maintenance::{Maintenance, OwnStatus, Snapshot};
pub use membership::{EtcdMember, PEER_PORT, machine_of, peer_url};
pub use memory::Memory;
pub use problem::{Refusal, StoreProblem, WatchEnd};
pub use transaction::{
    Compare, Compared, OPERATIONS_MAX, Operation, Outcome, REQUEST_MAX_BYTES, Transaction,
};
