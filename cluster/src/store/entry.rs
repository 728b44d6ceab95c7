//! What the store has, and what becomes of it.

use std::fmt;

/// A revision of the store; 1 is the empty one's.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision(pub i64);

impl Revision {
    /// As the revision of a key: there is no such key.
    pub const NONE: Self = Self(0);

    /// The one after it.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(out)
    }
}

/// A lease. Its number is never 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LeaseId(pub i64);

/// A key and what is below it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The key.
    pub key: Vec<u8>,
    /// What is below it.
    pub value: Vec<u8>,
    /// Revision that made it.
    pub create_revision: Revision,
    /// Revision that last changed it.
    pub mod_revision: Revision,
    /// How often it was written since it was made.
    pub version: i64,
    /// The lease that it ends with.
    pub lease: Option<LeaseId>,
}

/// A moment of the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing {
    /// Its revision. A watch from the next one misses nothing.
    pub revision: Revision,
    /// What was asked for, by key.
    pub entries: Vec<Entry>,
}

/// What became of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// It was written.
    Put(Entry),
    /// It was deleted, or its lease ended.
    Delete {
        /// The key.
        key: Vec<u8>,
        /// The revision that did it.
        revision: Revision,
    },
}

impl Change {
    /// The key.
    #[must_use]
    pub fn key(&self) -> &[u8] {
        match self {
            Self::Put(entry) => &entry.key,
            Self::Delete { key, .. } => key,
        }
    }

    /// The revision of the change.
    #[must_use]
    pub fn revision(&self) -> Revision {
        match self {
            Self::Put(entry) => entry.mod_revision,
            Self::Delete { revision, .. } => *revision,
        }
    }
}
