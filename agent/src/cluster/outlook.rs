//! Keeps what a member tells every node: looks at the store once, and then follows it. What it was cut off from it looks at again,
//! and does not forget who was there before.

use std::sync::Arc;
use std::time::Duration;

use ferrite_cluster::keys::PREFIX;
use ferrite_cluster::lead::Clock;
use ferrite_cluster::outlook::Outlook;
use ferrite_cluster::store::{ClusterStore, StoreProblem};
use futures_util::StreamExt;

use super::Told;

/// What is remembered while the store does not answer: many machines that go then are most likely cut off.
#[derive(Debug)]
pub(super) struct Known<C> {
    clock: C,
    outlook: Option<Outlook>,
}

impl<C: Clock> Known<C> {
    /// Nothing is known.
    pub(super) const fn nothing(clock: C) -> Self {
        Self { clock, outlook: None }
    }
}

/// Follows the store until it fails, and says what every node is to be told whenever that changes. Leases of machines last
/// for `ttl`.
pub(super) async fn keep<S: ClusterStore, C: Clock>(
    store: &S,
    ttl: Duration,
    known: &mut Known<C>,
    mut tell: impl FnMut(Told),
) -> StoreProblem {
    let mut told: Option<Told> = None;
    loop {
        // What was missed is in the store.
        if let Err(problem) = follow(store, ttl, known, &mut told, &mut tell).await {
            return problem;
        }
    }
}

/// Follows the store until its changes are cut off.
async fn follow<S: ClusterStore, C: Clock>(
    store: &S,
    ttl: Duration,
    Known { clock, outlook }: &mut Known<C>,
    told: &mut Option<Told>,
    tell: &mut impl FnMut(Told),
) -> Result<(), StoreProblem> {
    let listing = store.list(PREFIX.as_bytes()).await?;
    let mut watch = store.watch(PREFIX.as_bytes(), listing.revision.next()).await?;
    match outlook {
        Some(known) => known.again(&listing.entries, clock.now()),
        None => *outlook = Some(Outlook::begin(&listing.entries, ttl, clock.now())),
    }
    drop(listing);
    let Some(outlook) = outlook else { return Ok(()) };
    loop {
        say(outlook, told, tell);
        let changes = match outlook.deadline() {
            None => Some(watch.next().await),
            Some(deadline) => tokio::select! {
                changes = watch.next() => Some(changes),
                () = clock.until(deadline) => None,
            },
        };
        match changes {
            None => outlook.tick(clock.now()),
            Some(Some(Ok(changes))) => outlook.changes(&changes, clock.now()),
            Some(Some(Err(_)) | None) => return Ok(()),
        }
    }
}

fn say(outlook: &Outlook, told: &mut Option<Told>, tell: &mut impl FnMut(Told)) {
    let same = told.as_ref().is_some_and(|told| *told.catalogue == *outlook.catalogue());
    let catalogue = match told.as_ref().filter(|_| same) {
        Some(told) => Arc::clone(&told.catalogue),
        None => Arc::new(outlook.catalogue().clone()),
    };
    let peers = outlook.peers();
    let known = told.as_ref().and_then(|told| told.peers.clone());
    let peers = match known.filter(|known| Some(&**known) == peers.as_ref()) {
        Some(known) => Some(known),
        None => peers.map(Arc::new),
    };
    let known = told.as_ref().map(|told| &told.revoked);
    let revoked = match known.filter(|known| ***known == *outlook.revoked()) {
        Some(known) => Arc::clone(known),
        None => Arc::new(outlook.revoked().clone()),
    };
    let now = Told { catalogue, peers, revoked };
    if told.as_ref() != Some(&now) {
        *told = Some(now.clone());
        tell(now);
    }
}

#[cfg(test)]
#[path = "outlook_tests.rs"]
mod tests;
