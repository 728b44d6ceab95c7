//! One request over one connection.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use ferrite_schema::api::ApiError;
use http_body_util::BodyExt;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::{Bytes, Incoming};
use hyper::upgrade::Upgraded;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use rustix::net::sockopt;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use serde::de::DeserializeOwned;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;

use super::error::ClientError;
use super::tls;
use crate::context::Context;

/// A request's body.
pub(super) type Body = UnsyncBoxBody<Bytes, io::Error>;

/// Longest wait for TCP and TLS.
const CONNECT: Duration = Duration::from_secs(15);
/// Silence after which TCP asks whether the node still lives, so that following a dead node's log ends.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(15);
/// A line of output longer than this is not one: a node that sends it is broken.
const LINE_MAX_BYTES: usize = 1024 * 1024;
/// An error's text beyond this is cut.
const ERROR_MAX_CHARS: usize = 2000;

/// Where a node is and how it is spoken to.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) name: String,
    host: String,
    port: u16,
    server_name: ServerName<'static>,
    tls: Arc<ClientConfig>,
}

impl Node {
    pub(super) fn new(context: &Context) -> Result<Self, ClientError> {
        let bad = || ClientError::Address { endpoint: context.endpoint.clone() };
        let (host, port) = address(&context.endpoint).ok_or_else(bad)?;
        let server_name = ServerName::try_from(host.clone()).map_err(|_invalid| bad())?;
        let tls = tls::config(context)?;
        Ok(Self { name: context.name.clone(), host, port, server_name, tls })
    }

    /// Sends `request` and waits for the head of a good answer; `within` bounds everything up to there.
    pub(super) async fn exchange(
        &self,
        act: &str,
        request: Request<Body>,
        within: Duration,
    ) -> Result<Exchange, ClientError> {
        let exchange = self.deadline(act, within, self.send(act, request)).await??;
        if exchange.response.status().is_success() {
            return Ok(exchange);
        }
        Err(exchange.into_error().await)
    }

    /// Sends `request`, which asks for an upgrade, and waits for it; `within` bounds everything up to there.
    pub(super) async fn upgrade(
        &self,
        act: &str,
        request: Request<Body>,
        within: Duration,
    ) -> Result<(Upgraded, JoinSet<()>), ClientError> {
        let exchange = self.deadline(act, within, self.send(act, request)).await??;
        if exchange.response.status() != StatusCode::SWITCHING_PROTOCOLS {
            return Err(exchange.into_error().await);
        }
        let Exchange { act, node, response, _connection: task, .. } = exchange;
        let upgraded = hyper::upgrade::on(response)
            .await
            .map_err(|source| ClientError::Exchange { act, node, source })?;
        Ok((upgraded, task))
    }

    async fn send(&self, act: &str, mut request: Request<Body>) -> Result<Exchange, ClientError> {
        let broke =
            |source| ClientError::Exchange { act: act.to_owned(), node: self.name.clone(), source };
        if let Ok(host) = format!("{}:{}", self.bracketed_host(), self.port).parse() {
            request.headers_mut().insert(hyper::header::HOST, host);
        }
        let stream = self.deadline("connect", CONNECT, self.connect()).await??;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(broke)?;
        let mut task = JoinSet::new();
        // Its error reaches us through the sender as well.
        task.spawn(async move { connection.with_upgrades().await.map_or_else(drop, drop) });
        let response = sender.send_request(request).await.map_err(broke)?;
        Ok(Exchange {
            act: act.to_owned(),
            node: self.name.clone(),
            response,
            pending: Vec::new(),
            _connection: task,
        })
    }

    async fn connect(&self) -> Result<tokio_rustls::client::TlsStream<TcpStream>, ClientError> {
        let address = format!("{}:{}", self.bracketed_host(), self.port);
        let connect = |source| ClientError::Connect {
            node: self.name.clone(),
            address: address.clone(),
            source,
        };
        let tcp = TcpStream::connect((self.host.as_str(), self.port)).await.map_err(connect)?;
        tcp.set_nodelay(true).map_err(connect)?;
        sockopt::set_socket_keepalive(&tcp, true).map_err(|error| connect(error.into()))?;
        sockopt::set_tcp_keepidle(&tcp, KEEPALIVE_IDLE).map_err(|error| connect(error.into()))?;
        TlsConnector::from(Arc::clone(&self.tls))
            .connect(self.server_name.clone(), tcp)
            .await
            .map_err(|source| ClientError::Handshake {
                node: self.name.clone(),
                address: address.clone(),
                source,
            })
    }

    async fn deadline<T>(
        &self,
        act: &str,
        within: Duration,
        work: impl Future<Output = T>,
    ) -> Result<T, ClientError> {
        tokio::time::timeout(within, work).await.map_err(|_elapsed| ClientError::Deadline {
            act: act.to_owned(),
            node: self.name.clone(),
            within,
        })
    }

    fn bracketed_host(&self) -> String {
        if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() }
    }
}

/// An answer whose body is still to be read. Dropping it closes the connection.
#[derive(Debug)]
pub(super) struct Exchange {
    act: String,
    node: String,
    response: Response<Incoming>,
    /// Bytes of the body after the last whole line.
    pending: Vec<u8>,
    _connection: JoinSet<()>,
}

impl Exchange {
    /// The whole body as one JSON document.
    pub(super) async fn json<T: DeserializeOwned>(self) -> Result<T, ClientError> {
        let (act, node) = (self.act.clone(), self.node.clone());
        let bytes = self.bytes().await?;
        serde_json::from_slice(&bytes).map_err(|source| ClientError::Answer { act, node, source })
    }

    /// The next line of a body that is one JSON document per line.
    pub(super) async fn next_line<T: DeserializeOwned>(
        &mut self,
        quiet: Option<Duration>,
    ) -> Result<Option<T>, ClientError> {
        loop {
            if let Some(end) = self.pending.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.pending.drain(..=end).collect();
                if line.iter().all(u8::is_ascii_whitespace) {
                    continue;
                }
                return self.parse(&line).map(Some);
            }
            if self.pending.len() > LINE_MAX_BYTES {
                let line = std::mem::take(&mut self.pending);
                return self.parse(&line).map(Some);
            }
            match self.next_bytes(quiet).await? {
                Some(bytes) => self.pending.extend_from_slice(&bytes),
                None if self.pending.is_empty() => return Ok(None),
                None => {
                    let line = std::mem::take(&mut self.pending);
                    return self.parse(&line).map(Some);
                }
            }
        }
    }

    /// The next piece of the body; `None` at its end.
    pub(super) async fn next_bytes(
        &mut self,
        quiet: Option<Duration>,
    ) -> Result<Option<Bytes>, ClientError> {
        let body = self.response.body_mut();
        let frame = match quiet {
            Some(within) => {
                tokio::time::timeout(within, body.frame()).await.map_err(|_elapsed| {
                    ClientError::Deadline { act: self.act.clone(), node: self.node.clone(), within }
                })?
            }
            None => body.frame().await,
        };
        match frame {
            Some(Ok(frame)) => Ok(Some(frame.into_data().unwrap_or_default())),
            Some(Err(source)) => Err(ClientError::Exchange {
                act: self.act.clone(),
                node: self.node.clone(),
                source,
            }),
            None => Ok(None),
        }
    }

    fn parse<T: DeserializeOwned>(&self, line: &[u8]) -> Result<T, ClientError> {
        serde_json::from_slice(line).map_err(|source| ClientError::Answer {
            act: self.act.clone(),
            node: self.node.clone(),
            source,
        })
    }

    async fn bytes(mut self) -> Result<Vec<u8>, ClientError> {
        let mut all = Vec::new();
        while let Some(bytes) = self.next_bytes(Some(CONNECT)).await? {
            all.extend_from_slice(&bytes);
        }
        Ok(all)
    }

    /// The refusal that an answer without success carries.
    async fn into_error(self) -> ClientError {
        let (act, node) = (self.act.clone(), self.node.clone());
        let status = self.response.status();
        let body = match self.bytes().await {
            Ok(body) => body,
            Err(error) => return error,
        };
        let message = match serde_json::from_slice::<ApiError>(&body) {
            Ok(error) => error.error,
            Err(_) => {
                let text: String =
                    String::from_utf8_lossy(&body).trim().chars().take(ERROR_MAX_CHARS).collect();
                if text.is_empty() { status.to_string() } else { format!("{status}: {text}") }
            }
        };
        ClientError::Answered { act, node, status, message }
    }
}

/// Splits `https://HOST:PORT`; the host without the brackets of an IPv6 address.
fn address(endpoint: &str) -> Option<(String, u16)> {
    let authority = endpoint.strip_prefix("https://")?;
    let authority = authority.strip_suffix('/').unwrap_or(authority);
    let (host, port) = authority.rsplit_once(':')?;
    let bare = match host.strip_prefix('[') {
        Some(rest) => rest.strip_suffix(']')?,
        None if host.contains(':') => return None,
        None => host,
    };
    if bare.is_empty() || bare.contains('/') {
        return None;
    }
    Some((bare.to_owned(), port.parse().ok().filter(|port| *port != 0)?))
}

#[cfg(test)]
mod tests {
    use super::address;

    #[test]
    fn addresses() {
        for (endpoint, expected) in [
            ("https://127.0.0.1:7443", Some(("127.0.0.1", 7443))),
            ("https://node.example:1/", Some(("node.example", 1))),
            ("https://[::1]:7443", Some(("::1", 7443))),
            ("https://::1:7443", None),
            ("http://127.0.0.1:7443", None),
            ("https://127.0.0.1", None),
            ("https://127.0.0.1:0", None),
            ("https://127.0.0.1:70000", None),
            ("https://:7443", None),
            ("https://host/path:7443", None),
            ("", None),
        ] {
            let expected = expected.map(|(host, port)| (host.to_owned(), port));
            assert_eq!(address(endpoint), expected, "{endpoint:?}");
        }
    }
}
