//! Requests as they are sent.

use std::io;

use ferrite_schema::stream::PROTOCOL;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper::{Method, Request};

use super::error::ClientError;

/// A request's body.
pub(super) type Body = UnsyncBoxBody<Bytes, io::Error>;

pub(super) fn empty() -> Body {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

/// A request that asks for the connection to become a stream.
pub(super) fn upgrading(act: &str, path: &str, body: Body) -> Result<Request<Body>, ClientError> {
    let mut request = request(act, Method::POST, path, body)?;
    let upgrade = hyper::header::HeaderValue::from_static("upgrade");
    let protocol = hyper::header::HeaderValue::from_static(PROTOCOL);
    request.headers_mut().insert(hyper::header::CONNECTION, upgrade);
    request.headers_mut().insert(hyper::header::UPGRADE, protocol);
    Ok(request)
}

pub(super) fn request(
    act: &str,
    method: Method,
    path: &str,
    body: Body,
) -> Result<Request<Body>, ClientError> {
    Request::builder()
        .method(method)
        .uri(path)
        .header(hyper::header::CONTENT_TYPE, "application/json")
        .header(hyper::header::USER_AGENT, concat!("ferrite/", env!("CARGO_PKG_VERSION")))
        .body(body)
        .map_err(|source| ClientError::Request { act: act.to_owned(), source })
}
