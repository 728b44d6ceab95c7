//! Requests about images that are answered bit by bit: a pull's progress, an exported archive.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use ferrite_schema::api::{ApiError, ExportFormat, PullEvent};
use ferrite_store::access::Unusable;
use ferrite_store::export::{self, Export};
use ferrite_store::pull::Pull;
use ferrite_store::store::Record;
use futures_util::stream;
use serde::Deserialize;
use tokio::sync::mpsc;
use utoipa::IntoParams;

use super::error::Failure;
use super::extract::Query;
use crate::archive;
use crate::node::Node;

/// How often progress is told; a line per network packet would cost more than the packet.
const TELL: Duration = Duration::from_millis(200);

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct PullQuery {
    /// Reference of the image.
    name: String,
}

#[utoipa::path(
    post,
    path = "/v1/images/pull",
    tag = "images",
    params(PullQuery),
    responses((status = 200, description = "How it goes, one JSON document per line, the last one `done` or `failed`", body = PullEvent, content_type = "application/x-ndjson"), (status = "default", description = "Refused or not possible", body = ApiError)),
)]
pub(super) async fn pull(
    State(node): State<Arc<Node>>,
    Query(query): Query<PullQuery>,
) -> Result<Response, Failure> {
    super::images::is_reference(&node, &query.name)?;
    let (lines, queue) = mpsc::channel::<PullEvent>(1);
    let work = async move {
        let mut progress = node.puller.watch(&query.name);
        let pulling = node.puller.pull(&query.name);
        tokio::pin!(pulling);
        let mut tick = tokio::time::interval(TELL);
        let result = loop {
            tokio::select! {
                result = &mut pulling => break result,
                _ = tick.tick() => {
                    let now = PullEvent::Progress(progress.borrow_and_update().clone());
                    // Whoever asked is gone: the pull ends with its request.
                    if lines.send(now).await.is_err() {
                        return;
                    }
                }
            }
        };
        let now = PullEvent::Progress(progress.borrow_and_update().clone());
        // Where nobody listens any more, nobody is told.
        drop(lines.send(now).await);
        drop(lines.send(last_line(result)).await);
    };
    Ok(lines_of(work, queue))
}

fn last_line(result: Result<Record, Pull>) -> PullEvent {
    match result {
        Ok(record) => PullEvent::Done { image: record.summary() },
        Err(error) => PullEvent::Failed { error: ferrite_schema::chain(&error) },
    }
}

/// The work lives in the answer's body: a connection that breaks ends both.
fn lines_of(
    work: impl Future<Output = ()> + Send + 'static,
    queue: mpsc::Receiver<PullEvent>,
) -> Response {
    let state = (Some(Box::pin(work)), queue);
    let lines = stream::unfold(state, |(mut work, mut queue)| async move {
        let event = loop {
            match &mut work {
                Some(running) => tokio::select! {
                    biased;
                    event = queue.recv() => break event?,
                    () = running => work = None,
                },
                None => break queue.recv().await?,
            }
        };
        let mut line = serde_json::to_vec(&event).unwrap_or_default();
        line.push(b'\n');
        Some((Ok::<_, Infallible>(Bytes::from(line)), (work, queue)))
    });
    ([(header::CONTENT_TYPE, "application/x-ndjson")], Body::from_stream(lines)).into_response()
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ExportQuery {
    /// Reference of the image.
    name: String,
    /// Kind of archive.
    #[serde(default)]
    format: ExportFormat,
}

#[utoipa::path(
    get,
    path = "/v1/images/export",
    tag = "images",
    params(ExportQuery),
    responses((status = 200, description = "The archive (tar)", body = Vec<u8>, content_type = "application/x-tar"), (status = "default", description = "Refused or not possible", body = ApiError)),
)]
pub(super) async fn export(
    State(node): State<Arc<Node>>,
    Query(query): Query<ExportQuery>,
) -> Result<Response, Failure> {
    super::images::is_reference(&node, &query.name)?;
    let (images, puller) = (node.images.clone(), node.puller.clone());
    let work = move || export::plan(&images, puller.policy(), &query.name, query.format);
    let planned = tokio::task::spawn_blocking(work).await;
    let plan = planned.map_err(|error| Failure::internal(&error))?.map_err(|error| {
        let status = match &error {
            Export::Unusable(Unusable::Absent { .. }) => StatusCode::NOT_FOUND,
            Export::Unusable(Unusable::Policy(_)) => StatusCode::FORBIDDEN,
            Export::Unusable(_) | Export::Store(_) | Export::Write(_) => {
                StatusCode::INTERNAL_SERVER_ERROR
            }
        };
        Failure::new(status, ferrite_schema::chain(&error))
    })?;
    let length = plan.archive_bytes();
    let queue = archive::begin(plan).map_err(|error| Failure::internal(&error))?;
    let body = stream::unfold(queue, |mut queue| async move {
        let piece: io::Result<Bytes> = queue.recv().await?;
        Some((piece, queue))
    });
    let headers = [
        (header::CONTENT_TYPE, "application/x-tar".to_owned()),
        (header::CONTENT_LENGTH, length.to_string()),
    ];
    Ok((headers, Body::from_stream(body)).into_response())
}
