//! Requests that become streams: commands in a unit's container, and its own output and input.

use std::sync::Arc;

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use ferrite_schema::api::ApiError;
use ferrite_schema::stream::{ExecRequest, FilesRequest, PROTOCOL};
use ferrite_units::exec::{self, ExecProblem};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncWrite};

use super::error::Failure;
use super::extract::{BODY_MAX_BYTES, Path, is_json};
use crate::node::Node;
use crate::streams::{STREAMS_MAX, Streams, between};

impl From<ExecProblem> for Failure {
    fn from(problem: ExecProblem) -> Self {
        Self::new(StatusCode::CONFLICT, ferrite_schema::chain(&problem))
    }
}

#[utoipa::path(
    post,
    path = "/v1/units/{name}/exec",
    tag = "units",
    params(("name" = String, Path, description = "Name of the unit")),
    request_body = ExecRequest,
    responses(
        (status = 101, description = "The connection carries frames of ferrite-stream/1 from now on"),
        (status = "default", description = "Refused or not possible", body = ApiError)
    ),
)]
pub(super) async fn exec(
    State(node): State<Arc<Node>>,
    Path(name): Path<String>,
    request: Request,
) -> Result<Response, Failure> {
    let heard = Heard::of(request).await?;
    let request: ExecRequest = heard.document()?;
    runs(&node, &name).await?;
    heard.asks_for_upgrade()?;
    let inner = exec::start(&node.run.join(&name), &request).await?;
    carry(&node.streams, heard.upgrade, inner, ())
}

#[utoipa::path(
    post,
    path = "/v1/units/{name}/attach",
    tag = "units",
    params(("name" = String, Path, description = "Name of the unit")),
    responses(
        (status = 101, description = "The connection carries frames of ferrite-stream/1 from now on"),
        (status = "default", description = "Refused or not possible", body = ApiError)
    ),
)]
pub(super) async fn attach(
    State(node): State<Arc<Node>>,
    Path(name): Path<String>,
    request: Request,
) -> Result<Response, Failure> {
    let heard = Heard::of(request).await?;
    runs(&node, &name).await?;
    heard.asks_for_upgrade()?;
    let inner = exec::attach(&node.run.join(&name)).await?;
    carry(&node.streams, heard.upgrade, inner, ())
}

#[utoipa::path(
    post,
    path = "/v1/units/{name}/files",
    tag = "units",
    params(("name" = String, Path, description = "Name of the unit")),
    request_body = FilesRequest,
    responses(
        (status = 101, description = "The connection carries frames of ferrite-stream/1 from now on"),
        (status = "default", description = "Refused or not possible", body = ApiError)
    ),
)]
pub(super) async fn files(
    State(node): State<Arc<Node>>,
    Path(name): Path<String>,
    request: Request,
) -> Result<Response, Failure> {
    let heard = Heard::of(request).await?;
    let request: FilesRequest = heard.document()?;
    runs(&node, &name).await?;
    heard.asks_for_upgrade()?;
    let inner = exec::files(&node.run.join(&name), &request).await?;
    carry(&node.streams, heard.upgrade, inner, ())
}

/// Refuses what needs a container where the unit has none, with the reason that `ferrite unit why` gives.
async fn runs(node: &Node, name: &str) -> Result<(), Failure> {
    let status = node.units.get(name).await?;
    if status.pid.is_some() {
        return Ok(());
    }
    let message = format!("unit {name} has no running container: {}", status.why);
    Err(Failure::new(StatusCode::CONFLICT, message))
}

/// A request of which everything has come: what follows is the stream.
pub(super) struct Heard {
    parts: Parts,
    pub(super) upgrade: OnUpgrade,
    body: Bytes,
}

impl Heard {
    pub(super) async fn of(mut request: Request) -> Result<Self, Failure> {
        let upgrade = hyper::upgrade::on(&mut request);
        let (parts, body) = request.into_parts();
        let body = to_bytes(body, BODY_MAX_BYTES)
            .await
            .map_err(|error| Failure::bad_request(format!("the body cannot be read: {error}")))?;
        Ok(Self { parts, upgrade, body })
    }

    fn document<T: DeserializeOwned>(&self) -> Result<T, Failure> {
        is_json(&self.parts.headers)?;
        serde_json::from_slice(&self.body)
            .map_err(|error| Failure::bad_request(format!("the body is not understood: {error}")))
    }

    /// Refuses one that does not ask for our protocol.
    pub(super) fn asks_for_upgrade(&self) -> Result<(), Failure> {
        let asked = self.parts.headers.get(header::UPGRADE);
        if asked.is_none_or(|protocol| protocol != PROTOCOL) {
            let why = format!("the request must ask for an upgrade to {PROTOCOL}");
            return Err(Failure::new(StatusCode::UPGRADE_REQUIRED, why));
        }
        Ok(())
    }
}

/// Answers, and carries bytes both ways until one side ends: what they mean is between the other two. `place` is kept as long.
pub(super) fn carry(
    streams: &Streams,
    upgrade: OnUpgrade,
    inner: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    place: impl Send + 'static,
) -> Result<Response, Failure> {
    let carried = streams.carry(async move {
        let _held = place;
        match upgrade.await {
            Ok(upgraded) => {
                // Whichever side goes, both are closed, and each side's peer sees that.
                between(TokioIo::new(upgraded), inner).await;
            }
            Err(error) => tracing::debug!(%error, "api-stream-not-upgraded"),
        }
    });
    if !carried {
        let why = format!("there are {STREAMS_MAX} streams already");
        return Err(Failure::new(StatusCode::SERVICE_UNAVAILABLE, why));
    }
    let mut response = (StatusCode::SWITCHING_PROTOCOLS, Body::empty()).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static(PROTOCOL));
    Ok(response)
}
