//! Who has something in the store just now that no record and no run folder may name yet.
//!
//! The collector looks at three things one after the other: which units name an image, which layers the shims were
//! asked for, and which records there are. Whatever begins or ends between two of these looks would be seen by neither.
//! So everybody who uses an image holds a *lease* on it, from before it is looked up until its layers stand in a run folder; and
//! a collector begins a *census* before its first look, while which the leases that end are remembered.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::digest::Digest;

/// What must stay.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Claim {
    /// Full names of images.
    pub names: BTreeSet<String>,
    /// Blobs.
    pub blobs: BTreeSet<Digest>,
    /// Folders of layers.
    pub layers: BTreeSet<Digest>,
}

impl Claim {
    fn add(&mut self, other: &Self) {
        self.names.extend(other.names.iter().cloned());
        self.blobs.extend(&other.blobs);
        self.layers.extend(&other.layers);
    }
}

#[derive(Debug, Default)]
struct State {
    /// Pulls and imports: nobody knows yet what they will need.
    at_work: usize,
    next: u64,
    leases: BTreeMap<u64, Claim>,
    censuses: usize,
    /// What was claimed at any time since the oldest census began and is not any more.
    ended: Claim,
}

/// The one list, shared by all handles of a store.
#[derive(Debug, Clone, Default)]
pub(super) struct Ledger(Arc<Mutex<State>>);

/// While one of these lives, nothing is collected: its owner has blobs or layers that no record names yet.
#[derive(Debug)]
pub struct InUse(Ledger);

/// While one of these lives, the image that it was taken for stays whole.
#[derive(Debug)]
pub struct Lease {
    ledger: Ledger,
    number: u64,
}

/// A look at who needs what; what was in use at any time while it lives counts as needed.
#[derive(Debug)]
pub struct Census(Ledger);

impl Ledger {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn begin_use(&self) -> InUse {
        self.state().at_work += 1;
        InUse(self.clone())
    }

    /// Leases what `find` finds; nothing is collected between the two.
    pub(super) fn lease<T, E>(
        &self,
        find: impl FnOnce() -> Result<Option<(T, Claim)>, E>,
    ) -> Result<Option<(T, Lease)>, E> {
        let mut state = self.state();
        let Some((found, claim)) = find()? else { return Ok(None) };
        let number = state.next;
        state.next += 1;
        state.leases.insert(number, claim);
        Ok(Some((found, Lease { ledger: self.clone(), number })))
    }

    /// Notes a name that will be needed from now on.
    pub(super) fn mention(&self, name: String) {
        let mut state = self.state();
        if state.censuses > 0 {
            state.ended.names.insert(name);
        }
    }

    pub(super) fn census(&self) -> Census {
        self.state().censuses += 1;
        Census(self.clone())
    }

    /// Runs `work` with everything that is claimed, while no claim begins or ends; `None` while somebody is at work.
    pub(super) fn alone<T>(&self, work: impl FnOnce(&Claim) -> T) -> Option<T> {
        let state = self.state();
        (state.at_work == 0).then(|| work(&state.claimed()))
    }

    /// Runs `work` unless an image of this name is claimed, and lets nobody claim it meanwhile.
    pub(super) fn unless_claimed<T>(&self, name: &str, work: impl FnOnce() -> T) -> Option<T> {
        let state = self.state();
        (!state.claimed().names.contains(name)).then(work)
    }
}

impl State {
    fn claimed(&self) -> Claim {
        let mut all = self.ended.clone();
        self.leases.values().for_each(|claim| all.add(claim));
        all
    }
}

impl Drop for InUse {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.at_work = state.at_work.saturating_sub(1);
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let mut state = self.ledger.state();
        let claim = state.leases.remove(&self.number).unwrap_or_default();
        if state.censuses > 0 {
            state.ended.add(&claim);
        }
    }
}

impl Drop for Census {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.censuses = state.censuses.saturating_sub(1);
        if state.censuses == 0 {
            state.ended = Claim::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease(ledger: &Ledger, name: &str) -> Lease {
        let claim = Claim { names: BTreeSet::from([name.to_owned()]), ..Claim::default() };
        ledger.lease(|| Ok::<_, ()>(Some(((), claim)))).unwrap().unwrap().1
    }

    fn names(ledger: &Ledger) -> Vec<String> {
        ledger.alone(|claimed| claimed.names.iter().cloned().collect()).unwrap()
    }

    #[test]
    fn a_lease_that_ends_during_a_census_counts_until_the_census_ends() {
        let ledger = Ledger::default();
        drop(lease(&ledger, "before"));
        let (first, held) = (ledger.census(), lease(&ledger, "held"));
        drop(lease(&ledger, "between"));
        ledger.mention("submitted".to_owned());
        assert_eq!(names(&ledger), ["between", "held", "submitted"]);
        let second = ledger.census();
        drop(first);
        assert_eq!(names(&ledger), ["between", "held", "submitted"]);
        assert_eq!(ledger.unless_claimed("between", || 1), None);
        drop(second);
        assert_eq!(names(&ledger), ["held"]);
        assert_eq!(ledger.unless_claimed("between", || 1), Some(1));
        drop(held);
        ledger.mention("nobody counts".to_owned());
        assert!(names(&ledger).is_empty());
    }

    #[test]
    fn nothing_is_collected_while_somebody_is_at_work() {
        let ledger = Ledger::default();
        let one = ledger.begin_use();
        let two = ledger.clone().begin_use();
        drop(one);
        assert_eq!(ledger.alone(|_| 1), None);
        drop(two);
        assert_eq!(ledger.alone(|_| 1), Some(1));
    }
}
