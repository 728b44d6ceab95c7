//! What a real etcd says of itself, and the copy of it.

use std::time::Duration;

use ferrite_cluster::store::{ClusterStore, Operation, Refusal, StoreProblem, Transaction};
use sha2::{Digest, Sha256};

use crate::etcd::Running;

/// So much is written that a snapshot has several pieces.
const VALUE_BYTES: usize = 64 << 10;
/// Longest until an etcd that is alone among two leads no more: some elections' time, on a busy computer.
const SOON: Duration = Duration::from_secs(60);
/// How often it is asked.
const ASK_EVERY: Duration = Duration::from_millis(100);

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

#[test]
fn an_etcd_says_how_it_is_and_gives_a_copy_with_its_digest() {
    let running = Running::start();
    runtime().block_on(async {
        let (store, maintenance) = (running.store().await, running.maintenance().await);
        let value = vec![b'x'; VALUE_BYTES];
        let put = Operation::Put { key: b"a".to_vec(), value, lease: None };
        let write = Transaction { compares: Vec::new(), operations: vec![put] };
        store.transact(write).await.unwrap();
        let status = maintenance.status().await.unwrap();
        let (revision, _) = store.get(b"a").await.unwrap();
        assert_eq!(status.revision, revision);
        assert_eq!((status.leader, status.learner), (Some(status.member), false));
        assert_eq!(status.member, store.members().await.unwrap()[0].number);
        assert!(status.version.starts_with("3."), "{status:?}");
        assert!(status.raft_index >= status.raft_applied && status.raft_applied > 0, "{status:?}");
        assert!(status.db_bytes >= status.db_used_bytes && status.db_used_bytes > 0, "{status:?}");
        assert_eq!(status.problems, Vec::<String>::new());

        let mut snapshot = maintenance.snapshot().await.unwrap();
        let (total, mut pieces, mut all) = (snapshot.total_bytes(), 0, Vec::new());
        while let Some(piece) = snapshot.next().await.unwrap() {
            pieces += 1;
            all.extend(piece);
        }
        assert!(pieces > 2, "{pieces} pieces");
        assert_eq!(all.len() as u64, total);
        let (data, digest) = all.split_at(all.len() - 32);
        assert_eq!(Sha256::digest(data).as_slice(), digest);
        // By this `etcdutl snapshot restore` knows that there is a digest.
        assert_eq!(data.len() % 512, 0);
        assert!(data.windows(1024).any(|window| window.iter().all(|byte| *byte == b'x')));
    });
}

#[test]
fn members_are_told_with_all_their_addresses() {
    let running = Running::start();
    runtime().block_on(async {
        let members = running.store().await.members().await.unwrap();
        assert_eq!(members.len(), 1);
        assert_eq!(members[0].urls, ["http://localhost:1"]);
        assert_eq!((&members[0].machine, members[0].started), (&None, true));
    });
}

#[test]
fn an_etcd_without_a_quorum_answers_for_itself_and_for_nothing_else() {
    let running = Running::start();
    runtime().block_on(async {
        let (store, maintenance) = (running.store().await, running.maintenance().await);
        let put = Operation::Put { key: b"a".to_vec(), value: b"kept".to_vec(), lease: None };
        let write = Transaction { compares: Vec::new(), operations: vec![put] };
        store.transact(write).await.unwrap();
        // Of two voters the other one is nowhere.
        running.add_voter("http://localhost:2").await;
        let alone = async {
            loop {
                let status = maintenance.status().await.unwrap();
                if status.leader.is_none() {
                    return status;
                }
                tokio::time::sleep(ASK_EVERY).await;
            }
        };
        let status = tokio::time::timeout(SOON, alone).await.unwrap();
        assert_eq!(status.problems, ["etcdserver: no leader"]);
        // Who asks it for more waits, since an election would be over soon.
        assert_eq!(store.raft().await.unwrap().leader, None);
        let refused = store.get(b"a").await.unwrap_err();
        assert!(matches!(refused, StoreProblem::Unavailable { .. }), "{refused:?}");
        assert_eq!(maintenance.value_it_has(b"a").await.unwrap(), Some(b"kept".to_vec()));
        assert_eq!(maintenance.value_it_has(b"b").await.unwrap(), None);
        assert_eq!(maintenance.members_it_knows().await.unwrap().len(), 2);
        let mut snapshot = maintenance.snapshot().await.unwrap();
        let (total, mut length) = (snapshot.total_bytes(), 0);
        while let Some(piece) = snapshot.next().await.unwrap() {
            length += piece.len() as u64;
        }
        assert_eq!(length, total);
    });
}

#[test]
fn space_that_is_used_up_by_what_is_forgotten_is_made_again() {
    let running = Running::start_with(&["--quota-backend-bytes=4000000"]);
    runtime().block_on(async {
        let (store, maintenance) = (running.store().await, running.maintenance().await);
        let put = async || {
            let operations = vec![Operation::Put {
                key: b"key".to_vec(),
                value: vec![b'x'; 500_000],
                lease: None,
            }];
            store.transact(Transaction { compares: Vec::new(), operations }).await
        };
        let full = async {
            loop {
                if let Err(problem) = put().await {
                    return problem;
                }
            }
        };
        let full = tokio::time::timeout(SOON, full).await.unwrap();
        assert_eq!(full, StoreProblem::Refused(Refusal::NoSpace));
        let status = maintenance.status().await.unwrap();
        assert!(status.is_out_of_space(), "{status:?}");
        assert_eq!(maintenance.out_of_space().await.unwrap(), [status.member].into());
        // Reading goes on, and what is there can be deleted; machines that were away do not come back.
        assert!(store.get(b"key").await.unwrap().1.is_some());
        let refused = store.grant(SOON).await.unwrap_err();
        assert_eq!(refused, StoreProblem::Refused(Refusal::NoSpace));

        store.compact(status.revision).await.unwrap();
        let shrinks = async {
            loop {
                maintenance.defragment().await.unwrap();
                let now = maintenance.status().await.unwrap();
                // What was compacted is given back a moment later.
                if now.db_bytes < status.db_bytes / 2 {
                    return;
                }
            }
        };
        tokio::time::timeout(SOON, shrinks).await.unwrap();
        maintenance.disarm(status.member).await.unwrap();
        assert!(!maintenance.status().await.unwrap().is_out_of_space());
        put().await.unwrap();
    });
}

/// What a recovery builds on: whatever it is cut off by, doing it again does it once.
#[test]
fn an_etcd_that_is_forced_to_be_alone_keeps_what_it_had_and_being_forced_twice_is_being_forced_once()
 {
    let mut running = Running::start();
    runtime().block_on(async {
        let store = running.store().await;
        let put = Operation::Put { key: b"a".to_vec(), value: b"kept".to_vec(), lease: None };
        let write = Transaction { compares: Vec::new(), operations: vec![put] };
        store.transact(write).await.unwrap();
        running.add_voter("http://localhost:2").await;
        let own = running.maintenance().await.status().await.unwrap();
        for _ in 0..2 {
            running.start_again(&["--force-new-cluster"]);
            let maintenance = running.maintenance().await;
            let status = maintenance.status().await.unwrap();
            assert_eq!((status.member, status.leader), (own.member, Some(own.member)));
            assert_eq!(status.revision, own.revision);
            let members = maintenance.members_it_knows().await.unwrap();
            assert_eq!(members.iter().map(|one| one.number).collect::<Vec<_>>(), [own.member]);
        }
        running.start_again(&[]);
        let (_, entry) = running.store().await.get(b"a").await.unwrap();
        assert_eq!(entry.unwrap().value, b"kept");
        assert_eq!(running.store().await.members().await.unwrap().len(), 1);
    });
}
