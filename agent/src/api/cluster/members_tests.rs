use ferrite_cluster::records::{Cluster, decode};
use ferrite_cluster::store::{ClusterStore, Memory};
use serde_json::json;

use super::super::tests::{id, machines, said, write as put};
use super::*;

#[tokio::test]
async fn members_have_the_names_of_their_machines() {
    let store = Memory::new();
    machines(&store).await;
    let member = |number: u64, machine: Option<String>| store::EtcdMember {
        number,
        machine: machine.map(|id| id.parse().unwrap()),
        urls: vec!["https://x.node.dev:2380".to_owned()],
        started: true,
        learner: number == 2,
    };
    let all = vec![member(1, Some(id(1))), member(2, Some(id(9))), member(u64::MAX, None)];
    let picture = super::super::picture(&store).await.unwrap();
    let short: Vec<_> = listed(all, &picture)
        .into_iter()
        .map(|one| (one.member, one.machine, one.machine_name, one.learner))
        .collect();
    let dev = Some("dev-1".to_owned());
    assert_eq!(
        short,
        [
            ("1".to_owned(), Some(id(1)), dev, false),
            ("2".to_owned(), Some(id(9)), None, true),
            ("ffffffffffffffff".to_owned(), None, None, false),
        ]
    );
}

/// The cluster's record, with something of a newer version in it.
async fn founded(store: &Memory) {
    let record = json!({
        "id": "c1", "epoch": 4, "networks": {"ipv4": "10.112.0.0/12", "ipv6": "fd00::/48"},
        "member_target": 3, "timings": {"heartbeat_ms": 1, "election_ms": 2, "ttl_s": 3, "new": 4},
        "level": 1, "from-2031": "stays",
    });
    put(store, "cluster", record.to_string().as_bytes()).await;
}

async fn asked(store: &Memory, target: u8) -> Result<Picture, Failure> {
    let change = EtcdMembersChange { target };
    write::change(store, |picture| edit(picture, change)).await
}

#[tokio::test]
async fn how_many_there_should_be_is_changed_and_nothing_else_of_the_record() {
    let store = Memory::new();
    machines(&store).await;
    founded(&store).await;
    let picture = asked(&store, 5).await.unwrap();
    let planned = plan(5, Vec::new(), &picture);
    assert_eq!((planned.target, planned.eligible), (5, 2), "the third is lost");
    let (_, entry) = store.get(&Key::Cluster.bytes()).await.unwrap();
    let entry = entry.unwrap();
    let record: Cluster = decode(&Key::Cluster, &entry.value).unwrap();
    assert_eq!((record.member_target, record.epoch), (5, 4));
    assert_eq!(record.rest["from-2031"], "stays");
    assert_eq!(record.timings.rest["new"], 4);
    // The same again writes nothing.
    asked(&store, 5).await.unwrap();
    let (_, same) = store.get(&Key::Cluster.bytes()).await.unwrap();
    assert_eq!(same.unwrap().mod_revision, entry.mod_revision);
}

#[tokio::test]
async fn even_numbers_none_and_too_many_are_refused_with_what_there_may_be() {
    let store = Memory::new();
    let (status, words) = said(asked(&store, 3).await).await;
    assert!(status == 409 && words.contains("record is gone"), "{words}");
    founded(&store).await;
    for target in [0, 2, 4, 6, 8, 9, 255] {
        let (status, words) = said(asked(&store, target).await).await;
        assert!(status == 400 && words.contains("1, 3, 5 or 7"), "{target}: {words}");
    }
    put(&store, "cluster", b"{").await;
    let (status, words) = said(asked(&store, 3).await).await;
    assert!(status == 409 && words.contains("cannot be understood"), "{words}");
}
