//! Requests about units.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use ferrite_schema::api::{ApiError, UnitStatus};
use ferrite_schema::unit::{self, Unit};

use super::error::Failure;
use super::extract::{Document, Path};
use crate::node::Node;

type Answer = Result<Json<UnitStatus>, Failure>;

#[utoipa::path(
    get,
    path = "/v1/units",
    tag = "units",
    responses((status = 200, description = "All units, by name", body = Vec<UnitStatus>), (status = "default", description = "Refused or not possible", body = ApiError)),
)]
pub(super) async fn list(State(node): State<Arc<Node>>) -> Json<Vec<UnitStatus>> {
    Json(node.units.list().await)
}

#[utoipa::path(
    get,
    path = "/v1/units/{name}",
    tag = "units",
    params(("name" = String, Path, description = "Name of the unit")),
    responses((status = 200, description = "The unit", body = UnitStatus), (status = "default", description = "Refused or not possible", body = ApiError)),
)]
pub(super) async fn show(State(node): State<Arc<Node>>, Path(name): Path<String>) -> Answer {
    Ok(Json(node.units.get(&name).await?))
}

#[utoipa::path(
    get,
    path = "/v1/units/{name}/definition",
    tag = "units",
    params(("name" = String, Path, description = "Name of the unit")),
    responses((status = 200, description = "The unit as it was submitted", body = Unit), (status = "default", description = "Refused or not possible", body = ApiError)),
)]
pub(super) async fn definition(
    State(node): State<Arc<Node>>,
    Path(name): Path<String>,
) -> Result<Json<Unit>, Failure> {
    Ok(Json(node.units.definition(&name).await?))
}

#[utoipa::path(
    put,
    path = "/v1/units/{name}",
    tag = "units",
    params(("name" = String, Path, description = "Name of the unit")),
    request_body = Unit,
    responses((status = 200, description = "It is kept", body = UnitStatus), (status = "default", description = "Refused or not possible", body = ApiError)),
)]
pub(super) async fn put(
    State(node): State<Arc<Node>>,
    Path(name): Path<String>,
    Document(body): Document,
) -> Answer {
    let unit: Unit = serde_json::from_slice(&body)
        .map_err(|error| Failure::bad_request(format!("the body is no unit: {error}")))?;
    if unit.name != name {
        let why = format!("the unit is called {}, but the request is about {name}", unit.name);
        return Err(Failure::new(StatusCode::CONFLICT, why));
    }
    unit::check(&unit).map_err(|problem| Failure::unprocessable(problem.to_string()))?;
    if let Some(key) = unit.needs_cluster() {
        let what = match &node.cluster {
            Some(_) => "submit it to the cluster and not to this machine alone",
            None => {
                "this node is in none; drop the key, or found one: `ferrite config new --cluster`"
            }
        };
        let why = format!("{key}: only a cluster can do that, and {what}");
        return Err(Failure::new(StatusCode::UNPROCESSABLE_ENTITY, why));
    }
    Ok(Json(node.units.put(unit).await?))
}

#[utoipa::path(
    delete,
    path = "/v1/units/{name}",
    tag = "units",
    params(("name" = String, Path, description = "Name of the unit")),
    responses((status = 204, description = "It is stopped and forgotten"), (status = "default", description = "Refused or not possible", body = ApiError)),
)]
pub(super) async fn remove(
    State(node): State<Arc<Node>>,
    Path(name): Path<String>,
) -> Result<StatusCode, Failure> {
    node.units.remove(&name).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[utoipa::path(
    post,
    path = "/v1/units/{name}/start",
    tag = "units",
    params(("name" = String, Path, description = "Name of the unit")),
    responses((status = 200, description = "It is wanted to run", body = UnitStatus), (status = "default", description = "Refused or not possible", body = ApiError)),
)]
pub(super) async fn start(State(node): State<Arc<Node>>, Path(name): Path<String>) -> Answer {
    Ok(Json(node.units.start(&name).await?))
}

#[utoipa::path(
    post,
    path = "/v1/units/{name}/stop",
    tag = "units",
    params(("name" = String, Path, description = "Name of the unit")),
    responses((status = 200, description = "It is wanted not to run", body = UnitStatus), (status = "default", description = "Refused or not possible", body = ApiError)),
)]
pub(super) async fn stop(State(node): State<Arc<Node>>, Path(name): Path<String>) -> Answer {
    Ok(Json(node.units.stop(&name).await?))
}

#[utoipa::path(
    post,
    path = "/v1/units/{name}/load",
    tag = "units",
    params(("name" = String, Path, description = "Name of the unit")),
    responses((status = 200, description = "Its image is being fetched; an instance of a template is made", body = UnitStatus), (status = "default", description = "Refused or not possible", body = ApiError)),
)]
pub(super) async fn load(State(node): State<Arc<Node>>, Path(name): Path<String>) -> Answer {
    Ok(Json(node.units.load(&name).await?))
}

#[utoipa::path(
    post,
    path = "/v1/units/{name}/restart",
    tag = "units",
    params(("name" = String, Path, description = "Name of the unit")),
    responses((status = 200, description = "It is stopped, if it runs, and started", body = UnitStatus), (status = "default", description = "Refused or not possible", body = ApiError)),
)]
pub(super) async fn restart(State(node): State<Arc<Node>>, Path(name): Path<String>) -> Answer {
    Ok(Json(node.units.restart(&name).await?))
}

#[utoipa::path(
    post,
    path = "/v1/units/{name}/unload",
    tag = "units",
    params(("name" = String, Path, description = "Name of the unit")),
    responses((status = 200, description = "It is wanted not to run; an instance of a template is forgotten", body = UnitStatus), (status = "default", description = "Refused or not possible", body = ApiError)),
)]
pub(super) async fn unload(State(node): State<Arc<Node>>, Path(name): Path<String>) -> Answer {
    Ok(Json(node.units.unload(&name).await?))
}
