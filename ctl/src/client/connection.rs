//! One request over one connection.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use ferrite_schema::api::ApiError;
use ferrite_schema::cluster::MachineId;
use http_body_util::BodyExt;
use hyper::body::{Body as _, Bytes, Incoming};
use hyper::upgrade::Upgraded;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use serde::de::DeserializeOwned;
use tokio::task::JoinSet;

use super::asking::{Body, empty, upgrading};
use super::error::ClientError;
use super::reach::{Places, Reached, shaken};
use super::tls;
use crate::context::Context;

/// Longest wait for TCP and TLS.
const CONNECT: Duration = Duration::from_secs(15);
/// A line of output longer than this is not one: a node that sends it is broken.
const LINE_MAX_BYTES: usize = 1024 * 1024;
/// An error's text beyond this is cut.
const ERROR_MAX_CHARS: usize = 2000;

/// Where a node is.
#[derive(Debug)]
enum Reach {
    /// At one of these.
    Places(Places),
    /// Behind another machine of its cluster.
    Through(Arc<Node>, MachineId),
}

/// Where a node is and how it is spoken to.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) name: String,
    reach: Reach,
    tls: Arc<ClientConfig>,
}

impl Node {
    pub(super) fn new(context: &Context) -> Result<Self, ClientError> {
        let reach = Reach::Places(Places::of(context)?);
        Ok(Self { name: context.name.clone(), reach, tls: tls::config(context, None)? })
    }

    /// A machine of the context's cluster, by way of `via`; `name` is what people call it.
    pub(super) fn behind(
        via: &Arc<Self>,
        context: &Context,
        machine: MachineId,
        name: String,
    ) -> Result<Self, ClientError> {
        let tls = tls::config(context, Some(machine.clone()))?;
        Ok(Self { name, reach: Reach::Through(Arc::clone(via), machine), tls })
    }

    /// Sends `request` and waits for the head of a good answer; `within` bounds everything up to there.
    pub(super) async fn exchange(
        &self,
        act: &str,
        request: Request<Body>,
        within: Duration,
    ) -> Result<Exchange, ClientError> {
        let exchange = self.deadline(act, within, self.send(act, request, &[])).await??;
        if exchange.response.status().is_success() {
            return Ok(exchange);
        }
        Err(exchange.into_error().await)
    }

    /// Has a request of the cluster answered by one of its nodes: those that cannot, since they are no members, have no quorum or
    /// do not reach the machine that it is for, are passed over. `within` bounds what each of them gets.
    pub(super) async fn exchange_with_any(
        &self,
        act: &str,
        request: impl Fn() -> Result<Request<Body>, ClientError>,
        within: Duration,
    ) -> Result<Exchange, ClientError> {
        let places = self.places();
        let (mut avoid, mut tried) = (Vec::new(), Vec::new());
        loop {
            let sent = self.deadline(act, within, self.send(act, request()?, &avoid)).await;
            let exchange = match sent.flatten() {
                Ok(exchange) => exchange,
                Err(failure) if tried.is_empty() => return Err(failure),
                Err(failure) => {
                    tried.push(ferrite_schema::chain(&failure));
                    break;
                }
            };
            let status = exchange.response.status();
            if status.is_success() || status == StatusCode::SWITCHING_PROTOCOLS {
                return Ok(exchange);
            }
            let place = exchange.place;
            let error = exchange.into_error().await;
            // Another one may be a member, or reach what this one does not.
            let elsewhere = [StatusCode::SERVICE_UNAVAILABLE, StatusCode::BAD_GATEWAY];
            if !elsewhere.contains(&status) || places == 1 {
                return Err(error);
            }
            avoid.push(place);
            if status == StatusCode::BAD_GATEWAY && avoid.len() >= places {
                // It is the machine that is away, and not whom we asked.
                return Err(error);
            }
            tried.push(match &error {
                ClientError::Answered { message, .. } => {
                    format!("{}: {message}", self.name_of(place))
                }
                other => ferrite_schema::chain(other),
            });
            if avoid.len() >= places {
                break;
            }
        }
        Err(ClientError::NoneServes { act: act.to_owned(), node: self.name.clone(), tried })
    }

    /// Sends `request`, which asks for an upgrade, and waits for it; `within` bounds everything up to there.
    pub(super) async fn upgrade(
        &self,
        act: &str,
        request: Request<Body>,
        within: Duration,
    ) -> Result<(Upgraded, JoinSet<()>), ClientError> {
        let exchange = self.deadline(act, within, self.send(act, request, &[])).await??;
        exchange.upgraded().await
    }

    /// Bytes to the API of a machine that people call `name`.
    pub(super) async fn tunnel(
        &self,
        machine: &MachineId,
        name: &str,
    ) -> Result<Upgraded, ClientError> {
        let act = format!("reach machine {name:?}");
        let path = format!("/v1/machines/{machine}/connect");
        let asks = || upgrading(&act, &path, empty());
        let exchange = self.exchange_with_any(&act, asks, CONNECT).await?;
        // The connection was handed over whole: nothing is left to drive it.
        exchange.upgraded().await.map(|(upgraded, _)| upgraded)
    }

    async fn send(
        &self,
        act: &str,
        mut request: Request<Body>,
        avoid: &[usize],
    ) -> Result<Exchange, ClientError> {
        let broke =
            |source| ClientError::Exchange { act: act.to_owned(), node: self.name.clone(), source };
        // A dead node may be asked first, and takes its time.
        let patience = CONNECT.saturating_mul(u32::try_from(self.places()).unwrap_or(1));
        let reached = self.deadline("connect", patience, self.connect(avoid)).await??;
        if let Ok(host) = reached.host.parse() {
            request.headers_mut().insert(hyper::header::HOST, host);
        }
        let stream = TokioIo::new(reached.stream);
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(stream).await.map_err(broke)?;
        let mut task = JoinSet::new();
        // Its error reaches us through the sender as well.
        task.spawn(async move { connection.with_upgrades().await.map_or_else(drop, drop) });
        let response = sender.send_request(request).await.map_err(broke)?;
        Ok(Exchange {
            act: act.to_owned(),
            node: self.name.clone(),
            place: reached.place,
            response,
            pending: Vec::new(),
            connection: task,
        })
    }

    /// How many addresses there are to try.
    const fn places(&self) -> usize {
        match &self.reach {
            Reach::Places(places) => places.count(),
            Reach::Through(..) => 1,
        }
    }

    async fn connect(&self, avoid: &[usize]) -> Result<Reached, ClientError> {
        match &self.reach {
            Reach::Places(places) => places.reach(&self.name, &self.tls, avoid).await,
            Reach::Through(via, machine) => {
                Box::pin(through(via, machine, &self.name, &self.tls)).await
            }
        }
    }

    fn name_of(&self, place: usize) -> String {
        match &self.reach {
            Reach::Places(places) => places.name_of(place),
            Reach::Through(_, machine) => machine.to_string(),
        }
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
}

/// Reaches a machine through another one, which carries bytes and sees none of what they mean.
async fn through(
    via: &Node,
    machine: &MachineId,
    node: &str,
    tls: &Arc<ClientConfig>,
) -> Result<Reached, ClientError> {
    let upgraded = via.tunnel(machine, node).await?;
    // The certificate's name is looked at, not this one. An ID of decimal digits alone would be none.
    let bad = |_invalid| ClientError::Address { endpoint: machine.to_string() };
    let name = ServerName::try_from(format!("{machine}.node")).map_err(bad)?;
    let address = format!("the other end of a tunnel through {}", via.name);
    let stream = shaken(node, &address, tls, name, TokioIo::new(upgraded)).await?;
    Ok(Reached { stream, place: 0, host: machine.to_string() })
}

/// An answer whose body is still to be read. Dropping it closes the connection.
#[derive(Debug)]
pub(super) struct Exchange {
    act: String,
    node: String,
    /// Which of the node's places answered.
    place: usize,
    response: Response<Incoming>,
    /// Bytes of the body after the last whole line.
    pending: Vec<u8>,
    connection: JoinSet<()>,
}

impl Exchange {
    /// The connection that the answer leaves to us, where it does.
    pub(super) async fn upgraded(self) -> Result<(Upgraded, JoinSet<()>), ClientError> {
        if self.response.status() != StatusCode::SWITCHING_PROTOCOLS {
            return Err(self.into_error().await);
        }
        let Self { act, node, response, connection, .. } = self;
        let upgraded = hyper::upgrade::on(response)
            .await
            .map_err(|source| ClientError::Exchange { act, node, source })?;
        Ok((upgraded, connection))
    }

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

    /// How long the body is, where the node says it.
    pub(super) fn length(&self) -> Option<u64> {
        self.response.body().size_hint().exact()
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
