//! What is on STATE, and making all of it anew. What is lost is told first; a member of etcd is not lost by mistake. STATE itself is
//! PID 1's: the order goes to it, and what becomes of STATE is decided at the next boot (`irreversible::state`).

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use ferrite_schema::api::{ApiError, MachineContent, Origin};
use ferrite_schema::control::{Request, StateOrder};

use super::error::Failure;
use super::machine::order;
use crate::cluster::Part;
use crate::node::Node;

#[utoipa::path(
    get,
    path = "/v1/machine/state",
    tag = "machine",
    responses((status = 200, description = "What is on the node's STATE, and would be lost with it", body = MachineContent), (status = "default", description = "Refused or not possible", body = ApiError)),
)]
pub(super) async fn content(
    State(node): State<Arc<Node>>,
) -> Result<Json<MachineContent>, Failure> {
    let units = node.units.list().await;
    // The node's own are made anew with it.
    let units = units.into_iter().filter(|unit| unit.origin != Origin::System);
    let units = units.map(|unit| unit.name).collect();
    let (of, own) = (Arc::clone(&node), node.part());
    let read = tokio::task::spawn_blocking(move || {
        let users = ferrite_units::volumes::Users::new();
        // What cannot be read of it is lost all the same.
        let volumes = of.volumes.list(&users).unwrap_or_default();
        let images = of.images.list().map_or(0, |images| images.len());
        (volumes.into_iter().map(|volume| volume.name).collect(), images)
    });
    let (volumes, images) = read.await.map_err(|error| Failure::internal(&error))?;
    Ok(Json(MachineContent {
        id: node.id.clone(),
        hostname: node.hostname.clone(),
        cluster: own.cluster.clone(),
        member: own.part == Part::Member,
        units,
        volumes,
        images: u32::try_from(images).unwrap_or(u32::MAX),
        refusal: refusal(own.part, &node.hostname).map(|(_, why)| why),
    }))
}

#[utoipa::path(
    post,
    path = "/v1/machine/reset",
    tag = "machine",
    responses((status = 202, description = "The machine restarts and makes STATE anew, EMPTY: units, images, volumes and its part in its cluster are gone, and it comes as another machine"), (status = "default", description = "Refused or not possible", body = ApiError)),
)]
pub(super) async fn reset(State(node): State<Arc<Node>>) -> Result<StatusCode, Failure> {
    if let Some((status, why)) = refusal(node.part().part, &node.hostname) {
        return Err(Failure::new(status, why));
    }
    tracing::warn!(hostname = node.hostname, "machine-reset-ordered");
    order(Request::State { order: StateOrder::Recreate }).await?;
    Ok(StatusCode::ACCEPTED)
}

/// Why a machine is not made anew, however much somebody wants it.
fn refusal(part: Part, hostname: &str) -> Option<(StatusCode, String)> {
    match part {
        Part::Alone | Part::Estranged | Part::Guest => None,
        Part::Unknown => {
            let why = format!(
                "machine {hostname} does not know yet whether it runs etcd for its cluster: try again in some seconds"
            );
            Some((StatusCode::SERVICE_UNAVAILABLE, why))
        }
        Part::Member => {
            let why = format!(
                "machine {hostname} is a member of etcd, and what it has agreed to would be forgotten: have another machine take its place first (`ferrite machine cordon {hostname}`, then `ferrite etcd members --target N` with fewer), or lose it as a dead disk is lost (`ferrite machine state recreate`)"
            );
            Some((StatusCode::CONFLICT, why))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_of_etcd_and_one_that_may_be_one_are_not_made_anew_by_mistake() {
        for part in [Part::Alone, Part::Estranged, Part::Guest] {
            assert_eq!(refusal(part, "dev-1"), None, "{part:?}");
        }
        let (status, why) = refusal(Part::Member, "dev-1").unwrap();
        assert!(status == StatusCode::CONFLICT && why.contains("cordon dev-1"), "{why}");
        let (status, why) = refusal(Part::Unknown, "dev-1").unwrap();
        assert!(status == StatusCode::SERVICE_UNAVAILABLE && why.contains("try again"), "{why}");
    }
}
