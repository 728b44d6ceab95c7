use ferrite_cluster::store::Memory;
use ferrite_pki::{Identity, make_key, make_request, make_root};

use super::super::tests::{said, write};
use super::*;
use crate::api::peer::{Terms, peer};

const NOW_S: u64 = 1_800_000_000;
const DAY_S: u64 = 24 * 60 * 60;

fn cluster() -> ClusterId {
    "c".repeat(32).parse().unwrap()
}

fn root() -> Identity {
    make_root("root", 0, Dates::ALWAYS).unwrap()
}

fn ann(serial: &str) -> Peer {
    let (name, serial) = ("ann".to_owned(), serial.to_owned());
    Peer { name, role: Role::Admin, serial, until_s: NOW_S + 7, machine: None }
}

fn new(name: &str, role: AccessRole, lasts_s: u64) -> NewAccess {
    let csr = make_request(&make_key().unwrap()).unwrap();
    NewAccess { name: name.to_owned(), role, lasts_s, csr }
}

async fn give(store: &Memory, new: &NewAccess) -> GivenAccess {
    let issuer = Issuer::root(&root()).unwrap();
    let asked = Asked::of(new).unwrap();
    given(store, (&cluster(), &issuer), &asked, (&ann("0a"), NOW_S)).await.unwrap()
}

async fn problems(store: &Memory, now_s: u64) -> Vec<(String, Option<String>)> {
    let all = listed(store, &ann("0a"), now_s).await.unwrap();
    all.into_iter().map(|one| (one.name, one.problem)).collect()
}

#[tokio::test]
async fn a_certificate_opens_what_its_role_says_until_it_ends_and_is_listed_by_who_gave_it() {
    let store = Memory::new();
    let terms = Terms { cluster: Some(cluster()), without_role: None };
    for role in AccessRole::ALL {
        let given = give(&store, &new("bob", role, 30 * DAY_S)).await;
        let shown = ferrite_pki::certificates(&given.certificate).unwrap();
        let peer = peer(&shown[0], &terms).unwrap();
        assert_eq!((&*peer.name, peer.role), ("bob", role_of(role)));
        assert_eq!((&peer.serial, peer.until_s), (&given.access.serial, NOW_S + 30 * DAY_S));
        let all = listed(&store, &ann("0a"), NOW_S).await.unwrap();
        let found = all.iter().find(|one| one.serial == peer.serial).unwrap();
        assert_eq!(found, &given.access);
        assert_eq!((found.by.as_deref(), found.given_s), (Some("ann"), Some(NOW_S)));
    }
    // The one that is asked with was not given here: it is shown all the same, so that it can be told to others.
    let all = listed(&store, &ann("0a"), NOW_S).await.unwrap();
    let own: Vec<_> = all.iter().filter(|one| one.own).collect();
    assert_eq!(own.len(), 1);
    assert_eq!((&*own[0].serial, &*own[0].role, &own[0].by), ("0a", "admin", &None));
    let later = listed(&store, &ann("0a"), NOW_S + 31 * DAY_S).await.unwrap();
    assert_eq!(later.iter().filter(|one| one.problem.as_deref() == Some("expired")).count(), 3);
}

#[tokio::test]
async fn what_is_revoked_says_by_whom_and_stays_so() {
    let store = Memory::new();
    let given = give(&store, &new("bob", AccessRole::Reader, DAY_S)).await;
    let serial = given.access.serial;
    revoked(&store, &serial, (&ann("0a"), NOW_S)).await.unwrap();
    let carl = Peer { name: "carl".to_owned(), ..ann("0b") };
    revoked(&store, &serial, (&carl, NOW_S + 9)).await.unwrap();
    let why = Some("revoked by ann at 2027-01-15 08:00:00 UTC".to_owned());
    assert_eq!(problems(&store, NOW_S).await[0], ("bob".to_owned(), why));
    let key = Key::Revoked(serial);
    let entry = store.get(&key.bytes()).await.unwrap().1.unwrap();
    let record: Revocation = decode(&key, &entry.value).unwrap();
    assert_eq!(record.until_s, NOW_S + DAY_S);
    // One that the cluster never gave may be good for ever.
    revoked(&store, "0c", (&ann("0a"), NOW_S)).await.unwrap();
    let key = Key::Revoked("0c".to_owned());
    let entry = store.get(&key.bytes()).await.unwrap().1.unwrap();
    let record: Revocation = decode(&key, &entry.value).unwrap();
    assert_eq!(record.until_s, Dates::ALWAYS.until_s);
}

#[tokio::test]
async fn nobody_shuts_oneself_out_and_what_is_no_number_is_refused() {
    let store = Memory::new();
    let (status, why) = said(revoked(&store, "0a", (&ann("0a"), NOW_S)).await).await;
    assert!(status == 409 && why.contains("that you ask with"), "{why}");
    for bad in ["", "0A", "xyz", "../leader", &"a".repeat(65)] {
        let (status, why) = said(revoked(&store, bad, (&ann("0a"), NOW_S)).await).await;
        assert!(status == 400 && why.contains("hexadecimal digits"), "{why}");
    }
    assert_eq!(store.list(b"").await.unwrap().entries, []);
}

#[tokio::test]
async fn what_is_asked_for_is_looked_at_before_anything_is_made() {
    let good = new("bob", AccessRole::Reader, 1);
    let long = "x".repeat(65);
    for (bad, words) in [
        (NewAccess { name: String::new(), ..good.clone() }, "name: "),
        (NewAccess { name: long, ..good.clone() }, "name: "),
        (NewAccess { name: "a b".to_owned(), ..good.clone() }, "name: "),
        (NewAccess { name: "a\nadmin".to_owned(), ..good.clone() }, "name: "),
        (NewAccess { lasts_s: 0, ..good.clone() }, "lasts_s: "),
        (NewAccess { lasts_s: LASTS_MAX_S + 1, ..good.clone() }, "3660 days"),
        (NewAccess { csr: "no request".to_owned(), ..good.clone() }, "csr: "),
        (NewAccess { csr: root().certificate, ..good }, "csr: "),
    ] {
        let (status, why) = said(Asked::of(&bad).map(drop)).await;
        assert!(status == 400 && why.contains(words), "{why}");
    }
    let node = r#"{"name": "a", "role": "node", "lasts_s": 1, "csr": ""}"#;
    assert!(serde_json::from_str::<NewAccess>(node).is_err(), "nobody is given a machine's");
}

#[tokio::test]
async fn records_that_nobody_understands_are_listed_and_those_that_have_ended_make_room() {
    let store = Memory::new();
    write(&store, "access/00", b"[]").await;
    write(&store, "revoked/00", b"what nobody understands").await;
    assert_eq!(problems(&store, NOW_S).await[0], (String::new(), Some("revoked".to_owned())));
    for number in 1..ACCESSES_MAX {
        let until_s = if number < 100 { NOW_S - 1 } else { NOW_S };
        let record = format!(
            r#"{{"name": "a", "role": "reader", "until_s": {until_s}, "by": "ann", "given_s": 1}}"#
        );
        write(&store, &format!("access/{number:032x}"), record.as_bytes()).await;
    }
    let count = async || store.list(Key::accesses().as_bytes()).await.unwrap().entries.len();
    give(&store, &new("bob", AccessRole::Reader, 1)).await;
    assert_eq!(count().await, ACCESSES_MAX + 1 - FORGOTTEN_AT_ONCE);
    let full = room(&store, NOW_S - 10).await;
    assert!(full.is_ok_and(|forgets| forgets.is_empty()));
}
