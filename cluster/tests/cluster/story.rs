//! The user's story, as far as the store sees it: machines join, a unit runs on them, one dies, its instance runs elsewhere;
//! another member leads, and nothing moves.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ferrite_cluster::engine::Move;
use ferrite_cluster::keys::Key;
use ferrite_cluster::lead::{Clock, LeadEnd, lead};
use ferrite_cluster::leadership::{Fence, take};
use ferrite_cluster::names::{MachineId, SpecHash, UnitName};
use ferrite_cluster::presence::Times;
use ferrite_cluster::records::{Cause, Placement, Rest, Spec, State, Target, Unit, decode};
use ferrite_cluster::store::{ClusterStore, Listing, Operation, Outcome, Revision, Transaction};
use ferrite_cluster::transactions::submit;
use serde_json::json;
use tokio::task::JoinHandle;

use crate::machines::{Simulated, TTL, id, until};

const TIMES: Times = Times { ttl: TTL, election: Duration::from_secs(1) };

/// A leader that runs, and all that it moved.
pub(crate) struct Leads {
    pub(crate) fence: Fence,
    pub(crate) moves: Arc<Mutex<Vec<Move>>>,
    pub(crate) refused: Arc<Mutex<BTreeMap<Key, String>>>,
    pub(crate) end: JoinHandle<LeadEnd>,
}

/// A member takes `leader` and begins.
pub(crate) async fn leader<S: ClusterStore>(
    store: &S,
    number: u8,
    clock: impl Clock + Clone + 'static,
) -> Leads {
    let (_, known) = store.get(&Key::Leader.bytes()).await.unwrap();
    let expected = known.map_or(Revision::NONE, |entry| entry.mod_revision);
    let Outcome::Done(revision) =
        store.transact(take(&id(number), expected).unwrap()).await.unwrap()
    else {
        panic!("somebody else takes it");
    };
    run(store, Fence(revision), clock)
}

pub(crate) fn run<S: ClusterStore>(
    store: &S,
    fence: Fence,
    clock: impl Clock + Clone + 'static,
) -> Leads {
    let moves: Arc<Mutex<Vec<Move>>> = Arc::default();
    let refused: Arc<Mutex<BTreeMap<Key, String>>> = Arc::default();
    let (heard, known) = (Arc::clone(&moves), Arc::clone(&refused));
    let store = store.clone();
    let end = tokio::spawn(async move {
        lead(&store, fence, TIMES, &clock, |report| {
            heard.lock().unwrap().extend_from_slice(report.moves);
            known.lock().unwrap().clone_from(report.refused);
        })
        .await
    });
    Leads { fence, moves, refused, end }
}

pub(crate) fn web() -> Spec {
    let unit = json!({"name": "web", "image": "web:1", "resources": {"memory": "64MiB"}});
    Spec { level: 1, unit, image: None, placement: Placement::default(), rest: Rest::new() }
}

pub(crate) async fn change<S: ClusterStore>(store: &S, name: &str, target: Target, replicas: u32) {
    let name: UnitName = name.parse().unwrap();
    let (_, known) = store.get(&Key::Unit(name.clone()).bytes()).await.unwrap();
    let known = known.map_or(Revision::NONE, |entry| entry.mod_revision);
    let record = |spec: SpecHash| Unit {
        target,
        spec,
        stable: None,
        replicas: Some(replicas),
        rest: Rest::new(),
    };
    let submits = submit(&name, &web(), record, known).unwrap();
    assert!(matches!(store.transact(submits).await.unwrap(), Outcome::Done(_)));
}

/// What is ready, by instance, on machines that are there.
pub(crate) fn ready(listing: &Listing) -> BTreeMap<String, MachineId> {
    let mut ready = BTreeMap::new();
    let there = |id: &MachineId| {
        listing.entries.iter().any(|entry| entry.key == Key::Alive(id.clone()).bytes())
    };
    for entry in &listing.entries {
        let Ok(key) = Key::parse(&entry.key) else { continue };
        let Key::State(id) = &key else { continue };
        let state: State = decode(&key, &entry.value).unwrap();
        for (name, instance) in state.instances {
            if instance.ready && there(id) {
                assert_eq!(ready.insert(name.to_string(), id.clone()), None, "{name} runs twice");
            }
        }
    }
    ready
}

pub(crate) async fn put<S: ClusterStore>(store: &S, key: &Key, value: &[u8]) {
    let operation = Operation::Put { key: key.bytes(), value: value.to_vec(), lease: None };
    let only = Transaction { compares: Vec::new(), operations: vec![operation] };
    store.transact(only).await.unwrap();
}

/// The whole story; `pass` lets time pass until a silent machine is lost.
pub(crate) async fn whole<S: ClusterStore>(
    store: S,
    clock: impl Clock + Clone + 'static,
    pass: impl AsyncFn(),
) {
    let first = leader(&store, 1, clock.clone()).await;
    let mut machines = Vec::new();
    for number in 1..=3 {
        machines.push(Simulated::start(&store, number).await);
    }
    change(&store, "web", Target::Launched, 3).await;
    let began =
        until(&store, "three run", |listing| Some(ready(listing)).filter(|ready| ready.len() == 3))
            .await;
    let expected = [("web@1", id(1)), ("web@2", id(2)), ("web@3", id(3))];
    assert_eq!(began, expected.map(|(name, id)| (name.to_owned(), id)).into());

    machines.remove(1).kill().await;
    pass().await;
    let moved = until(&store, "web@2 runs elsewhere", |listing| {
        Some(ready(listing)).filter(|ready| ready.len() == 3)
    })
    .await;
    let expected = [("web@1", id(1)), ("web@2", id(1)), ("web@3", id(3))];
    assert_eq!(moved, expected.map(|(name, id)| (name.to_owned(), id)).into());
    let causes: Vec<Cause> =
        first.moves.lock().unwrap().iter().map(|made| made.cause.clone()).collect();
    assert_eq!(causes, [Cause::Wanted, Cause::Wanted, Cause::Wanted, Cause::MachineLost]);

    // It comes back with what it had, which is not its any more; another member leads. Nothing moves.
    machines.push(Simulated::start(&store, 2).await);
    until(&store, "it says that it runs nothing", |listing| {
        Some(()).filter(|()| ready(listing) == moved)
    })
    .await;
    let second = leader(&store, 3, clock.clone()).await;
    let end = first.end.await.unwrap();
    assert_eq!(end, LeadEnd::Fenced { since: second.fence.0 });

    // A unit that cannot be understood is in nobody's way.
    let bad = Key::Unit("bad".parse().unwrap());
    put(&store, &bad, b"{\"target\": \"paused\"}").await;
    change(&store, "web", Target::Launched, 2).await;
    until(&store, "two run", |listing| Some(()).filter(|()| ready(listing).len() == 2)).await;
    let moves = second.moves.lock().unwrap().clone();
    let gone = Move {
        instance: "web@3".parse().unwrap(),
        from: Some(id(3)),
        to: None,
        cause: Cause::Unwanted,
    };
    assert_eq!(moves, [gone]);
    let said = second.refused.lock().unwrap()[&bad].clone();
    assert!(said.starts_with("target: unknown variant `paused`"), "{said}");

    // The former leader's fence opens nothing.
    let before = store.list(b"").await.unwrap();
    let late = run(&store, first.fence, clock);
    change(&store, "web", Target::Inactive, 2).await;
    assert_eq!(late.end.await.unwrap(), LeadEnd::Fenced { since: second.fence.0 });
    assert_eq!(*late.moves.lock().unwrap(), []);
    assert!(before.revision < store.list(b"").await.unwrap().revision);
    until(&store, "nothing runs", |listing| Some(()).filter(|()| ready(listing).is_empty())).await;
    second.end.abort();
}
