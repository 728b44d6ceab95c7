use std::fmt::Debug;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::keys::Key;
use crate::names::{MachineId, SpecHash};

fn id() -> MachineId {
    "0123456789abcdef0123456789abcdef".parse().unwrap()
}

/// One record of each kind, as a version of today writes it.
fn written() -> Vec<(Key, Value)> {
    let hash = SpecHash::of(b"x").to_string();
    let spec = json!({
        "level": 1, "image": "sha256:ab", "placement": {"metadata": {"disk": ["ssd"]}, "on_loss": "move"},
        "unit": {"name": "web", "image": "web:1", "network": "bridge", "stop_grace_s": 10},
    });
    let spec_key = Key::Spec(SpecHash::of(&serde_json::to_vec(&spec).unwrap()));
    vec![
        (
            Key::Cluster,
            json!({"id": "c-1", "epoch": 1, "member_target": 3, "level": 1,
                "networks": {"ipv4": "10.112.0.0/12", "ipv6": "fd00::/48", "transport": "routes", "level": 2},
                "timings": {"heartbeat_ms": 100, "election_ms": 1000, "ttl_s": 5}}),
        ),
        (Key::Leader, json!({"machine": id()})),
        (
            Key::Machine(id()),
            json!({"name": "dev-1", "addresses": ["10.0.0.1", "fd00::1"], "level": 1, "metadata": {"disk": "ssd"},
                "overrides": {"disk": null, "role": "web"}, "cordoned": true, "env_files": ["db"],
                "capacity": {"cpus_milli": 2000, "memory_bytes": 1 << 30}}),
        ),
        (Key::Alive(id()), json!({"boot_id": "b", "incarnation": 1})),
        (
            Key::Unit("web".parse().unwrap()),
            json!({"target": "launched", "spec": hash, "stable": hash, "replicas": 3}),
        ),
        (spec_key, spec),
        (
            Key::Assign(id()),
            json!({"instances": {"web@1": {"spec": hash, "target": "loaded", "cause": "wanted", "fired_s": 7}}}),
        ),
        (
            Key::State(id()),
            json!({"instances": {"web@1": {"spec": hash, "state": "running", "ready": true,
                "addresses": ["10.112.1.2"], "ports": [{"port": 80, "protocol": "tcp"}],
                "exit": {"how": "status", "code": 1}, "done": true}}}),
        ),
        (Key::Net(2048), json!({"machine": id()})),
        (Key::Token("ab".repeat(32).parse().unwrap()), json!({"uses_left": 3, "until_s": 7})),
        (
            Key::Admission(id()),
            json!({"key": "ab", "hardware": "cd", "issued": [{"serial": "0a", "until_s": 7}]}),
        ),
        (Key::Revoked("0a".to_owned()), json!({"until_s": 7, "by": "ann", "at_s": 5})),
        (
            Key::Access("0b".to_owned()),
            json!({"name": "bob", "role": "reader", "until_s": 7, "by": "ann", "given_s": 5}),
        ),
        (Key::Forgotten(id()), json!({"name": "dev-1", "by": "ann", "at_s": 5})),
    ]
}

/// What this version makes of a stored record: the same record, as it writes it.
fn rewritten(key: &Key, bytes: &[u8]) -> Result<Vec<u8>, Refused> {
    fn of<R: Record + Debug>(key: &Key, bytes: &[u8]) -> Result<Vec<u8>, Refused> {
        encode(key, &decode::<R>(key, bytes)?)
    }
    match key {
        Key::Cluster => of::<Cluster>(key, bytes),
        Key::Leader => of::<Leader>(key, bytes),
        Key::Machine(_) => of::<Machine>(key, bytes),
        Key::Alive(_) => of::<Alive>(key, bytes),
        Key::Unit(_) => of::<Unit>(key, bytes),
        Key::Spec(_) => of::<Spec>(key, bytes),
        Key::Assign(_) => of::<Assignment>(key, bytes),
        Key::State(_) => of::<State>(key, bytes),
        Key::Net(_) => of::<Net>(key, bytes),
        Key::Token(_) => of::<Token>(key, bytes),
        Key::Admission(_) => of::<Admission>(key, bytes),
        Key::Revoked(_) => of::<Revocation>(key, bytes),
        Key::Access(_) => of::<Access>(key, bytes),
        Key::Forgotten(_) => of::<Forgotten>(key, bytes),
    }
}

/// The key for this content: a specification's is its hash.
fn keyed(key: &Key, bytes: &[u8]) -> Key {
    if matches!(key, Key::Spec(_)) { Key::Spec(SpecHash::of(bytes)) } else { key.clone() }
}

#[test]
fn every_record_is_written_as_it_was_read() {
    for (key, value) in written() {
        let bytes = serde_json::to_vec(&value).unwrap();
        let again = rewritten(&key, &bytes).unwrap();
        assert_eq!(serde_json::from_slice::<Value>(&again).unwrap(), value, "{key}");
    }
}

/// Places where a newer version may add a field: objects whose keys are fields and not names, by their path. A unit's
/// document is none: a newer field there comes with a higher level.
fn open_objects(path: &str, value: &Value, found: &mut Vec<String>) {
    let by_name = ["/metadata", "/overrides", "/instances", "/placement/metadata"].contains(&path)
        || path.ends_with("/exit");
    let closed = path == "/unit" || path.contains("/ports/");
    if closed {
        return;
    }
    match value {
        Value::Object(fields) => {
            if !by_name {
                found.push(path.to_owned());
            }
            for (key, inner) in fields {
                open_objects(&format!("{path}/{key}"), inner, found);
            }
        }
        Value::Array(items) => {
            for (index, inner) in items.iter().enumerate() {
                open_objects(&format!("{path}/{index}"), inner, found);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[test]
fn fields_of_a_newer_version_survive_everywhere() {
    let newer = json!({"deep": [1, {"x": null}], "text": "ü"});
    let mut places = 0;
    for (key, value) in written() {
        let mut paths = Vec::new();
        open_objects("", &value, &mut paths);
        for path in paths {
            let mut value = value.clone();
            value.pointer_mut(&path).unwrap()["from-2031"] = newer.clone();
            let bytes = serde_json::to_vec(&value).unwrap();
            let key = keyed(&key, &bytes);
            let again: Value = serde_json::from_slice(&rewritten_same(&key, &bytes)).unwrap();
            assert_eq!(again, value, "{key} {path}");
            places += 1;
        }
    }
    assert!(places >= 15, "{places}");
}

fn rewritten_same(key: &Key, bytes: &[u8]) -> Vec<u8> {
    rewritten(key, bytes).unwrap_or_else(|refused| panic!("{refused}"))
}

#[test]
fn networks_are_understood_or_said_to_be_none() {
    use ferrite_schema::cluster_network::MeshTransport;
    let networks = |value: Value| serde_json::from_value::<Networks>(value).unwrap();
    let usual = networks(json!({"ipv4": "10.112.0.0/12", "ipv6": "fd00::/48"}));
    let understood = usual.parse().unwrap();
    assert_eq!(understood.transport, MeshTransport::WireGuard);
    assert_eq!(understood.stored(), usual, "what is as always is written as always");
    let flat =
        json!({"ipv4": "172.16.0.0/16", "ipv6": "fd00:1::/48", "transport": "routes", "level": 2});
    let understood = networks(flat.clone()).parse().unwrap();
    // Of a level that this version does not know it takes no part in it, whatever else is understood.
    let mut later = flat.clone();
    later["level"] = json!(LEVEL + 1);
    let wrong = networks(later).parse().unwrap_err();
    assert!(wrong.field == "networks.level" && wrong.why.contains("update it"), "{wrong:?}");
    assert_eq!(understood.transport, MeshTransport::Routes);
    assert_eq!(serde_json::to_value(understood.stored()).unwrap(), flat);
    for (field, value) in [("ipv4", "10.112.0.0/24"), ("ipv6", "fd00::/64"), ("transport", "vxlan")]
    {
        let mut wrong = flat.clone();
        wrong[field] = json!(value);
        let said = networks(wrong).parse().unwrap_err();
        assert_eq!(said.field, format!("networks.{field}"));
        assert!(said.why.contains(value), "{said:?}");
    }
}

#[test]
fn words_of_a_newer_version_are_kept_where_they_decide_nothing() {
    let hash = SpecHash::of(b"x");
    let state =
        json!({"instances": {"web": {"spec": hash, "state": "hibernating", "ready": false}}});
    let key = Key::State(id());
    let bytes = serde_json::to_vec(&state).unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&rewritten(&key, &bytes).unwrap()).unwrap(), state);
    let cause =
        json!({"instances": {"web": {"spec": hash, "target": "launched", "cause": "rebalanced"}}});
    let bytes = serde_json::to_vec(&cause).unwrap();
    let key = Key::Assign(id());
    assert_eq!(serde_json::from_slice::<Value>(&rewritten(&key, &bytes).unwrap()).unwrap(), cause);
}

#[test]
fn what_is_wrong_is_named_with_key_and_field() {
    let mut said = Vec::new();
    let mut refuse =
        |key: &Key, bytes: &[u8]| said.push(rewritten(key, bytes).unwrap_err().to_string());
    let unit = Key::Unit("web".parse().unwrap());
    refuse(&unit, br#"{"target": "paused", "spec": "ab"}"#);
    refuse(&unit, br#"{"target": "loaded", "spec": "ab"}"#);
    refuse(&unit, br#"{"target": "loaded"}"#);
    refuse(&unit, b"{}x");
    refuse(&Key::Assign(id()), br#"{"instances": {"web@1": {"spec": 3}}}"#);
    refuse(&Key::Assign(id()), br#"{"instances": {"../x": {}}}"#);
    refuse(&Key::Net(3), &vec![b' '; 2000]);
    refuse(&Key::Spec(SpecHash::of(b"x")), b"{}");
    let later = br#"{"level": 1, "unit": {"name": "web", "image": "web", "hibernates": true}}"#;
    refuse(&Key::Spec(SpecHash::of(later)), later);
    let start = ["units/web: target: ", "units/web: spec: ", "units/web: ", "units/web: "];
    for (said, start) in said.iter().zip(start) {
        assert!(said.starts_with(&format!("/ferrite/1/{start}")), "{said}");
    }
    for (index, what) in [
        (0, "unknown variant `paused`"),
        (1, "`ab` is no specification's hash"),
        (2, "missing field `spec`"),
        (3, "missing field"),
        (4, "instances.web@1.spec: invalid type"),
        (5, "`../x` is no unit name"),
        (6, "it has 2000 bytes, and 1024 are the most"),
        (7, "its content is not what its hash says"),
        (8, "unit.hibernates: unknown field"),
    ] {
        assert!(said[index].contains(what), "{}", said[index]);
    }
}

#[test]
fn what_all_nodes_are_told_of_a_record_has_bounds() {
    let all = written();
    let check = |which: usize, path: &str, value: Value, expected: Option<&str>| {
        let (key, mut record) = all[which].clone();
        *record.pointer_mut(path).unwrap_or_else(|| panic!("{path}")) = value;
        let said = rewritten(&key, &serde_json::to_vec(&record).unwrap());
        match expected {
            None => assert!(said.is_ok(), "{path}: {said:?}"),
            Some(words) => {
                let said = said.unwrap_err();
                let field = path.trim_start_matches('/').replace('/', ".");
                assert!(said.to_string().contains(&format!(": {field}: {words}")), "{said}");
            }
        }
    };
    let addresses = |count: usize| json!(vec!["10.0.0.1"; count]);
    let ports = |count: usize| json!(vec![json!({"port": 1, "protocol": "udp"}); count]);
    let most = Some("there are 33 of them, and 32 are the most");
    check(2, "/addresses", addresses(32), None);
    check(2, "/addresses", addresses(33), most);
    check(7, "/instances/web@1/addresses", addresses(32), None);
    check(7, "/instances/web@1/addresses", addresses(33), most);
    check(7, "/instances/web@1/ports", ports(256), None);
    check(7, "/instances/web@1/ports", ports(257), Some("there are 257 of them"));
    for (which, path) in [
        (0, "/id"),
        (3, "/boot_id"),
        (6, "/instances/web@1/cause"),
        (7, "/instances/web@1/state"),
        (10, "/key"),
        (10, "/hardware"),
    ] {
        check(which, path, json!("x".repeat(128)), None);
        check(which, path, json!("x".repeat(129)), Some("it is on one line, of 128 bytes"));
    }
    check(3, "/boot_id", json!("a\nb"), Some("it is on one line"));
}

#[test]
fn what_a_node_reports_fits_however_much_it_runs() {
    let (key, value) = written().remove(7);
    let state: State = decode(&key, &serde_json::to_vec(&value).unwrap()).unwrap();
    assert_eq!(state.clone().fitting(), state);
    let mut one = state.instances.into_values().next().unwrap();
    one.addresses = vec!["fd00:1111:2222:3333:4444:5555:6666:7777".parse().unwrap(); 40];
    one.ports = vec![ServicePort { port: 65_535, protocol: Transport::Tcp }; 300];
    // As many as an assignment names at most.
    let name = |number| format!("{}@{number}", "w".repeat(50)).parse().unwrap();
    for (count, addresses, ports) in [(1, ADDRESSES_MAX, PORTS_MAX), (1_500, 4, 4), (2_400, 2, 0)] {
        let all = (0..count).map(|number| (name(number), one.clone())).collect();
        let fits = State { instances: all, rest: Rest::new() }.fitting();
        encode(&key, &fits).unwrap();
        let first = fits.instances.values().next().unwrap();
        assert_eq!((first.addresses.len(), first.ports.len()), (addresses, ports), "{count}");
    }
}

#[test]
fn a_specification_of_a_higher_level_is_kept_and_not_looked_into() {
    let level = LEVEL + 1;
    let later = format!(
        r#"{{"level": {level}, "unit": {{"name": "web", "image": "web", "hibernates": true}}}}"#
    );
    let later = later.as_bytes();
    let spec: Spec = decode(&Key::Spec(SpecHash::of(later)), later).unwrap();
    let why = spec.unit().unwrap_err();
    let expected = format!("it is for level {level}, and this version understands {LEVEL}");
    assert_eq!(why.why, expected);
}

#[test]
fn what_others_said_of_a_machine_outlives_its_joining_again() {
    let (key, value) = written().remove(2);
    let mut known: Machine = decode(&key, &serde_json::to_vec(&value).unwrap()).unwrap();
    known.rest.insert("from-2031".to_owned(), json!(1));
    assert_eq!(known.labels(), [("role".to_owned(), "web".to_owned())].into());
    let fresh = Machine {
        name: "dev-1b".to_owned(),
        overrides: [].into(),
        cordoned: false,
        rest: Rest::new(),
        ..known.clone()
    };
    let joined = fresh.rejoining(known.clone());
    assert_eq!(joined, Machine { name: "dev-1b".to_owned(), ..known });
}

/// JSON of any shape, with the words that records use among its keys.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "[a-z@./ü]{0,12}".prop_map(Value::from),
        Just(json!("launched")),
        Just(json!(SpecHash::of(b"x"))),
        Just(json!(id())),
    ];
    let key = prop_oneof![
        "[a-z@]{0,6}",
        prop::sample::select(vec![
            "target",
            "spec",
            "instances",
            "machine",
            "name",
            "addresses",
            "capacity",
            "level",
            "unit",
            "state",
            "ready",
            "timings",
            "networks",
            "id",
            "epoch",
            "boot_id",
            "cause",
            "placement",
            "replicas",
            "ports",
        ])
        .prop_map(str::to_owned),
    ];
    leaf.prop_recursive(4, 40, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(key.clone(), inner, 0..6)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn no_bytes_end_it(which in 0..9usize, bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let (key, _) = written().remove(which);
        let key = keyed(&key, &bytes);
        if let Err(refused) = rewritten(&key, &bytes) {
            prop_assert_eq!(&refused.key, &key);
            prop_assert!(!refused.why.is_empty());
        }
    }

    /// Somebody else's JSON, and JSON of ours with one value replaced or one byte changed: refused with the key, or
    /// understood and then written so that it is understood alike.
    #[test]
    fn records_of_others_are_refused_or_kept(
        which in 0..9usize, other in any_json(), place in any::<prop::sample::Index>(), whole in any::<bool>(),
    ) {
        let (key, mut value) = written().remove(which);
        if whole {
            value = other;
        } else {
            let mut paths = Vec::new();
            every_path("", &value, &mut paths);
            *value.pointer_mut(place.get::<String>(&paths)).unwrap() = other;
        }
        let bytes = serde_json::to_vec(&value).unwrap();
        let key = keyed(&key, &bytes);
        match rewritten(&key, &bytes) {
            Err(refused) => prop_assert_eq!(&refused.key, &key),
            Ok(again) => {
                let key = keyed(&key, &again);
                prop_assert_eq!(rewritten(&key, &again).unwrap(), again);
            }
        }
    }

    #[test]
    fn a_flipped_byte_never_ends_it(
        which in 0..9usize, at in any::<prop::sample::Index>(), byte in any::<u8>(),
    ) {
        let (key, value) = written().remove(which);
        let mut bytes = serde_json::to_vec(&value).unwrap();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        let key = keyed(&key, &bytes);
        if let Err(refused) = rewritten(&key, &bytes) {
            prop_assert_eq!(&refused.key, &key);
        }
    }
}

/// Every value in the document, by its path.
fn every_path(path: &str, value: &Value, found: &mut Vec<String>) {
    found.push(path.to_owned());
    match value {
        Value::Object(fields) => {
            for (key, inner) in fields {
                every_path(
                    &format!("{path}/{}", key.replace('~', "~0").replace('/', "~1")),
                    inner,
                    found,
                );
            }
        }
        Value::Array(items) => {
            for (index, inner) in items.iter().enumerate() {
                every_path(&format!("{path}/{index}"), inner, found);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
