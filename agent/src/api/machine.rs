//! Requests about the machine: its state, its boot, its slots, its power.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use ferrite_schema::api::{ApiError, Machine};
use ferrite_schema::control::{Request, Response, ShutdownMode, StateOrder, Status};
use ferrite_schema::timeline::Timeline;

use super::error::Failure;
use crate::control;
use crate::node::Node;

#[utoipa::path(
    get,
    path = "/v1/machine",
    tag = "machine",
    responses((status = 200, description = "The machine", body = Machine), (status = "default", description = "Refused or not possible", body = ApiError)),
)]
pub(super) async fn show(State(node): State<Arc<Node>>) -> Json<Machine> {
    Json(node.machine())
}

#[utoipa::path(
    post,
    path = "/v1/machine/reboot",
    tag = "machine",
    responses((status = 202, description = "The machine goes down"), (status = "default", description = "Refused or not possible", body = ApiError)),
)]
pub(super) async fn reboot() -> Result<StatusCode, Failure> {
    go_down(ShutdownMode::Reboot).await
}

#[utoipa::path(
    post,
    path = "/v1/machine/poweroff",
    tag = "machine",
    responses((status = 202, description = "The machine goes down"), (status = "default", description = "Refused or not possible", body = ApiError)),
)]
pub(super) async fn poweroff() -> Result<StatusCode, Failure> {
    go_down(ShutdownMode::Poweroff).await
}

async fn go_down(mode: ShutdownMode) -> Result<StatusCode, Failure> {
    order(Request::Shutdown { mode, reason: "asked through the API".to_owned() }).await?;
    Ok(StatusCode::ACCEPTED)
}

#[utoipa::path(
    post,
    path = "/v1/machine/state/recreate",
    tag = "machine",
    responses((status = 202, description = "The machine restarts and makes STATE anew, EMPTY: units, images and volumes are gone"), (status = "default", description = "Refused or not possible", body = ApiError)),
)]
pub(super) async fn recreate_state() -> Result<StatusCode, Failure> {
    order(Request::State { order: StateOrder::Recreate }).await?;
    Ok(StatusCode::ACCEPTED)
}

#[utoipa::path(
    post,
    path = "/v1/machine/state/check",
    tag = "machine",
    responses((status = 202, description = "The machine restarts and checks STATE, repairing what it can"), (status = "default", description = "Refused or not possible", body = ApiError)),
)]
pub(super) async fn check_state() -> Result<StatusCode, Failure> {
    order(Request::State { order: StateOrder::Check }).await?;
    Ok(StatusCode::ACCEPTED)
}

#[utoipa::path(
    post,
    path = "/v1/slots/mark-good",
    tag = "slots",
    responses((status = 200, description = "Done, or so already"), (status = "default", description = "Refused or not possible", body = ApiError)),
)]
pub(super) async fn mark_good() -> Result<StatusCode, Failure> {
    order(Request::MarkGood).await
}

#[utoipa::path(
    post,
    path = "/v1/slots/stage",
    tag = "slots",
    responses((status = 200, description = "Done, or so already"), (status = "default", description = "Refused or not possible", body = ApiError)),
)]
pub(super) async fn stage() -> Result<StatusCode, Failure> {
    order(Request::Stage).await
}

#[utoipa::path(
    post,
    path = "/v1/slots/rollback",
    tag = "slots",
    responses((status = 200, description = "Done, or so already"), (status = "default", description = "Refused or not possible", body = ApiError)),
)]
pub(super) async fn rollback() -> Result<StatusCode, Failure> {
    order(Request::Rollback).await
}

pub(super) async fn order(request: Request) -> Result<StatusCode, Failure> {
    match ask(request).await? {
        Response::Done | Response::AlreadySo => Ok(StatusCode::OK),
        other => Err(unexpected(&other)),
    }
}

#[utoipa::path(
    get,
    path = "/v1/boot",
    tag = "machine",
    responses((status = 200, description = "The boot so far", body = Timeline), (status = "default", description = "Refused or not possible", body = ApiError)),
)]
pub(super) async fn boot() -> Result<Json<Timeline>, Failure> {
    match ask(Request::Timeline).await? {
        Response::Timeline(timeline) => Ok(Json(timeline)),
        other => Err(unexpected(&other)),
    }
}

#[utoipa::path(
    get,
    path = "/v1/slots",
    tag = "slots",
    responses((status = 200, description = "Slots and services", body = Status), (status = "default", description = "Refused or not possible", body = ApiError)),
)]
pub(super) async fn slots() -> Result<Json<Status>, Failure> {
    match ask(Request::Status).await? {
        Response::Status(status) => Ok(Json(status)),
        other => Err(unexpected(&other)),
    }
}

async fn ask(request: Request) -> Result<Response, Failure> {
    match control::ask_later(request).await {
        Ok(Response::Refused { reason }) => Err(Failure::new(StatusCode::CONFLICT, reason)),
        Ok(response) => Ok(response),
        Err(error) => Err(Failure::internal(&error)),
    }
}

fn unexpected(response: &Response) -> Failure {
    Failure::new(StatusCode::INTERNAL_SERVER_ERROR, format!("PID 1 answered {response:?}"))
}
