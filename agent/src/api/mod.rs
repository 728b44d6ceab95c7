//! The node's API: HTTPS with mutual TLS, JSON; see `ferrite_schema::api` for the requests.

mod cluster;
pub mod cutting;
mod error;
mod events;
mod extract;
mod following;
mod hearing;
mod image_streams;
mod images;
mod log_stream;
mod logs;
mod machine;
mod metrics;
mod openapi;
pub mod peer;
mod rescue;
mod reset;
mod roles;
pub mod server;
mod stats;
pub mod streams;
pub mod tls;
mod units;
mod volumes;
mod waiting;

use std::sync::Arc;

use axum::extract::DefaultBodyLimit;
use axum::{Json, Router};
use utoipa::OpenApi;
use utoipa::openapi::OpenApi as OpenApiDocument;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use self::extract::BODY_MAX_BYTES;
use crate::node::Node;

/// All requests.
pub fn router(node: Arc<Node>) -> Router {
    let (router, _description) = documented().split_for_parts();
    roles::guarded(router)
        .fallback(error::no_such_request)
        .method_not_allowed_fallback(error::no_such_method)
        .layer(axum::middleware::from_fn_with_state(Arc::clone(&node), rescue::refuse))
        .layer(DefaultBodyLimit::max(BODY_MAX_BYTES))
        .layer(axum::middleware::from_fn(hearing::to_its_end))
        .with_state(node)
}

/// Routes and their description, made together; several methods of one path stand in one `routes!`.
fn documented() -> OpenApiRouter<Arc<Node>> {
    OpenApiRouter::with_openapi(openapi::Description::openapi())
        .routes(routes!(machine::show))
        .routes(routes!(machine::reboot))
        .routes(routes!(machine::poweroff))
        .routes(routes!(machine::recreate_state))
        .routes(routes!(machine::check_state))
        .routes(routes!(reset::content))
        .routes(routes!(reset::reset))
        .routes(routes!(machine::boot))
        .routes(routes!(machine::slots))
        .routes(routes!(machine::mark_good))
        .routes(routes!(machine::stage))
        .routes(routes!(machine::rollback))
        .routes(routes!(images::list, images::import, images::remove))
        .routes(routes!(images::prune))
        .routes(routes!(image_streams::pull))
        .routes(routes!(image_streams::export))
        .routes(routes!(volumes::list))
        .routes(routes!(volumes::remove))
        .routes(routes!(units::list))
        .routes(routes!(units::show, units::put, units::remove))
        .routes(routes!(units::definition))
        .routes(routes!(units::load))
        .routes(routes!(units::start))
        .routes(routes!(units::restart))
        .routes(routes!(units::stop))
        .routes(routes!(units::unload))
        .routes(routes!(logs::show))
        .routes(routes!(events::show))
        .routes(routes!(stats::show))
        .routes(routes!(metrics::show))
        .routes(routes!(streams::exec))
        .routes(routes!(streams::attach))
        .routes(routes!(streams::files))
        .routes(routes!(cluster::show))
        .routes(routes!(cluster::machines::list))
        .routes(routes!(cluster::machines::change, cluster::forget::forget))
        .routes(routes!(cluster::connect::connect))
        .routes(routes!(cluster::units::list))
        .routes(routes!(
            cluster::units::show,
            cluster::units::put,
            cluster::units::alter,
            cluster::units::remove
        ))
        .routes(routes!(cluster::services::list))
        .routes(routes!(cluster::services::answers))
        .routes(routes!(cluster::tokens::list))
        .routes(routes!(cluster::tokens::make, cluster::tokens::revoke))
        .routes(routes!(cluster::access::list, cluster::access::grant))
        .routes(routes!(cluster::access::revoke))
        .routes(routes!(cluster::etcd::show))
        .routes(routes!(cluster::members::members, cluster::members::change))
        .routes(routes!(cluster::recovery::show, cluster::recovery::begin))
        .routes(routes!(cluster::etcd::snapshot))
        .routes(routes!(cluster::etcd::connect))
        .routes(routes!(show_description))
}

/// The API's description, whole.
fn description() -> OpenApiDocument {
    openapi::with_patterns(documented().into_openapi())
}

#[utoipa::path(
    get,
    path = "/v1/openapi.json",
    tag = "living",
    responses((status = 200, description = "OpenAPI 3.1 document of this API", body = Object))
)]
async fn show_description() -> Json<OpenApiDocument> {
    Json(description())
}
