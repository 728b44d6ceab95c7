//! The API's connections: accepted, encrypted, bounded in number and time.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::http::{Request, StatusCode};
use axum::response::IntoResponse;
use axum::{Extension, Router};
use ferrite_cluster::protocol;
use ferrite_schema::cluster::{MachineId, Role};
use ferrite_schema::join::{PROTOCOL, REQUEST_MAX_BYTES};
use ferrite_schema::node_config::ApiConfig;
use hyper::body::Incoming;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use rustix::net::sockopt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, SemaphorePermit, mpsc, watch};
use tokio::task::{AbortHandle, JoinSet};
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::TlsStream;

use super::cutting::{Cut, Revoked};
use super::error::Failure;
use super::peer::{self, Peer, Terms, Unwelcome};
use super::tls::{self, Doors, Tls};
use super::waiting::{Hall, Source};

/// Most connections of peers that have shown a certificate; a few more wait for a place.
const CONNECTIONS_MAX: usize = 64;
/// Most peers with a certificate that wait for a place.
const QUEUE_MAX: usize = 64;
/// What a peer gets for its whole handshake, however it spends it; for a place; and for a request's header.
const PATIENCE: Duration = Duration::from_secs(15);
/// When a connection on which nothing comes is asked whether somebody is there, and how often: a computer that sleeps
/// or was unplugged says nothing, and its place is another's.
const ALIVE_AFTER: Duration = Duration::from_secs(60);
const ALIVE_EVERY: Duration = Duration::from_secs(10);
const ALIVE_TIMES: u32 = 6;
/// What is sent and not acknowledged for so long ends the connection.
const UNACKNOWLEDGED_MAX_MS: u32 = 120_000;
/// What the answers that are on their way get after the server was told to end; streams without end are cut then.
const FAREWELL: Duration = Duration::from_secs(1);
/// Delay after the kernel refused a connection, for want of file descriptors for example.
const REFUSED_DELAY: Duration = Duration::from_millis(100);
/// Most that is held of a request to join before it is read: its header, and its body once more.
const JOIN_BUFFER_BYTES: usize = 8192 + REQUEST_MAX_BYTES;

/// The API cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum Serve {
    /// The certificates are of no use.
    #[error(transparent)]
    Tls(#[from] Tls),
    /// The port is taken.
    #[error("listen on port {port}")]
    Listen {
        /// The port.
        port: u16,
        /// Why.
        source: io::Error,
    },
}

/// Word that the server is to end.
#[derive(Debug, Clone)]
pub struct Ending(watch::Receiver<bool>);

impl Ending {
    /// With it comes what sends the word.
    #[must_use]
    pub fn new() -> (watch::Sender<bool>, Self) {
        let (sender, receiver) = watch::channel(false);
        (sender, Self(receiver))
    }

    /// Waits for the word; nobody left to send it is one, too.
    pub async fn comes(&mut self) {
        self.0.wait_for(|ends| *ends).await.ok();
    }
}

/// A server that listens.
pub struct Server {
    listener: TcpListener,
    doors: watch::Receiver<Option<Doors>>,
    /// What answers machines that want to join the cluster.
    lets_in: Option<Router>,
    /// Who speaks to nodes of the same cluster.
    nodes: Option<mpsc::Sender<Visitor>>,
    /// Certificates that open nothing any more.
    revoked: Option<Revoked>,
    patience: Duration,
}

/// A node of the same cluster that has come.
#[derive(Debug)]
pub struct Visitor {
    /// The connection.
    pub stream: Box<TlsStream<TcpStream>>,
    /// Who it is, by its certificate.
    pub machine: MachineId,
    /// Serial number of that, as hexadecimal digits.
    pub serial: String,
    /// Where it comes from.
    pub address: SocketAddr,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Server").field("listener", &self.listener).finish_non_exhaustive()
    }
}

impl Server {
    /// What a person should know of the configured certificates' dates.
    #[must_use]
    pub fn doubts(api: &ApiConfig) -> Vec<String> {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        tls::doubts(api, since.as_secs())
    }

    /// Listens on all addresses, also those that the machine does not have yet. Who comes while there are no doors is sent
    /// away; connections that stand are not touched when they change.
    ///
    /// # Errors
    /// The port is taken.
    pub async fn listen(doors: watch::Receiver<Option<Doors>>, port: u16) -> Result<Self, Serve> {
        // `[::]` takes IPv4 too, unless the kernel has no IPv6.
        let listener =
            match TcpListener::bind(SocketAddr::from((Ipv6Addr::UNSPECIFIED, port))).await {
                Ok(listener) => listener,
                Err(_) => TcpListener::bind(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)))
                    .await
                    .map_err(|source| Serve::Listen { port, source })?,
            };
        Ok(Self { listener, doors, lets_in: None, nodes: None, revoked: None, patience: PATIENCE })
    }

    /// On a free port of loopback, for tests of what is behind it.
    #[cfg(test)]
    pub(crate) async fn listen_on_loopback(
        doors: watch::Receiver<Option<Doors>>,
    ) -> (Self, SocketAddr) {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (lets_in, nodes, revoked) = (None, None, None);
        (Self { listener, doors, lets_in, nodes, revoked, patience: PATIENCE }, address)
    }

    /// Machines that want to join the cluster are answered by `router` (`ferrite-join/1`). It is asked by strangers.
    #[must_use]
    pub fn letting_in(self, router: Router) -> Self {
        Self { lets_in: Some(router), ..self }
    }

    /// Nodes of the same cluster (`ferrite-node/1`) are handed to the other end of `nodes`.
    #[must_use]
    pub fn meeting(self, nodes: mpsc::Sender<Visitor>) -> Self {
        Self { nodes: Some(nodes), ..self }
    }

    /// Who shows one of these certificates is sent away, also in the middle of something. Nodes are told so by whoever meets them.
    #[must_use]
    pub fn refusing(self, revoked: Revoked) -> Self {
        Self { revoked: Some(revoked), ..self }
    }

    /// Serves until `ending` comes: who asked for the end hears that it comes.
    pub async fn serve(self, router: Router, mut ending: Ending) {
        let desk = Arc::new(Desk {
            ending: ending.clone(),
            doors: self.doors,
            lets_in: self.lets_in,
            nodes: self.nodes,
            revoked: self.revoked,
            router,
            patience: self.patience,
            waiting: Mutex::default(),
            places: Semaphore::new(CONNECTIONS_MAX),
            queue: Semaphore::new(QUEUE_MAX),
        });
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                accepted = self.listener.accept() => match accepted {
                    Ok((stream, peer)) => {
                        desk.waits(peer, |number| {
                            connections.spawn(connection(stream, peer, Arc::clone(&desk), number))
                        });
                        // What it has said already is heard before the next one comes, who may push out one that is silent.
                        tokio::task::yield_now().await;
                    }
                    Err(error) => {
                        tracing::warn!(%error, "api-accept-failed");
                        tokio::time::sleep(REFUSED_DELAY).await;
                    }
                },
                Some(_) = connections.join_next() => {}
                () = ending.comes() => break,
            }
        }
        let answered = async { while connections.join_next().await.is_some() {} };
        if tokio::time::timeout(FAREWELL, answered).await.is_err() {
            tracing::info!("api-streams-cut");
        }
    }
}

/// What connections share.
struct Desk {
    ending: Ending,
    doors: watch::Receiver<Option<Doors>>,
    lets_in: Option<Router>,
    nodes: Option<mpsc::Sender<Visitor>>,
    revoked: Option<Revoked>,
    router: Router,
    patience: Duration,
    /// Peers without a certificate so far.
    waiting: Mutex<Hall<AbortHandle>>,
    /// Of peers with one.
    places: Semaphore,
    queue: Semaphore,
}

async fn connection(stream: TcpStream, peer: SocketAddr, desk: Arc<Desk>, number: u64) {
    if let Err(error) = watch_over(&stream) {
        tracing::debug!(%peer, %error, "api-connection-not-watched");
    }
    let accepted = tokio::time::timeout(desk.patience, desk.accept(stream, peer, number)).await;
    let entrance = match accepted {
        Ok(Ok(Entrance::Join(stream, router))) => {
            // It has shown no certificate: it stays among those that have not until it is answered.
            join(stream, router, peer, desk.patience).await;
            None
        }
        Ok(Ok(Entrance::Node(visitor, nodes))) => {
            if nodes.try_send(visitor).is_err() {
                // It comes again, or goes to another one.
                tracing::warn!(%peer, "node-not-met");
            }
            None
        }
        Ok(Ok(Entrance::Api(stream, asks))) => Some((stream, asks)),
        Ok(Err(error)) => {
            tracing::info!(%peer, %error, "api-peer-refused");
            None
        }
        Err(_) => {
            tracing::info!(%peer, "api-peer-silent");
            None
        }
    };
    desk.waiting.lock().unwrap_or_else(PoisonError::into_inner).leave(number);
    if let Some((stream, asks)) = entrance {
        desk.answer(*stream, asks, peer).await;
    }
}

/// What machines are told that ask for something.
const MACHINES: &str =
    "your certificate is a machine's, and machines ask nothing of the API: take one of a user";

/// Through which door a peer has come.
enum Entrance {
    /// It has a certificate, and is welcome with it, or is not: why.
    Api(Box<TlsStream<TcpStream>>, Result<Peer, String>),
    /// It is a node of the same cluster.
    Node(Visitor, mpsc::Sender<Visitor>),
    /// It wants one.
    Join(Box<TlsStream<TcpStream>>, Router),
}

/// Answers a machine that wants in: one request, however it spends its time.
async fn join(
    stream: Box<TlsStream<TcpStream>>,
    router: Router,
    peer: SocketAddr,
    patience: Duration,
) {
    let router = TowerToHyperService::new(router.layer(Extension(peer)));
    let served = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(patience)
        .keep_alive(false)
        .max_buf_size(JOIN_BUFFER_BYTES)
        .serve_connection(TokioIo::new(stream), router);
    match tokio::time::timeout(patience, served).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%peer, %error, "join-connection-ended"),
        Err(_) => tracing::info!(%peer, "join-peer-silent"),
    }
}

/// What a peer is told that has a certificate and is not welcome.
fn unwelcome(why: &str) -> Router {
    let failure = format!("this node does not serve you: {why}");
    Router::new().fallback(async || Failure::new(StatusCode::FORBIDDEN, failure).into_response())
}

impl Desk {
    /// Takes a peer that `begin` begins to speak with among those who have said nothing; another one may have to go.
    fn waits(&self, peer: SocketAddr, begin: impl FnOnce(u64) -> AbortHandle) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let number = waiting.number();
        let end = begin(number);
        if let Some(goes) = waiting.enter(number, Source::of(peer.ip()), end) {
            goes.abort();
        }
    }

    /// A peer has said what it wants.
    fn speaks(&self, peer: SocketAddr, number: u64) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(goes) = waiting.speaks(number, Source::of(peer.ip())) {
            goes.abort();
        }
    }

    /// Lets a peer in through the door that it asks for.
    async fn accept(
        &self,
        stream: TcpStream,
        address: SocketAddr,
        number: u64,
    ) -> io::Result<Entrance> {
        let Some(doors) = self.doors.borrow().clone() else {
            return Err(io::Error::other("this node has no certificate yet"));
        };
        let start = LazyConfigAcceptor::new(rustls::server::Acceptor::default(), stream).await?;
        self.speaks(address, number);
        let offers = |protocol: &[u8]| {
            start.client_hello().alpn().is_some_and(|mut all| all.any(|one| one == protocol))
        };
        let (wants_in, is_node) = (offers(PROTOCOL), offers(protocol::PROTOCOL.as_bytes()));
        // Where the door is not there, TLS says that the protocol is not spoken.
        if let (true, Some(config), Some(router)) = (wants_in, doors.join, &self.lets_in) {
            let stream = start.into_stream(config).await.map_err(|error| {
                // Its answer to our certificate: it is of another cluster, or no machine of ours at all.
                tracing::warn!(%address, %error, "join-not-believed");
                error
            })?;
            return Ok(Entrance::Join(Box::new(stream), router.clone()));
        }
        if let (true, Some(config), Some(nodes)) = (is_node, doors.nodes, &self.nodes) {
            let stream = Box::new(start.into_stream(config).await?);
            let shown = stream.get_ref().1.peer_certificates().and_then(|all| all.first());
            let terms = Terms { without_role: None, ..doors.terms };
            let asks = peer::peer(shown.ok_or_else(|| io::Error::other("no certificate"))?, &terms)
                .map_err(io::Error::other)?;
            let (Role::Node, Some(name)) = (asks.role, asks.machine) else {
                return Err(io::Error::other("its certificate is no node's"));
            };
            let visitor = Visitor { stream, machine: name.machine, serial: asks.serial, address };
            return Ok(Entrance::Node(visitor, nodes.clone()));
        }
        let stream = start.into_stream(doors.api).await?;
        let shown = stream.get_ref().1.peer_certificates().and_then(|all| all.first());
        let asks = match shown {
            Some(shown) => match peer::peer(shown, &doors.terms) {
                // Nodes speak by the other door. Should one come this far, no route has anything for it.
                Ok(Peer { role: Role::Node, .. }) => Err(MACHINES.to_owned()),
                Ok(peer) if self.is_revoked(&peer.serial) => Err(Unwelcome::Revoked.to_string()),
                found => found.map_err(|error| ferrite_schema::chain(&error)),
            },
            None => Err("you have shown no certificate".to_owned()),
        };
        Ok(Entrance::Api(Box::new(stream), asks))
    }

    fn is_revoked(&self, serial: &str) -> bool {
        self.revoked.as_ref().is_some_and(|all| all.borrow().contains(serial))
    }

    /// Answers the requests of a peer with a certificate.
    async fn answer(
        &self,
        stream: TlsStream<TcpStream>,
        asks: Result<Peer, String>,
        peer: SocketAddr,
    ) {
        let Some(_place) = self.place().await else {
            tracing::warn!(%peer, connections = CONNECTIONS_MAX, "api-full");
            return;
        };
        let router = match &asks {
            Ok(_) => self.router.clone(),
            Err(why) => {
                tracing::info!(%peer, why, "api-peer-unwelcome");
                unwelcome(why)
            }
        };
        let serial = asks.as_ref().map(|peer| peer.serial.clone()).unwrap_or_default();
        let stream = Cut::when_revoked(stream, serial, self.revoked.clone());
        let router = TowerToHyperService::new(router);
        let service = service_fn(move |mut request: Request<Incoming>| {
            if let Ok(asks) = &asks {
                request.extensions_mut().insert(asks.clone());
            }
            router.call(request)
        });
        let served = hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.patience)
            .serve_connection(TokioIo::new(stream), service)
            .with_upgrades();
        tokio::pin!(served);
        let mut ending = self.ending.clone();
        let served = tokio::select! {
            served = &mut served => served,
            () = ending.comes() => {
                served.as_mut().graceful_shutdown();
                served.await
            }
        };
        if let Err(error) = served {
            tracing::debug!(%peer, %error, "api-connection-ended");
        }
    }

    /// A place for a peer with a certificate, which may have to wait for it.
    async fn place(&self) -> Option<SemaphorePermit<'_>> {
        if let Ok(place) = self.places.try_acquire() {
            return Some(place);
        }
        let _queued = self.queue.try_acquire().ok()?;
        tokio::time::timeout(self.patience, self.places.acquire()).await.ok()?.ok()
    }
}

/// Ends the connection when nobody is at its other end any more.
pub(crate) fn watch_over(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    sockopt::set_socket_keepalive(stream, true)?;
    sockopt::set_tcp_keepidle(stream, ALIVE_AFTER)?;
    sockopt::set_tcp_keepintvl(stream, ALIVE_EVERY)?;
    sockopt::set_tcp_keepcnt(stream, ALIVE_TIMES)?;
    sockopt::set_tcp_user_timeout(stream, UNACKNOWLEDGED_MAX_MS)?;
    Ok(())
}

#[cfg(test)]
mod tests;
