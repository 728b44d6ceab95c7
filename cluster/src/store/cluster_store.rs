//! What every store can.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use futures_util::Stream;

use super::entry::{Change, Entry, LeaseId, Listing, Revision};
use super::problem::{StoreProblem, WatchEnd};
use super::transaction::{Outcome, Transaction};

/// Changes as they happen: in the order of their revisions, what one revision changed always in one piece. It ends after its
/// first error.
pub type Watch = Pin<Box<dyn Stream<Item = Result<Vec<Change>, WatchEnd>> + Send>>;

/// The cluster's store. Reads are linearizable.
pub trait ClusterStore: Clone + Send + Sync + 'static {
    /// One key.
    fn get(
        &self,
        key: &[u8],
    ) -> impl Future<Output = Result<(Revision, Option<Entry>), StoreProblem>> + Send;

    /// All keys that start with `prefix`, at one moment.
    fn list(&self, prefix: &[u8]) -> impl Future<Output = Result<Listing, StoreProblem>> + Send;

    /// Changes of keys that start with `prefix`, from revision `from` on, past or to come.
    fn watch(
        &self,
        prefix: &[u8],
        from: Revision,
    ) -> impl Future<Output = Result<Watch, StoreProblem>> + Send;

    /// Carries out a transaction.
    fn transact(
        &self,
        transaction: Transaction,
    ) -> impl Future<Output = Result<Outcome, StoreProblem>> + Send;

    /// A new lease that ends when it is not kept alive for `ttl`.
    fn grant(&self, ttl: Duration) -> impl Future<Output = Result<LeaseId, StoreProblem>> + Send;

    /// Keeps a lease alive for another while.
    fn keep_alive(&self, lease: LeaseId) -> impl Future<Output = Result<(), StoreProblem>> + Send;

    /// Ends a lease, and deletes its keys.
    fn revoke(&self, lease: LeaseId) -> impl Future<Output = Result<(), StoreProblem>> + Send;
}
