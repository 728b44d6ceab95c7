//! What is shown of a store, and what requests write into it.

use axum::response::IntoResponse;
use ferrite_cluster::keys::Key;
use ferrite_cluster::store::{Memory, Operation, Revision, Transaction};
use ferrite_schema::api::{
    ClusterUnit, MachineChange, MachineState, ServiceInstance, UnitChange, UnitTarget,
};
use ferrite_schema::cluster::Role;
use ferrite_schema::unit::{REPLICAS_MAX, Unit};
use serde_json::{Value, json};

use super::units::{Pin, Submitted, altered, removed, shown_to, shown_unit, units, unpinned};
use super::write::change;
use super::*;

pub(super) fn id(number: u8) -> String {
    format!("{number:032x}")
}

pub(super) async fn write(store: &Memory, key: &str, value: &[u8]) {
    let key = format!("{PREFIX}{key}").into_bytes();
    let operation = Operation::Put { key, value: value.to_vec(), lease: None };
    let write = Transaction { compares: Vec::new(), operations: vec![operation] };
    store.transact(write).await.unwrap();
}

async fn record(store: &Memory, key: &str, value: Value) {
    write(store, key, value.to_string().as_bytes()).await;
}

/// Three machines, the third of which is lost.
pub(super) async fn machines(store: &Memory) {
    for number in 1..=3 {
        let machine = json!({
            "name": format!("dev-{number}"), "addresses": [format!("10.0.0.{number}")],
            "metadata": {"zone": "a"}, "capacity": {"cpus_milli": 2000, "memory_bytes": 1 << 30},
            "level": 1, "eligible": true, "from-2031": number,
        });
        record(store, &format!("machines/{}", id(number)), machine).await;
        if number < 3 {
            let alive = json!({"boot_id": "b", "incarnation": 1});
            record(store, &format!("alive/{}", id(number)), alive).await;
        }
    }
    record(store, "leader", json!({"machine": id(1)})).await;
}

pub(super) fn web(replicas: Option<u32>) -> Unit {
    let mut unit = json!({"name": "web", "image": "web:1", "labels": {"tier": "front"}});
    if let Some(count) = replicas {
        unit["replicas"] = count.into();
    }
    serde_json::from_value(unit).unwrap()
}

pub(super) async fn submit(
    store: &Memory,
    unit: Unit,
    target: Option<UnitTarget>,
    known: Option<i64>,
) -> Result<ClusterUnit, Failure> {
    let name = unit.name.parse().unwrap();
    let submitted = Submitted { unit, image: None, target, known };
    let picture = change(store, |picture| submitted.transaction(picture)).await?;
    Ok(shown_unit(&picture, &name).unwrap())
}

async fn alter(store: &Memory, name: &str, asked: UnitChange) -> Result<ClusterUnit, Failure> {
    let name = name.parse().unwrap();
    let picture = change(store, |picture| altered(picture, &name, asked, None)).await?;
    Ok(shown_unit(&picture, &name).unwrap())
}

async fn look(store: &Memory) -> Picture {
    picture(store).await.unwrap()
}

/// Status and sentence of a refusal.
pub(super) async fn said<T: std::fmt::Debug>(answer: Result<T, Failure>) -> (u16, String) {
    let response = answer.unwrap_err().into_response();
    let status = response.status().as_u16();
    let body = axum::body::to_bytes(response.into_body(), 1 << 16).await.unwrap();
    (status, serde_json::from_slice::<ApiError>(&body).unwrap().error)
}

/// What machine `number` is to run and says that it runs.
async fn runs(store: &Memory, number: u8, instances: &[(&str, &str)], spec: &str) {
    let each = |make: &dyn Fn(&str) -> Value| -> Value {
        let all = instances.iter().map(|(name, state)| ((*name).to_owned(), make(state)));
        json!({"instances": all.collect::<serde_json::Map<_, _>>()})
    };
    let assigned = each(&|_| json!({"spec": spec, "target": "launched", "cause": "wanted"}));
    record(store, &format!("assign/{}", id(number)), assigned).await;
    let states = each(&|state| {
        json!({
            "spec": spec, "state": state, "ready": state == "running",
            "addresses": [format!("10.112.{number}.2")], "ports": [{"port": 80, "protocol": "tcp"}],
        })
    });
    record(store, &format!("state/{}", id(number)), states).await;
}

#[tokio::test]
async fn readers_are_shown_units_without_their_documents() {
    let store = Memory::new();
    let unit = submit(&store, web(None), None, None).await.unwrap();
    let peer = |role| crate::api::peer::Peer {
        name: "ann".to_owned(),
        role,
        serial: "1".to_owned(),
        until_s: 0,
        machine: None,
    };
    assert_eq!(shown_to(&peer(Role::Operator), unit.clone()), unit);
    let shown = shown_to(&peer(Role::Reader), unit.clone());
    assert_eq!((shown.definition, shown.notes.len()), (None, unit.notes.len() + 1));
    assert_eq!((shown.spec, shown.revision), (unit.spec, unit.revision));
}

#[tokio::test]
async fn machines_are_shown_as_they_are() {
    let store = Memory::new();
    machines(&store).await;
    record(&store, &format!("machines/{}", id(4)), json!({"name": 7})).await;
    record(&store, &format!("alive/{}", id(5)), json!("what is this")).await;
    let all = machines::machines(&look(&store).await);
    let short: Vec<_> = all
        .iter()
        .map(|one| (one.name.as_str(), one.state, one.leader, one.problem.is_some()))
        .collect();
    let (alive, lost) = (MachineState::Alive, MachineState::Lost);
    assert_eq!(
        short,
        [
            ("dev-1", alive, true, false),
            ("dev-2", alive, false, false),
            ("dev-3", lost, false, false),
            ("", lost, false, true),
            ("", alive, false, true),
        ]
    );
    assert_eq!(all[0].metadata["zone"], "a");
    let status = status(&look(&store).await, "i".to_owned(), "dev".to_owned());
    assert_eq!((status.machines, status.alive, status.leader), (5, 3, Some(id(1))));
    assert_eq!(status.problems.len(), 1, "{:?}", status.problems);
    assert!(status.problems[0].contains(&format!("machines/{}: name: invalid type", id(4))));
}

#[tokio::test]
async fn a_machine_is_cordoned_and_labelled_and_what_newer_versions_wrote_stays() {
    let store = Memory::new();
    machines(&store).await;
    let machine = id(2).parse().unwrap();
    let mut asked = MachineChange {
        cordoned: Some(true),
        metadata: [("zone".to_owned(), None), ("disk".to_owned(), Some("ssd".to_owned()))].into(),
        forget: Vec::new(),
    };
    let picture =
        change(&store, |picture| machines::edit(picture, &machine, &asked)).await.unwrap();
    let after = &machines::machines(&picture)[1];
    assert!(after.cordoned);
    assert_eq!(after.metadata, [("disk".to_owned(), "ssd".to_owned())].into());
    let stored = store.get(&Key::Machine(machine.clone()).bytes()).await.unwrap().1.unwrap();
    let stored: Value = serde_json::from_slice(&stored.value).unwrap();
    assert_eq!((&stored["from-2031"], &stored["metadata"]["zone"]), (&json!(2), &json!("a")));
    // Said again, nothing is written.
    let again = change(&store, |picture| machines::edit(picture, &machine, &asked)).await.unwrap();
    assert_eq!(again.revision, picture.revision);
    asked.metadata = [("zone".to_owned(), Some("two\nlines".to_owned()))].into();
    let bad = machines::edit(&picture, &machine, &asked);
    assert_eq!(said(bad).await.0, 400);
    let nobody = id(9).parse().unwrap();
    assert_eq!(said(machines::edit(&picture, &nobody, &asked)).await.0, 404);
}

#[tokio::test]
async fn a_unit_is_submitted_started_scaled_and_forgotten() {
    let store = Memory::new();
    machines(&store).await;
    let unit = submit(&store, web(Some(3)), None, None).await.unwrap();
    assert_eq!((unit.target, unit.replicas), (Some(UnitTarget::Inactive), Some(3)));
    assert_eq!((unit.definition, unit.instances.len()), (Some(web(Some(3))), 0));
    let unit = submit(&store, web(Some(3)), Some(UnitTarget::Launched), None).await.unwrap();
    let names: Vec<&str> = unit.instances.iter().map(|one| one.name.as_str()).collect();
    assert_eq!(names, ["web@1", "web@2", "web@3"]);
    assert!(unit.instances.iter().all(|one| one.state == "unplaced" && !one.ready));
    assert_eq!(unit.instances[0].why, "it is about to be placed");
    // Replicas are no part of the version.
    let fewer = UnitChange { target: None, replicas: Some(2) };
    let scaled = alter(&store, "web", fewer).await.unwrap();
    assert_eq!((&scaled.spec, scaled.instances.len()), (&unit.spec, 2));
    assert_eq!(scaled.definition, Some(web(Some(2))));
    // Submitted as it is, nothing is written.
    let same = submit(&store, web(Some(2)), None, Some(scaled.revision)).await.unwrap();
    assert_eq!((same.revision, same.target), (scaled.revision, Some(UnitTarget::Launched)));
    let (status, words) = said(submit(&store, web(None), None, Some(1)).await).await;
    assert!(status == 409 && words.contains("changed meanwhile"), "{status}: {words}");
    let name = "web".parse().unwrap();
    let picture = change(&store, |picture| Ok(removed(picture, &name))).await.unwrap();
    assert_eq!(shown_unit(&picture, &name), None);
}

#[tokio::test]
async fn what_runs_is_shown_with_its_machine_and_the_reason() {
    let store = Memory::new();
    machines(&store).await;
    let unit = submit(&store, web(Some(3)), Some(UnitTarget::Launched), None).await.unwrap();
    let spec = unit.spec.unwrap();
    runs(&store, 1, &[("web@1", "running")], &spec).await;
    runs(&store, 2, &[("web@2", "hibernating"), ("old", "running")], &spec).await;
    runs(&store, 3, &[("web@3", "running")], &spec).await;
    let picture = look(&store).await;
    let unit = shown_unit(&picture, &"web".parse().unwrap()).unwrap();
    let short: Vec<_> = unit
        .instances
        .iter()
        .map(|one| (one.machine_name.as_deref().unwrap(), one.state.as_str(), one.ready))
        .collect();
    assert_eq!(
        short,
        [("dev-1", "running", true), ("dev-2", "hibernating", false), ("dev-3", "lost", false)]
    );
    assert_eq!(
        unit.instances[0].why,
        "it is on dev-1: it had the fewest units of those that may have it"
    );
    assert_eq!(unit.instances[2].why, "it is about to be placed");
    // What nobody wants and still runs is not hidden.
    let old = shown_unit(&picture, &"old".parse().unwrap()).unwrap();
    assert_eq!((old.target, old.instances.len(), old.notes.len()), (None, 1, 1));
    let service = |services: Vec<ServiceInstance>| -> Vec<(String, String, bool)> {
        services.into_iter().map(|one| (one.instance, one.ports.join(" "), one.ready)).collect()
    };
    let row = |name: &str, ready| (name.to_owned(), "80/tcp".to_owned(), ready);
    assert_eq!(
        service(services::of(&picture)),
        [row("old", true), row("web@1", true), row("web@2", false), row("web@3", false)]
    );
}

#[tokio::test]
async fn a_record_that_nobody_understands_is_said_and_not_written_over() {
    let store = Memory::new();
    machines(&store).await;
    submit(&store, web(None), None, None).await.unwrap();
    record(&store, "units/bad", json!({"target": "paused", "spec": "x"})).await;
    record(&store, "units/lost", json!({"target": "launched", "spec": "ab".repeat(32)})).await;
    let all = units(&look(&store).await);
    let names: Vec<_> = all.iter().map(|one| (one.name.as_str(), one.problem.is_some())).collect();
    assert_eq!(names, [("bad", true), ("lost", true), ("web", false)]);
    let problem = all[0].problem.as_ref().unwrap();
    assert!(problem.contains("`paused`") || problem.contains("hash"), "{problem}");
    assert!(all[1].instances[0].why.contains("cannot be understood"), "{:?}", all[1]);
    let bad = Unit { name: "bad".to_owned(), ..web(None) };
    let (status, words) = said(submit(&store, bad, None, None).await).await;
    assert!(status == 409 && words.contains("destroy the unit first"), "{status}: {words}");
    let name = "bad".parse().unwrap();
    let picture = change(&store, |picture| Ok(removed(picture, &name))).await.unwrap();
    assert_eq!(shown_unit(&picture, &name), None);
}

#[tokio::test]
async fn a_template_does_not_run_and_its_instances_do() {
    let store = Memory::new();
    let template = json!({"name": "job@", "image": "job", "args": ["%i"]});
    let template: Unit = serde_json::from_value(template).unwrap();
    submit(&store, template, None, None).await.unwrap();
    let launch = UnitChange { target: Some(UnitTarget::Launched), replicas: None };
    let (status, words) = said(alter(&store, "job@", launch).await).await;
    assert!(status == 409 && words.contains("job@1"), "{status}: {words}");
    let made = alter(&store, "job@7", launch).await.unwrap();
    assert_eq!((made.target, made.definition.unwrap().args), (launch.target, vec!["7".to_owned()]));
    assert_eq!(said(alter(&store, "nobody@7", launch).await).await.0, 404);
    for (name, count) in [("job@7", 2), ("job@", 2), ("job@7", 0)] {
        let change = UnitChange { target: None, replicas: Some(count) };
        assert_eq!(said(alter(&store, name, change).await).await.0, 400, "{name} {count}");
    }
}

/// All instances run the image that its name meant when the unit was submitted last.
#[tokio::test]
async fn a_unit_keeps_its_images_digest_until_somebody_says_another_one() {
    let store = Memory::new();
    let (first, second) =
        (format!("sha256:{}", "a".repeat(64)), format!("sha256:{}", "b".repeat(64)));
    let submits = async |unit: Unit, image: Option<&String>| {
        let name = unit.name.parse().unwrap();
        let image = image.cloned();
        let submitted = Submitted { unit, image, target: None, known: None };
        let picture = change(&store, |picture| submitted.transaction(picture)).await.unwrap();
        let shown = shown_unit(&picture, &name).unwrap();
        (shown.image_digest, shown.revision)
    };
    let (digest, revision) = submits(web(None), Some(&first)).await;
    assert_eq!(digest.as_ref(), Some(&first));
    assert_eq!(submits(web(None), None).await, (digest, revision), "nobody says");
    let other = Unit { image: "web:2".to_owned(), ..web(None) };
    assert_eq!(submits(other.clone(), None).await.0, None, "another image");
    assert_eq!(submits(other.clone(), Some(&first)).await.0.as_ref(), Some(&first));
    assert_eq!(submits(other, Some(&second)).await.0.as_ref(), Some(&second), "it moved");
    let runs = Unit { image: "web:3".to_owned(), ..web(None) };
    assert_eq!(submits(runs.clone(), None).await.0, None);
    let launched = UnitChange { target: Some(UnitTarget::Launched), replicas: None };
    alter(&store, "web", launched).await.unwrap();
    assert_eq!(submits(runs, Some(&first)).await.0, None, "what runs is not replaced for it");
    let template = json!({"name": "job@", "image": "job"});
    submits(serde_json::from_value(template).unwrap(), Some(&first)).await;
    let launch = UnitChange { target: Some(UnitTarget::Launched), replicas: None };
    assert_eq!(alter(&store, "job@7", launch).await.unwrap().image_digest, Some(first));
}

/// Nobody knew its image when its document came: what it means is asked when it is started, so that all instances are one.
#[tokio::test]
async fn what_begins_to_run_is_pinned_where_it_was_not() {
    let store = Memory::new();
    let digest = format!("sha256:{}", "a".repeat(64));
    let launch = UnitChange { target: Some(UnitTarget::Launched), replicas: None };
    let count = UnitChange { target: None, replicas: Some(2) };
    let starts = async |name: &str, asked: UnitChange, of_another: bool| {
        let name = name.parse().unwrap();
        let asks = unpinned(&look(&store).await, &name, &asked);
        let image = asks.as_ref().map(|(_, (image, _))| image.clone());
        let pin = asks.map(|(of, _)| Pin {
            of: if of_another { ferrite_cluster::names::SpecHash::of(b"another") } else { of },
            digest: digest.clone(),
        });
        let make = |picture: &Picture| altered(picture, &name, asked, pin.as_ref());
        let shown = shown_unit(&change(&store, make).await.unwrap(), &name).unwrap();
        (image, shown.image_digest, shown.target)
    };
    submit(&store, web(None), None, None).await.unwrap();
    assert_eq!(starts("web", count, false).await.0, None, "it begins nothing");
    let (image, pinned, target) = starts("web", launch, false).await;
    assert_eq!((image.as_deref(), pinned.as_ref()), (Some("web:1"), Some(&digest)));
    assert_eq!(target, Some(UnitTarget::Launched));
    // One that is known stays what it is.
    let stop = UnitChange { target: Some(UnitTarget::Inactive), replicas: None };
    alter(&store, "web", stop).await.unwrap();
    assert_eq!(starts("web", launch, false).await.0, None);
    // What runs without is not replaced, and what changed meanwhile is not pinned by what was asked before.
    let other = |image: &str| Unit { image: image.to_owned(), name: "api".to_owned(), ..web(None) };
    submit(&store, other("api:1"), None, None).await.unwrap();
    assert_eq!(starts("api", launch, true).await.1, None);
    assert_eq!(starts("api", launch, false).await.0, None);
    let by_digest = other(&format!("api@{digest}"));
    submit(&store, by_digest, Some(UnitTarget::Inactive), None).await.unwrap();
    assert_eq!(starts("api", launch, false).await.0, None, "it names one already");
    // Instances of a template, whose image is its own or each one's.
    for (image, of_instance) in [("job", "job"), ("job:%i", "job:7")] {
        let of = image.replace([':', '%'], "-");
        let template = json!({"name": format!("{of}@"), "image": image});
        submit(&store, serde_json::from_value(template).unwrap(), None, None).await.unwrap();
        let (image, pinned, _) = starts(&format!("{of}@7"), launch, false).await;
        assert_eq!((image.as_deref(), pinned.as_ref()), (Some(of_instance), Some(&digest)));
    }
}

#[tokio::test]
async fn a_unit_of_the_cluster_shares_no_network() {
    let store = Memory::new();
    machines(&store).await;
    for (name, network) in [("side", "unit:web"), ("side@", "unit:web@%i")] {
        let document = json!({"name": name, "image": "side:1", "network": network});
        let unit: Unit = serde_json::from_value(document).unwrap();
        let (status, why) = said(submit(&store, unit, None, None).await).await;
        assert_eq!(status, 400, "{why}");
        assert!(why.contains("units of a cluster do not share networks: web"), "{why}");
    }
    assert!(look(&store).await.units.is_empty());
}

#[test]
fn documents_and_records_have_one_bound_for_replicas() {
    assert_eq!(REPLICAS_MAX, ferrite_cluster::records::REPLICAS_MAX);
}

/// A store where somebody else is always faster, so many times.
#[tokio::test]
async fn who_is_overtaken_looks_again_and_gives_up_at_last() {
    let store = Memory::new();
    let name = "web".parse().unwrap();
    let submitted = Submitted { unit: web(None), image: None, target: None, known: None };
    for (times, done) in [(3, true), (100, false)] {
        let left = std::cell::Cell::new(times);
        let overtaken = |picture: &Picture| {
            let mut transaction =
                submitted.transaction(picture)?.unwrap_or_else(|| removed(picture, &name).unwrap());
            if left.get() > 0 {
                left.set(left.get() - 1);
                transaction.compares[0].is = Revision(1);
            }
            Ok(Some(transaction))
        };
        let changed = change(&store, overtaken).await;
        assert_eq!(changed.is_ok(), done);
        if let Err(failure) = changed {
            assert_eq!(said::<()>(Err(failure)).await.0, 409);
            assert!(left.get() > 50, "it tries for ever");
        }
    }
}
