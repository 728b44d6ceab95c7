//! `GET /v1/stats`.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use ferrite_schema::api::{ApiError, Stats};
use serde::Deserialize;
use tokio::time::{Interval, MissedTickBehavior};
use utoipa::IntoParams;

use super::error::Failure;
use super::extract::Query;
use super::following;
use crate::node::Node;
use crate::stats;

/// Shortest and longest time between samples: neither a busy loop nor a connection that looks dead.
const INTERVAL_MS: std::ops::RangeInclusive<u64> = 100..=60_000;

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct StatsQuery {
    /// Go on with a sample after each interval.
    #[serde(default)]
    follow: bool,
    /// Milliseconds between samples, 100 to 60000.
    #[param(minimum = 100, maximum = 60000)]
    interval_ms: Option<u64>,
}

/// What the node and its containers use.
#[utoipa::path(
    get,
    path = "/v1/stats",
    tag = "living",
    params(StatsQuery),
    responses(
        (status = 200, description = "A sample; with `follow` one sample per line",
         content((Stats = "application/json"), (Stats = "application/x-ndjson"))),
        (status = "default", description = "Refused or not possible", body = ApiError)
    ),
)]
pub(super) async fn show(
    State(node): State<Arc<Node>>,
    Query(query): Query<StatsQuery>,
) -> Result<Response, Failure> {
    let every = query.interval_ms.unwrap_or(1000);
    if !INTERVAL_MS.contains(&every) {
        return Err(Failure::bad_request("interval_ms must be 100 to 60000"));
    }
    let slot = following::enter(query.follow)?;
    if !query.follow {
        return Ok(Json(sample(&node).await).into_response());
    }
    let mut interval = tokio::time::interval(Duration::from_millis(every));
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let lines = futures_util::stream::unfold((node, interval), next);
    Ok(following::answer(following::hold(lines, slot)))
}

type Sampling = (Arc<Node>, Interval);

async fn next((node, mut interval): Sampling) -> Option<(Result<Vec<u8>, Infallible>, Sampling)> {
    interval.tick().await;
    Some((Ok(following::line(&sample(&node).await)), (node, interval)))
}

async fn sample(node: &Node) -> Stats {
    let units = node.units.list().await;
    Stats {
        time_us: ferrite_units::events::now_us(),
        node: stats::of_node(&node.logs),
        units: units.iter().filter_map(stats::of_unit).collect(),
    }
}
