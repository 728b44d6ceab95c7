//! What the store in memory knows: pure, with etcd's rules.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::entry::{Change, Entry, LeaseId, Listing, Revision};
use super::problem::Refusal;
use super::transaction::{
    Compare, Compared, Operation, Outcome, REQUEST_MAX_BYTES, Transaction, check,
};

/// A store with all its past since it was last compacted.
#[derive(Debug)]
pub(super) struct History {
    revision: Revision,
    entries: BTreeMap<Vec<u8>, Entry>,
    /// Each revision that changed something, with what it changed.
    past: VecDeque<(Revision, Vec<Change>)>,
    /// What is before it is forgotten.
    compacted: Revision,
    /// Keys of each lease that lives.
    leases: BTreeMap<LeaseId, BTreeSet<Vec<u8>>>,
}

impl History {
    pub(super) fn new() -> Self {
        Self {
            revision: Revision(1),
            entries: BTreeMap::new(),
            past: VecDeque::new(),
            compacted: Revision::NONE,
            leases: BTreeMap::new(),
        }
    }

    pub(super) fn get(&self, key: &[u8]) -> Result<(Revision, Option<Entry>), Refusal> {
        if key.is_empty() {
            return Err(Refusal::EmptyKey);
        }
        Ok((self.revision, self.entries.get(key).cloned()))
    }

    pub(super) fn list(&self, prefix: &[u8]) -> Listing {
        let from = self.entries.range(prefix.to_vec()..);
        let entries = from.take_while(|(key, _)| key.starts_with(prefix));
        Listing {
            revision: self.revision,
            entries: entries.map(|(_, entry)| entry.clone()).collect(),
        }
    }

    pub(super) fn transact(&mut self, transaction: &Transaction) -> Result<Outcome, Refusal> {
        check(transaction)?;
        let size = |operation: &Operation| match operation {
            Operation::Put { key, value, .. } => key.len().saturating_add(value.len()),
            Operation::Delete { key } => key.len(),
        };
        let size_bytes: usize = transaction.operations.iter().map(size).sum();
        if size_bytes > REQUEST_MAX_BYTES {
            return Err(Refusal::TooBig);
        }
        if !transaction.compares.iter().all(|compare| self.holds(compare)) {
            return Ok(Outcome::Failed(self.revision));
        }
        let leases = transaction.operations.iter().filter_map(|operation| match operation {
            Operation::Put { lease, .. } => *lease,
            Operation::Delete { .. } => None,
        });
        for lease in leases {
            if !self.leases.contains_key(&lease) {
                return Err(Refusal::NoLease);
            }
        }
        let revision = self.revision.next();
        let mut changes = Vec::new();
        for operation in &transaction.operations {
            match operation {
                Operation::Put { key, value, lease } => {
                    changes.push(Change::Put(self.put(key, value, *lease, revision)));
                }
                Operation::Delete { key } => changes.extend(self.delete(key, revision)),
            }
        }
        self.happened(changes);
        Ok(Outcome::Done(self.revision))
    }

    fn holds(&self, compare: &Compare) -> bool {
        let entry = self.entries.get(&compare.key);
        let found = entry.map_or(Revision::NONE, |entry| match compare.what {
            Compared::ModRevision => entry.mod_revision,
            Compared::CreateRevision => entry.create_revision,
        });
        found == compare.is
    }

    fn put(
        &mut self,
        key: &[u8],
        value: &[u8],
        lease: Option<LeaseId>,
        revision: Revision,
    ) -> Entry {
        let old = self.entries.get(key);
        let entry = Entry {
            key: key.to_vec(),
            value: value.to_vec(),
            create_revision: old.map_or(revision, |old| old.create_revision),
            mod_revision: revision,
            version: old.map_or(1, |old| old.version.saturating_add(1)),
            lease,
        };
        self.detach(key);
        if let Some(keys) = lease.and_then(|lease| self.leases.get_mut(&lease)) {
            keys.insert(key.to_vec());
        }
        self.entries.insert(key.to_vec(), entry.clone());
        entry
    }

    fn delete(&mut self, key: &[u8], revision: Revision) -> Option<Change> {
        self.detach(key);
        let entry = self.entries.remove(key)?;
        Some(Change::Delete { key: entry.key, revision })
    }

    fn detach(&mut self, key: &[u8]) {
        let lease = self.entries.get(key).and_then(|entry| entry.lease);
        if let Some(keys) = lease.and_then(|lease| self.leases.get_mut(&lease)) {
            keys.remove(key);
        }
    }

    fn happened(&mut self, changes: Vec<Change>) {
        if !changes.is_empty() {
            self.revision = self.revision.next();
            self.past.push_back((self.revision, changes));
        }
    }

    pub(super) fn grant(&mut self, lease: LeaseId) -> Result<(), Refusal> {
        if self.leases.contains_key(&lease) {
            return Err(Refusal::LeaseExists);
        }
        self.leases.insert(lease, BTreeSet::new());
        Ok(())
    }

    pub(super) fn lives(&self, lease: LeaseId) -> bool {
        self.leases.contains_key(&lease)
    }

    pub(super) fn revoke(&mut self, lease: LeaseId) -> Result<(), Refusal> {
        let keys = self.leases.remove(&lease).ok_or(Refusal::NoLease)?;
        let revision = self.revision.next();
        let changes = keys.iter().filter_map(|key| self.delete(key, revision)).collect();
        self.happened(changes);
        Ok(())
    }

    pub(super) fn compact(&mut self, revision: Revision) -> Result<(), Refusal> {
        if revision <= self.compacted {
            return Err(Refusal::Compacted);
        }
        if revision > self.revision {
            return Err(Refusal::Future);
        }
        self.compacted = revision;
        self.past.retain(|(at, _)| *at >= revision);
        Ok(())
    }

    /// What happened from revision `from` on below `prefix`, and the revision to go on from; or the oldest that is known.
    pub(super) fn since(
        &self,
        prefix: &[u8],
        from: Revision,
    ) -> Result<(Vec<Change>, Revision), Revision> {
        if from < self.compacted {
            return Err(self.compacted);
        }
        let past = self.past.iter().filter(|(at, _)| *at >= from).flat_map(|(_, changes)| changes);
        let changes = past.filter(|change| change.key().starts_with(prefix)).cloned().collect();
        Ok((changes, from.max(self.revision.next())))
    }
}
