//! Whatever somebody writes below any key, it hides nothing else and ends nobody.

use ferrite_cluster::store::{Entry, Listing, Memory, Revision};
use ferrite_schema::api::UnitTarget;
use proptest::prelude::*;

use super::tests::{id, machines, submit, web};
use super::*;

/// What the store has where all is well.
fn well() -> Listing {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let store = Memory::new();
        machines(&store).await;
        submit(&store, web(Some(2)), Some(UnitTarget::Launched), None).await.unwrap();
        store.list(PREFIX.as_bytes()).await.unwrap()
    })
}

/// Names of keys that are not those of what must stay visible.
fn key() -> impl Strategy<Value = String> {
    let machine = (4_u8..9).prop_map(id);
    prop_oneof![
        machine.clone().prop_map(|id| format!("machines/{id}")),
        machine.clone().prop_map(|id| format!("alive/{id}")),
        machine.clone().prop_map(|id| format!("assign/{id}")),
        machine.prop_map(|id| format!("state/{id}")),
        "units/[a-v@][a-z@0-9]{0,6}",
        "specs/[0-9a-f]{64}",
        Just("cluster".to_owned()),
        Just("leader".to_owned()),
        "[a-z/]{0,12}",
    ]
}

/// Any bytes, and documents that are nearly right.
fn value() -> impl Strategy<Value = Vec<u8>> {
    let words = prop_oneof![
        Just(r#"{"target": "launched", "spec": "SPEC", "replicas": 3}"#),
        Just(r#"{"target": "launched", "spec": "SPEC"}"#),
        Just(r#"{"target": "sleeping", "spec": 1}"#),
        Just(
            r#"{"instances": {"x@1": {"spec": "SPEC", "target": "launched", "cause": "wanted", "state": "running"}}}"#
        ),
        Just(
            r#"{"instances": {"x@1": {"spec": "SPEC", "state": "dreaming", "ready": true, "addresses": ["::1"]}}}"#
        ),
        Just(
            r#"{"name": "dev-9", "addresses": ["10.0.0.9"], "capacity": {"cpus_milli": 1, "memory_bytes": 1}, "level": 9}"#
        ),
        Just(r#"{"name": "dev-9", "addresses": [], "level": -1}"#),
    ];
    let near = words.prop_map(|text| text.replace("SPEC", &"ab".repeat(32)).into_bytes());
    let broken = (near.clone(), any::<prop::sample::Index>(), any::<u8>()).prop_map(
        |(mut bytes, at, byte)| {
            let at = at.index(bytes.len());
            bytes[at] = byte;
            bytes
        },
    );
    prop_oneof![proptest::collection::vec(any::<u8>(), 0..60), near, broken]
}

proptest! {
    #[test]
    fn nothing_that_is_written_hides_a_machine_or_a_unit(
        strange in proptest::collection::vec((key(), value()), 0..12)
    ) {
        let mut listing = well();
        let alone = Picture::of(&listing);
        let (machines_before, units_before) = (machines::machines(&alone), units::units(&alone));
        for (key, value) in strange {
            let key = format!("{PREFIX}{key}").into_bytes();
            listing.entries.retain(|entry| entry.key != key);
            listing.entries.push(Entry {
                key, value, create_revision: Revision(9), mod_revision: Revision(9), version: 1, lease: None,
            });
        }
        listing.entries.sort_by(|one, other| one.key.cmp(&other.key));
        let picture = Picture::of(&listing);
        let (machines, units) = (machines::machines(&picture), units::units(&picture));
        for mut before in machines_before {
            let after = machines.iter().find(|after| after.id == before.id).expect("a machine is hidden");
            // Who leads may be what was written.
            before.leader = after.leader;
            prop_assert_eq!(after, &before);
        }
        let web = units.iter().find(|unit| unit.name == "web").expect("a unit is hidden");
        prop_assert_eq!(&web.definition, &units_before[0].definition);
        prop_assert_eq!(web.instances.len(), 2);
        for entry in &listing.entries {
            let key = String::from_utf8_lossy(&entry.key).into_owned();
            if let Some(name) = key.strip_prefix("/ferrite/1/units/").filter(|name| name.parse::<ferrite_cluster::names::UnitName>().is_ok()) {
                prop_assert!(units.iter().any(|unit| unit.name == name), "{} is hidden", name);
            }
            if let Some(id) = key.strip_prefix("/ferrite/1/machines/") {
                prop_assert!(machines.iter().any(|machine| machine.id == id), "{} is hidden", id);
            }
        }
        drop((services::of(&picture), status(&picture, String::new(), String::new())));
    }
}
