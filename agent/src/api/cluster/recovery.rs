//! What is left of etcd here when most members are lost, and going on with it alone. Asked of this node itself: there is no
//! quorum to ask. For admins alone.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use ferrite_schema::api::{ApiError, EtcdRecovery, EtcdRecoveryOrdered, EtcdRemains};

use super::etcd::shown;
use super::members::named;
use crate::api::error::Failure;
use crate::api::extract::Document;
use crate::cluster::{self, Cluster, NotOrdered, Remains};
use crate::node::Node;

impl From<NotOrdered> for Failure {
    fn from(problem: NotOrdered) -> Self {
        let status = match &problem {
            NotOrdered::MayNot(_) => StatusCode::CONFLICT,
            NotOrdered::Unknown(_) => StatusCode::SERVICE_UNAVAILABLE,
        };
        Self::new(status, format!("go on alone: {}", ferrite_schema::chain(&problem)))
    }
}

#[utoipa::path(
    get,
    path = "/v1/etcd/recovery",
    tag = "etcd",
    responses((status = 200, description = "What is left of etcd on this node", body = EtcdRemains), (status = "default", description = "Refused or not possible", body = ApiError)),
)]
pub(in crate::api) async fn show(
    State(node): State<Arc<Node>>,
) -> Result<Json<EtcdRemains>, Failure> {
    let cluster = super::cluster(&node)?;
    Ok(Json(told(cluster::remains(cluster).await, cluster, &node.hostname)))
}

#[utoipa::path(
    post,
    path = "/v1/etcd/recovery",
    tag = "etcd",
    request_body = EtcdRecovery,
    responses((status = 200, description = "This node's etcd goes on alone, and all other members are given up", body = EtcdRecoveryOrdered), (status = "default", description = "Refused or not possible", body = ApiError)),
)]
pub(in crate::api) async fn begin(
    State(node): State<Arc<Node>>,
    Document(body): Document,
) -> Result<Json<EtcdRecoveryOrdered>, Failure> {
    let cluster = super::cluster(&node)?;
    let order: EtcdRecovery = serde_json::from_slice(&body)
        .map_err(|error| Failure::bad_request(format!("the body is not understood: {error}")))?;
    if order.machine != cluster.machine().as_str() {
        let why = format!(
            "go on alone: machine {} is asked, and this is {}",
            order.machine,
            cluster.machine()
        );
        return Err(Failure::new(StatusCode::CONFLICT, why));
    }
    let epoch = cluster::order(cluster, order.revision).await?;
    Ok(Json(EtcdRecoveryOrdered { epoch }))
}

fn told(remains: Remains, cluster: &Cluster, hostname: &str) -> EtcdRemains {
    let names = cluster.machine_names();
    let machine = cluster.machine().to_string();
    let members = remains.members.into_iter();
    let (status, problem) = match remains.status {
        Ok(status) => (Some(shown(status, machine.clone(), hostname.to_owned())), None),
        Err(why) => (None, Some(why)),
    };
    EtcdRemains {
        machine,
        machine_name: hostname.to_owned(),
        status,
        problem,
        members: members.map(|member| named(member, |id| names.get(id).cloned())).collect(),
        epoch: remains.epoch,
        recovering: remains.under_way,
        serves: cluster.store().is_some(),
    }
}
