//! Who runs etcd, and how many should. For admins alone.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use ferrite_cluster::keys::Key;
use ferrite_cluster::names::MachineId;
use ferrite_cluster::store::{self, Transaction};
use ferrite_schema::api::{ApiError, EtcdMember, EtcdMembersChange, EtcdMembersPlan};

use super::picture::Picture;
use super::write;
use crate::api::error::Failure;
use crate::api::extract::Document;
use crate::node::Node;

#[utoipa::path(
    get,
    path = "/v1/etcd/members",
    tag = "etcd",
    responses((status = 200, description = "All members, by number, as most of them agree", body = Vec<EtcdMember>), (status = "default", description = "Refused or not possible", body = ApiError)),
)]
pub(in crate::api) async fn members(
    State(node): State<Arc<Node>>,
) -> Result<Json<Vec<EtcdMember>>, Failure> {
    let store = super::store(&node)?;
    let members = store.members().await?;
    Ok(Json(listed(members, &super::picture(&store).await?)))
}

#[utoipa::path(
    patch,
    path = "/v1/etcd/members",
    tag = "etcd",
    request_body = EtcdMembersChange,
    responses((status = 200, description = "It is written; the members become so many one by one", body = EtcdMembersPlan), (status = "default", description = "Refused or not possible", body = ApiError)),
)]
pub(in crate::api) async fn change(
    State(node): State<Arc<Node>>,
    Document(body): Document,
) -> Result<Json<EtcdMembersPlan>, Failure> {
    let store = super::store(&node)?;
    let change: EtcdMembersChange = serde_json::from_slice(&body)
        .map_err(|error| Failure::bad_request(format!("the body is not understood: {error}")))?;
    let picture = write::change(&store, |picture| edit(picture, change)).await?;
    Ok(Json(plan(change.target, store.members().await?, &picture)))
}

/// The transaction that makes the change; none where it is so already.
fn edit(picture: &Picture, change: EtcdMembersChange) -> Result<Option<Transaction>, Failure> {
    let (revision, read) = picture.cluster.as_ref().ok_or_else(|| {
        Failure::new(StatusCode::CONFLICT, "the cluster's record is gone: nothing can be changed")
    })?;
    let before = read.as_ref().map_err(|why| {
        let why = format!(
            "the cluster's record cannot be understood: {why}; update the machine that is asked"
        );
        Failure::new(StatusCode::CONFLICT, why)
    })?;
    if !matches!(change.target, 1 | 3 | 5 | 7) {
        let why = format!(
            "target: {} machines cannot run etcd: 1, 3, 5 or 7 do, since an even number tolerates no more than the odd one below it",
            change.target
        );
        return Err(Failure::bad_request(why));
    }
    if before.member_target == change.target {
        return Ok(None);
    }
    let mut record = before.clone();
    record.member_target = change.target;
    write::put(&Key::Cluster, &record, *revision).map(Some)
}

fn plan(target: u8, members: Vec<store::EtcdMember>, picture: &Picture) -> EtcdMembersPlan {
    let may = |id: &&MachineId| {
        let record = picture.records.get(id).and_then(|(_, read)| read.as_ref().ok());
        picture.alive.contains(id) && record.is_some_and(|machine| machine.eligible)
    };
    let eligible = picture.machines().filter(may).count();
    let eligible = u32::try_from(eligible).unwrap_or(u32::MAX);
    EtcdMembersPlan { target, eligible, members: listed(members, picture) }
}

/// Members with their machines' names.
fn listed(members: Vec<store::EtcdMember>, picture: &Picture) -> Vec<EtcdMember> {
    let name = |id: &MachineId| {
        let read = picture.records.get(id).and_then(|(_, read)| read.as_ref().ok());
        read.map(|known| known.name.clone())
    };
    members.into_iter().map(|member| named(member, name)).collect()
}

/// A member with its machine's name.
pub(super) fn named(
    member: store::EtcdMember,
    name: impl Fn(&MachineId) -> Option<String>,
) -> EtcdMember {
    EtcdMember {
        member: digits(member.number),
        machine_name: member.machine.as_ref().and_then(name),
        machine: member.machine.map(|id| id.to_string()),
        urls: member.urls,
        started: member.started,
        learner: member.learner,
    }
}

/// A member's number as etcd's own tools show it. As a number in JSON it would be more than most readers take.
pub(super) fn digits(number: u64) -> String {
    format!("{number:x}")
}

#[cfg(test)]
#[path = "members_tests.rs"]
mod tests;
