use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::store::Revision;

const TTL: Duration = Duration::from_secs(5);

fn id(number: usize) -> MachineId {
    format!("{number:032x}").parse().unwrap()
}

fn put(key: &Key, value: &serde_json::Value) -> Change {
    Change::Put(Entry {
        key: key.bytes(),
        value: value.to_string().into_bytes(),
        create_revision: Revision(1),
        mod_revision: Revision(1),
        version: 1,
        lease: None,
    })
}

fn gone(key: &Key) -> Change {
    Change::Delete { key: key.bytes(), revision: Revision(1) }
}

fn cluster() -> Change {
    let timings = json!({"heartbeat_ms": 1, "election_ms": 1, "ttl_s": 5});
    let networks = json!({"ipv4": "10.112.0.0/12", "ipv6": "fd00:1:2::/48"});
    put(
        &Key::Cluster,
        &json!({"id": "c", "epoch": 1, "networks": networks, "member_target": 1, "timings": timings, "level": 1}),
    )
}

fn machine(number: usize, key: &str) -> Change {
    let capacity = json!({"cpus_milli": 1, "memory_bytes": 1});
    put(
        &Key::Machine(id(number)),
        &json!({"name": format!("dev-{number}"), "addresses": ["10.0.0.1"], "capacity": capacity, "level": 1, "mesh_key": key}),
    )
}

fn alive(number: usize) -> Change {
    put(&Key::Alive(id(number)), &json!({"boot_id": "b", "incarnation": 1}))
}

fn serves(number: usize, ready: bool) -> Change {
    let spec = "ab".repeat(32);
    let web = json!({"spec": spec, "state": "running", "ready": ready, "addresses": [format!("10.112.{number}.2")]});
    put(&Key::State(id(number)), &json!({"instances": {format!("web@{number}"): web}}))
}

fn net(number: u16, owner: usize) -> Change {
    put(&Key::Net(number), &json!({"machine": id(owner)}))
}

fn answers(outlook: &Outlook) -> Vec<String> {
    let services = &outlook.catalogue().services;
    services.get("web").into_iter().flat_map(|web| web.keys().map(ToString::to_string)).collect()
}

#[test]
fn machines_are_told_with_their_networks_and_stay_while_they_are_away() {
    let mut outlook = Outlook::begin(&[], TTL, Moment::ZERO);
    assert_eq!(outlook.peers(), None, "there is no cluster yet");
    let all = [cluster(), machine(1, "k1"), machine(2, "k2"), net(5, 1), net(3, 1), alive(1)];
    outlook.changes(&all, Moment::ZERO);
    let peers = outlook.peers().unwrap();
    assert_eq!(peers.networks.ipv4, "10.112.0.0/12");
    let first = &peers.peers[&id(1)];
    assert_eq!((first.number, first.key.as_deref(), &*first.name), (Some(3), Some("k1"), "dev-1"));
    assert_eq!(peers.peers[&id(2)].number, None);
    outlook.changes(&[gone(&Key::Alive(id(1)))], Moment::ZERO);
    assert_eq!(outlook.peers(), Some(peers.clone()), "away is not gone");
    // What somebody else wrote there, and cannot be understood, changes nothing.
    let nonsense = [
        put(&Key::Machine(id(1)), &json!([])),
        put(&Key::Cluster, &json!(7)),
        put(&Key::Net(3), &json!(7)),
    ];
    outlook.changes(&nonsense, Moment::ZERO);
    assert_eq!(outlook.peers(), Some(peers));
    outlook.changes(&[gone(&Key::Machine(id(1))), gone(&Key::Net(3))], Moment::ZERO);
    assert_eq!(outlook.peers().unwrap().peers.keys().cloned().collect::<Vec<_>>(), [id(2)]);
}

#[test]
fn certificates_that_are_revoked_are_told_as_long_as_that_is_remembered() {
    let key = |serial: &str| Key::Revoked(serial.to_owned());
    let mut outlook = Outlook::begin(&[], TTL, Moment::ZERO);
    // What nobody understands is there all the same.
    let all = [put(&key("0a"), &json!({"until_s": 7})), put(&key("0b"), &json!([]))];
    outlook.changes(&all, Moment::ZERO);
    assert_eq!(outlook.revoked(), &["0a".to_owned(), "0b".to_owned()].into());
    outlook.changes(&[gone(&key("0b"))], Moment::ZERO);
    assert_eq!(outlook.revoked(), &["0a".to_owned()].into());
    // What was missed is seen when all is looked at again.
    outlook.again(&[], Moment::ZERO);
    assert_eq!(outlook.revoked(), &BTreeSet::new());
}

#[test]
fn one_machine_that_vanishes_answers_no_more_and_many_at_once_do() {
    let start: Vec<Change> = (1..=6)
        .flat_map(|number| [machine(number, "k"), alive(number), serves(number, true)])
        .collect();
    let mut outlook = Outlook::begin(&[], TTL, Moment::ZERO);
    outlook.changes(&start, Moment::ZERO);
    assert_eq!(answers(&outlook).len(), 6);
    outlook.changes(&[serves(6, false), gone(&Key::Alive(id(1)))], Moment::ZERO);
    assert_eq!(answers(&outlook), ["web@2", "web@3", "web@4", "web@5"]);
    // From the third on it is more likely the network.
    let more = [gone(&Key::Alive(id(2))), gone(&Key::Alive(id(3))), gone(&Key::Alive(id(4)))];
    outlook.changes(&more, Moment::ZERO);
    assert_eq!(answers(&outlook), ["web@1", "web@2", "web@3", "web@4", "web@5"]);
    let deadline = outlook.deadline().unwrap();
    assert!(deadline > TTL, "{deadline:?}");
    outlook.tick(deadline);
    assert_eq!(answers(&outlook), ["web@5"]);
}

#[test]
fn what_the_brake_holds_it_holds_when_all_is_read_again() {
    let mut outlook = Outlook::begin(&[], TTL, Moment::ZERO);
    let mut store: BTreeMap<Vec<u8>, Entry> = BTreeMap::new();
    let mut keep = |outlook: &mut Outlook, change: Change, seen: bool, now: Moment| {
        match &change {
            Change::Put(entry) => drop(store.insert(entry.key.clone(), entry.clone())),
            Change::Delete { key, .. } => drop(store.remove(key)),
        }
        if seen {
            outlook.changes(&[change], now);
        }
        store.values().cloned().collect::<Vec<Entry>>()
    };
    for number in 1..=6 {
        for change in [machine(number, "k"), alive(number), serves(number, true)] {
            keep(&mut outlook, change, true, Moment::ZERO);
        }
    }
    let s = Moment::from_secs;
    for number in 1..=3 {
        keep(&mut outlook, gone(&Key::Alive(id(number))), true, s(10));
    }
    assert_eq!(answers(&outlook).len(), 6);
    let deadline = outlook.deadline();
    // The watch is cut, and one more goes before all is read again.
    let entries = keep(&mut outlook, gone(&Key::Alive(id(4))), false, s(11));
    outlook.again(&entries, s(12));
    assert_eq!(answers(&outlook).len(), 6, "the brake holds them all");
    assert_eq!(outlook.deadline(), deadline, "reading again makes nobody younger");
    outlook.again(&entries, s(14));
    outlook.tick(deadline.unwrap());
    assert_eq!(answers(&outlook), ["web@4", "web@5", "web@6"]);
    outlook.tick(outlook.deadline().unwrap());
    assert_eq!(answers(&outlook), ["web@5", "web@6"]);
    let entries = keep(&mut outlook, alive(4), false, s(30));
    outlook.again(&entries, s(30));
    assert_eq!(answers(&outlook), ["web@4", "web@5", "web@6"]);
}

proptest! {
    /// However changes come, in whatever pieces, the view is that of what is there at the end; but for the brake, which
    /// remembers.
    #[test]
    fn a_view_by_changes_is_that_of_the_whole(
        steps in proptest::collection::vec((0..9_usize, 1..3_usize, any::<bool>()), 0..40),
    ) {
        let mut outlook = Outlook::begin(&[], TTL, Moment::ZERO);
        let mut store: BTreeMap<Vec<u8>, Entry> = BTreeMap::new();
        // Whether the watch is there.
        let mut follows = true;
        for (what, number, flag) in steps {
            let change = match what {
                0 => cluster(),
                1 => machine(number, if flag { "a" } else { "b" }),
                2 => gone(&Key::Machine(id(number))),
                3 => alive(number),
                4 => gone(&Key::Alive(id(number))),
                5 => serves(number, flag),
                6 => net(if flag { 1 } else { 2 }, number),
                7 => gone(&Key::Net(if flag { 1 } else { 2 })),
                _ => {
                    follows = flag;
                    let entries: Vec<Entry> = store.values().cloned().collect();
                    outlook.again(&entries, Moment::ZERO);
                    continue;
                }
            };
            match &change {
                Change::Put(entry) => drop(store.insert(entry.key.clone(), entry.clone())),
                Change::Delete { key, .. } => drop(store.remove(key)),
            }
            if follows {
                outlook.changes(&[change], Moment::ZERO);
            }
        }
        let entries: Vec<Entry> = store.into_values().collect();
        if !follows {
            outlook.again(&entries, Moment::ZERO);
        }
        let whole = Outlook::begin(&entries, TTL, Moment::ZERO);
        prop_assert_eq!(outlook.peers(), whole.peers());
        prop_assert_eq!(outlook.catalogue(), whole.catalogue());
    }

    #[test]
    fn a_difference_leads_from_one_catalogue_to_the_other(
        steps in proptest::collection::vec((1..4_usize, any::<bool>(), any::<bool>()), 1..20),
    ) {
        let mut outlook = Outlook::begin(&[], TTL, Moment::ZERO);
        let mut follows = outlook.catalogue().clone();
        for (number, ready, there) in steps {
            let key = Key::Alive(id(number));
            let presence = if there { alive(number) } else { gone(&key) };
            outlook.changes(&[serves(number, ready), presence], Moment::ZERO);
            let delta = follows.difference(outlook.catalogue());
            prop_assert_eq!(delta.is_empty(), &follows == outlook.catalogue());
            follows.apply(delta);
            prop_assert_eq!(&follows, outlook.catalogue());
        }
    }
}
