//! A store in memory, for tests: etcd's rules without its time. Leases end when they are told to.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::stream;
use tokio::sync::watch;

use super::cluster_store::{ClusterStore, Watch};
use super::entry::{Change, Entry, LeaseId, Listing, Revision};
use super::history::History;
use super::problem::{Refusal, StoreProblem, WatchEnd};
use super::transaction::{Outcome, Transaction};

/// A store in memory. Clones are the same store.
#[derive(Debug, Clone)]
pub struct Memory {
    history: Arc<Mutex<History>>,
    /// Told after each change, with the number of leases that were ever granted.
    changed: Arc<watch::Sender<i64>>,
}

impl Default for Memory {
    fn default() -> Self {
        Self::new()
    }
}

impl Memory {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self {
            history: Arc::new(Mutex::new(History::new())),
            changed: Arc::new(watch::Sender::new(0)),
        }
    }

    fn history(&self) -> MutexGuard<'_, History> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change<T>(&self, act: impl FnOnce(&mut History) -> T) -> T {
        let done = act(&mut self.history());
        self.changed.send_modify(|_| ());
        done
    }

    /// Forgets what happened before a revision.
    ///
    /// # Errors
    /// It is forgotten already, or not there yet.
    pub fn compact(&self, revision: Revision) -> Result<(), StoreProblem> {
        Ok(self.change(|history| history.compact(revision))?)
    }

    /// A new lease with this number, as etcd's clients may choose it.
    ///
    /// # Errors
    /// There is one.
    pub fn grant_as(&self, lease: LeaseId) -> Result<(), StoreProblem> {
        Ok(self.change(|history| history.grant(lease))?)
    }
}

impl ClusterStore for Memory {
    async fn get(&self, key: &[u8]) -> Result<(Revision, Option<Entry>), StoreProblem> {
        Ok(self.history().get(key)?)
    }

    async fn list(&self, prefix: &[u8]) -> Result<Listing, StoreProblem> {
        Ok(self.history().list(prefix))
    }

    async fn watch(&self, prefix: &[u8], from: Revision) -> Result<Watch, StoreProblem> {
        let watcher = Watcher {
            history: Arc::clone(&self.history),
            changed: self.changed.subscribe(),
            prefix: prefix.to_vec(),
            from,
            ended: false,
        };
        Ok(Box::pin(stream::unfold(watcher, Watcher::next)))
    }

    async fn transact(&self, transaction: Transaction) -> Result<Outcome, StoreProblem> {
        Ok(self.change(|history| history.transact(&transaction))?)
    }

    async fn grant(&self, _ttl: Duration) -> Result<LeaseId, StoreProblem> {
        loop {
            let mut lease = LeaseId(0);
            self.changed.send_modify(|granted| {
                *granted = granted.saturating_add(1);
                lease = LeaseId(*granted);
            });
            match self.change(|history| history.grant(lease)) {
                // Somebody chose the number.
                Err(Refusal::LeaseExists) => {}
                result => return Ok(result.map(|()| lease)?),
            }
        }
    }

    async fn keep_alive(&self, lease: LeaseId) -> Result<(), StoreProblem> {
        if self.history().lives(lease) { Ok(()) } else { Err(Refusal::NoLease.into()) }
    }

    async fn revoke(&self, lease: LeaseId) -> Result<(), StoreProblem> {
        Ok(self.change(|history| history.revoke(lease))?)
    }
}

struct Watcher {
    history: Arc<Mutex<History>>,
    changed: watch::Receiver<i64>,
    prefix: Vec<u8>,
    from: Revision,
    ended: bool,
}

impl Watcher {
    async fn next(mut self) -> Option<(Result<Vec<Change>, WatchEnd>, Self)> {
        if self.ended {
            return None;
        }
        loop {
            self.changed.mark_unchanged();
            let since = {
                let history = self.history.lock().unwrap_or_else(PoisonError::into_inner);
                history.since(&self.prefix, self.from)
            };
            let end = match since {
                Ok((changes, next)) => {
                    self.from = next;
                    if !changes.is_empty() {
                        return Some((Ok(changes), self));
                    }
                    match self.changed.changed().await {
                        Ok(()) => continue,
                        Err(_) => WatchEnd::CutOff { why: "the store is gone".to_owned() },
                    }
                }
                Err(oldest) => WatchEnd::Compacted { oldest },
            };
            self.ended = true;
            return Some((Err(end), self));
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::StreamExt;

    use super::super::transaction::{Compare, Operation};
    use super::*;

    fn put(key: &str, lease: Option<LeaseId>) -> Operation {
        Operation::Put { key: key.into(), value: b"v".to_vec(), lease }
    }

    fn only(operations: Vec<Operation>) -> Transaction {
        Transaction { compares: Vec::new(), operations }
    }

    fn check<F: Future<Output = ()>>(test: F) {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(test);
    }

    #[test]
    fn a_transaction_is_one_revision_and_one_piece_of_a_watch() {
        check(async {
            let store = Memory::new();
            let mut watch = store.watch(b"a/", Revision(1)).await.unwrap();
            let both = only(vec![put("a/1", None), put("a/2", None), put("b", None)]);
            assert_eq!(store.transact(both).await, Ok(Outcome::Done(Revision(2))));
            let changes = watch.next().await.unwrap().unwrap();
            assert_eq!(changes.len(), 2);
            assert!(changes.iter().all(|change| change.revision() == Revision(2)));
            // Nothing to delete is nothing done.
            let gone = only(vec![Operation::Delete { key: b"a/9".to_vec() }]);
            assert_eq!(store.transact(gone).await, Ok(Outcome::Done(Revision(2))));
        });
    }

    #[test]
    fn the_end_of_a_lease_deletes_its_keys_at_once_and_no_others() {
        check(async {
            let store = Memory::new();
            let lease = store.grant(Duration::from_secs(5)).await.unwrap();
            let leased = only(vec![put("a", Some(lease)), put("b", Some(lease))]);
            store.transact(leased).await.unwrap();
            // Written without it, a key is the lease's no more.
            store.transact(only(vec![put("b", None)])).await.unwrap();
            let mut watch = store.watch(b"", Revision(4)).await.unwrap();
            store.revoke(lease).await.unwrap();
            let deleted = Change::Delete { key: b"a".to_vec(), revision: Revision(4) };
            assert_eq!(watch.next().await, Some(Ok(vec![deleted])));
            assert_eq!(store.keep_alive(lease).await, Err(Refusal::NoLease.into()));
            let late = only(vec![put("c", Some(lease))]);
            assert_eq!(store.transact(late).await, Err(Refusal::NoLease.into()));
            assert_eq!(store.list(b"").await.unwrap().entries.len(), 1);
        });
    }

    #[test]
    fn a_watch_that_lags_behind_a_compaction_says_so_and_ends() {
        check(async {
            let store = Memory::new();
            let mut slow = store.watch(b"", Revision(2)).await.unwrap();
            for key in ["a", "b", "c"] {
                store.transact(only(vec![put(key, None)])).await.unwrap();
            }
            store.compact(Revision(4)).unwrap();
            assert_eq!(slow.next().await, Some(Err(WatchEnd::Compacted { oldest: Revision(4) })));
            assert_eq!(slow.next().await, None);
            assert_eq!(store.compact(Revision(4)), Err(Refusal::Compacted.into()));
            assert_eq!(store.compact(Revision(5)), Err(Refusal::Future.into()));
        });
    }

    #[test]
    fn a_comparison_that_does_not_hold_leaves_all_as_it_was() {
        check(async {
            let store = Memory::new();
            let create = || Transaction {
                compares: vec![Compare::absent("a")],
                operations: vec![put("a", None)],
            };
            assert_eq!(store.transact(create()).await, Ok(Outcome::Done(Revision(2))));
            assert_eq!(store.transact(create()).await, Ok(Outcome::Failed(Revision(2))));
            let swap = Transaction {
                compares: vec![Compare::mod_revision("a", Revision(2))],
                operations: vec![put("a", None), Operation::Delete { key: b"x".to_vec() }],
            };
            assert_eq!(store.transact(swap.clone()).await, Ok(Outcome::Done(Revision(3))));
            assert_eq!(store.transact(swap).await, Ok(Outcome::Failed(Revision(3))));
            let entry = store.get(b"a").await.unwrap().1.unwrap();
            assert_eq!((entry.create_revision, entry.version), (Revision(2), 2));
        });
    }
}
