//! The API's connections: accepted, encrypted, bounded in number and time.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::Router;
use ferrite_schema::node_config::ApiConfig;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use rustix::net::sockopt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, SemaphorePermit, watch};
use tokio::task::{AbortHandle, JoinSet};
use tokio_rustls::TlsAcceptor;

use super::tls::{self, Tls};
use super::waiting::{Source, Waiting};

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
    acceptor: TlsAcceptor,
    patience: Duration,
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

    /// Listens on all addresses, also those that the machine does not have yet.
    ///
    /// # Errors
    /// The configuration is of no use, or the port is taken.
    pub async fn listen(api: &ApiConfig, port: u16) -> Result<Self, Serve> {
        let acceptor = TlsAcceptor::from(tls::server_config(api)?);
        // `[::]` takes IPv4 too, unless the kernel has no IPv6.
        let listener =
            match TcpListener::bind(SocketAddr::from((Ipv6Addr::UNSPECIFIED, port))).await {
                Ok(listener) => listener,
                Err(_) => TcpListener::bind(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)))
                    .await
                    .map_err(|source| Serve::Listen { port, source })?,
            };
        Ok(Self { listener, acceptor, patience: PATIENCE })
    }

    /// Serves until `ending` comes: who asked for the end hears that it comes.
    pub async fn serve(self, router: Router, mut ending: Ending) {
        let desk = Arc::new(Desk {
            ending: ending.clone(),
            acceptor: self.acceptor,
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
                        let mut waiting = desk.waiting.lock().unwrap_or_else(PoisonError::into_inner);
                        let number = waiting.number();
                        let connection = connection(stream, peer, Arc::clone(&desk), number);
                        let end = connections.spawn(connection);
                        if let Some(goes) = waiting.enter(number, Source::of(peer.ip()), end) {
                            goes.abort();
                        }
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
    acceptor: TlsAcceptor,
    router: Router,
    patience: Duration,
    /// Peers without a certificate so far.
    waiting: Mutex<Waiting<AbortHandle>>,
    /// Of peers with one.
    places: Semaphore,
    queue: Semaphore,
}

async fn connection(stream: TcpStream, peer: SocketAddr, desk: Arc<Desk>, number: u64) {
    if let Err(error) = watch_over(&stream) {
        tracing::debug!(%peer, %error, "api-connection-not-watched");
    }
    let accepted = tokio::time::timeout(desk.patience, desk.acceptor.accept(stream)).await;
    desk.waiting.lock().unwrap_or_else(PoisonError::into_inner).leave(number);
    let stream = match accepted {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            tracing::info!(%peer, %error, "api-peer-refused");
            return;
        }
        Err(_) => {
            tracing::info!(%peer, "api-peer-silent");
            return;
        }
    };
    let Some(_place) = desk.place().await else {
        tracing::warn!(%peer, connections = CONNECTIONS_MAX, "api-full");
        return;
    };
    let served = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(desk.patience)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(desk.router.clone()))
        .with_upgrades();
    tokio::pin!(served);
    let mut ending = desk.ending.clone();
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

/// Ends the connection when nobody is at its other end any more.
fn watch_over(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    sockopt::set_socket_keepalive(stream, true)?;
    sockopt::set_tcp_keepidle(stream, ALIVE_AFTER)?;
    sockopt::set_tcp_keepintvl(stream, ALIVE_EVERY)?;
    sockopt::set_tcp_keepcnt(stream, ALIVE_TIMES)?;
    sockopt::set_tcp_user_timeout(stream, UNACKNOWLEDGED_MAX_MS)?;
    Ok(())
}

impl Desk {
    /// A place for a peer with a certificate, which may have to wait for it.
    async fn place(&self) -> Option<SemaphorePermit<'_>> {
        if let Ok(place) = self.places.try_acquire() {
            return Some(place);
        }
        let _queued = self.queue.try_acquire().ok()?;
        tokio::time::timeout(self.patience, self.places.acquire()).await.ok()?.ok()
    }
}

#[cfg(test)]
mod tests;
