//! Both ends of a link, over a store in memory: what a node says reaches the store, what it is to run reaches it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use ferrite_cluster::catalogue::Catalogue;
use ferrite_cluster::keys::Key;
use ferrite_cluster::lead::Monotonic;
use ferrite_cluster::names::{SpecHash, UnitName};
use ferrite_cluster::protocol::{
    AssignmentSnapshot, Hello, Member, Message, PeersSnapshot, SpecText, VERSION, Welcome,
};
use ferrite_cluster::records::{
    Assigned, Assignment, Capacity, Cause, Condition, InstanceState, Machine, Placement, Rest,
    Spec, State, Target, decode, encode,
};
use ferrite_cluster::store::{ClusterStore, Entry, Memory, Operation, Outcome, Transaction};
use ferrite_schema::api::UnitState;
use ferrite_schema::cluster::{ClusterId, MachineId};
use futures_util::StreamExt;
use tokio::sync::watch;

use super::errand::Instances;
use super::fence::{Keeper, Phase};
use super::frames::frames;
use super::kept::{Folder, KeptAssignment};
use super::link::{self, End, Following, News, Own};
use super::meeting;
use super::outlook;
use super::relay::{self, Guest, Relay};

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(60);
const TTL: Duration = Duration::from_secs(600);

fn cluster() -> ClusterId {
    "c".repeat(32).parse().unwrap()
}

fn machine(digit: &str) -> MachineId {
    digit.repeat(32).parse().unwrap()
}

/// Runs whatever it is assigned, as soon as it is not busy.
struct Pretends {
    runs: Mutex<BTreeMap<UnitName, SpecHash>>,
    changes: watch::Sender<u64>,
    busy: watch::Sender<bool>,
}

impl Pretends {
    fn new() -> Self {
        let (changes, busy) = (watch::Sender::new(0), watch::Sender::new(false));
        Self { runs: Mutex::default(), changes, busy }
    }
}

impl Instances for Pretends {
    async fn state(&self, specs: &BTreeMap<UnitName, SpecHash>) -> State {
        let runs = self.runs.lock().unwrap().clone();
        let instances = runs.into_keys().map(|name| {
            let state = InstanceState {
                spec: specs[&name].clone(),
                state: Condition::Known(UnitState::Running),
                ready: true,
                addresses: Vec::new(),
                ports: Vec::new(),
                exit: None,
                done: false,
                rest: Rest::new(),
            };
            (name, state)
        });
        State { instances: instances.collect(), rest: Rest::new() }
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    async fn assign(&self, wanted: BTreeMap<UnitName, (Assigned, Spec)>) {
        self.busy.subscribe().wait_for(|busy| !busy).await.unwrap();
        *self.runs.lock().unwrap() =
            wanted.into_iter().map(|(name, (assigned, _))| (name, assigned.spec)).collect();
        self.changes.send_modify(|number| *number += 1);
    }
}

fn guest() -> Guest {
    Guest { machine: machine("b"), serial: Some("0a".to_owned()) }
}

fn record(name: &str) -> Machine {
    Machine {
        name: name.to_owned(),
        addresses: vec![[10, 0, 0, 1].into()],
        metadata: BTreeMap::new(),
        overrides: BTreeMap::new(),
        capacity: Capacity { cpus_milli: 1000, memory_bytes: 1 << 29, rest: Rest::new() },
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
    }
}

fn relay(store: &Memory) -> (watch::Sender<Vec<Member>>, Relay<Memory>) {
    let members = watch::Sender::new(Vec::new());
    let relay = Relay {
        store: store.clone(),
        cluster: cluster(),
        machine: machine("a"),
        epoch: 1,
        ttl: TTL,
        election: Duration::from_secs(1),
        fresh: Vec::new(),
        members: members.subscribe(),
        told: watch::Sender::new(None).subscribe(),
    };
    (members, relay)
}

/// Nothing here must not run twice, but where a test says so.
fn fence() -> &'static Keeper {
    let nowhere = Path::new("/nonexistent/fence.json");
    Box::leak(Box::new(Keeper::begin(nowhere, BTreeSet::new())))
}

fn own(boot: &str) -> Own<'static> {
    Own {
        cluster: cluster(),
        machine: machine("b"),
        boot_id: boot.to_owned(),
        record: &|| record("dev-2"),
        fence: fence(),
    }
}

/// A link of machine `b`, until `done`.
async fn linked(
    store: &Memory,
    own: &Own<'_>,
    instances: &Pretends,
    following: &mut Following,
    done: impl AsyncFnOnce(),
) -> Option<End> {
    let mut ignored = (|_: PeersSnapshot| {}, |_: &Catalogue| {});
    let told = (&mut ignored.0 as _, &mut ignored.1 as _);
    told_and_linked(store, own, instances, following, (told, done)).await
}

type Hears<'test> =
    (&'test mut (dyn FnMut(PeersSnapshot) + Send), &'test mut (dyn FnMut(&Catalogue) + Send));

/// Likewise, with what becomes of what the member tells every node.
async fn told_and_linked(
    store: &Memory,
    own: &Own<'_>,
    instances: &Pretends,
    following: &mut Following,
    ((peers, services), done): (Hears<'_>, impl AsyncFnOnce()),
) -> Option<End> {
    let (_members, mut relay) = relay(store);
    let told = watch::Sender::new(None);
    relay.told = told.subscribe();
    let mut known = outlook::Known::nothing(Monotonic::start());
    let tells = outlook::keep(store, TTL, &mut known, |now| drop(told.send_replace(Some(now))));
    let (here, there) = tokio::io::duplex(64 * 1024);
    let answers = async {
        let (mut hears, says) = frames(there);
        let Message::Hello(hello) = hears.next().await.unwrap() else { panic!("no hello") };
        relay::serve(&relay, &guest(), hello, (hears, says)).await
    };
    let mut nobody = Nobody::default();
    let mut news = News { peers, services, ..nobody.news() };
    // Each has a place of its own: not optimised, all of them together are more than a thread has.
    let node = Box::pin(link::run(here, own, instances, following, &mut news));
    let (answers, tells) = (Box::pin(answers), Box::pin(tells));
    let all = async {
        tokio::select! {
            end = async { tokio::join!(node, answers).0 } => Some(end),
            problem = tells => panic!("{problem}"),
            () = done() => None,
        }
    };
    tokio::time::timeout(PATIENCE, all).await.expect("it takes too long")
}

/// Hears all that a relay tells, and makes nothing of it.
struct Nobody {
    welcome: fn(&Welcome),
    members: fn(Vec<Member>, bool),
    peers: fn(PeersSnapshot),
    revoked: fn(BTreeSet<String>),
    services: fn(&Catalogue),
}

impl Default for Nobody {
    fn default() -> Self {
        Self { welcome: |_| {}, members: |_, _| {}, peers: drop, revoked: drop, services: |_| {} }
    }
}

impl Nobody {
    fn news(&mut self) -> News<'_> {
        News {
            welcome: &mut self.welcome,
            members: &mut self.members,
            peers: &mut self.peers,
            revoked: &mut self.revoked,
            services: &mut self.services,
        }
    }
}

async fn write(store: &Memory, key: &Key, value: Vec<u8>) {
    let operations = vec![Operation::Put { key: key.bytes(), value, lease: None }];
    let write = Transaction { compares: Vec::new(), operations };
    assert!(matches!(store.transact(write).await.unwrap(), Outcome::Done(_)));
}

/// Waits until the key is as it should be.
async fn until(store: &Memory, key: &Key, fits: impl Fn(&Entry) -> bool) -> Entry {
    loop {
        let (revision, entry) = store.get(&key.bytes()).await.unwrap();
        if let Some(entry) = entry.filter(|entry| fits(entry)) {
            return entry;
        }
        let mut watch = store.watch(&key.bytes(), revision.next()).await.unwrap();
        drop(watch.next().await.unwrap());
    }
}

/// What assigns `name`, with the specification that belongs to it.
fn assignment(name: &str) -> (Key, Vec<u8>, Vec<u8>) {
    let unit = serde_json::json!({"name": "web", "image": "web:1"});
    let spec =
        Spec { level: 1, unit, image: None, placement: Placement::default(), rest: Rest::new() };
    let text = encode(&Key::Spec(SpecHash::of(b"")), &spec).unwrap();
    let key = Key::Spec(SpecHash::of(&text));
    let assigned = Assigned {
        spec: SpecHash::of(&text),
        target: Target::Launched,
        cause: Cause::Wanted,
        fired_s: None,
        rest: Rest::new(),
    };
    let all =
        Assignment { instances: [(name.parse().unwrap(), assigned)].into(), rest: Rest::new() };
    let assigned = encode(&Key::Assign(machine("b")), &all).unwrap();
    (key, text, assigned)
}

fn runs(entry: &Entry) -> Vec<String> {
    let state: State = decode(&Key::State(machine("b")), &entry.value).unwrap();
    state.instances.into_keys().map(String::from).collect()
}

#[tokio::test]
async fn what_is_assigned_runs_and_is_reported_and_goes_on_by_another_relay() {
    let (store, place) = (Memory::new(), tempfile::tempdir().unwrap());
    let (instances, own) = (Pretends::new(), own("boot-1"));
    let mut following = Following::begin(Folder::at(place.path()));
    let (assign, state) = (Key::Assign(machine("b")), Key::State(machine("b")));
    let alive = Key::Alive(machine("b"));
    let (spec, text, assigned) = assignment("web@1");
    let end = linked(&store, &own, &instances, &mut following, async || {
        until(&store, &alive, |_| true).await;
        write(&store, &spec, text).await;
        write(&store, &assign, assigned).await;
        until(&store, &state, |entry| runs(entry) == ["web@1"]).await;
    })
    .await;
    assert!(end.is_none(), "{end:?}");
    let first = until(&store, &alive, |_| true).await;

    // Another agent of the same boot: it knows from STATE what runs, and there was no moment without it.
    let mut following = Following::begin(Folder::at(place.path()));
    let end = linked(&store, &own, &instances, &mut following, async || {
        let later = until(&store, &alive, |entry| entry.version > first.version).await;
        assert_eq!(later.create_revision, first.create_revision);
        assert_ne!(later.lease, first.lease);
        assert_eq!(runs(&until(&store, &state, |_| true).await), ["web@1"]);
        write(&store, &assign, encode(&assign, &Assignment::default()).unwrap()).await;
        until(&store, &state, |entry| runs(entry).is_empty()).await;
    })
    .await;
    assert!(end.is_none(), "{end:?}");
}

#[tokio::test]
async fn a_node_gets_a_network_when_it_joins_and_hears_of_the_others_and_of_services() {
    let (store, place) = (Memory::new(), tempfile::tempdir().unwrap());
    let (instances, own) = (Pretends::new(), own("boot-1"));
    let networks = serde_json::json!({"ipv4": "10.112.0.0/12", "ipv6": "fd00:1:2::/48"});
    let timings = serde_json::json!({"heartbeat_ms": 1, "election_ms": 1, "ttl_s": 5});
    let cluster = serde_json::json!({"id": "c", "epoch": 1, "networks": networks, "member_target": 1, "timings": timings, "level": 1});
    write(&store, &Key::Cluster, cluster.to_string().into_bytes()).await;
    let first = serde_json::json!({"machine": machine("d")});
    write(&store, &Key::Net(1), first.to_string().into_bytes()).await;
    let (peers, heard) = tokio::sync::watch::channel(None);
    let mut hears_peers = move |told: PeersSnapshot| drop(peers.send_replace(Some(told)));
    let (services, catalogue) = tokio::sync::watch::channel(Catalogue::default());
    let mut hears_services = move |told: &Catalogue| drop(services.send_replace(told.clone()));
    let mut following = Following::begin(Folder::at(place.path()));
    let hears: Hears<'_> = (&mut hears_peers, &mut hears_services);
    let done = async || {
        let number_of = |told: &Option<PeersSnapshot>, digit: &str| {
            told.as_ref().and_then(|told| told.peers.get(&machine(digit))?.number)
        };
        let mut heard = heard;
        heard.wait_for(|told| number_of(told, "b") == Some(2)).await.unwrap();
        let later = encode(&Key::Machine(machine("d")), &record("dev-4")).unwrap();
        write(&store, &Key::Machine(machine("d")), later).await;
        let told = heard.wait_for(|told| number_of(told, "d") == Some(1)).await.unwrap().clone();
        assert_eq!(told.unwrap().peers[&machine("b")].name, "dev-2");
        // An instance elsewhere: ready, and no more.
        let mut catalogue = catalogue;
        let alive = serde_json::json!({"boot_id": "x", "incarnation": 1});
        write(&store, &Key::Alive(machine("d")), alive.to_string().into_bytes()).await;
        for ready in [true, false, true] {
            let web = serde_json::json!({"spec": "ab".repeat(32), "state": "running", "ready": ready, "addresses": ["10.112.1.2"]});
            let state = serde_json::json!({"instances": {"web@1": web}}).to_string().into_bytes();
            write(&store, &Key::State(machine("d")), state).await;
            let answers = |told: &Catalogue| {
                told.services.get("web").is_some_and(|web| web.is_empty() != ready)
            };
            catalogue.wait_for(answers).await.unwrap();
        }
    };
    let end = told_and_linked(&store, &own, &instances, &mut following, (hears, done)).await;
    assert!(end.is_none(), "{end:?}");
    // It keeps its network, whenever it joins again.
    let alive = until(&store, &Key::Alive(machine("b")), |_| true).await;
    linked(&store, &own, &instances, &mut following, async || {
        until(&store, &Key::Alive(machine("b")), |entry| entry.version > alive.version).await;
    })
    .await;
    let nets = store.list(Key::nets().as_bytes()).await.unwrap().entries;
    assert_eq!(nets.len(), 2);
}

#[tokio::test]
async fn a_machine_for_which_the_network_has_no_room_is_refused_and_leaves_nothing() {
    let (store, place) = (Memory::new(), tempfile::tempdir().unwrap());
    let networks = serde_json::json!({"ipv4": "10.64.0.0/22", "ipv6": "fd00:1:2::/48"});
    let timings = serde_json::json!({"heartbeat_ms": 1, "election_ms": 1, "ttl_s": 5});
    let cluster = serde_json::json!({"id": "c", "epoch": 1, "networks": networks, "member_target": 1, "timings": timings, "level": 1});
    write(&store, &Key::Cluster, cluster.to_string().into_bytes()).await;
    for (number, digit) in [(1, "c"), (2, "d"), (3, "e")] {
        let net = serde_json::json!({"machine": machine(digit)});
        write(&store, &Key::Net(number), net.to_string().into_bytes()).await;
    }
    let mut following = Following::begin(Folder::at(place.path()));
    let (instances, own, never) = (Pretends::new(), own("boot-1"), std::future::pending::<()>);
    let end = linked(&store, &own, &instances, &mut following, never).await.unwrap().to_string();
    let said = "10.64.0.0/22 has room for 3 machines, and all of it is given";
    assert!(end.contains(said) && end.contains("ferrite machine forget"), "{end}");
    assert_eq!(store.get(&Key::Machine(machine("b")).bytes()).await.unwrap().1, None);
    // One that is forgotten makes room.
    let forgotten = Operation::Delete { key: Key::Net(2).bytes() };
    let forgets = Transaction { compares: Vec::new(), operations: vec![forgotten] };
    store.transact(forgets).await.unwrap();
    let end = linked(&store, &own, &instances, &mut following, async || {
        until(&store, &Key::Net(2), |_| true).await;
    })
    .await;
    assert!(end.is_none(), "{end:?}");
}

#[tokio::test]
async fn a_copy_is_refused_while_the_machine_lives_and_let_in_once_it_is_gone() {
    let (store, place) = (Memory::new(), tempfile::tempdir().unwrap());
    let instances = Pretends::new();
    let alive = Key::Alive(machine("b"));
    let mut following = Following::begin(Folder::at(place.path()));
    linked(&store, &own("boot-1"), &instances, &mut following, async || {
        until(&store, &alive, |_| true).await;
    })
    .await;
    let end =
        linked(&store, &own("boot-2"), &instances, &mut following, std::future::pending::<()>)
            .await
            .unwrap();
    assert!(end.to_string().contains("alive in another boot"), "{end}");
    let lease = until(&store, &alive, |_| true).await.lease.unwrap();
    store.revoke(lease).await.unwrap();
    let end = linked(&store, &own("boot-2"), &instances, &mut following, async || {
        until(&store, &alive, |entry| entry.value.windows(6).any(|text| text == b"boot-2")).await;
    })
    .await;
    assert!(end.is_none(), "{end:?}");
}

#[tokio::test]
async fn a_copy_on_another_machine_is_told_apart_from_a_restart_before_it_hears_anything() {
    let (store, place) = (Memory::new(), tempfile::tempdir().unwrap());
    let (instances, mut following) = (Pretends::new(), Following::begin(Folder::at(place.path())));
    let (spec, text, assigned) = assignment("web@1");
    write(&store, &spec, text).await;
    write(&store, &Key::Assign(machine("b")), assigned).await;
    let runs_there = async || {
        until(&store, &Key::State(machine("b")), |entry| runs(entry) == ["web@1"]).await;
    };
    let [first, other] = ["first", "other"]
        .map(|hardware| move || Machine { hardware: Some(hardware.to_owned()), ..record("dev-2") });
    let at = |boot: &str, record| Own { record, ..own(boot) };
    linked(&store, &at("boot-1", &first), &instances, &mut following, runs_there).await;
    let before = until(&store, &Key::Machine(machine("b")), |_| true).await;
    let never = std::future::pending::<()>;
    let end = linked(&store, &at("boot-2", &first), &instances, &mut following, never).await;
    assert!(matches!(&end, Some(End::Refused(why)) if why.contains("restarted")), "{end:?}");
    let end = linked(&store, &at("boot-2", &other), &instances, &mut following, never).await;
    assert!(matches!(&end, Some(End::Copy(why)) if why.contains("a copy of its disk")), "{end:?}");
    assert_eq!(until(&store, &Key::Machine(machine("b")), |_| true).await, before);
    // It runs nothing until the machine is gone, and then what that one ran, though nothing of it has changed.
    following.forget();
    instances.assign(BTreeMap::new()).await;
    let lease = until(&store, &Key::Alive(machine("b")), |_| true).await.lease.unwrap();
    store.revoke(lease).await.unwrap();
    linked(&store, &at("boot-2", &other), &instances, &mut following, async || {
        let boot = |entry: &Entry| entry.value.windows(6).any(|text| text == b"boot-2");
        until(&store, &Key::Alive(machine("b")), boot).await;
        runs_there().await;
    })
    .await;
}

#[tokio::test]
async fn nothing_changes_where_a_specification_is_missing() {
    let (store, place) = (Memory::new(), tempfile::tempdir().unwrap());
    let (instances, own) = (Pretends::new(), own("boot-1"));
    let mut following = Following::begin(Folder::at(place.path()));
    let (assign, state) = (Key::Assign(machine("b")), Key::State(machine("b")));
    let (spec, text, assigned) = assignment("web@1");
    write(&store, &spec, text).await;
    write(&store, &assign, assigned).await;
    linked(&store, &own, &instances, &mut following, async || {
        until(&store, &state, |entry| runs(entry) == ["web@1"]).await;
    })
    .await;
    // Somebody assigns what is nowhere.
    let (_, _, other) = assignment("web@2");
    let other = String::from_utf8(other).unwrap();
    let hash = SpecHash::of(b"nowhere");
    let known: Assignment = decode(&assign, other.as_bytes()).unwrap();
    let mut absent = known.clone();
    for assigned in absent.instances.values_mut() {
        assigned.spec = hash.clone();
    }
    write(&store, &assign, encode(&assign, &absent).unwrap()).await;
    let before = instances.changes.borrow().to_owned();
    linked(&store, &own, &instances, &mut following, async || {
        // What comes after it shows that it was heard.
        until(&store, &Key::Alive(machine("b")), |_| true).await;
        write(&store, &assign, encode(&assign, &known).unwrap()).await;
        until(&store, &state, |entry| runs(entry) == ["web@2"]).await;
    })
    .await;
    assert_eq!(*instances.changes.borrow(), before + 1, "it was assigned once more");
}

#[tokio::test]
async fn who_is_somebody_else_or_of_another_cluster_hears_why() {
    let store = Memory::new();
    let hello = Hello {
        versions: vec![VERSION],
        cluster: cluster().to_string(),
        machine: machine("b"),
        boot_id: "boot".to_owned(),
        hardware: None,
        level: 1,
    };
    let cases = [
        (Hello { machine: machine("d"), ..hello.clone() }, "certificate is of machine bbbb"),
        (Hello { cluster: "0".repeat(32), ..hello.clone() }, "it belongs to cluster 0000"),
        (Hello { versions: vec![7, 9], ..hello }, "speaks versions [7, 9]"),
    ];
    for (hello, expected) in cases {
        let (_members, relay) = relay(&store);
        let (here, there) = tokio::io::duplex(64 * 1024);
        let (mut hears, _says) = frames(here);
        let guest = guest();
        let served = relay::serve(&relay, &guest, hello, frames(there));
        let (end, said) = tokio::join!(served, hears.next());
        let Message::Refused { why, .. } = said.unwrap() else { panic!("it is welcome") };
        assert!(why.contains(expected), "{why}");
        assert!(end.to_string().contains(expected), "{end}");
    }
    assert_eq!(store.list(b"").await.unwrap().entries, []);
}

/// What it knows of members is not believed more than any other hint: it stays beside what a relay said.
#[tokio::test]
async fn a_node_that_is_no_relay_says_who_may_be_one() {
    let place = tempfile::tempdir().unwrap();
    let mut following = Following::begin(Folder::at(place.path()));
    let known =
        Member { machine: machine("a"), addresses: vec![[10, 0, 0, 9].into()], learner: false };
    let (here, there) = tokio::io::duplex(64 * 1024);
    let (mut hears, mut says) = frames(there);
    let refuses = async {
        let Message::Hello(_) = hears.next().await.unwrap() else { panic!("no hello") };
        meeting::refuse(&mut says, vec![known.clone()]).await.unwrap();
    };
    let mut told = Vec::new();
    let mut members = |members: Vec<Member>, _: bool| told.push(members);
    let mut nobody = Nobody::default();
    let mut news = News { members: &mut members, ..nobody.news() };
    let (own, instances) = (own("boot"), Pretends::new());
    let node = link::run(here, &own, &instances, &mut following, &mut news);
    let (end, ()) = tokio::join!(node, refuses);
    assert!(matches!(&end, End::Refused(why) if why.contains("runs no etcd")), "{end}");
    assert_eq!((following.elsewhere, told), (vec![known], Vec::new()));
}

#[tokio::test]
async fn a_certificate_that_was_revoked_opens_nothing() {
    let (store, place) = (Memory::new(), tempfile::tempdir().unwrap());
    write(&store, &Key::Revoked("0a".to_owned()), b"what nobody understands".to_vec()).await;
    let mut following = Following::begin(Folder::at(place.path()));
    let never = std::future::pending::<()>;
    let end = linked(&store, &own("boot"), &Pretends::new(), &mut following, never).await.unwrap();
    assert!(matches!(&end, End::Revoked(why) if why.contains("was revoked")), "{end}");
}

/// Whoever certifies it: its certificate is good.
#[tokio::test]
async fn a_machine_that_was_forgotten_is_not_let_in_again() {
    let (store, place) = (Memory::new(), tempfile::tempdir().unwrap());
    write(&store, &Key::Forgotten(machine("b")), b"what nobody understands".to_vec()).await;
    let mut following = Following::begin(Folder::at(place.path()));
    let never = std::future::pending::<()>;
    let end = linked(&store, &own("boot"), &Pretends::new(), &mut following, never).await.unwrap();
    let says = |why: &str| why.contains("has forgotten machine bbbb") && why.contains("reset");
    assert!(matches!(&end, End::Revoked(why) if says(why)), "{end}");
}

/// While it is linked, and however good its lease is.
#[tokio::test]
async fn a_machine_whose_certificate_is_revoked_is_cut_off_at_once() {
    let (store, place) = (Memory::new(), tempfile::tempdir().unwrap());
    let mut following = Following::begin(Folder::at(place.path()));
    let revoke = async || {
        until(&store, &Key::Alive(machine("b")), |_| true).await;
        write(&store, &Key::Revoked("0a".to_owned()), b"{}".to_vec()).await;
        std::future::pending::<()>().await;
    };
    let (instances, own) = (Pretends::new(), own("boot"));
    let end = linked(&store, &own, &instances, &mut following, revoke).await.unwrap();
    assert!(matches!(&end, End::Revoked(why) if why.contains("was revoked")), "{end}");
}

/// Nothing of what was given to others is run at the next boot.
#[tokio::test]
async fn what_a_machine_that_is_shut_out_was_to_run_is_given_up_for_good() {
    let place = tempfile::tempdir().unwrap();
    let folder = Folder::at(place.path());
    let (_, _, assigned) = assignment("web@1");
    let all: Assignment = decode(&Key::Assign(machine("b")), &assigned).unwrap();
    let assignment = AssignmentSnapshot { revision: 7, instances: all.instances };
    folder.keep_assignment(&KeptAssignment { epoch: 3, assignment }).unwrap();
    let mut following = Following::begin(folder.clone());
    following.renounce();
    let kept = folder.assignment().unwrap().unwrap();
    assert_eq!((kept.epoch, kept.assignment.instances.len()), (3, 0));
    assert!(following.given_up && following.troubles.is_empty());
}

#[tokio::test]
async fn every_node_hears_which_certificates_open_nothing_any_more() {
    let (store, place) = (Memory::new(), tempfile::tempdir().unwrap());
    let mut following = Following::begin(Folder::at(place.path()));
    let (_members, mut relay) = relay(&store);
    let told = watch::Sender::new(None);
    relay.told = told.subscribe();
    let mut known = outlook::Known::nothing(Monotonic::start());
    let tells = outlook::keep(&store, TTL, &mut known, |now| drop(told.send_replace(Some(now))));
    let (here, there) = tokio::io::duplex(64 * 1024);
    let answers = async {
        let (mut hears, says) = frames(there);
        let Message::Hello(hello) = hears.next().await.unwrap() else { panic!("no hello") };
        relay::serve(&relay, &guest(), hello, (hears, says)).await
    };
    let (heard, mut hears) = watch::channel(None);
    let mut revoked = |serials| drop(heard.send_replace(Some(serials)));
    let mut nobody = Nobody::default();
    let mut news = News { revoked: &mut revoked, ..nobody.news() };
    let (own, instances) = (own("boot"), Pretends::new());
    let node = Box::pin(link::run(here, &own, &instances, &mut following, &mut news));
    let (answers, tells) = (Box::pin(answers), Box::pin(tells));
    let does = async {
        let mut is = async |all: &[&str]| {
            let all: BTreeSet<String> = all.iter().map(|&one| one.to_owned()).collect();
            hears.wait_for(|heard| heard.as_ref() == Some(&all)).await.unwrap();
        };
        // That there is none is said, too: what a node remembers may be of a store that was restored.
        is(&[]).await;
        write(&store, &Key::Revoked("0b".to_owned()), b"{}".to_vec()).await;
        is(&["0b"]).await;
    };
    let all = async {
        tokio::select! {
            end = node => panic!("{end}"),
            end = answers => panic!("{end}"),
            problem = tells => panic!("{problem}"),
            () = does => {}
        }
    };
    tokio::time::timeout(PATIENCE, all).await.expect("it takes too long");
}

/// The renewal counts once a read has found the machine by its own lease, and without one by which it was found it does not.
#[tokio::test]
async fn a_node_that_runs_what_must_not_run_twice_hears_whether_its_renewal_counts() {
    let (store, place) = (Memory::new(), tempfile::tempdir().unwrap());
    let mut following = Following::begin(Folder::at(place.path()));
    let own = own("boot");
    let mut phase = own.fence.watch();
    let opens = async || {
        until(&store, &Key::Alive(machine("b")), |_| true).await;
        assert!(!own.fence.is_open());
        own.fence.guard(["db".parse().unwrap()].into());
        phase.wait_for(|phase| *phase == Phase::Open).await.unwrap();
        assert!(own.fence.is_open());
    };
    assert!(linked(&store, &own, &Pretends::new(), &mut following, opens).await.is_none());
}

/// It would use WireGuard beside machines that do without.
#[tokio::test]
async fn a_machine_whose_version_does_not_know_the_cluster_s_network_is_refused() {
    let store = Memory::new();
    let record = |networks: serde_json::Value| {
        serde_json::json!({
            "id": cluster(), "epoch": 1, "networks": networks, "member_target": 1, "level": 1,
            "timings": {"heartbeat_ms": 1, "election_ms": 1, "ttl_s": 5},
        })
        .to_string()
        .into_bytes()
    };
    let networks = |more: serde_json::Value| {
        let mut networks = serde_json::json!({"ipv4": "10.112.0.0/12", "ipv6": "fd00:1:2::/48"});
        networks.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        networks
    };
    for (more, level, least) in [
        (serde_json::json!({}), 1, None),
        (serde_json::json!({"transport": "wireguard"}), 1, None),
        // As a cluster was begun before levels of networks were written.
        (serde_json::json!({"transport": "routes"}), 1, Some(2)),
        (serde_json::json!({"transport": "routes", "level": 2}), 2, None),
        (serde_json::json!({"level": 9}), 2, Some(9)),
    ] {
        write(&store, &Key::Cluster, record(networks(more.clone()))).await;
        let hello = Hello {
            versions: vec![1],
            cluster: cluster().to_string(),
            machine: machine("b"),
            boot_id: "b".to_owned(),
            hardware: None,
            level,
        };
        let (_members, relay) = relay(&store);
        let (here, there) = tokio::io::duplex(64 * 1024);
        let (mut hears, says) = frames(here);
        let answers = async {
            let said = hears.next().await.unwrap();
            drop((hears, says));
            said
        };
        let guest = guest();
        let served = relay::serve(&relay, &guest, hello, frames(there));
        let (_, said) = tokio::join!(served, answers);
        match (said, least) {
            (Message::Welcome(welcome), None) => assert_eq!(welcome.version, 1),
            (Message::Refused { why, .. }, Some(least)) => {
                assert!(why.contains(&format!("of level {least}")), "{why}");
            }
            (said, _) => panic!("{more}: {said:?}"),
        }
    }
}

/// Many units take longer to take in than a node may be silent.
#[tokio::test]
async fn a_node_that_is_busy_says_all_the_time_that_it_is_there() {
    let place = tempfile::tempdir().unwrap();
    let (instances, own) = (Pretends::new(), own("boot-1"));
    let busy = instances.busy.clone();
    busy.send_replace(true);
    let mut following = Following::begin(Folder::at(place.path()));
    let (here, there) = tokio::io::duplex(64 * 1024);
    let (key, text, assigned) = assignment("web@1");
    let Key::Spec(hash) = key else { panic!("{key:?}") };
    let relay = async {
        let (mut hears, mut says) = frames(there);
        assert!(matches!(hears.next().await.unwrap(), Message::Hello(_)));
        let welcome = Welcome {
            version: VERSION,
            epoch: 1,
            relay: machine("a"),
            ttl_s: 1,
            election_ms: None,
        };
        says.say(&Message::Welcome(welcome)).await.unwrap();
        let all: Assignment = decode(&Key::Assign(machine("b")), &assigned).unwrap();
        let snapshot = AssignmentSnapshot { revision: 7, instances: all.instances };
        says.say(&Message::Assignment(snapshot)).await.unwrap();
        let text = String::from_utf8(text).ok();
        says.say(&Message::Spec(SpecText { hash: hash.clone(), text })).await.unwrap();
        let (mut beats, mut wants) = (0, false);
        while beats < 6 {
            match hears.next().await.unwrap() {
                Message::KeepAlive(alive) => {
                    let (number, gone) = (alive.number, Vec::new());
                    says.say(&Message::KeptAlive { number, gone, held: false }).await.unwrap();
                    beats += 1;
                }
                Message::State { state, .. } => panic!("it runs already: {state:?}"),
                Message::WantSpecs { .. } => wants = true,
                _ => {}
            }
        }
        assert!(wants);
        busy.send_replace(false);
        loop {
            if let Message::State { state, .. } = hears.next().await.unwrap() {
                return state;
            }
        }
    };
    let mut nobody = Nobody::default();
    let mut news = nobody.news();
    let node = link::run(here, &own, &instances, &mut following, &mut news);
    let all = async {
        tokio::select! {
            state = relay => state,
            end = node => panic!("{end}"),
        }
    };
    let state = tokio::time::timeout(PATIENCE, all).await.expect("it takes too long");
    assert_eq!(state.instances.len(), 1);
}

/// It may have been removed: a list that a quorum was asked for comes at the beginning of a link alone.
#[tokio::test]
async fn a_node_that_is_listed_no_more_asks_anew() {
    let place = tempfile::tempdir().unwrap();
    let (instances, own) = (Pretends::new(), own("boot-1"));
    let mut following = Following::begin(Folder::at(place.path()));
    let (here, there) = tokio::io::duplex(64 * 1024);
    let listed = |digits: &[&str]| {
        let member = |digit: &&str| Member {
            machine: machine(digit),
            addresses: Vec::new(),
            learner: false,
        };
        digits.iter().map(member).collect::<Vec<_>>()
    };
    let relay = async {
        let (mut hears, mut says) = frames(there);
        assert!(matches!(hears.next().await.unwrap(), Message::Hello(_)));
        let welcome = Welcome {
            version: VERSION,
            epoch: 1,
            relay: machine("a"),
            ttl_s: 600,
            election_ms: None,
        };
        says.say(&Message::Welcome(welcome)).await.unwrap();
        for (digits, fresh) in [(&["a", "b"][..], true), (&["b", "c"], false), (&["a"], false)] {
            says.say(&Message::Members { members: listed(digits), fresh }).await.unwrap();
        }
        while hears.next().await.is_ok() {}
    };
    let mut nobody = Nobody::default();
    let mut news = nobody.news();
    let node = link::run(here, &own, &instances, &mut following, &mut news);
    let (end, ()) = tokio::time::timeout(PATIENCE, async { tokio::join!(node, relay) })
        .await
        .expect("it takes too long");
    assert!(matches!(end, End::Unlisted), "{end}");
}
