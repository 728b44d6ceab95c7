//! How a node is reached: at an address, or at one of several of a cluster's.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use rustix::net::sockopt;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::error::ClientError;
use crate::context::Context;

/// Silence after which TCP asks whether the node still lives, so that following a dead node's log ends.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(15);
/// What a node gets to show who it is before another one is tried beside it.
const HEAD_START: Duration = Duration::from_secs(3);

/// Bytes both ways.
pub(super) trait Bytes: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Bytes for T {}

/// A connection on which a node has shown who it is.
pub(super) struct Reached {
    pub(super) stream: Box<dyn Bytes>,
    /// Which of the places it is; 0 behind a tunnel.
    pub(super) place: usize,
    /// What the request's `Host` is.
    pub(super) host: String,
}

/// Addresses of one node, or of several nodes of a cluster that are as good as one another.
#[derive(Debug)]
pub(super) struct Places {
    all: Vec<Place>,
    /// The one that answered last.
    last: AtomicUsize,
}

/// An address.
#[derive(Debug)]
struct Place {
    host: String,
    port: u16,
    server_name: ServerName<'static>,
}

impl fmt::Display for Place {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(out, "[{}]:{}", self.host, self.port),
            false => write!(out, "{}:{}", self.host, self.port),
        }
    }
}

impl Places {
    /// The addresses of a context.
    pub(super) fn of(context: &Context) -> Result<Self, ClientError> {
        let place = |endpoint: &String| {
            let bad = || ClientError::Address { endpoint: endpoint.clone() };
            let (host, port) = address(endpoint).ok_or_else(bad)?;
            let server_name = ServerName::try_from(host.clone()).map_err(|_invalid| bad())?;
            Ok(Place { host, port, server_name })
        };
        let endpoints = [&context.endpoint].into_iter().chain(&context.further);
        let all = endpoints.map(place).collect::<Result<_, ClientError>>()?;
        Ok(Self { all, last: AtomicUsize::new(0) })
    }

    /// How many there are.
    pub(super) const fn count(&self) -> usize {
        self.all.len()
    }

    /// The address as it is shown.
    pub(super) fn name_of(&self, place: usize) -> String {
        self.all.get(place).map(ToString::to_string).unwrap_or_default()
    }

    /// Reaches one of them that is not in `avoid`: the one that answered last, and the others where that one fails, or beside it
    /// where it takes long.
    pub(super) async fn reach(
        &self,
        node: &str,
        tls: &Arc<ClientConfig>,
        avoid: &[usize],
    ) -> Result<Reached, ClientError> {
        let last = self.last.load(Ordering::Relaxed);
        let order = (0..self.all.len()).map(|step| (last + step) % self.all.len().max(1));
        let mut left = order.filter(|place| !avoid.contains(place));
        let start = |place: usize| async move { (place, self.knock(node, tls, place).await) };
        let mut knocks = FuturesUnordered::new();
        knocks.extend(left.next().map(start));
        let mut failures = Vec::new();
        while !knocks.is_empty() {
            let head_start = tokio::time::sleep(HEAD_START);
            tokio::select! {
                Some((place, knocked)) = knocks.next() => match knocked {
                    Ok(reached) => {
                        self.last.store(place, Ordering::Relaxed);
                        return Ok(reached);
                    }
                    Err(failure) => {
                        failures.push(failure);
                        knocks.extend(left.next().map(start));
                    }
                },
                () = head_start => knocks.extend(left.next().map(start)),
            }
        }
        match (failures.pop(), failures.is_empty()) {
            (Some(only), true) => Err(only),
            (last, _) => {
                failures.extend(last);
                let tried = failures.iter().map(|failure| ferrite_schema::chain(failure));
                Err(ClientError::Unreached { node: node.to_owned(), tried: tried.collect() })
            }
        }
    }

    async fn knock(
        &self,
        node: &str,
        tls: &Arc<ClientConfig>,
        place: usize,
    ) -> Result<Reached, ClientError> {
        let Some(at) = self.all.get(place) else {
            return Err(ClientError::Unreached { node: node.to_owned(), tried: Vec::new() });
        };
        let host = at.to_string();
        let connect = |source| ClientError::Connect {
            node: node.to_owned(),
            address: at.to_string(),
            source,
        };
        let tcp = TcpStream::connect((at.host.as_str(), at.port)).await.map_err(connect)?;
        tcp.set_nodelay(true).map_err(connect)?;
        sockopt::set_socket_keepalive(&tcp, true).map_err(|error| connect(error.into()))?;
        sockopt::set_tcp_keepidle(&tcp, KEEPALIVE_IDLE).map_err(|error| connect(error.into()))?;
        let stream = shaken(node, &host, tls, at.server_name.clone(), tcp).await?;
        Ok(Reached { stream, place, host })
    }
}

/// Begins TLS, by which the other side shows who it is.
pub(super) async fn shaken(
    node: &str,
    address: &str,
    tls: &Arc<ClientConfig>,
    name: ServerName<'static>,
    inner: impl Bytes + 'static,
) -> Result<Box<dyn Bytes>, ClientError> {
    let handshake = |source: io::Error| ClientError::Handshake {
        node: node.to_owned(),
        address: address.to_owned(),
        source,
    };
    let stream = TlsConnector::from(Arc::clone(tls)).connect(name, inner).await;
    Ok(Box::new(stream.map_err(handshake)?))
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
