//! Requests about named volumes.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use ferrite_schema::api::{ApiError, Volume};
use ferrite_units::volumes::{self, VolumesProblem};

use super::error::Failure;
use super::extract::Path;
use crate::node::Node;

#[utoipa::path(
    get,
    path = "/v1/volumes",
    tag = "volumes",
    responses((status = 200, description = "The named volumes", body = Vec<Volume>), (status = "default", description = "Refused or not possible", body = ApiError)),
)]
pub(super) async fn list(State(node): State<Arc<Node>>) -> Result<Json<Vec<Volume>>, Failure> {
    let users = volumes::users(&node.units.documents().await.units);
    done(tokio::task::spawn_blocking(move || node.volumes.list(&users)).await)
}

#[utoipa::path(
    delete,
    path = "/v1/volumes/{name}",
    tag = "volumes",
    params(("name" = String, Path, description = "Name of the volume")),
    responses((status = 200, description = "It is gone, and what was in it", body = Volume), (status = "default", description = "Refused or not possible", body = ApiError)),
)]
pub(super) async fn remove(
    State(node): State<Arc<Node>>,
    Path(name): Path<String>,
) -> Result<Json<Volume>, Failure> {
    let documents = node.units.documents().await;
    let users = volumes::users(&documents.units);
    let remove = move || node.volumes.remove(&name, &users, documents.unknown);
    done(tokio::task::spawn_blocking(remove).await)
}

fn done<T>(
    result: Result<Result<T, VolumesProblem>, tokio::task::JoinError>,
) -> Result<Json<T>, Failure> {
    match result {
        Ok(Ok(value)) => Ok(Json(value)),
        Ok(Err(error)) => {
            let status = match &error {
                VolumesProblem::Find { .. } => StatusCode::NOT_FOUND,
                VolumesProblem::InUse { .. } | VolumesProblem::Unknown { .. } => {
                    StatusCode::CONFLICT
                }
                VolumesProblem::List { .. }
                | VolumesProblem::Remove { .. }
                | VolumesProblem::Stays(_) => StatusCode::INTERNAL_SERVER_ERROR,
            };
            Err(Failure::new(status, ferrite_schema::chain(&error)))
        }
        Err(error) => Err(Failure::internal(&error)),
    }
}
