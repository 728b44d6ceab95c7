//! The name servers that know everything else.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

use super::health::Health;
use super::message::{self, Query};
use super::worth::Worth;
use crate::resolv_conf::ResolvConf;

/// How long a server has to answer; then the next one is asked.
const ANSWER_MAX: Duration = Duration::from_secs(2);
/// Servers that are asked.
const SERVERS_MAX: usize = 3;
/// Longest answer in a packet: what clients ask for with EDNS is less.
const PACKET_MAX_BYTES: usize = 4096;
const PORT: u16 = 53;

/// Where the servers are.
#[derive(Debug, Default)]
pub(crate) struct Upstream {
    /// Those of the node's configuration; they win.
    configured: Vec<IpAddr>,
    /// The file with those of the node's leases.
    resolv_conf: PathBuf,
    /// The resolver's own addresses, which it must not ask.
    own: Vec<IpAddr>,
    /// Which of them answer packets, and which connections: many that are well take none.
    packets: Mutex<Health>,
    connections: Mutex<Health>,
}

/// How servers are asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Transport {
    /// By UDP.
    Packet,
    /// By TCP.
    Connection,
}

/// What a server said, about this question.
struct Said {
    worth: Worth,
    message: Vec<u8>,
}

impl Upstream {
    /// Servers of the configuration, or else those in a file, but never the resolver's own addresses.
    pub(crate) fn new(configured: Vec<IpAddr>, resolv_conf: PathBuf, own: Vec<IpAddr>) -> Self {
        Self { configured, resolv_conf, own, ..Self::default() }
    }

    pub(super) fn servers(&self) -> Vec<SocketAddr> {
        let found = if self.configured.is_empty() {
            let text = std::fs::read_to_string(&self.resolv_conf).unwrap_or_default();
            ResolvConf::parse(&text).servers
        } else {
            self.configured.clone()
        };
        let others = found.into_iter().filter(|server| !self.own.contains(server));
        others.take(SERVERS_MAX).map(|server| SocketAddr::new(server, PORT)).collect()
    }

    /// Asks by UDP, one server after the other.
    pub(super) async fn ask_by_packet(&self, query: &Query, packet: &[u8]) -> Option<Vec<u8>> {
        self.ask(&self.servers(), Transport::Packet, query, packet).await
    }

    /// Asks by TCP.
    pub(super) async fn ask_by_connection(&self, query: &Query, packet: &[u8]) -> Option<Vec<u8>> {
        self.ask(&self.servers(), Transport::Connection, query, packet).await
    }

    /// Asks these servers until one has an answer. Where none has, the first failure is the answer; nothing where all are
    /// silent. Those that will say the same again are not asked again.
    pub(super) async fn ask(
        &self,
        servers: &[SocketAddr],
        transport: Transport,
        query: &Query,
        packet: &[u8],
    ) -> Option<Vec<u8>> {
        let mut left = self.health(transport).ordered(servers, Instant::now());
        let mut failure = None;
        for _round in 0..transport.rounds() {
            let mut again = Vec::new();
            for server in left {
                let asked = Instant::now();
                let said = timeout(ANSWER_MAX, transport.ask(server, query, packet)).await;
                let Ok(Ok(said)) = said else {
                    self.health(transport).silent(server, asked, Instant::now());
                    again.push(server);
                    continue;
                };
                self.health(transport).heard(server, Instant::now());
                match said.worth {
                    Worth::Answer => return Some(said.message),
                    Worth::Failure { lasts } => {
                        failure.get_or_insert(said.message);
                        if !lasts {
                            again.push(server);
                        }
                    }
                }
            }
            left = again;
        }
        failure.map(|failure| query.failure(&failure))
    }

    fn health(&self, transport: Transport) -> MutexGuard<'_, Health> {
        let health = match transport {
            Transport::Packet => &self.packets,
            Transport::Connection => &self.connections,
        };
        health.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Transport {
    /// How often each server is asked: a packet may be lost, and a connection sees to that itself.
    const fn rounds(self) -> usize {
        match self {
            Self::Packet => 2,
            Self::Connection => 1,
        }
    }

    async fn ask(self, server: SocketAddr, query: &Query, packet: &[u8]) -> io::Result<Said> {
        match self {
            Self::Packet => by_packet(server, query, packet).await,
            Self::Connection => by_connection(server, query, packet).await,
        }
    }
}

/// A question goes out from a port and with an ID that nobody can guess; an answer to another is not one.
async fn by_packet(server: SocketAddr, query: &Query, packet: &[u8]) -> io::Result<Said> {
    let any: IpAddr = match server {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(server).await?;
    let id = random_id()?;
    let mut packet = packet.to_vec();
    message::set_id(&mut packet, id);
    socket.send(&packet).await?;
    let mut answer = vec![0; PACKET_MAX_BYTES + 1];
    loop {
        let length = socket.recv(&mut answer).await?;
        let Some(worth) = query.worth(answer.get(..length).unwrap_or_default(), id) else {
            continue;
        };
        if length > PACKET_MAX_BYTES {
            return Ok(Said { worth, message: query.too_long(&answer) });
        }
        answer.truncate(length);
        message::set_id(&mut answer, query.id);
        return Ok(Said { worth, message: answer });
    }
}

async fn by_connection(server: SocketAddr, query: &Query, packet: &[u8]) -> io::Result<Said> {
    let mut stream = TcpStream::connect(server).await?;
    let length = u16::try_from(packet.len()).map_err(|_too_long| io::ErrorKind::InvalidInput)?;
    stream.write_all(&[&length.to_be_bytes()[..], packet].concat()).await?;
    let length = stream.read_u16().await?;
    let mut answer = vec![0; usize::from(length)];
    stream.read_exact(&mut answer).await?;
    let worth = query.worth(&answer, query.id).ok_or(io::ErrorKind::InvalidData)?;
    Ok(Said { worth, message: answer })
}

fn random_id() -> io::Result<u16> {
    let mut bytes = [0; 2];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())?;
    Ok(u16::from_ne_bytes(bytes))
}
