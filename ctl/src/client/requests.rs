//! How every request is made, and how long its answer is waited for.

use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use ferrite_schema::cluster::MachineId;
use http_body_util::{BodyExt, Full};
use hyper::Method;
use hyper::body::Bytes;
use serde::de::DeserializeOwned;

use super::asking::{Body, empty, request, upgrading};
use super::connection::{Exchange, Node};
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
    pub(super) node: Arc<Node>,
    context: Context,
}

impl Client {
    /// Reads the context's address and credentials.
    ///
    /// # Errors
    /// One of them cannot be used.
    pub fn new(context: &Context) -> Result<Self, ClientError> {
        Ok(Self { node: Arc::new(Node::new(context)?), context: context.clone() })
    }

    /// A machine of the context's cluster, which people call `name`, through any node that this client reaches. TLS is with that
    /// machine itself.
    ///
    /// # Errors
    /// The context's credentials cannot be used.
    pub fn through(&self, machine: &MachineId, name: &str) -> Result<Self, ClientError> {
        let node = Node::behind(&self.node, &self.context, machine.clone(), name.to_owned())?;
        Ok(Self { node: Arc::new(node), context: self.context.clone() })
    }

    /// Has the cluster answer: any of its nodes that can.
    pub(super) async fn of_cluster<T: DeserializeOwned>(
        &self,
        act: &str,
        method: Method,
        path: &str,
        document: &[u8],
    ) -> Result<T, ClientError> {
        self.cluster_exchange(act, method, path, document).await?.json().await
    }

    /// The same where there is nothing to say but that it is done.
    pub(super) async fn done_by_cluster(
        &self,
        act: &str,
        method: Method,
        path: &str,
    ) -> Result<(), ClientError> {
        self.cluster_exchange(act, method, path, &[]).await.map(drop)
    }

    async fn cluster_exchange(
        &self,
        act: &str,
        method: Method,
        path: &str,
        document: &[u8],
    ) -> Result<Exchange, ClientError> {
        let asks = || {
            let body = Full::new(Bytes::copy_from_slice(document));
            let body = body.map_err(|never| match never {}).boxed_unsync();
            request(act, method.clone(), path, body)
        };
        self.node.exchange_with_any(act, asks, ANSWER).await
    }

    /// A document as it is sent.
    pub(super) fn written<T: serde::Serialize>(
        &self,
        act: &str,
        document: &T,
    ) -> Result<Vec<u8>, ClientError> {
        serde_json::to_vec(document).map_err(|source| ClientError::Answer {
            act: act.to_owned(),
            node: self.node.name.clone(),
            source,
        })
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
        let body = self.written(act, document)?;
        Ok(Full::new(Bytes::from(body)).map_err(|never| match never {}).boxed_unsync())
    }

    pub(super) async fn stream(
        &self,
        act: String,
        path: &str,
        body: Body,
    ) -> Result<FrameStream, ClientError> {
        let request = upgrading(&act, path, body)?;
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
