//! Answers that do not end by themselves: bounded in number, so that those who watch never keep out those who act.

use std::sync::{Arc, LazyLock};

use axum::body::Body;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::{Stream, StreamExt};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::error::Failure;

/// Most of them at a time; there are more connections than this, see [`super::server`].
const STREAMS_MAX: usize = 40;

static STREAMS: LazyLock<Arc<Semaphore>> = LazyLock::new(|| Arc::new(Semaphore::new(STREAMS_MAX)));

/// A place among them.
pub(super) type Slot = Option<OwnedSemaphorePermit>;

/// Takes a place, if `endless` says that one is needed.
pub(super) fn enter(endless: bool) -> Result<Slot, Failure> {
    if !endless {
        return Ok(None);
    }
    Arc::clone(&STREAMS).try_acquire_owned().map(Some).map_err(|_full| {
        let why = format!("{STREAMS_MAX} requests follow something already; no more can");
        Failure::new(StatusCode::SERVICE_UNAVAILABLE, why)
    })
}

/// Keeps `slot` as long as `stream` is read.
pub(super) fn hold<S: Stream>(stream: S, slot: Slot) -> impl Stream<Item = S::Item> {
    stream.map(move |item| {
        let _held = &slot;
        item
    })
}

/// An answer whose body is one JSON document per line.
pub(super) fn answer<E>(lines: impl Stream<Item = Result<Vec<u8>, E>> + Send + 'static) -> Response
where
    E: Into<Box<dyn std::error::Error + Send + Sync>> + 'static,
{
    ([(header::CONTENT_TYPE, "application/x-ndjson")], Body::from_stream(lines)).into_response()
}

/// `value` as a line. What cannot be written as JSON would be our bug; it is left out.
pub(super) fn line(value: &impl serde::Serialize) -> Vec<u8> {
    let mut line = serde_json::to_vec(value).unwrap_or_default();
    if !line.is_empty() {
        line.push(b'\n');
    }
    line
}
