//! Requests about images: what is there, and imports.

use std::path::Path;
use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::StatusCode;
use ferrite_schema::api::{ApiError, Image, Pruned};
use ferrite_store::arrival::Arrival;
use ferrite_store::collect::{self, Collect};
use ferrite_store::import::{self, Import};
use ferrite_store::layer::Layer;
use ferrite_store::store::{Record, Store};
use futures_util::StreamExt;
use serde::Deserialize;
use tokio::io::AsyncWriteExt;
use utoipa::IntoParams;

use super::error::Failure;
use super::extract::Query;
use crate::keeper;
use crate::node::Node;

/// Largest archive: it fills STATE while it is imported.
const ARCHIVE_MAX_BYTES: u64 = 16 << 30;

#[utoipa::path(
    get,
    path = "/v1/images",
    tag = "images",
    responses((status = 200, description = "The images in the store", body = Vec<Image>), (status = "default", description = "Refused or not possible", body = ApiError)),
)]
pub(super) async fn list(State(node): State<Arc<Node>>) -> Result<Json<Vec<Image>>, Failure> {
    let needs = keeper::needs(&node).await.map_err(|error| Failure::internal(&error))?;
    let work = move || collect::list(&node.images, &node.layers, &needs);
    match tokio::task::spawn_blocking(work).await {
        Ok(listed) => listed.map(Json).map_err(|error| Failure::internal(&error)),
        Err(error) => Err(Failure::internal(&error)),
    }
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ImportQuery {
    /// Reference that the image gets.
    name: Option<String>,
}

#[utoipa::path(
    post,
    path = "/v1/images",
    tag = "images",
    params(ImportQuery),
    request_body(content = Vec<u8>, content_type = "application/octet-stream", description = "OCI archive"),
    responses((status = 201, description = "It is in the store", body = Image), (status = "default", description = "Refused or not possible", body = ApiError)),
)]
pub(super) async fn import(
    State(node): State<Arc<Node>>,
    Query(query): Query<ImportQuery>,
    body: Body,
) -> Result<(StatusCode, Json<Image>), Failure> {
    if let Some(name) = &query.name {
        is_reference(&node, name)?;
    }
    let policy = node.puller.policy().clone();
    let arrival = Arrival::at(&node.images);
    receive(body, arrival.path()).await?;
    let work = move || {
        let name = query.name.as_deref();
        import::import(arrival.path(), name, (&node.images, &node.layers), &policy)
    };
    match tokio::task::spawn_blocking(work).await {
        Ok(Ok(records)) => Ok((StatusCode::CREATED, Json(imported(&records)))),
        Ok(Err(error)) => Err(Failure::new(status_of(&error), ferrite_schema::chain(&error))),
        Err(error) => Err(Failure::internal(&error)),
    }
}

/// An image with all names that it was imported under.
fn imported(records: &[Record]) -> Image {
    let also = records.iter().skip(1).map(|record| record.name.clone()).collect();
    Image { also, ..records.first().map(Record::summary).unwrap_or_default() }
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct NameQuery {
    /// Reference of the image.
    name: String,
}

#[utoipa::path(
    delete,
    path = "/v1/images",
    tag = "images",
    params(NameQuery),
    responses((status = 200, description = "It is gone", body = Pruned), (status = "default", description = "Refused or not possible", body = ApiError)),
)]
pub(super) async fn remove(
    State(node): State<Arc<Node>>,
    Query(query): Query<NameQuery>,
) -> Result<Json<Pruned>, Failure> {
    let needs = keeper::needs(&node).await;
    let work = move || collect::remove(&node.images, &node.layers, &needs?, &query.name);
    collected(tokio::task::spawn_blocking(work).await)
}

#[utoipa::path(
    post,
    path = "/v1/images/prune",
    tag = "images",
    responses((status = 200, description = "What no unit uses is gone", body = Pruned), (status = "default", description = "Refused or not possible", body = ApiError)),
)]
pub(super) async fn prune(State(node): State<Arc<Node>>) -> Result<Json<Pruned>, Failure> {
    let needs = keeper::needs_of_all(&node).await;
    let work = move || collect::prune(&node.images, &node.layers, &needs?, || false);
    collected(tokio::task::spawn_blocking(work).await)
}

/// Refuses what is no name of an image, before anything is done for it.
pub(super) fn is_reference(node: &Node, name: &str) -> Result<(), Failure> {
    match node.images.reference(name) {
        Ok(_) => Ok(()),
        Err(error) => Err(Failure::bad_request(error.to_string())),
    }
}

fn collected(
    result: Result<Result<Pruned, Collect>, tokio::task::JoinError>,
) -> Result<Json<Pruned>, Failure> {
    match result {
        Ok(Ok(pruned)) => Ok(Json(pruned)),
        Ok(Err(error)) => {
            let status = match &error {
                Collect::Busy
                | Collect::InUse { .. }
                | Collect::Leased { .. }
                | Collect::Unknown { .. } => StatusCode::CONFLICT,
                Collect::Find { .. } => StatusCode::NOT_FOUND,
                Collect::Store(_) | Collect::Remove { .. } | Collect::Look { .. } => {
                    StatusCode::INTERNAL_SERVER_ERROR
                }
            };
            Err(Failure::new(status, ferrite_schema::chain(&error)))
        }
        Err(error) => Err(Failure::internal(&error)),
    }
}

async fn receive(body: Body, path: &Path) -> Result<(), Failure> {
    let mut file = tokio::fs::File::create_new(path).await.map_err(|error| disk(&error))?;
    let mut received = 0_u64;
    let mut parts = body.into_data_stream();
    while let Some(part) = parts.next().await {
        let part =
            part.map_err(|error| Failure::bad_request(format!("receive the archive: {error}")))?;
        received += part.len() as u64;
        if received > ARCHIVE_MAX_BYTES {
            let why = format!("the archive is larger than {ARCHIVE_MAX_BYTES} bytes");
            return Err(Failure::new(StatusCode::PAYLOAD_TOO_LARGE, why));
        }
        file.write_all(&part).await.map_err(|error| disk(&error))?;
    }
    file.flush().await.map_err(|error| disk(&error))
}

fn disk(error: &std::io::Error) -> Failure {
    Failure::new(StatusCode::INSUFFICIENT_STORAGE, format!("write the archive to STATE: {error}"))
}

/// What the archive is to blame for, and what the node is.
fn status_of(error: &Import) -> StatusCode {
    match error {
        Import::ReadArchive(_)
        | Import::ReadTar(_)
        | Import::RefuseArchive { .. }
        | Import::RefuseBlob { .. }
        | Import::FindBlob { .. }
        | Import::ReadDocument { .. }
        | Import::Document(_)
        | Import::Digest(_)
        | Import::RefuseName { .. }
        | Import::Store(Store::Name(_))
        | Import::Layer(
            Layer::Decompress { .. } | Layer::Unpack { .. } | Layer::RefuseContent { .. },
        ) => StatusCode::UNPROCESSABLE_ENTITY,
        Import::Policy(_) => StatusCode::FORBIDDEN,
        Import::Stage { .. } | Import::Layer(Layer::Prepare { .. } | Layer::Below { .. }) => {
            StatusCode::INSUFFICIENT_STORAGE
        }
        Import::Store(_) => StatusCode::INTERNAL_SERVER_ERROR,
    }
}
