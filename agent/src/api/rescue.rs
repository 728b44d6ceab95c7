//! What a node without STATE answers, or with STATE of another cluster: questions, and orders about the machine itself. Whatever would
//! be written to STATE is refused, since it would be in memory and gone with the next restart, or is another cluster's.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::error::Failure;
use crate::node::Node;

/// Paths below which such a node obeys.
const OBEYED: [&str; 2] = ["/v1/machine/", "/v1/slots/"];

pub(super) async fn refuse(
    State(node): State<Arc<Node>>,
    request: Request,
    next: Next,
) -> Response {
    let rescue =
        node.rescue.as_ref().map(|why| ("the node is in its rescue state and runs nothing", why));
    let estranged = node.estranged.get().map(|why| ("the node changes nothing", why));
    match rescue.or(estranged) {
        Some((so, why)) if !is_answered(request.method(), request.uri().path()) => {
            let error = format!("{so}: {why}");
            Failure::new(StatusCode::SERVICE_UNAVAILABLE, error).into_response()
        }
        Some(_) | None => next.run(request).await,
    }
}

fn is_answered(method: &Method, path: &str) -> bool {
    method == Method::GET || OBEYED.iter().any(|below| path.starts_with(below))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_and_orders_about_the_machine_are_answered() {
        assert!(is_answered(&Method::GET, "/v1/units"));
        assert!(is_answered(&Method::POST, "/v1/machine/state/recreate"));
        assert!(is_answered(&Method::POST, "/v1/slots/rollback"));
        assert!(is_answered(&Method::POST, "/v1/machine/reset"));
        assert!(!is_answered(&Method::PUT, "/v1/units/web"));
        assert!(!is_answered(&Method::POST, "/v1/images"));
        assert!(!is_answered(&Method::POST, "/v1/units/web/exec"));
        assert!(!is_answered(&Method::DELETE, "/v1/volumes/a"));
    }
}
