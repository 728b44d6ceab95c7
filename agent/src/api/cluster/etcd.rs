//! This node's etcd itself: how it is, a copy of it, a tunnel to it. For admins alone (`api/roles.rs`), since whoever reaches etcd
//! may do everything.

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use ferrite_cluster::store::{Maintenance, OwnStatus, Snapshot, StoreProblem};
use ferrite_schema::api::{ApiError, EtcdStatus};
use futures_util::{Stream, stream};
use serde::Deserialize;
use tokio::net::UnixStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use utoipa::IntoParams;

use super::members::digits;
use crate::api::error::Failure;
use crate::api::extract::Query;
use crate::api::streams::{Heard, carry};
use crate::node::Node;
use crate::streams::{STREAMS_MAX, Streams};

/// What etcd gets to take a connection.
const PATIENCE: Duration = Duration::from_secs(5);
/// Most connections to etcd that are carried at a time. The rest of [`STREAMS_MAX`] is for commands in containers and other
/// machines' tunnels: who plays with etcd must not lock them out.
const TUNNELS_MAX: usize = 32;
const _: () = assert!(TUNNELS_MAX < STREAMS_MAX);
/// Most copies that are made at a time: while one is read, etcd frees nothing of what it had then.
const SNAPSHOTS_MAX: usize = 2;

static TUNNELS: LazyLock<Arc<Semaphore>> = LazyLock::new(|| Arc::new(Semaphore::new(TUNNELS_MAX)));
static SNAPSHOTS: LazyLock<Arc<Semaphore>> =
    LazyLock::new(|| Arc::new(Semaphore::new(SNAPSHOTS_MAX)));

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in crate::api) struct EtcdQuery {
    /// Only where this etcd has a vote and agrees with the others, so that what it has is not old.
    #[serde(default)]
    serving: bool,
}

#[utoipa::path(
    get,
    path = "/v1/etcd",
    tag = "etcd",
    responses((status = 200, description = "This node's etcd, as it sees itself", body = EtcdStatus), (status = "default", description = "Refused or not possible", body = ApiError)),
)]
pub(in crate::api) async fn show(
    State(node): State<Arc<Node>>,
) -> Result<Json<EtcdStatus>, Failure> {
    let own = Own::of(&node, false)?;
    drop(own.reach().await?);
    let status = Maintenance::at(&own.socket).await?.status().await?;
    let machine = super::cluster(&node)?.machine().to_string();
    Ok(Json(shown(status, machine, node.hostname.clone())))
}

#[utoipa::path(
    get,
    path = "/v1/etcd/snapshot",
    tag = "etcd",
    params(EtcdQuery),
    responses((status = 200, description = "All that this node's etcd has (its database), and after it 32 bytes: the SHA-256 of that", body = Vec<u8>, content_type = "application/octet-stream"), (status = "default", description = "Refused or not possible", body = ApiError)),
)]
pub(in crate::api) async fn snapshot(
    State(node): State<Arc<Node>>,
    Query(query): Query<EtcdQuery>,
) -> Result<Response, Failure> {
    let own = Own::of(&node, query.serving)?;
    let place = place(&SNAPSHOTS, SNAPSHOTS_MAX, "copies of it are being made")?;
    drop(own.reach().await?);
    let snapshot = Maintenance::at(&own.socket).await?.snapshot().await?;
    Ok(copy(snapshot.total_bytes(), pieces(snapshot, place)))
}

#[utoipa::path(
    post,
    path = "/v1/etcd/connect",
    tag = "etcd",
    params(EtcdQuery),
    responses(
        (status = 101, description = "The connection carries the bytes of one to this node's etcd from now on: HTTP/2 without TLS"),
        (status = "default", description = "Refused or not possible", body = ApiError)
    ),
)]
pub(in crate::api) async fn connect(
    State(node): State<Arc<Node>>,
    Query(query): Query<EtcdQuery>,
    request: Request,
) -> Result<Response, Failure> {
    let heard = Heard::of(request).await?;
    tunnel(&Own::of(&node, query.serving)?, &TUNNELS, &node.streams, heard).await
}

/// This node's etcd.
#[derive(Debug)]
struct Own {
    socket: PathBuf,
    /// Whom to ask where it does not answer.
    whom_else: String,
}

impl Own {
    /// Where it is; `serving` refuses it where it could not answer for the cluster.
    fn of(node: &Node, serving: bool) -> Result<Self, Failure> {
        let cluster = super::cluster(node)?;
        let whom_else = super::whom_else(cluster);
        if serving && cluster.store().is_none() {
            let why = format!(
                "this node runs no etcd now that agrees with the others: {whom_else}; \
                 `--without-quorum` takes what there is"
            );
            return Err(Failure::new(StatusCode::SERVICE_UNAVAILABLE, why));
        }
        Ok(Self { socket: cluster.etcd_socket(), whom_else })
    }

    /// A connection to it.
    async fn reach(&self) -> Result<UnixStream, Failure> {
        let connecting = UnixStream::connect(&self.socket);
        let why = match tokio::time::timeout(PATIENCE, connecting).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) if is_nobody(&error) => "this node runs no etcd now".to_owned(),
            Ok(Err(error)) => format!("this node's etcd is not reached: {error}"),
            Err(_) => format!("this node's etcd takes no connection for {} s", PATIENCE.as_secs()),
        };
        let why = format!("{why}: {}", self.whom_else);
        Err(Failure::new(StatusCode::SERVICE_UNAVAILABLE, why))
    }
}

/// Nobody listens at a socket.
fn is_nobody(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused)
}

/// One of so many places, as long as it is held.
fn place(
    places: &Arc<Semaphore>,
    most: usize,
    taken: &str,
) -> Result<OwnedSemaphorePermit, Failure> {
    Arc::clone(places).try_acquire_owned().map_err(|_full| {
        let why = format!("this node's etcd is in use: {most} {taken} already; try again later");
        Failure::new(StatusCode::SERVICE_UNAVAILABLE, why)
    })
}

async fn tunnel(
    own: &Own,
    places: &Arc<Semaphore>,
    streams: &Streams,
    heard: Heard,
) -> Result<Response, Failure> {
    heard.asks_for_upgrade()?;
    let place = place(places, TUNNELS_MAX, "connections to it are carried")?;
    let inner = own.reach().await?;
    carry(streams, heard.upgrade, inner, place)
}

pub(super) fn shown(status: OwnStatus, machine: String, machine_name: String) -> EtcdStatus {
    EtcdStatus {
        machine,
        machine_name,
        member: digits(status.member),
        leader: status.leader.map(digits),
        learner: status.learner,
        version: status.version,
        revision: status.revision.0,
        raft_term: status.raft_term,
        raft_index: status.raft_index,
        raft_applied: status.raft_applied,
        db_bytes: status.db_bytes,
        db_used_bytes: status.db_used_bytes,
        problems: status.problems,
    }
}

/// The snapshot piece by piece; the place is taken until its end.
fn pieces(
    snapshot: Snapshot,
    place: OwnedSemaphorePermit,
) -> impl Stream<Item = Result<Vec<u8>, StoreProblem>> + Send {
    stream::try_unfold((snapshot, place), |(mut snapshot, place)| async move {
        Ok(snapshot.next().await?.map(|piece| (piece, (snapshot, place))))
    })
}

/// An answer of so many bytes. It ends with an error, and so does whoever reads it, where not all of them come.
fn copy(
    length: u64,
    pieces: impl Stream<Item = Result<Vec<u8>, StoreProblem>> + Send + 'static,
) -> Response {
    let pieces = futures_util::StreamExt::map(pieces, |piece| match piece {
        Ok(piece) => Ok(Bytes::from(piece)),
        Err(problem) => {
            tracing::warn!(error = ferrite_schema::chain(&problem), "etcd-snapshot-broke-off");
            Err(problem)
        }
    });
    let headers = [
        (header::CONTENT_TYPE, "application/octet-stream".to_owned()),
        (header::CONTENT_LENGTH, length.to_string()),
    ];
    (headers, Body::from_stream(pieces)).into_response()
}

#[cfg(test)]
#[path = "etcd_tests.rs"]
mod tests;
