//! Requests about the cluster. Each reads the store anew, at one moment of it, and writes with a comparison; a node without a
//! cluster has none of them, and one that is no member sends its peer to another.
//!
//! | module | what it does |
//! |---|---|
//! | `picture` | what a listing of the store says, understood or not: pure |
//! | `machines`, `units`, `services` | what is shown of it, and what is changed: pure but for the handlers |
//! | `forget` | machines that will not come back, for admins |
//! | `tokens` | what lets machines in, for admins |
//! | `access` | certificates of users, for admins |
//! | `connect` | a tunnel to another machine's API |
//! | `etcd`, `members`, `recovery` | this node's etcd itself, how many run it, and going on when most are lost, for admins |

pub(super) mod access;
pub(super) mod connect;
pub(super) mod etcd;
pub(super) mod forget;
pub(super) mod machines;
pub(super) mod members;
mod picture;
pub(super) mod recovery;
pub(super) mod services;
pub(super) mod tokens;
pub(super) mod units;
mod write;

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use ferrite_cluster::keys::PREFIX;
use ferrite_cluster::store::{ClusterStore, Etcd, StoreProblem};
use ferrite_schema::api::{ApiError, ClusterMember, ClusterStatus};

use self::picture::Picture;
use super::error::Failure;
use crate::cluster::Cluster;
use crate::node::Node;

impl From<StoreProblem> for Failure {
    fn from(problem: StoreProblem) -> Self {
        let status = match &problem {
            StoreProblem::Unavailable { .. } => StatusCode::SERVICE_UNAVAILABLE,
            StoreProblem::Refused(_) => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self::new(status, ferrite_schema::chain(&problem))
    }
}

/// The cluster that this node is in.
fn cluster(node: &Node) -> Result<&Arc<Cluster>, Failure> {
    let why = "this node is in no cluster: its configuration has no [cluster]";
    node.cluster.as_ref().ok_or_else(|| Failure::new(StatusCode::NOT_FOUND, why))
}

/// Its store, where this node is a member of it.
fn store(node: &Node) -> Result<Etcd, Failure> {
    let cluster = cluster(node)?;
    cluster.store().ok_or_else(|| {
        let why = format!("this node runs no etcd now: {}", whom_else(cluster));
        Failure::new(StatusCode::SERVICE_UNAVAILABLE, why)
    })
}

/// Whom to ask where this node cannot answer.
fn whom_else(cluster: &Cluster) -> String {
    let members = cluster.members();
    let others = members.iter().map(|member| &member.machine);
    let others: Vec<String> =
        others.filter(|id| *id != cluster.machine()).map(ToString::to_string).collect();
    match others.is_empty() {
        true => "wait, or ask another machine of the cluster".to_owned(),
        false => format!("ask machine {}", others.join(" or ")),
    }
}

/// All of the store, at one moment.
async fn picture<S: ClusterStore>(store: &S) -> Result<Picture, Failure> {
    Ok(Picture::of(&store.list(PREFIX.as_bytes()).await?))
}

#[utoipa::path(
    get,
    path = "/v1/cluster",
    tag = "cluster",
    responses((status = 200, description = "The cluster", body = ClusterStatus), (status = "default", description = "Refused or not possible", body = ApiError)),
)]
pub(super) async fn show(State(node): State<Arc<Node>>) -> Result<Json<ClusterStatus>, Failure> {
    let cluster = cluster(&node)?;
    let store = store(&node)?;
    let picture = picture(&store).await?;
    let members = store.members().await?.into_iter().map(|member| ClusterMember {
        machine: member.machine.map(|machine| machine.to_string()),
        url: member.urls.into_iter().next().unwrap_or_default(),
        learner: member.learner,
    });
    let id = cluster.id().to_string();
    let mut status = status(&picture, id, cluster.name().to_string());
    status.members = members.collect();
    Ok(Json(status))
}

fn status(picture: &Picture, id: String, name: String) -> ClusterStatus {
    let record = picture.cluster.as_ref().and_then(|(_, read)| read.as_ref().ok());
    let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    ClusterStatus {
        id,
        name,
        epoch: record.map(|record| record.epoch),
        leader: picture.leader.as_ref().map(ToString::to_string),
        members: Vec::new(),
        member_target: record.map(|record| record.member_target),
        machines: count(picture.machines().count()),
        alive: count(picture.alive.len()),
        revision: picture.revision.0,
        problems: problems(&picture.problems),
    }
}

/// Most problems that are told at once.
const PROBLEMS_MAX: usize = 100;

fn problems(all: &BTreeMap<String, String>) -> Vec<String> {
    let sentences = all.iter().map(|(key, why)| format!("{key}: {why}")).collect();
    crate::node::bounded(sentences, PROBLEMS_MAX)
}

#[cfg(test)]
mod property_tests;
#[cfg(test)]
mod tests;
