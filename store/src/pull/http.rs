//! HTTP/1.1 to registries: connections that are used again, redirects that carry no credentials to foreign hosts,
//! and a deadline and a size on everything.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use ferrite_schema::utc;
use http_body_util::{BodyExt, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{self, HeaderMap};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::address::{Address, Origin};
use super::connect::{Addresses, PATIENCE};
use super::retry_after::{self, Rest, Rests};
use super::trust::{Trust, TrustProblem};

/// Longest wait for TLS where the server has another address that could be tried.
const TLS_SOON: Duration = Duration::from_secs(5);
/// Longest wait for an answer's head: registries that fetch from elsewhere first take their time.
const HEAD: Duration = Duration::from_secs(60);
/// Longest silence within an answer.
const SILENCE: Duration = Duration::from_secs(30);
/// Most redirects in a row.
const REDIRECTS_MAX: usize = 5;
/// Most connections kept for later.
const IDLE_MAX: usize = 8;

/// A request was not answered.
#[derive(Debug, thiserror::Error)]
pub enum Http {
    /// The node's configuration does not allow it.
    #[error(
        "speak to {origin} without TLS: the node's configuration does not say `plain_http = true` for it"
    )]
    PlainHttp {
        /// The server.
        origin: Origin,
    },
    /// The server cannot be reached.
    #[error("connect to {origin}")]
    Connect {
        /// The server.
        origin: Origin,
        /// Why.
        source: io::Error,
    },
    /// It said that it wants to be left alone, and that is not over.
    #[error("ask {origin}: {rest}")]
    Resting {
        /// The server.
        origin: Origin,
        /// Until when.
        rest: Rest,
    },
    /// Its certificate is not trusted.
    #[error("check the certificate of {origin}{}", when(source))]
    CheckCertificate {
        /// The server.
        origin: Origin,
        /// Why.
        source: io::Error,
    },
    /// Certificates to check with cannot be used.
    #[error(transparent)]
    Trust(#[from] TrustProblem),
    /// The exchange broke off.
    #[error("get {address}")]
    Exchange {
        /// What was asked for.
        address: Address,
        /// Why.
        source: hyper::Error,
    },
    /// The request cannot be written.
    #[error("ask for {address}")]
    Ask {
        /// What was asked for.
        address: Address,
        /// Why.
        source: hyper::http::Error,
    },
    /// The server fell silent.
    #[error("get {address}: nothing came for {} s", after.as_secs())]
    Silent {
        /// What was asked for.
        address: Address,
        /// How long it was waited for.
        after: Duration,
    },
    /// The answer is too large.
    #[error("get {address}: the answer is larger than {max_bytes} bytes")]
    TooLarge {
        /// What was asked for.
        address: Address,
        /// The limit.
        max_bytes: u64,
    },
    /// The server sends us somewhere where we do not go.
    #[error("follow {address}: {why}")]
    Redirect {
        /// What was asked for.
        address: Address,
        /// Why not.
        why: &'static str,
    },
}

impl Http {
    /// Trying again later may help.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Connect { .. }
            | Self::Resting { .. }
            | Self::Exchange { .. }
            | Self::Silent { .. } => true,
            Self::PlainHttp { .. }
            | Self::CheckCertificate { .. }
            | Self::Trust(_)
            | Self::Ask { .. }
            | Self::TooLarge { .. }
            | Self::Redirect { .. } => false,
        }
    }
}

/// What is sent as `Authorization` to each server: what convinced it, never its neighbour.
pub type Known = HashMap<Origin, String>;

/// What is asked for.
#[derive(Debug, Clone)]
pub struct Ask<'a> {
    /// Where.
    pub address: Address,
    /// Acceptable media types; empty for any.
    pub accept: &'a str,
    /// Only what stands before the content is wanted.
    pub head: bool,
    /// First byte that is wanted; 0 for the whole.
    pub from_byte: u64,
    /// Who is convinced by what.
    pub known: &'a Known,
}

struct Connection {
    sender: SendRequest<Empty<Bytes>>,
    /// Drives the connection; dropped with it.
    _task: JoinSet<()>,
}

/// A client with its connections.
#[derive(Clone)]
pub struct Client {
    trust: Arc<Trust>,
    idle: Arc<Mutex<HashMap<Origin, Vec<Connection>>>>,
    rests: Arc<Rests>,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Client").field("trust", &self.trust).finish_non_exhaustive()
    }
}

/// An answer whose body is still to be read.
pub struct Answer {
    /// Status.
    pub status: StatusCode,
    /// Headers.
    pub headers: HeaderMap,
    /// Where it came from, after redirects.
    pub address: Address,
    /// The server gives nothing, and wants to be left alone.
    pub rest: Option<Rest>,
    body: Incoming,
    connection: Option<Connection>,
    client: Client,
}

impl std::fmt::Debug for Answer {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Answer").field("status", &self.status).finish_non_exhaustive()
    }
}

impl Client {
    /// A client that trusts these.
    #[must_use]
    pub fn new(trust: Arc<Trust>) -> Self {
        Self { trust, idle: Arc::default(), rests: Arc::default() }
    }

    /// Asks, and follows redirects. Each server gets its own credentials alone, and none once it has sent us away: where it
    /// is asked for then, another one says.
    ///
    /// # Errors
    /// There is no answer.
    pub async fn get(&self, mut ask: Ask<'_>) -> Result<Answer, Http> {
        let mut left = Vec::new();
        for _ in 0..=REDIRECTS_MAX {
            let origin = &ask.address.origin;
            let authorization = ask.known.get(origin).filter(|_| !left.contains(origin));
            let answer = self.once(&ask, authorization).await?;
            if !matches!(answer.status.as_u16(), 301 | 302 | 303 | 307 | 308) {
                return Ok(answer);
            }
            let refuse = |why| Http::Redirect { address: ask.address.clone(), why };
            let location = answer.headers.get(header::LOCATION).and_then(|text| text.to_str().ok());
            let next = location.and_then(|location| ask.address.join(location));
            let next = next.ok_or_else(|| refuse("it leads to no address"))?;
            if ask.address.origin.secure && !next.origin.secure {
                return Err(refuse("it leads from TLS to plain HTTP"));
            }
            let before = std::mem::replace(&mut ask.address, next);
            if before.origin != ask.address.origin {
                left.push(before.origin);
            }
        }
        Err(Http::Redirect { address: ask.address, why: "it leads on and on" })
    }

    async fn once(&self, ask: &Ask<'_>, authorization: Option<&String>) -> Result<Answer, Http> {
        let address = &ask.address;
        if let Some(rest) = self.rests.of(&address.origin) {
            return Err(Http::Resting { origin: address.origin.clone(), rest });
        }
        let silent = |after| Http::Silent { address: address.clone(), after };
        let broke = |source| Http::Exchange { address: address.clone(), source };
        let mut connection = self.connection(&address.origin).await?;
        let request = request(ask, authorization)?;
        let response = timeout(HEAD, connection.sender.send_request(request)).await;
        let response = response.map_err(|_elapsed| silent(HEAD))?.map_err(broke)?;
        let (head, body) = response.into_parts();
        let rest = retry_after::asked(head.status, &head.headers, SystemTime::now());
        if let Some(rest) = rest {
            self.rests.keep(&address.origin, rest);
        }
        Ok(Answer {
            rest,
            status: head.status,
            headers: head.headers,
            address: address.clone(),
            body,
            connection: Some(connection),
            client: self.clone(),
        })
    }

    async fn connection(&self, origin: &Origin) -> Result<Connection, Http> {
        while let Some(mut connection) = self.take_idle(origin) {
            // One that the server has closed meanwhile is not ready.
            if connection.sender.ready().await.is_ok() {
                return Ok(connection);
            }
        }
        self.connect(origin).await
    }

    fn take_idle(&self, origin: &Origin) -> Option<Connection> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.get_mut(origin).and_then(Vec::pop)
    }

    fn keep_idle(&self, origin: &Origin, connection: Connection) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.values().map(Vec::len).sum::<usize>() < IDLE_MAX {
            idle.entry(origin.clone()).or_default().push(connection);
        }
    }

    async fn connect(&self, origin: &Origin) -> Result<Connection, Http> {
        if !origin.secure && !self.trust.allows_plain_http(origin) {
            return Err(Http::PlainHttp { origin: origin.clone() });
        }
        let failed = |source| Http::Connect { origin: origin.clone(), source };
        self.connect_to(origin, Addresses::of(origin).await.map_err(failed)?).await
    }

    /// Goes on with the next address where nothing comes of a connection that was made.
    async fn connect_to(
        &self,
        origin: &Origin,
        mut addresses: Addresses,
    ) -> Result<Connection, Http> {
        while let Some((address, tcp)) = addresses.connect().await {
            let patience = if addresses.is_empty() { PATIENCE } else { TLS_SOON };
            match self.begin(origin, tcp, patience).await {
                Err(Http::Connect { source, .. }) => addresses.note(address, Some(source)),
                other => return other,
            }
        }
        Err(Http::Connect { origin: origin.clone(), source: addresses.problem() })
    }

    /// Makes a connection of an open one.
    async fn begin(
        &self,
        origin: &Origin,
        tcp: TcpStream,
        patience: Duration,
    ) -> Result<Connection, Http> {
        let failed = |source| Http::Connect { origin: origin.clone(), source };
        tcp.set_nodelay(true).map_err(failed)?;
        if !origin.secure {
            return start(tcp).await.map_err(|error| failed(io::Error::other(error)));
        }
        let name = ServerName::try_from(origin.host.clone())
            .map_err(|error| failed(io::Error::other(error)))?;
        let connector = TlsConnector::from(self.trust.tls(origin)?);
        let tls = timeout(patience, connector.connect(name, tcp)).await.map_err(|_elapsed| {
            failed(io::Error::new(io::ErrorKind::TimedOut, "it took the connection and is silent"))
        })?;
        let tls = tls.map_err(|source| match source.get_ref().and_then(|e| e.downcast_ref()) {
            Some(rustls::Error::InvalidCertificate(_)) => {
                Http::CheckCertificate { origin: origin.clone(), source }
            }
            _ => failed(source),
        })?;
        start(tls).await.map_err(|error| failed(io::Error::other(error)))
    }
}

/// The dates, where a certificate is refused because of them: this node's clock may be wrong.
fn when(error: &io::Error) -> String {
    use rustls::CertificateError::{ExpiredContext, NotValidYetContext};
    let (now, word, bound) = match error.get_ref().and_then(|error| error.downcast_ref()) {
        Some(rustls::Error::InvalidCertificate(ExpiredContext { time, not_after })) => {
            (time, "until", not_after)
        }
        Some(rustls::Error::InvalidCertificate(NotValidYetContext { time, not_before })) => {
            (time, "from", not_before)
        }
        _ => return String::new(),
    };
    let (now, bound) = (utc::text(now.as_secs()), utc::text(bound.as_secs()));
    format!(": it is valid {word} {bound}, and this node's clock says {now}")
}

async fn start<S>(stream: S) -> Result<Connection, hyper::Error>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) = handshake(TokioIo::new(stream)).await?;
    let mut task = JoinSet::new();
    // Its error reaches us through the sender and the body as well.
    task.spawn(async move { connection.await.map_or_else(drop, drop) });
    Ok(Connection { sender, _task: task })
}

fn request(ask: &Ask<'_>, authorization: Option<&String>) -> Result<Request<Empty<Bytes>>, Http> {
    let method = if ask.head { Method::HEAD } else { Method::GET };
    let mut request = Request::builder()
        .method(method)
        .uri(&ask.address.path)
        .header(header::HOST, ask.address.origin.authority())
        .header(header::USER_AGENT, concat!("ferrite/", env!("CARGO_PKG_VERSION")))
        .header(header::ACCEPT, if ask.accept.is_empty() { "*/*" } else { ask.accept });
    if ask.from_byte > 0 {
        request = request.header(header::RANGE, format!("bytes={}-", ask.from_byte));
    }
    if let Some(words) = authorization {
        request = request.header(header::AUTHORIZATION, words);
    }
    request.body(Empty::new()).map_err(|source| Http::Ask { address: ask.address.clone(), source })
}

impl Answer {
    /// The next piece of the body; `None` at its end.
    ///
    /// # Errors
    /// The connection broke, or nothing comes.
    pub async fn piece(&mut self) -> Result<Option<Bytes>, Http> {
        loop {
            let frame = timeout(SILENCE, self.body.frame()).await.map_err(|_elapsed| {
                Http::Silent { address: self.address.clone(), after: SILENCE }
            })?;
            match frame {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => return Ok(Some(data)),
                    // Trailers say nothing that we want to know.
                    Err(_trailers) => {}
                },
                Some(Err(source)) => {
                    return Err(Http::Exchange { address: self.address.clone(), source });
                }
                None => {
                    if let Some(connection) = self.connection.take() {
                        self.client.keep_idle(&self.address.origin, connection);
                    }
                    return Ok(None);
                }
            }
        }
    }

    /// The whole body, which must not be larger than `max_bytes`.
    ///
    /// # Errors
    /// See [`Self::piece`].
    pub async fn bytes(mut self, max_bytes: u64) -> Result<Vec<u8>, Http> {
        let mut bytes = Vec::new();
        while let Some(piece) = self.piece().await? {
            bytes.extend_from_slice(&piece);
            if bytes.len() as u64 > max_bytes {
                return Err(Http::TooLarge { address: self.address.clone(), max_bytes });
            }
        }
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server may take connections and say nothing more.
    #[tokio::test]
    async fn a_server_that_is_silent_after_tcp_is_left_for_its_next_address() {
        let mute = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (mute, closed) = (mute.local_addr().unwrap(), "127.0.0.1:1".parse().unwrap());
        let client = Client::new(Arc::new(Trust::new(std::collections::BTreeMap::new())));
        let origin = Origin { secure: true, host: "a.example".to_owned(), port: 443 };
        let begun = std::time::Instant::now();
        let addresses = Addresses::from(vec![mute, closed]);
        let Err(error) = client.connect_to(&origin, addresses).await else { panic!() };
        let text = ferrite_schema::chain(&error);
        let silent = format!("{mute}: it took the connection and is silent");
        for part in ["connect to https://a.example: ", &silent, "127.0.0.1:1: "] {
            assert!(text.contains(part), "{text}");
        }
        let waited = begun.elapsed();
        assert!(waited >= TLS_SOON && waited < PATIENCE, "{waited:?}");
    }
}
