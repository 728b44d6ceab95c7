//! A leader over the store in memory: every step is when the test says so.

use std::collections::BTreeMap;

use ferrite_cluster::keys::Key;
use ferrite_cluster::lead::Clock;
use ferrite_cluster::presence::SUSPECT_FOR;
use ferrite_cluster::records::{Assignment, Cause, Target, decode};
use ferrite_cluster::store::{ClusterStore, Listing, Memory};

use crate::machines::{Hand, Simulated, TTL, id, until};
use crate::story::{change, leader, put, ready, whole};

pub(crate) fn block_on<F: Future<Output = ()>>(test: F) {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(test);
}

#[test]
fn a_unit_runs_where_it_is_placed_and_elsewhere_when_its_machine_dies() {
    block_on(async {
        let hand = Hand::new();
        let clock = hand.clone();
        whole(Memory::new(), clock, async || hand.pass().await).await;
    });
}

#[test]
fn a_leader_that_missed_what_was_compacted_reads_all_again() {
    block_on(async {
        let (store, hand) = (Memory::new(), Hand::new());
        let leads = leader(&store, 1, hand).await;
        let _one = Simulated::start(&store, 1).await;
        change(&store, "web", Target::Launched, 1).await;
        until(&store, "it runs", |listing| Some(()).filter(|()| ready(listing).len() == 1)).await;
        // Nothing here waits, so that the leader sees nothing of it before it is forgotten.
        change(&store, "web", Target::Launched, 2).await;
        change(&store, "web", Target::Launched, 3).await;
        let revision = store.list(b"").await.unwrap().revision;
        store.compact(revision).unwrap();
        until(&store, "three run", |listing| Some(()).filter(|()| ready(listing).len() == 3)).await;
        let causes: Vec<Cause> =
            leads.moves.lock().unwrap().iter().map(|made| made.cause.clone()).collect();
        assert_eq!(causes, [Cause::Wanted, Cause::Wanted, Cause::Wanted]);
        leads.end.abort();
    });
}

#[test]
fn the_brake_outlives_a_watch_that_ends() {
    block_on(async {
        let (store, hand) = (Memory::new(), Hand::new());
        let leads = leader(&store, 1, hand.clone()).await;
        let mut machines = Vec::new();
        for number in 1..=6 {
            machines.push(Simulated::start(&store, number).await);
        }
        change(&store, "web", Target::Launched, 6).await;
        until(&store, "six run", |listing| Some(()).filter(|()| ready(listing).len() == 6)).await;
        for machine in machines.drain(..3) {
            machine.kill().await;
        }
        let later = hand.now() + SUSPECT_FOR;
        let lost_at = hand.asked_after(later).await;
        assert_eq!(lost_at, later + TTL, "the brake holds them");
        hand.forward(SUSPECT_FOR);
        // Nothing here waits, so that what is forgotten was not heard: the watch ends.
        change(&store, "web", Target::Launched, 7).await;
        change(&store, "web", Target::Launched, 8).await;
        let revision = store.list(b"").await.unwrap().revision;
        store.compact(revision).unwrap();
        let assigned = |listing: &Listing| {
            let entries = listing.entries.iter().filter_map(|entry| {
                let key =
                    Key::parse(&entry.key).ok().filter(|key| matches!(key, Key::Assign(_)))?;
                decode::<Assignment>(&key, &entry.value).ok()
            });
            entries.map(|assignment| assignment.instances.len()).sum::<usize>()
        };
        until(&store, "eight are placed", |listing| Some(()).filter(|()| assigned(listing) == 8))
            .await;
        tokio::task::yield_now().await;
        assert_eq!(hand.asked_after(later).await, lost_at, "nobody is younger for it");
        let lost = leads.moves.lock().unwrap().iter().any(|made| made.cause == Cause::MachineLost);
        assert!(!lost, "nobody was moved");
        leads.end.abort();
    });
}

#[test]
fn an_assignment_that_cannot_be_understood_stops_all_decisions_until_it_is_mended() {
    block_on(async {
        let (store, hand) = (Memory::new(), Hand::new());
        let leads = leader(&store, 1, hand).await;
        let _one = Simulated::start(&store, 1).await;
        change(&store, "web", Target::Launched, 1).await;
        until(&store, "it runs", |listing| Some(()).filter(|()| ready(listing).len() == 1)).await;
        let key = Key::Assign(id(1));
        let good = store.get(&key.bytes()).await.unwrap().1.unwrap().value;
        put(&store, &key, b"{\"instances\": 3}").await;
        change(&store, "web", Target::Launched, 2).await;
        // The leader has heard all of it when it has said so.
        while leads.refused.lock().unwrap().is_empty() {
            tokio::task::yield_now().await;
        }
        let said = leads.refused.lock().unwrap()[&key].clone();
        assert!(said.starts_with("instances: invalid type"), "{said}");
        assert_eq!(store.get(&key.bytes()).await.unwrap().1.unwrap().value, b"{\"instances\": 3}");
        put(&store, &key, &good).await;
        until(&store, "both run", |listing| Some(()).filter(|()| ready(listing).len() == 2)).await;
        leads.end.abort();
    });
}

#[test]
fn what_newer_versions_wrote_into_an_assignment_stays() {
    block_on(async {
        let (store, hand) = (Memory::new(), Hand::new());
        let key = Key::Assign(id(1));
        put(&store, &key, b"{\"instances\": {}, \"from-2031\": [1]}").await;
        let leads = leader(&store, 1, hand).await;
        let _one = Simulated::start(&store, 1).await;
        change(&store, "web", Target::Launched, 1).await;
        let entry = until(&store, "it is assigned", |listing| {
            let mut entries = listing.entries.iter();
            entries.find(|entry| entry.key == key.bytes() && entry.version > 1).cloned()
        })
        .await;
        let assignment: Assignment = decode(&key, &entry.value).unwrap();
        assert_eq!(assignment.rest["from-2031"], serde_json::json!([1]));
        let mut seen = BTreeMap::new();
        for (name, assigned) in assignment.instances {
            seen.insert(name.to_string(), assigned.cause);
        }
        assert_eq!(seen, [("web@1".to_owned(), Cause::Wanted)].into());
        leads.end.abort();
    });
}
