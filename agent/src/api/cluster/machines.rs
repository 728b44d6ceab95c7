//! Requests about the cluster's machines.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use ferrite_cluster::keys::Key;
use ferrite_cluster::names::MachineId;
use ferrite_cluster::records::Machine;
use ferrite_cluster::store::Transaction;
use ferrite_schema::api::{ApiError, ClusterMachine, MachineChange, MachineState};

use super::picture::Picture;
use super::write;
use crate::api::error::Failure;
use crate::api::extract::{Document, Path};
use crate::node::Node;

/// Most keys that are said of a machine at run time, and longest key and value: its record has a bound.
const OVERRIDES_MAX: usize = 64;
const OVERRIDE_MAX_BYTES: usize = 128;

#[utoipa::path(
    get,
    path = "/v1/machines",
    tag = "cluster",
    responses((status = 200, description = "All machines of the cluster, by ID", body = Vec<ClusterMachine>), (status = "default", description = "Refused or not possible", body = ApiError)),
)]
pub(in crate::api) async fn list(
    State(node): State<Arc<Node>>,
) -> Result<Json<Vec<ClusterMachine>>, Failure> {
    Ok(Json(machines(&super::picture(&super::store(&node)?).await?)))
}

#[utoipa::path(
    patch,
    path = "/v1/machines/{id}",
    tag = "cluster",
    params(("id" = String, Path, description = "ID of the machine")),
    request_body = MachineChange,
    responses((status = 200, description = "It is written", body = ClusterMachine), (status = "default", description = "Refused or not possible", body = ApiError)),
)]
pub(in crate::api) async fn change(
    State(node): State<Arc<Node>>,
    Path(id): Path<String>,
    Document(body): Document,
) -> Result<Json<ClusterMachine>, Failure> {
    let store = super::store(&node)?;
    let change: MachineChange = serde_json::from_slice(&body)
        .map_err(|error| Failure::bad_request(format!("the body is not understood: {error}")))?;
    let id = id_of(&id)?;
    let picture = write::change(&store, |picture| edit(picture, &id, &change)).await?;
    Ok(Json(machine(&picture, &id)))
}

/// A machine's ID, where it is one.
pub(super) fn id_of(text: &str) -> Result<MachineId, Failure> {
    text.parse().map_err(|bad| Failure::bad_request(format!("{bad}")))
}

pub(super) fn unknown(id: &MachineId) -> Failure {
    let why = format!("the cluster has no machine {id}: `ferrite machine list` lists all");
    Failure::new(StatusCode::NOT_FOUND, why)
}

/// The transaction that makes the change; none where it is so already.
pub(super) fn edit(
    picture: &Picture,
    id: &MachineId,
    change: &MachineChange,
) -> Result<Option<Transaction>, Failure> {
    let (revision, read) = picture.records.get(id).ok_or_else(|| unknown(id))?;
    let before = read.as_ref().map_err(|why| {
        let why = format!(
            "the record of machine {id} cannot be understood: {why}; update the machine that is asked"
        );
        Failure::new(StatusCode::CONFLICT, why)
    })?;
    let mut record = before.clone();
    if let Some(cordoned) = change.cordoned {
        record.cordoned = cordoned;
    }
    for name in &change.forget {
        record.overrides.remove(name);
    }
    for (name, value) in &change.metadata {
        let is_line =
            |text: &str| text.len() <= OVERRIDE_MAX_BYTES && !text.chars().any(char::is_control);
        if name.is_empty() || !is_line(name) || !value.as_deref().is_none_or(is_line) {
            let why = format!(
                "metadata: a key is a line of 1 to {OVERRIDE_MAX_BYTES} bytes, a value one of at most as many"
            );
            return Err(Failure::bad_request(why));
        }
        record.overrides.insert(name.clone(), value.clone());
    }
    if record.overrides.len() > OVERRIDES_MAX {
        let why = format!("metadata: {OVERRIDES_MAX} keys are the most: forget some");
        return Err(Failure::bad_request(why));
    }
    if record == *before {
        return Ok(None);
    }
    write::put(&Key::Machine(id.clone()), &record, *revision).map(Some)
}

/// All machines, by ID, also those whose record cannot be understood or is missing.
pub(super) fn machines(picture: &Picture) -> Vec<ClusterMachine> {
    picture.machines().map(|id| machine(picture, id)).collect()
}

fn machine(picture: &Picture, id: &MachineId) -> ClusterMachine {
    let record = picture.records.get(id).map(|(_, read)| read);
    let known = record.and_then(|read| read.as_ref().ok());
    let units = picture.assigned.values().filter(|(on, _)| on == id).count();
    let there = picture.alive.contains(id);
    ClusterMachine {
        id: id.to_string(),
        name: known.map(|machine| machine.name.clone()).unwrap_or_default(),
        addresses: known
            .map(|machine| machine.addresses.iter().map(ToString::to_string).collect())
            .unwrap_or_default(),
        state: if there { MachineState::Alive } else { MachineState::Lost },
        cordoned: known.is_some_and(|machine| machine.cordoned),
        leader: there && picture.leader.as_ref() == Some(id),
        eligible: known.is_some_and(|machine| machine.eligible),
        units: u32::try_from(units).unwrap_or(u32::MAX),
        level: known.map_or(0, |machine| machine.level),
        metadata: known.map(Machine::labels).unwrap_or_default(),
        overrides: known.map_or_else(BTreeMap::new, |machine| machine.overrides.clone()),
        cpus_milli: known.map_or(0, |machine| machine.capacity.cpus_milli),
        memory_bytes: known.map_or(0, |machine| machine.capacity.memory_bytes),
        problem: match record {
            Some(Ok(_)) => None,
            Some(Err(why)) => Some(format!("its record cannot be understood: {why}")),
            None => Some("it has no record".to_owned()),
        },
    }
}
