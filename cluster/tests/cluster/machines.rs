//! Machines that only pretend to run what they are assigned, and a clock that tests move.

use std::time::Duration;

use ferrite_cluster::keys::Key;
use ferrite_cluster::lead::Clock;
use ferrite_cluster::names::MachineId;
use ferrite_cluster::presence::{Moment, SUSPECT_FOR};
use ferrite_cluster::records::{
    Alive, Assignment, Capacity, Condition, InstanceState, Machine, Rest, State, Target, decode,
};
use ferrite_cluster::store::{ClusterStore, LeaseId, Listing, Outcome, Revision};
use ferrite_cluster::transactions::{Join, join, report};
use ferrite_schema::api::UnitState;
use futures_util::StreamExt;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Longest that a test waits for something.
const PATIENCE: Duration = Duration::from_secs(120);
/// Longer than any test, so that only a kill ends a lease.
pub(crate) const TTL: Duration = Duration::from_secs(600);

pub(crate) fn id(number: u8) -> MachineId {
    format!("{number:032x}").parse().unwrap()
}

/// Waits until the store is as it should be.
pub(crate) async fn until<S: ClusterStore, T>(
    store: &S,
    what: &str,
    mut look: impl FnMut(&Listing) -> Option<T>,
) -> T {
    let all = async {
        loop {
            let listing = store.list(b"/ferrite/1/").await.unwrap();
            if let Some(found) = look(&listing) {
                return found;
            }
            let mut watch = store.watch(b"/ferrite/1/", listing.revision.next()).await.unwrap();
            drop(watch.next().await.unwrap());
        }
    };
    let found = tokio::time::timeout(PATIENCE, all).await;
    found.unwrap_or_else(|_| panic!("waited in vain until {what}"))
}

/// A machine that runs whatever it is assigned.
pub(crate) struct Simulated<S> {
    store: S,
    lease: LeaseId,
    life: JoinHandle<()>,
}

impl<S: ClusterStore> Simulated<S> {
    /// It joins, and goes on by itself.
    pub(crate) async fn start(store: &S, number: u8) -> Self {
        let id = id(number);
        let lease = store.grant(TTL).await.unwrap();
        let machine = Machine {
            name: format!("dev-{number}"),
            addresses: vec![[10, 0, 0, number].into()],
            metadata: [].into(),
            overrides: [].into(),
            capacity: Capacity { cpus_milli: 2000, memory_bytes: 1 << 30, rest: Rest::new() },
            level: 1,
            cordoned: false,
            mesh_key: None,
            mtu: None,
            hardware: None,
            eligible: false,
            etcd_unusable: None,
            rights: Vec::new(),
            env_files: Vec::new(),
            rest: Rest::new(),
        };
        let alive = Alive { boot_id: "b".to_owned(), incarnation: 1, rest: Rest::new() };
        let known = store.get(&Key::Machine(id.clone()).bytes()).await.unwrap().1;
        let says = Join { machine, alive, state: State::default() };
        let joins = join(&id, says, lease, known.as_ref(), None).unwrap();
        let Outcome::Done(joined) = store.transact(joins).await.unwrap() else {
            panic!("it is there")
        };
        let life = tokio::spawn(live(store.clone(), id, joined));
        Self { store: store.clone(), lease, life }
    }

    /// It stops at once, and its lease ends.
    pub(crate) async fn kill(self) {
        self.life.abort();
        self.store.revoke(self.lease).await.unwrap();
    }
}

async fn live<S: ClusterStore>(store: S, id: MachineId, joined: Revision) {
    let key = Key::Assign(id.clone());
    loop {
        let (revision, entry) = store.get(&key.bytes()).await.unwrap();
        let assignment = entry.map_or_else(Assignment::default, |entry| {
            decode(&key, &entry.value).unwrap_or_default()
        });
        let instances = assignment.instances.into_iter().map(|(name, assigned)| {
            let runs = assigned.target == Target::Launched;
            let state = if runs { UnitState::Running } else { UnitState::Loaded };
            let state = InstanceState {
                spec: assigned.spec,
                state: Condition::Known(state),
                ready: runs,
                addresses: Vec::new(),
                ports: Vec::new(),
                exit: None,
                done: false,
                rest: Rest::new(),
            };
            (name, state)
        });
        let state = State { instances: instances.collect(), rest: Rest::new() };
        store.transact(report(&id, &state, joined).unwrap()).await.unwrap();
        let mut watch = store.watch(&key.bytes(), revision.next()).await.unwrap();
        drop(watch.next().await);
    }
}

/// Time that passes when a test says so.
#[derive(Clone)]
pub(crate) struct Hand {
    now: watch::Sender<Moment>,
    asked: watch::Sender<Moment>,
}

impl Hand {
    pub(crate) fn new() -> Self {
        Self {
            now: watch::Sender::new(Duration::from_secs(1000)),
            asked: watch::Sender::new(Duration::ZERO),
        }
    }

    /// Waits until somebody waits for a moment to come, and lets it come.
    pub(crate) async fn pass(&self) {
        let now = *self.now.borrow();
        let mut asked = self.asked.subscribe();
        let asked = tokio::time::timeout(PATIENCE, asked.wait_for(|asked| *asked > now)).await;
        let moment = *asked.expect("nobody waits for a moment").unwrap();
        assert!(moment - now <= SUSPECT_FOR, "a machine that is alone is held by the brake");
        self.now.send_replace(moment);
    }
}

impl Hand {
    /// Lets time pass, whoever waits for it.
    pub(crate) fn forward(&self, time: Duration) {
        self.now.send_modify(|now| *now += time);
    }

    /// The latest moment that somebody waits for, once that is after this one.
    pub(crate) async fn asked_after(&self, moment: Moment) -> Moment {
        let mut asked = self.asked.subscribe();
        let asked = tokio::time::timeout(PATIENCE, asked.wait_for(|asked| *asked > moment)).await;
        *asked.expect("nobody waits for a moment").unwrap()
    }
}

impl Clock for Hand {
    fn now(&self) -> Moment {
        *self.now.borrow()
    }

    async fn until(&self, moment: Moment) {
        self.asked.send_replace(moment);
        let mut now = self.now.subscribe();
        now.wait_for(|now| *now >= moment).await.unwrap();
    }
}
