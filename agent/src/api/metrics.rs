//! `GET /metrics`.

use std::future::Future;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use ferrite_cluster::store::{Maintenance, OwnStatus};
use ferrite_schema::api::ApiError;
use ferrite_schema::control::{self, Request, Response as Answer};
use tokio::sync::Mutex;

use crate::cluster::{self, Cluster};
use crate::control::ask_later;
use crate::metrics::{self, ClusterReading, EtcdReading, Readings};
use crate::node::Node;
use crate::stats;

/// What others get to say how they are. Prometheus gives the whole answer ten seconds where nobody says otherwise.
const PATIENCE: Duration = Duration::from_secs(3);
/// How long it counts what PID 1 said of the slots: it reads the disk for it, and they seldom change.
const SLOTS_LAST: Duration = Duration::from_secs(60);
const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What PID 1 said, and when.
static SLOTS: LazyLock<Mutex<Option<(Instant, control::Status)>>> =
    LazyLock::new(|| Mutex::new(None));

/// What the node, its units and its part of the cluster count, for Prometheus.
#[utoipa::path(
    get,
    path = "/metrics",
    tag = "living",
    responses(
        (status = 200, description = "Figures in Prometheus' text format, version 0.0.4; docs/metrics.md lists them", body = String, content_type = "text/plain"),
        (status = "default", description = "Refused or not possible", body = ApiError)
    ),
)]
pub(super) async fn show(State(node): State<Arc<Node>>) -> Response {
    ([(header::CONTENT_TYPE, TEXT)], metrics::text(&readings(&node).await)).into_response()
}

async fn readings(node: &Node) -> Readings {
    let (slots, etcd, units) = tokio::join!(slots(), etcd(node), node.units.list());
    let mut answered = vec![("slots", slots.is_some())];
    answered.extend(etcd.as_ref().map(|etcd| ("etcd", etcd.is_some())));
    let cluster = node.cluster.as_ref().map(|known| {
        let etcd = etcd.flatten();
        ClusterReading { etcd, ..of_cluster(known, cluster::now_s()) }
    });
    Readings {
        now_s: SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64(),
        machine: Some(node.machine()),
        kernel: metrics::read::kernel(),
        stats: stats::of_node(&node.logs),
        unit_stats: units.iter().filter_map(stats::of_unit).collect(),
        unit_traffic: metrics::read::units(&units),
        units,
        slots,
        cluster,
        answered,
    }
}

async fn slots() -> Option<control::Status> {
    in_time(async {
        // Who comes meanwhile waits for the same answer.
        let mut kept = SLOTS.lock().await;
        if let Some((when, status)) = &*kept
            && when.elapsed() < SLOTS_LAST
        {
            return Some(status.clone());
        }
        let Ok(Answer::Status(status)) = ask_later(Request::Status).await else { return None };
        *kept = Some((Instant::now(), status.clone()));
        Some(status)
    })
    .await
}

/// What this node's etcd says of itself; nothing where it runs none, and nothing in that where it does not answer.
async fn etcd(node: &Node) -> Option<Option<EtcdReading>> {
    let cluster = node.cluster.as_ref()?;
    cluster.store()?;
    let socket = cluster.etcd_socket();
    let asked = in_time(async move { Maintenance::at(&socket).await.ok()?.status().await.ok() });
    Some(asked.await.map(|status| of_etcd(&status)))
}

async fn in_time<T>(asking: impl Future<Output = Option<T>>) -> Option<T> {
    tokio::time::timeout(PATIENCE, asking).await.ok().flatten()
}

fn of_etcd(status: &OwnStatus) -> EtcdReading {
    EtcdReading {
        has_leader: status.leader.is_some(),
        leads: status.leader == Some(status.member),
        learns: status.learner,
        db_bytes: status.db_bytes,
        db_used_bytes: status.db_used_bytes,
        raft_term: status.raft_term,
        raft_index: status.raft_index,
        raft_applied: status.raft_applied,
        revision: u64::try_from(status.revision.0).unwrap_or(0),
        problems: status.problems.len(),
    }
}

fn of_cluster(cluster: &Cluster, now_s: u64) -> ClusterReading {
    let members = cluster.members();
    let heard = cluster.watch_services();
    let heard = heard.borrow();
    let services = heard.as_ref().map(|heard| {
        let services = &heard.catalogue.services;
        (services.len(), services.values().map(std::collections::BTreeMap::len).sum())
    });
    ClusterReading {
        name: cluster.name().to_string(),
        id: cluster.id().to_string(),
        machine: cluster.machine().to_string(),
        members: members.len(),
        is_member: members.iter().any(|member| member.machine == *cluster.machine()),
        machines: cluster.machine_names().len(),
        services,
        lag_s: heard
            .as_ref()
            .map(|heard| heard.as_of_s.map_or(0, |as_of| now_s.saturating_sub(as_of).max(1))),
        etcd: None,
    }
}
