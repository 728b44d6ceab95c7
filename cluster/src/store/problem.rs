//! What the store does not do, and why.

use super::entry::Revision;

/// A request that the store does not carry out, however often it is asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// There is no such lease, or it has ended.
    #[error("there is no such lease, or it has ended")]
    NoLease,
    /// There is a lease of this number.
    #[error("there is a lease of this number already")]
    LeaseExists,
    /// A key is changed twice in one transaction.
    #[error("a transaction changes a key twice")]
    DuplicateKey,
    /// A transaction has more than [`OPERATIONS_MAX`] operations or comparisons.
    #[error("a transaction has too many operations")]
    TooManyOperations,
    /// A request has more than [`REQUEST_MAX_BYTES`].
    #[error("a request is too big")]
    TooBig,
    /// A key is empty.
    #[error("a key is empty")]
    EmptyKey,
    /// The revision was compacted before.
    #[error("the revision is compacted already")]
    Compacted,
    /// The revision is not there yet.
    #[error("the revision is not there yet")]
    Future,
    /// etcd's disk quota is used up.
    #[error("the store's space is used up")]
    NoSpace,
}

/// The store did not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreProblem {
    /// It will not.
    #[error("the cluster's store refuses: {0}")]
    Refused(#[from] Refusal),
    /// It cannot now. A transaction may have been carried out all the same.
    #[error("reach the cluster's store: {why}")]
    Unavailable {
        /// Why.
        why: String,
    },
}

/// Why a watch has ended. Whoever watches lists again and watches from there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WatchEnd {
    /// What it would have to tell is forgotten.
    #[error("the store remembers nothing before revision {oldest}")]
    Compacted {
        /// The store knows what happened from this revision on.
        oldest: Revision,
    },
    /// The connection is gone.
    #[error("the watch was cut off: {why}")]
    CutOff {
        /// Why.
        why: String,
    },
}
