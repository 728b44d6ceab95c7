//! Changes that are carried out together.

use std::collections::BTreeMap;

use super::entry::{LeaseId, Revision};
use super::problem::Refusal;

/// Most operations, and most comparisons, of a transaction: etcd's default.
pub const OPERATIONS_MAX: usize = 128;
/// Most bytes of a request: etcd's default.
pub const REQUEST_MAX_BYTES: usize = 3 << 19;

/// Something that must hold of a key for a transaction to be carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compare {
    /// The key.
    pub key: Vec<u8>,
    /// What is looked at.
    pub what: Compared,
    /// What it must be; [`Revision::NONE`] where there must be no such key.
    pub is: Revision,
}

/// What a comparison looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compared {
    /// The revision that last changed the key.
    ModRevision,
    /// The revision that made the key.
    CreateRevision,
}

impl Compare {
    /// The key was last changed by this revision.
    pub fn mod_revision(key: impl Into<Vec<u8>>, is: Revision) -> Self {
        Self { key: key.into(), what: Compared::ModRevision, is }
    }

    /// The key was made by this revision.
    pub fn create_revision(key: impl Into<Vec<u8>>, is: Revision) -> Self {
        Self { key: key.into(), what: Compared::CreateRevision, is }
    }

    /// There is no such key.
    pub fn absent(key: impl Into<Vec<u8>>) -> Self {
        Self::create_revision(key, Revision::NONE)
    }
}

/// A change that is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operation {
    /// Writes a key.
    Put {
        /// The key.
        key: Vec<u8>,
        /// What is to be below it.
        value: Vec<u8>,
        /// The lease that it ends with.
        lease: Option<LeaseId>,
    },
    /// Deletes a key, if there is one.
    Delete {
        /// The key.
        key: Vec<u8>,
    },
}

impl Operation {
    /// The key.
    #[must_use]
    pub fn key(&self) -> &[u8] {
        match self {
            Self::Put { key, .. } | Self::Delete { key } => key,
        }
    }
}

/// Changes that are carried out together, if all comparisons hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Transaction {
    /// What must hold.
    pub compares: Vec<Compare>,
    /// What is then done. No key is written twice.
    pub operations: Vec<Operation>,
}

/// What became of a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It was carried out; the store has this revision now, and so has what it changed.
    Done(Revision),
    /// A comparison did not hold at this revision, and nothing was done.
    Failed(Revision),
}

/// Refuses what etcd refuses before it looks at anything: bounds, empty keys, keys that are changed twice.
pub(super) fn check(transaction: &Transaction) -> Result<(), Refusal> {
    let Transaction { compares, operations } = transaction;
    if compares.len() > OPERATIONS_MAX || operations.len() > OPERATIONS_MAX {
        return Err(Refusal::TooManyOperations);
    }
    let keys = || operations.iter().map(Operation::key);
    if keys().chain(compares.iter().map(|compare| compare.key.as_slice())).any(<[u8]>::is_empty) {
        return Err(Refusal::EmptyKey);
    }
    // Deleting a key twice is one deletion.
    let mut seen = BTreeMap::new();
    for operation in operations {
        let puts = matches!(operation, Operation::Put { .. });
        if seen.insert(operation.key(), puts).is_some_and(|before| before || puts) {
            return Err(Refusal::DuplicateKey);
        }
    }
    Ok(())
}
