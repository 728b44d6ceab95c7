//! `GET /v1/units/NAME/logs`.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::Response;
use ferrite_schema::api::{ApiError, LogLine, Stream, UnitState};
use ferrite_units::events::Subscription;
use ferrite_units::supervisor::Units;
use serde::Deserialize;
use utoipa::IntoParams;

use super::error::Failure;
use super::extract::{Path, Query};
use super::following;
use super::log_stream::{self, Part, Rest};
use crate::logs::{self, Filter};
use crate::node::Node;

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct LogQuery {
    /// Go on as more is written, over restarts, until the unit has come to rest.
    #[serde(default)]
    follow: bool,
    /// Lines not before this time, microseconds since the epoch.
    since_us: Option<u64>,
    /// Lines not before this long ago, microseconds, by the node's clock.
    since_ago_us: Option<u64>,
    /// Lines before this time, microseconds since the epoch.
    until_us: Option<u64>,
    /// Lines before this long ago, microseconds, by the node's clock.
    until_ago_us: Option<u64>,
    /// At most so many of the lines that are there already: the last ones.
    tail: Option<u64>,
    /// Only this stream.
    stream: Option<Stream>,
    /// Only the run before the latest one.
    #[serde(default)]
    previous: bool,
}

/// Output of a unit, oldest first.
#[utoipa::path(
    get,
    path = "/v1/units/{name}/logs",
    tag = "units",
    params(("name" = String, Path, description = "Name of the unit"), LogQuery),
    responses(
        (status = 200, description = "One line of output per line", body = LogLine,
         content_type = "application/x-ndjson"),
        (status = "default", description = "Refused or not possible", body = ApiError)
    ),
)]
pub(super) async fn show(
    State(node): State<Arc<Node>>,
    Path(name): Path<String>,
    Query(query): Query<LogQuery>,
) -> Result<Response, Failure> {
    let slot = following::enter(query.follow)?;
    // In this order a change between the two is seen.
    let changes = node.events.subscribe();
    // Answers for known units only; a name that is none never becomes a path.
    let status = node.units.get(&name).await?;
    let folder = node.logs.join(&status.name);
    let now_us = ferrite_units::events::now_us();
    let ago = move |ago: Option<u64>| ago.map(|ago| now_us.saturating_sub(ago));
    let until_us = query.until_us.or(ago(query.until_ago_us));
    let follow = query.follow.then(|| {
        let within = until_us.map(|until| Duration::from_micros(until.saturating_sub(now_us)));
        at_rest(node.units.clone(), changes, status.name.clone(), within)
    });
    let work = move || {
        // No run has this number: where there was only one, there is nothing.
        let run = query.previous.then(|| logs::previous_run(&folder).unwrap_or(u64::MAX));
        let filter = Filter {
            since_us: query.since_us.or(ago(query.since_ago_us)),
            until_us,
            stream: query.stream,
            run,
            not_run: None,
        };
        log_stream::open(&folder, Part { filter, tail: query.tail, follow })
    };
    // Looking for the last lines may mean to read a whole log.
    let opened =
        tokio::task::spawn_blocking(work).await.map_err(|error| Failure::internal(&error))?;
    let lines = opened.map_err(|error| Failure::internal(&error))?;
    Ok(following::answer(following::hold(lines, slot)))
}

/// Resolves when the unit is at rest, gone, or `within` is over.
fn at_rest(units: Units, changes: Subscription, name: String, within: Option<Duration>) -> Rest {
    let rest = watch_unit(units, changes, name);
    match within {
        None => Box::pin(rest),
        Some(within) => Box::pin(async move {
            // However it ends, it ends.
            drop(tokio::time::timeout(within, rest).await);
        }),
    }
}

async fn watch_unit(units: Units, mut changes: Subscription, name: String) {
    loop {
        match units.get(&name).await {
            Ok(status) if !is_at_rest(status.state) => {}
            Ok(_) | Err(_) => return,
        }
        loop {
            match changes.next().await {
                Some(event) if event.unit.as_deref() == Some(&name) => break,
                Some(_) => {}
                None => return,
            }
        }
    }
}

/// Nothing is written any more unless somebody starts it.
const fn is_at_rest(state: UnitState) -> bool {
    matches!(state, UnitState::Loaded | UnitState::Exited | UnitState::Failed)
}
