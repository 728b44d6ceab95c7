//! A request's body is heard to its end, also by a handler that answers before it has come.
//!
//! A peer that still sends when its connection is closed loses the answer with it: the kernel throws away what was sent to
//! a peer whose bytes nobody read (RFC 9112 section 9.6). So what a handler leaves of a body is read and thrown away, in
//! bounds, and most connections can be used again afterwards.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, BodyDataStream, Bytes, HttpBody};
use axum::extract::Request;
use axum::http::header;
use axum::middleware::Next;
use axum::response::Response;
use futures_util::{Stream, StreamExt};

/// How long a peer is heard whose body nobody wants, however much it sends.
const PATIENCE: Duration = Duration::from_secs(10);

/// Passes requests on with bodies that are heard to their end.
pub(super) async fn to_its_end(request: Request, next: Next) -> Response {
    // Who waits for the word to go on sends nothing after a refusal.
    let waits = request.headers().contains_key(header::EXPECT);
    if waits || request.body().is_end_stream() {
        return next.run(request).await;
    }
    let heard = |body: Body| Body::from_stream(Heard(Some(body.into_data_stream())));
    next.run(request.map(heard)).await
}

/// A body whose rest is read when nobody wants it any more.
struct Heard(Option<BodyDataStream>);

impl Stream for Heard {
    type Item = Result<Bytes, axum::Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Some(body) = &mut self.0 else { return Poll::Ready(None) };
        let piece = body.poll_next_unpin(context);
        if matches!(piece, Poll::Ready(None | Some(Err(_)))) {
            self.0 = None;
        }
        piece
    }
}

impl Drop for Heard {
    fn drop(&mut self) {
        let Some(mut rest) = self.0.take() else { return };
        // The runtime is gone when the agent ends, and its connections with it.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        runtime.spawn(tokio::time::timeout(PATIENCE, async move {
            while let Some(Ok(_)) = rest.next().await {}
        }));
    }
}
