//! A machine that will not come back is forgotten: all that the store has of it goes in one transaction, and its certificates
//! open nothing any more. For admins alone.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::http::StatusCode;
use ferrite_cluster::keys::Key;
use ferrite_cluster::names::MachineId;
use ferrite_cluster::records::{
    Admission, Assignment, Forgotten, Machine, Net, Rest, Revocation, decode, encode,
};
use ferrite_cluster::store::{Compare, Entry, EtcdMember, Listing, Operation, Transaction};
use ferrite_schema::api::ApiError;
use serde::Deserialize;
use utoipa::IntoParams;

use super::machines::{id_of, unknown};
use super::write;
use crate::api::error::Failure;
use crate::api::extract::{Path, Query};
use crate::api::peer::Peer;
use crate::node::Node;

#[utoipa::path(
    delete,
    path = "/v1/machines/{id}",
    tag = "cluster",
    params(("id" = String, Path, description = "ID of the machine"), Forgetting),
    responses((status = 204, description = "The cluster knows the machine no more, and certificates that the cluster gave it open nothing; for admins alone"), (status = "default", description = "Refused or not possible", body = ApiError)),
)]
pub(in crate::api) async fn forget(
    State(node): State<Arc<Node>>,
    Extension(peer): Extension<Peer>,
    Path(id): Path<String>,
    Query(query): Query<Forgetting>,
) -> Result<StatusCode, Failure> {
    let store = super::store(&node)?;
    let id = id_of(&id)?;
    let members = store.members().await?;
    let by = By { name: peer.name.clone(), at_s: crate::cluster::now_s() };
    write::change_listing(&store, |listing| {
        forgets(listing, (&members, &by), &id, query.abandon).map(Some)
    })
    .await?;
    tracing::info!(machine = %id, by = peer.name, by_serial = peer.serial, "machine-forgotten");
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Debug, Clone, Copy, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in crate::api) struct Forgetting {
    /// Also where units are assigned to it still, which wait for what they keep there: they begin elsewhere without that.
    #[serde(default)]
    abandon: bool,
}

/// Who forgets it, and when.
struct By {
    name: String,
    at_s: u64,
}

/// The transaction that forgets it. That it was forgotten stays: a machine that holds the issuers' keys certifies itself.
fn forgets(
    listing: &Listing,
    (members, by): (&[EtcdMember], &By),
    id: &MachineId,
    abandon: bool,
) -> Result<Transaction, Failure> {
    let (mut compares, mut operations) = (Vec::new(), Vec::new());
    let name = name_of(listing, id);
    for entry in &listing.entries {
        let Ok(key) = Key::parse(&entry.key) else { continue };
        let is_its = match &key {
            Key::Alive(of) if of == id => {
                let why = format!(
                    "machine {name} is alive: switch it off first (`ferrite machine poweroff --machine {name}`); where only nothing new should come to it, `ferrite machine cordon {name}`"
                );
                return Err(conflict(why));
            }
            Key::Assign(of) if of == id => {
                if !abandon {
                    has_moved(&key, entry, &name)?;
                }
                true
            }
            Key::Machine(of) | Key::State(of) => of == id,
            Key::Admission(of) if of == id => {
                operations.extend(revocations(&key, entry, (&name, by))?);
                true
            }
            Key::Net(_) => {
                let net = decode::<Net>(&key, &entry.value).ok();
                if let Some(net) = net.filter(|net| net.machine == *id && !net.forgotten) {
                    // Nobody else gets it while there are others: some may route to this machine for a while.
                    let value = encode(&key, &Net { forgotten: true, ..net });
                    let value = value.map_err(write::refused)?;
                    compares.push(Compare::mod_revision(key.bytes(), entry.mod_revision));
                    operations.push(Operation::Put { key: key.bytes(), value, lease: None });
                }
                false
            }
            _ => false,
        };
        if is_its {
            compares.push(Compare::mod_revision(entry.key.clone(), entry.mod_revision));
            operations.push(Operation::Delete { key: entry.key.clone() });
        }
    }
    if compares.is_empty() {
        return Err(unknown(id));
    }
    if members.iter().any(|member| member.machine.as_ref() == Some(id)) {
        let why = format!(
            "machine {name} is a member of etcd: a lost one is removed within a minute or so, where the others are a quorum (`ferrite etcd status`)"
        );
        return Err(conflict(why));
    }
    let key = Key::Forgotten(id.clone());
    let record = Forgotten { name, by: by.name.clone(), at_s: by.at_s, rest: Rest::new() };
    let value = encode(&key, &record).map_err(write::refused)?;
    operations.push(Operation::Put { key: key.bytes(), value, lease: None });
    // It may come back at any moment.
    compares.push(Compare::absent(Key::Alive(id.clone()).bytes()));
    Ok(Transaction { compares, operations })
}

/// Revokes certificates that it was given. Those that have ended open nothing as it is.
fn revocations(
    key: &Key,
    entry: &Entry,
    (name, by): (&str, &By),
) -> Result<Vec<Operation>, Failure> {
    let admission: Admission = decode(key, &entry.value).map_err(|refused| {
        conflict(format!(
            "which certificates machine {name} has is not known, so that they cannot be revoked: {}: {}; update the machine that is asked",
            refused.field, refused.why
        ))
    })?;
    let good = admission.issued.into_iter().filter(|issued| issued.until_s >= by.at_s);
    good.map(|issued| {
        let key = Key::Revoked(issued.serial);
        let (until_s, name) = (issued.until_s, Some(by.name.clone()));
        let record = Revocation { until_s, by: name, at_s: Some(by.at_s), rest: Rest::new() };
        let value = encode(&key, &record).map_err(write::refused)?;
        Ok(Operation::Put { key: key.bytes(), value, lease: None })
    })
    .collect()
}

/// Refuses while units are assigned to it.
fn has_moved(key: &Key, entry: &Entry, name: &str) -> Result<(), Failure> {
    let assigned = decode::<Assignment>(key, &entry.value).map(|all| all.instances);
    let instances = match assigned {
        Ok(instances) if instances.is_empty() => return Ok(()),
        Ok(instances) => {
            let names = instances.into_keys().map(|instance| instance.to_string());
            names.collect::<Vec<_>>().join(", ")
        }
        Err(_) => "which ones cannot be understood".to_owned(),
    };
    Err(conflict(format!(
        "units are assigned to machine {name} still ({instances}): those that can move do so within seconds, and what the others keep there is lost; `ferrite machine forget {name} --abandon` has them begin elsewhere without it"
    )))
}

fn conflict(why: String) -> Failure {
    Failure::new(StatusCode::CONFLICT, why)
}

/// Its name for people; its ID where it has none.
fn name_of(listing: &Listing, id: &MachineId) -> String {
    let key = Key::Machine(id.clone());
    let entry = listing.entries.iter().find(|entry| entry.key == key.bytes());
    let record = entry.and_then(|entry| decode::<Machine>(&key, &entry.value).ok());
    record.map_or_else(|| id.to_string(), |record| record.name)
}

#[cfg(test)]
mod tests {
    use axum::response::IntoResponse;
    use ferrite_cluster::store::{ClusterStore, Memory, Outcome};

    use super::*;

    /// Somebody, at a time when some certificates have ended.
    fn ann() -> By {
        By { name: "ann".to_owned(), at_s: 5 }
    }

    fn id(digit: &str) -> MachineId {
        digit.repeat(32).parse().unwrap()
    }

    async fn put(store: &Memory, key: Key, value: &str) {
        let operation =
            Operation::Put { key: key.bytes(), value: value.as_bytes().to_vec(), lease: None };
        let write = Transaction { compares: Vec::new(), operations: vec![operation] };
        assert!(matches!(store.transact(write).await.unwrap(), Outcome::Done(_)));
    }

    /// A cluster of two machines, of which `a` is lost.
    async fn cluster() -> Memory {
        let store = Memory::new();
        for digit in ["a", "b"] {
            let machine = format!(
                r#"{{"name": "dev-{digit}", "addresses": [], "capacity": {{"cpus_milli": 1, "memory_bytes": 1}}, "level": 1}}"#
            );
            put(&store, Key::Machine(id(digit)), &machine).await;
            put(&store, Key::Assign(id(digit)), r#"{"instances": {}}"#).await;
            put(&store, Key::State(id(digit)), r#"{"instances": {}}"#).await;
            let admission = format!(
                r#"{{"key": "k", "hardware": "h", "issued": [{{"serial": "0{digit}", "until_s": 9}}, {{"serial": "1{digit}", "until_s": 3}}]}}"#
            );
            put(&store, Key::Admission(id(digit)), &admission).await;
        }
        put(&store, Key::Net(0), &format!(r#"{{"machine": "{}"}}"#, id("a"))).await;
        put(&store, Key::Net(1), &format!(r#"{{"machine": "{}"}}"#, id("b"))).await;
        put(&store, Key::Alive(id("b")), r#"{"boot_id": "b", "incarnation": 1}"#).await;
        store
    }

    async fn said(answer: Result<Transaction, Failure>) -> (u16, String) {
        let response = answer.unwrap_err().into_response();
        let status = response.status().as_u16();
        let body = axum::body::to_bytes(response.into_body(), 1 << 16).await.unwrap();
        (status, serde_json::from_slice::<ApiError>(&body).unwrap().error)
    }

    async fn all(store: &Memory) -> Listing {
        store.list(ferrite_cluster::keys::PREFIX.as_bytes()).await.unwrap()
    }

    #[tokio::test]
    async fn a_lost_machine_is_forgotten_whole_and_nothing_else_is() {
        let store = cluster().await;
        let transaction = forgets(&all(&store).await, (&[], &ann()), &id("a"), false).unwrap();
        assert!(matches!(store.transact(transaction).await.unwrap(), Outcome::Done(_)));
        let left: Vec<String> = all(&store)
            .await
            .entries
            .iter()
            .map(|entry| Key::parse(&entry.key).unwrap().to_string())
            .collect();
        let b = id("b");
        let mut expected = [
            Key::Machine(b.clone()),
            Key::Assign(b.clone()),
            Key::State(b.clone()),
            Key::Admission(b.clone()),
            Key::Alive(b.clone()),
            Key::Net(0),
            Key::Net(1),
            Key::Revoked("0a".to_owned()),
            Key::Forgotten(id("a")),
        ]
        .map(|key| key.to_string());
        expected.sort();
        assert_eq!(left, expected);
        assert_eq!(said(forgets(&all(&store).await, (&[], &ann()), &id("a"), false)).await.0, 404);
    }

    #[tokio::test]
    async fn one_that_is_alive_or_runs_etcd_or_comes_back_is_not_forgotten() {
        let store = cluster().await;
        let (status, alive) =
            said(forgets(&all(&store).await, (&[], &ann()), &id("b"), false)).await;
        assert!(status == 409 && alive.contains("machine dev-b is alive"), "{alive}");
        let member = EtcdMember {
            number: 1,
            machine: Some(id("a")),
            urls: Vec::new(),
            started: true,
            learner: false,
        };
        let (status, member) =
            said(forgets(&all(&store).await, (&[member], &ann()), &id("a"), false)).await;
        assert!(status == 409 && member.contains("member of etcd"), "{member}");
        let transaction = forgets(&all(&store).await, (&[], &ann()), &id("a"), false).unwrap();
        put(&store, Key::Alive(id("a")), r#"{"boot_id": "a", "incarnation": 2}"#).await;
        assert!(matches!(store.transact(transaction).await.unwrap(), Outcome::Failed(_)));
    }

    #[tokio::test]
    async fn units_that_wait_for_it_are_given_up_by_an_order_alone() {
        let store = cluster().await;
        let assigned = format!(
            r#"{{"instances": {{"db": {{"spec": "{}", "target": "launched", "cause": "wanted"}}}}}}"#,
            "a".repeat(64)
        );
        put(&store, Key::Assign(id("a")), &assigned).await;
        let (status, why) = said(forgets(&all(&store).await, (&[], &ann()), &id("a"), false)).await;
        assert!(status == 409 && why.contains("(db)") && why.contains("--abandon"), "{why}");
        forgets(&all(&store).await, (&[], &ann()), &id("a"), true).unwrap();
        put(&store, Key::Assign(id("a")), "what nobody understands").await;
        assert_eq!(said(forgets(&all(&store).await, (&[], &ann()), &id("a"), false)).await.0, 409);
    }
}
