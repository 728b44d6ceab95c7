use std::sync::Mutex;

use ferrite_cluster::keys::Key;
use ferrite_cluster::presence::Moment;
use ferrite_cluster::store::{LeaseId, Memory, Operation, Transaction};
use serde_json::{Value, json};
use tokio::sync::{Notify, watch};

use super::*;

const TTL: Duration = Duration::from_secs(5);

/// It moves when the test says so.
#[derive(Debug, Default, Clone)]
struct Hand(Arc<(Mutex<Moment>, Notify)>);

impl Hand {
    fn pass(&self, time: Duration) {
        *self.0.0.lock().unwrap() += time;
        self.0.1.notify_waiters();
    }
}

impl Clock for Hand {
    fn now(&self) -> Moment {
        *self.0.0.lock().unwrap()
    }

    async fn until(&self, moment: Moment) {
        loop {
            let passed = self.0.1.notified();
            if self.now() >= moment {
                return;
            }
            passed.await;
        }
    }
}

async fn write(store: &Memory, operations: Vec<Operation>) {
    let write = Transaction { compares: Vec::new(), operations };
    store.transact(write).await.unwrap();
}

fn put(key: &Key, value: &Value, lease: Option<LeaseId>) -> Operation {
    Operation::Put { key: key.bytes(), value: value.to_string().into_bytes(), lease }
}

/// A machine that serves an instance of `web`, until its lease ends.
async fn machine(store: &Memory, number: u8) -> LeaseId {
    let id: ferrite_schema::cluster::MachineId = format!("{number:032x}").parse().unwrap();
    let lease = store.grant(TTL).await.unwrap();
    let web = json!({"spec": "ab".repeat(32), "state": "running", "ready": true, "addresses": ["10.112.1.2"]});
    let capacity = json!({"cpus_milli": 1, "memory_bytes": 1});
    let all = vec![
        put(
            &Key::Machine(id.clone()),
            &json!({"name": "dev", "addresses": [], "capacity": capacity, "level": 1}),
            None,
        ),
        put(&Key::State(id.clone()), &json!({"instances": {format!("web@{number}"): web}}), None),
        put(&Key::Alive(id), &json!({"boot_id": "b", "incarnation": 1}), Some(lease)),
    ];
    write(store, all).await;
    lease
}

#[tokio::test]
async fn a_watch_that_ends_releases_nobody_whom_the_brake_holds() {
    let (store, hand) = (Memory::new(), Hand::default());
    let mut leases = Vec::new();
    for number in 1..=6 {
        leases.push(machine(&store, number).await);
    }
    let said: watch::Sender<usize> = watch::Sender::new(0);
    let (mut answers, own, time) = (said.subscribe(), store.clone(), hand.clone());
    let keeps = tokio::spawn(async move {
        let mut known = Known::nothing(time);
        keep(&own, TTL, &mut known, |told| {
            let web = told.catalogue.services.get("web");
            said.send_replace(web.map_or(0, std::collections::BTreeMap::len));
        })
        .await
    });
    let mut waits = async |count: usize| {
        let waits = answers.wait_for(|answers| *answers == count);
        tokio::time::timeout(Duration::from_secs(20), waits).await.unwrap().unwrap();
    };
    waits(6).await;
    for lease in &leases[..3] {
        store.revoke(*lease).await.unwrap();
    }
    // A seventh says that all before it was heard, and that nobody was let go.
    machine(&store, 7).await;
    waits(7).await;
    // Nothing here waits, so that what is forgotten was not heard: the watch ends.
    machine(&store, 8).await;
    machine(&store, 9).await;
    let revision = store.list(b"").await.unwrap().revision;
    store.compact(revision).unwrap();
    waits(9).await;
    hand.pass(TTL + Duration::from_secs(2));
    waits(6).await;
    keeps.abort();
}
