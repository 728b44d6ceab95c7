//! How every request is made, and how long its answer is waited for.

use std::marker::PhantomData;
use std::time::Duration;

use ferrite_schema::stream::PROTOCOL;
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::Bytes;
use hyper::{Method, Request};
use serde::de::DeserializeOwned;

use super::connection::{Body, Exchange, Node};
use super::error::ClientError;
use super::stream::FrameStream;
use crate::context::Context;

/// Longest wait for an answer that needs no work. Emulated nodes are slow: a TLS handshake alone may take
/// a second there when the host is busy.
pub(super) const ANSWER: Duration = Duration::from_secs(30);
/// Longest wait where the node has to write to its disk or stop something first.
pub(super) const WORK: Duration = Duration::from_secs(120);

/// A node that can be talked to. Cheap to make: nothing is sent before the first request.
#[derive(Debug)]
pub struct Client {
    pub(super) node: Node,
}

impl Client {
    /// Reads the context's address and credentials.
    ///
    /// # Errors
    /// One of them cannot be used.
    pub fn new(context: &Context) -> Result<Self, ClientError> {
        Ok(Self { node: Node::new(context)? })
    }

    pub(super) async fn lines<T>(
        &self,
        act: &str,
        path: &str,
        endless: bool,
    ) -> Result<Lines<T>, ClientError> {
        let request = request(act, Method::GET, path, empty())?;
        let exchange = self.node.exchange(act, request, ANSWER).await?;
        let quiet = (!endless).then_some(ANSWER);
        Ok(Lines { exchange, quiet, kind: PhantomData })
    }

    pub(super) fn document<T: serde::Serialize>(
        &self,
        act: &str,
        document: &T,
    ) -> Result<Body, ClientError> {
        let body = serde_json::to_vec(document).map_err(|source| ClientError::Answer {
            act: act.to_owned(),
            node: self.node.name.clone(),
            source,
        })?;
        Ok(Full::new(Bytes::from(body)).map_err(|never| match never {}).boxed_unsync())
    }

    pub(super) async fn stream(
        &self,
        act: String,
        path: &str,
        body: Body,
    ) -> Result<FrameStream, ClientError> {
        let mut request = request(&act, Method::POST, path, body)?;
        let upgrade = hyper::header::HeaderValue::from_static("upgrade");
        let protocol = hyper::header::HeaderValue::from_static(PROTOCOL);
        request.headers_mut().insert(hyper::header::CONNECTION, upgrade);
        request.headers_mut().insert(hyper::header::UPGRADE, protocol);
        let upgraded = self.node.upgrade(&act, request, ANSWER).await?;
        Ok(FrameStream::new(act, self.node.name.clone(), upgraded))
    }

    pub(super) async fn get<T: DeserializeOwned>(
        &self,
        act: &str,
        path: &str,
    ) -> Result<T, ClientError> {
        let request = request(act, Method::GET, path, empty())?;
        self.node.exchange(act, request, ANSWER).await?.json().await
    }

    pub(super) async fn json<T: DeserializeOwned>(
        &self,
        act: &str,
        method: Method,
        path: &str,
        body: Body,
    ) -> Result<T, ClientError> {
        let request = request(act, method, path, body)?;
        self.node.exchange(act, request, WORK).await?.json().await
    }

    pub(super) async fn done(
        &self,
        act: &str,
        method: Method,
        path: &str,
        body: Body,
    ) -> Result<(), ClientError> {
        let request = request(act, method, path, body)?;
        self.node.exchange(act, request, WORK).await.map(drop)
    }
}

/// An answer of many lines, as they arrive.
#[derive(Debug)]
pub struct Lines<T> {
    exchange: Exchange,
    /// Longest silence; `None` where silence is normal.
    quiet: Option<Duration>,
    kind: PhantomData<fn() -> T>,
}

impl<T: DeserializeOwned> Lines<T> {
    /// The next one; `None` at the end.
    ///
    /// # Errors
    /// The connection broke or the line is not one.
    pub async fn next(&mut self) -> Result<Option<T>, ClientError> {
        self.exchange.next_line(self.quiet).await
    }
}

pub(super) fn empty() -> Body {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
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
