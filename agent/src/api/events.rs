//! `GET /v1/events`.

use std::convert::Infallible;
use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use ferrite_schema::api::{ApiError, Event};
use ferrite_units::events::{self, Subscription};
use serde::Deserialize;
use utoipa::IntoParams;

use super::error::Failure;
use super::extract::Query;
use super::following;
use crate::node::Node;

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct EventQuery {
    /// Go on as more happens.
    #[serde(default)]
    follow: bool,
    /// Events after this time, microseconds since the epoch: the time of the last one that was seen, for example.
    since_us: Option<u64>,
    /// Events not before this long ago, microseconds, by the node's clock.
    since_ago_us: Option<u64>,
    /// Only those of this unit.
    unit: Option<String>,
}

/// What happened lately, oldest first; the node keeps some thousand events while its agent runs.
#[utoipa::path(
    get,
    path = "/v1/events",
    tag = "living",
    params(EventQuery),
    responses(
        (status = 200, description = "One event per line", body = Event,
         content_type = "application/x-ndjson"),
        (status = "default", description = "Refused or not possible", body = ApiError)
    ),
)]
pub(super) async fn show(
    State(node): State<Arc<Node>>,
    Query(query): Query<EventQuery>,
) -> Result<Response, Failure> {
    let slot = following::enter(query.follow)?;
    let ago = query.since_ago_us.map(|ago| events::now_us().saturating_sub(ago));
    let since_us = query.since_us.or(ago).unwrap_or(0);
    let asked = move |event: &Event| query.unit.is_none() || query.unit == event.unit;
    if !query.follow {
        let known = node.events.since(since_us).into_iter().filter(asked);
        let lines: Vec<u8> = known.flat_map(|event| following::line(&event)).collect();
        let whole = futures_util::stream::iter([Ok::<_, Infallible>(lines)]);
        return Ok(following::answer(whole));
    }
    let watch = (node.events.subscribe_since(since_us), asked);
    let lines = futures_util::stream::unfold(watch, |(mut subscription, asked)| async move {
        let event = next(&mut subscription, &asked).await?;
        Some((Ok::<_, Infallible>(following::line(&event)), (subscription, asked)))
    });
    Ok(following::answer(following::hold(lines, slot)))
}

async fn next(
    subscription: &mut Subscription,
    asked: &(impl Fn(&Event) -> bool + Sync),
) -> Option<Event> {
    loop {
        let event = subscription.next().await?;
        if asked(&event) {
            return Some(event);
        }
    }
}
