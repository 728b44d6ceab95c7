//! The API's connections: accepted, encrypted, bounded in number and time.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::Router;
use ferrite_schema::node_config::ApiConfig;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::tls::{self, Tls};

/// Most connections at a time; further ones wait in the kernel's queue.
const CONNECTIONS_MAX: usize = 64;
/// What a peer gets for its handshake, and for a request's header: an idle stranger holds nothing for long.
const PATIENCE: Duration = Duration::from_secs(15);
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

/// A server that listens.
pub struct Server {
    listener: TcpListener,
    acceptor: TlsAcceptor,
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
        Ok(Self { listener, acceptor })
    }

    /// Serves for ever.
    pub async fn serve(self, router: Router) {
        let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let mut connections = JoinSet::new();
        loop {
            // The semaphore is never closed.
            let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { return };
            tokio::select! {
                accepted = self.listener.accept() => match accepted {
                    Ok((stream, peer)) => {
                        let (acceptor, router) = (self.acceptor.clone(), router.clone());
                        connections.spawn(connection(stream, peer, acceptor, router, slot));
                    }
                    Err(error) => {
                        tracing::warn!(%error, "api-accept-failed");
                        tokio::time::sleep(REFUSED_DELAY).await;
                    }
                },
                Some(_) = connections.join_next() => {}
            }
        }
    }
}

async fn connection(
    stream: TcpStream,
    peer: SocketAddr,
    acceptor: TlsAcceptor,
    router: Router,
    _slot: OwnedSemaphorePermit,
) {
    let nodelay = stream.set_nodelay(true);
    let stream = match tokio::time::timeout(PATIENCE, acceptor.accept(stream)).await {
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
    let served = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(PATIENCE)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router))
        .with_upgrades()
        .await;
    if let (Err(error), _) = (served, nodelay) {
        tracing::debug!(%peer, %error, "api-connection-ended");
    }
}
