//! Certificates of the cluster's users, for admins: given, listed, revoked. The key is made by whoever asks, and never comes here;
//! what is given is in the store before anybody has it, so that it can be revoked. Who did what is in the records and in the log.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::{Extension, Json};
use ferrite_cluster::keys::{Key, is_serial};
use ferrite_cluster::records::{Access as Record, Rest, Revocation, decode, encode};
use ferrite_cluster::store::{ClusterStore, Compare, Entry, Operation, Outcome, Transaction};
use ferrite_pki::{Dates, Issuer, RequestedKey, first_facts, read_request, user_leaf};
use ferrite_schema::api::{Access, AccessRole, ApiError, GivenAccess, NewAccess};
use ferrite_schema::cluster::{ClusterId, Role};
use ferrite_schema::utc;

use super::write::refused;
use crate::api::error::Failure;
use crate::api::extract::{Document, Path};
use crate::api::peer::Peer;
use crate::cluster::now_s;
use crate::node::Node;

/// Most certificates that are listed: they are read all at once.
const ACCESSES_MAX: usize = 1000;
/// Most that are forgotten at a time of those that have ended.
const FORGOTTEN_AT_ONCE: usize = 64;
/// Longest that one lasts: as long as the first one, which `ferrite config new` makes.
const LASTS_MAX_S: u64 = 3_660 * 24 * 60 * 60;
const NAME_MAX_BYTES: usize = 64;

#[utoipa::path(
    get,
    path = "/v1/cluster/access",
    tag = "cluster",
    responses((status = 200, description = "All certificates that were given to users and can be used still, or were revoked, and the one that is asked with; for admins alone", body = Vec<Access>), (status = "default", description = "Refused or not possible", body = ApiError)),
)]
pub(in crate::api) async fn list(
    State(node): State<Arc<Node>>,
    Extension(peer): Extension<Peer>,
) -> Result<Json<Vec<Access>>, Failure> {
    Ok(Json(listed(&super::store(&node)?, &peer, now_s()).await?))
}

#[utoipa::path(
    post,
    path = "/v1/cluster/access",
    tag = "cluster",
    request_body = NewAccess,
    responses((status = 200, description = "It is given; for admins alone", body = GivenAccess), (status = "default", description = "Refused or not possible", body = ApiError)),
)]
pub(in crate::api) async fn grant(
    State(node): State<Arc<Node>>,
    Extension(peer): Extension<Peer>,
    Document(body): Document,
) -> Result<Json<GivenAccess>, Failure> {
    let (cluster, store) = (super::cluster(&node)?, super::store(&node)?);
    let new: NewAccess = serde_json::from_slice(&body)
        .map_err(|error| Failure::bad_request(format!("the body is not understood: {error}")))?;
    let issuer = cluster.issuer().map_err(|error| Failure::internal(&error))?;
    let asked = Asked::of(&new)?;
    given(&store, (cluster.id(), &issuer), &asked, (&peer, now_s())).await.map(Json)
}

#[utoipa::path(
    delete,
    path = "/v1/cluster/access/{serial}",
    tag = "cluster",
    params(("serial" = String, Path, description = "Serial number of the certificate, as hexadecimal digits")),
    responses((status = 204, description = "It opens nothing any more, on any node that hears of it; connections that were made with it end. For admins alone"), (status = "default", description = "Refused or not possible", body = ApiError)),
)]
pub(in crate::api) async fn revoke(
    State(node): State<Arc<Node>>,
    Extension(peer): Extension<Peer>,
    Path(serial): Path<String>,
) -> Result<StatusCode, Failure> {
    revoked(&super::store(&node)?, &serial, (&peer, now_s())).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// What is asked for, looked at.
struct Asked {
    name: String,
    role: AccessRole,
    lasts_s: u64,
    key: RequestedKey,
}

impl Asked {
    fn of(new: &NewAccess) -> Result<Self, Failure> {
        let known = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.@".contains(&byte);
        let NewAccess { name, role, lasts_s, csr } = new;
        if !(1..=NAME_MAX_BYTES).contains(&name.len()) || !name.bytes().all(known) {
            let why = format!(
                "name: whose the certificate is has letters, digits, `-`, `_`, `.` and `@`, at most {NAME_MAX_BYTES}"
            );
            return Err(Failure::bad_request(why));
        }
        if !(1..=LASTS_MAX_S).contains(lasts_s) {
            let why = format!(
                "lasts_s: a certificate lasts a second to {} days",
                LASTS_MAX_S / (24 * 60 * 60)
            );
            return Err(Failure::bad_request(why));
        }
        let key = read_request(csr).map_err(|error| {
            Failure::bad_request(format!("csr: {}", ferrite_schema::chain(&error)))
        })?;
        Ok(Self { name: name.clone(), role: *role, lasts_s: *lasts_s, key })
    }
}

const fn role_of(role: AccessRole) -> Role {
    match role {
        AccessRole::Admin => Role::Admin,
        AccessRole::Operator => Role::Operator,
        AccessRole::Reader => Role::Reader,
    }
}

/// What the cluster knows of one serial number.
#[derive(Default)]
struct Known {
    given: Option<Entry>,
    revoked: Option<Entry>,
}

/// All that was given or revoked, by serial number, each with its entries.
async fn known<S: ClusterStore>(store: &S) -> Result<BTreeMap<String, Known>, Failure> {
    let mut all: BTreeMap<String, Known> = BTreeMap::new();
    for prefix in [Key::accesses(), Key::revocations()] {
        for entry in store.list(prefix.as_bytes()).await?.entries {
            // What is below the prefix and is none of our keys is shown where all problems are.
            match Key::parse(&entry.key) {
                Ok(Key::Access(serial)) => all.entry(serial).or_default().given = Some(entry),
                Ok(Key::Revoked(serial)) => all.entry(serial).or_default().revoked = Some(entry),
                Ok(_) | Err(_) => {}
            }
        }
    }
    Ok(all)
}

fn record(serial: &str, entry: &Entry) -> Result<Record, String> {
    let refused = |refused: ferrite_cluster::records::Refused| {
        format!("its record cannot be understood: {}: {}", refused.field, refused.why)
    };
    decode(&Key::Access(serial.to_owned()), &entry.value).map_err(refused)
}

/// Why a certificate opens nothing.
fn ended(serial: &str, known: &Known, until_s: Option<u64>, now_s: u64) -> Option<String> {
    let Some(entry) = &known.revoked else {
        return until_s.filter(|until_s| *until_s < now_s).map(|_| "expired".to_owned());
    };
    let key = Key::Revoked(serial.to_owned());
    let record = decode::<Revocation>(&key, &entry.value).ok();
    let by = record.as_ref().and_then(|record| record.by.as_ref());
    let at = record.as_ref().and_then(|record| record.at_s);
    let by = by.map(|by| format!(" by {by}")).unwrap_or_default();
    let at = at.map(|at_s| format!(" at {}", utc::text(at_s))).unwrap_or_default();
    Some(format!("revoked{by}{at}"))
}

async fn listed<S: ClusterStore>(
    store: &S,
    peer: &Peer,
    now_s: u64,
) -> Result<Vec<Access>, Failure> {
    let known = known(store).await?;
    let mut all = Vec::new();
    for (serial, known) in &known {
        // A revoked one that was not given here is a machine's.
        let Some(entry) = &known.given else { continue };
        let read = record(serial, entry);
        let until_s = read.as_ref().ok().map(|read| read.until_s);
        let problem = read.as_ref().err().cloned();
        let read = read.ok();
        all.push(Access {
            serial: serial.clone(),
            name: read.as_ref().map(|read| read.name.clone()).unwrap_or_default(),
            role: read.as_ref().map(|read| read.role.clone()).unwrap_or_default(),
            until_s,
            by: read.as_ref().map(|read| read.by.clone()),
            given_s: read.as_ref().map(|read| read.given_s),
            own: *serial == peer.serial,
            problem: ended(serial, known, until_s, now_s).or(problem),
        });
    }
    if !all.iter().any(|one| one.own) {
        all.push(Access {
            serial: peer.serial.clone(),
            name: peer.name.clone(),
            role: peer.role.word().to_owned(),
            until_s: Some(peer.until_s),
            by: None,
            given_s: None,
            own: true,
            problem: None,
        });
    }
    Ok(all)
}

async fn given<S: ClusterStore>(
    store: &S,
    (cluster, issuer): (&ClusterId, &Issuer),
    asked: &Asked,
    (peer, now_s): (&Peer, u64),
) -> Result<GivenAccess, Failure> {
    let dates = Dates::lasting(now_s, Duration::from_secs(asked.lasts_s));
    let leaf = user_leaf(cluster, &asked.name, role_of(asked.role), dates);
    let made = issuer.certify(&leaf, &asked.key);
    let certificate = made.map_err(|error| Failure::internal(&error))?;
    let serial = first_facts(&certificate).map_err(|error| Failure::internal(&error))?.serial;
    let record = Record {
        name: asked.name.clone(),
        role: asked.role.word().to_owned(),
        until_s: dates.until_s,
        by: peer.name.clone(),
        given_s: now_s,
        rest: Rest::new(),
    };
    let key = Key::Access(serial.clone());
    let value = encode(&key, &record).map_err(refused)?;
    let mut operations = room(store, now_s).await?;
    operations.push(Operation::Put { key: key.bytes(), value, lease: None });
    let compares = vec![Compare::absent(key.bytes())];
    match store.transact(Transaction { compares, operations }).await? {
        Outcome::Done(_) => {}
        // Not in this universe's time: the numbers are drawn, and have 126 bits.
        Outcome::Failed(_) => {
            let why = format!("there is a certificate with number {serial} already: try again");
            return Err(Failure::new(StatusCode::CONFLICT, why));
        }
    }
    let until = utc::text(record.until_s);
    let (name, role, by, by_serial) = (&record.name, &record.role, &peer.name, &peer.serial);
    tracing::info!(name, role, serial, until, by, by_serial, "access-granted");
    let access = Access {
        serial,
        name: record.name,
        role: record.role,
        until_s: Some(record.until_s),
        by: Some(record.by),
        given_s: Some(now_s),
        own: false,
        problem: None,
    };
    Ok(GivenAccess { access, certificate })
}

/// Makes room for one more: those that have ended are forgotten. Their revocations stay: another clock may say that they are good.
async fn room<S: ClusterStore>(store: &S, now_s: u64) -> Result<Vec<Operation>, Failure> {
    let entries = store.list(Key::accesses().as_bytes()).await?.entries;
    if entries.len() < ACCESSES_MAX {
        return Ok(Vec::new());
    }
    let has_ended = |entry: &&Entry| match Key::parse(&entry.key) {
        Ok(Key::Access(serial)) => {
            record(&serial, entry).is_ok_and(|record| record.until_s < now_s)
        }
        Ok(_) | Err(_) => false,
    };
    let ended = entries.iter().filter(has_ended).take(FORGOTTEN_AT_ONCE);
    let forgets: Vec<Operation> =
        ended.map(|entry| Operation::Delete { key: entry.key.clone() }).collect();
    if forgets.is_empty() {
        let why = format!(
            "the cluster has given {ACCESSES_MAX} certificates that have not ended, which is the most; give them for shorter times"
        );
        return Err(Failure::new(StatusCode::CONFLICT, why));
    }
    Ok(forgets)
}

async fn revoked<S: ClusterStore>(
    store: &S,
    serial: &str,
    (peer, now_s): (&Peer, u64),
) -> Result<(), Failure> {
    if !is_serial(serial) {
        let why = format!(
            "{serial:?} is no serial number: it has 1 to 64 hexadecimal digits in lower case"
        );
        return Err(Failure::bad_request(why));
    }
    if serial == peer.serial {
        let why = "this is the certificate that you ask with: have another admin revoke it, or use another one of yours";
        return Err(Failure::new(StatusCode::CONFLICT, why));
    }
    let (given, revoked) = (Key::Access(serial.to_owned()), Key::Revoked(serial.to_owned()));
    let (_, entry) = store.get(&given.bytes()).await?;
    let known = entry.as_ref().and_then(|entry| record(serial, entry).ok());
    // One that was made with the root's key is nowhere in the store: nobody knows when it ends.
    let until_s = known.as_ref().map_or(Dates::ALWAYS.until_s, |record| record.until_s);
    let by = Some(peer.name.clone());
    let record = Revocation { until_s, by, at_s: Some(now_s), rest: Rest::new() };
    let value = encode(&revoked, &record).map_err(refused)?;
    let transaction = Transaction {
        // Who was first stays in the record.
        compares: vec![Compare::absent(revoked.bytes())],
        operations: vec![Operation::Put { key: revoked.bytes(), value, lease: None }],
    };
    match store.transact(transaction).await? {
        Outcome::Done(_) => {}
        Outcome::Failed(_) => return Ok(()),
    }
    let name = known.map(|record| record.name).unwrap_or_default();
    let (by, by_serial) = (&peer.name, &peer.serial);
    tracing::info!(name, serial, by, by_serial, "access-revoked");
    Ok(())
}

#[cfg(test)]
#[path = "access_tests.rs"]
mod tests;
