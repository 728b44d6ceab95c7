//! The node's API: HTTPS with mutual TLS, JSON; see `ferrite_schema::api` for the requests.

mod error;
mod images;
mod log_stream;
mod machine;
pub mod server;
mod tls;
mod units;

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::routing::{get, post};

use crate::node::Node;

/// Largest JSON body; archives are not JSON and have their own limit.
const BODY_MAX_BYTES: usize = 1 << 20;

/// All requests.
pub fn router(node: Arc<Node>) -> Router {
    Router::new()
        .route("/v1/machine", get(machine::show))
        .route("/v1/machine/reboot", post(machine::reboot))
        .route("/v1/machine/poweroff", post(machine::poweroff))
        .route("/v1/boot", get(machine::boot))
        .route("/v1/slots", get(machine::slots))
        .route("/v1/slots/mark-good", post(machine::mark_good))
        .route("/v1/slots/stage", post(machine::stage))
        .route("/v1/slots/rollback", post(machine::rollback))
        .route("/v1/images", get(images::list).post(images::import))
        .route("/v1/units", get(units::list))
        .route("/v1/units/{name}", get(units::show).put(units::put).delete(units::remove))
        .route("/v1/units/{name}/definition", get(units::definition))
        .route("/v1/units/{name}/start", post(units::start))
        .route("/v1/units/{name}/stop", post(units::stop))
        .route("/v1/units/{name}/logs", get(units::logs))
        .fallback(error::no_such_request)
        .method_not_allowed_fallback(error::no_such_request)
        .layer(DefaultBodyLimit::max(BODY_MAX_BYTES))
        .with_state(node)
}
