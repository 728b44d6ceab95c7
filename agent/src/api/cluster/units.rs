//! Requests about the cluster's units.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::{Extension, Json};
use ferrite_cluster::names::UnitName;
use ferrite_schema::api::{ApiError, ClusterUnit, UnitChange, UnitTarget};
use ferrite_schema::unit::{self, Unit};
use serde::Deserialize;
use utoipa::IntoParams;

use super::write::change;
use crate::api::error::Failure;
use crate::api::extract::{Document, Path, Query};
use crate::api::peer::Peer;
use crate::api::roles::sees_documents;
use crate::cluster::pinned;
use crate::node::Node;

mod edit;
mod shown;

type Answer = Result<Json<ClusterUnit>, Failure>;

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in crate::api) struct PutQuery {
    /// What should become of it; as it was where this is absent, and inactive where there was none.
    target: Option<UnitTarget>,
    /// The revision that must have changed it last, 0 where there must be none: who edits a unit writes over nobody's changes.
    revision: Option<i64>,
}

#[utoipa::path(
    get,
    path = "/v1/cluster/units",
    tag = "cluster",
    responses((status = 200, description = "All units of the cluster, by name", body = Vec<ClusterUnit>), (status = "default", description = "Refused or not possible", body = ApiError)),
)]
pub(in crate::api) async fn list(
    State(node): State<Arc<Node>>,
    Extension(peer): Extension<Peer>,
) -> Result<Json<Vec<ClusterUnit>>, Failure> {
    let units = shown::units(&super::picture(&super::store(&node)?).await?);
    Ok(Json(units.into_iter().map(|unit| shown_to(&peer, unit)).collect()))
}

#[utoipa::path(
    get,
    path = "/v1/cluster/units/{name}",
    tag = "cluster",
    params(("name" = String, Path, description = "Name of the unit")),
    responses((status = 200, description = "The unit", body = ClusterUnit), (status = "default", description = "Refused or not possible", body = ApiError)),
)]
pub(in crate::api) async fn show(
    State(node): State<Arc<Node>>,
    Extension(peer): Extension<Peer>,
    Path(name): Path<String>,
) -> Answer {
    let store = super::store(&node)?;
    let name = name_of(&name)?;
    let unit = shown::unit(&super::picture(&store).await?, &name);
    unit.map(|unit| Json(shown_to(&peer, unit))).ok_or_else(|| unknown(&name))
}

/// The unit, as far as it is for whoever asks.
pub(super) fn shown_to(peer: &Peer, mut unit: ClusterUnit) -> ClusterUnit {
    if !sees_documents(peer.role) && unit.definition.take().is_some() {
        unit.notes.push("its document is shown to operators: it may have secrets".to_owned());
    }
    unit
}

#[utoipa::path(
    put,
    path = "/v1/cluster/units/{name}",
    tag = "cluster",
    params(("name" = String, Path, description = "Name of the unit"), PutQuery),
    request_body = Unit,
    responses((status = 200, description = "It is kept", body = ClusterUnit), (status = "default", description = "Refused or not possible", body = ApiError)),
)]
pub(in crate::api) async fn put(
    State(node): State<Arc<Node>>,
    Path(name): Path<String>,
    Query(query): Query<PutQuery>,
    Document(body): Document,
) -> Answer {
    let store = super::store(&node)?;
    let name = name_of(&name)?;
    let unit: Unit = serde_json::from_slice(&body)
        .map_err(|error| Failure::bad_request(format!("the body is no unit: {error}")))?;
    if unit.name != name.as_str() {
        let why = format!("the unit is called {}, but the request is about {name}", unit.name);
        return Err(Failure::new(StatusCode::CONFLICT, why));
    }
    unit::check(&unit).map_err(|problem| Failure::unprocessable(problem.to_string()))?;
    let image = pinned(&node.puller, node.cluster.as_deref(), (&unit.image, unit.pull)).await;
    let submitted = edit::Submitted { unit, image, target: query.target, known: query.revision };
    let picture = change(&store, |picture| submitted.transaction(picture)).await?;
    shown::unit(&picture, &name).map(Json).ok_or_else(|| unknown(&name))
}

#[utoipa::path(
    patch,
    path = "/v1/cluster/units/{name}",
    tag = "cluster",
    params(("name" = String, Path, description = "Name of the unit, or of an instance of a template")),
    request_body = UnitChange,
    responses((status = 200, description = "It is written", body = ClusterUnit), (status = "default", description = "Refused or not possible", body = ApiError)),
)]
pub(in crate::api) async fn alter(
    State(node): State<Arc<Node>>,
    Path(name): Path<String>,
    Document(body): Document,
) -> Answer {
    let store = super::store(&node)?;
    let name = name_of(&name)?;
    let asked: UnitChange = serde_json::from_slice(&body)
        .map_err(|error| Failure::bad_request(format!("the body is not understood: {error}")))?;
    // Nobody knew what its image means when its document was submitted: all machines are to run the same all the same.
    let asks = edit::unpinned(&super::picture(&store).await?, &name, &asked);
    let pin = match asks {
        Some((of, (image, policy))) => {
            let digest = pinned(&node.puller, node.cluster.as_deref(), (&image, policy)).await;
            digest.map(|digest| edit::Pin { of, digest })
        }
        None => None,
    };
    let altered = |picture: &_| edit::altered(picture, &name, asked, pin.as_ref());
    let picture = change(&store, altered).await?;
    shown::unit(&picture, &name).map(Json).ok_or_else(|| unknown(&name))
}

#[utoipa::path(
    delete,
    path = "/v1/cluster/units/{name}",
    tag = "cluster",
    params(("name" = String, Path, description = "Name of the unit")),
    responses((status = 204, description = "It is forgotten; what runs of it is stopped"), (status = "default", description = "Refused or not possible", body = ApiError)),
)]
pub(in crate::api) async fn remove(
    State(node): State<Arc<Node>>,
    Path(name): Path<String>,
) -> Result<StatusCode, Failure> {
    let store = super::store(&node)?;
    let name = name_of(&name)?;
    change(&store, |picture| edit::removed(picture, &name).map(Some).ok_or_else(|| unknown(&name)))
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

fn name_of(text: &str) -> Result<UnitName, Failure> {
    text.parse().map_err(|bad| Failure::bad_request(format!("{bad}")))
}

fn unknown(name: &UnitName) -> Failure {
    let why = format!("the cluster has no unit {name}: `ferrite unit list` lists all");
    Failure::new(StatusCode::NOT_FOUND, why)
}

#[cfg(test)]
pub(super) use {
    edit::Pin, edit::Submitted, edit::altered, edit::removed, edit::unpinned,
    shown::unit as shown_unit, shown::units,
};
