//! Names for units: a resolver on the bridge's addresses.
//!
//! *Responsible for*: units, the cluster's services and its machines by name and address; everything else is asked of the node's name servers.
//! *Never does*: keep answers of others, or answer anybody who is not on the bridge (the packet filter sees to
//! that). Whatever comes in is hostile: what is in work is bounded for each client and in total, and what is
//! beyond is dropped, since a client asks again.

mod answer;
mod catalogue;
mod clients;
#[cfg(test)]
mod dig;
mod health;
mod message;
mod names;
pub mod naming;
#[cfg(test)]
mod reading;
#[cfg(test)]
mod services_tests;
mod upstream;
#[cfg(test)]
mod upstream_tests;
mod worth;
mod writing;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use answer::{Code, Reply};
use clients::{Clients, Turn};
use message::Query;
use names::Answer;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::task::JoinSet;
use tokio::time::timeout;
use writing::CONNECTION_MAX_BYTES;

use crate::news::Teller;

pub(super) use catalogue::Catalogue;
pub(super) use names::Names;
pub(super) use upstream::Upstream;

/// Port of DNS.
const PORT: u16 = 53;
/// Longest query: a question and a few options fit many times over.
const QUERY_MAX_BYTES: usize = 2048;
/// Longest that a connection may be silent.
const SILENCE_MAX: Duration = Duration::from_secs(5);
/// Queries in one connection.
const QUERIES_MAX: usize = 64;
/// Until a port that somebody else has is tried again.
const AGAIN: Duration = Duration::from_secs(3);
/// Rest after an error of a socket, which would otherwise come back at once.
const REST: Duration = Duration::from_millis(100);

/// What all queries share.
#[derive(Debug)]
pub(super) struct Resolver {
    pub(super) names: Arc<Mutex<Names>>,
    pub(super) upstream: Upstream,
    clients: Clients,
}

impl Resolver {
    pub(super) fn new(names: Arc<Mutex<Names>>, upstream: Upstream) -> Self {
        Self { names, upstream, clients: Clients::default() }
    }

    fn look_up(&self, query: &Query) -> Answer {
        let names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        match look_up(&names, query) {
            Answer::Own(mut reply) => {
                reply.shuffle(seed());
                Answer::Own(reply)
            }
            Answer::AskOthers => Answer::AskOthers,
        }
    }
}

fn look_up(names: &Names, query: &Query) -> Answer {
    match query.problem {
        Some(code) => Answer::Own(Reply::problem(code)),
        None => names.answer(query),
    }
}

/// What one question is answered from these names, by a packet or over a connection: none where it deserves none, and in it
/// none where others are asked.
pub(super) fn answer_to(names: &Names, asked: &[u8], connection: bool) -> Option<Option<Vec<u8>>> {
    if asked.len() > QUERY_MAX_BYTES {
        return None;
    }
    let query = message::parse(asked)?;
    let most = if connection { CONNECTION_MAX_BYTES } else { query.packet_max_bytes() };
    match look_up(names, &query) {
        Answer::Own(reply) => Some(Some(reply.write(&query, most))),
        Answer::AskOthers => Some(None),
    }
}

/// Anything. Without any the order of records is always the same, which is no harm.
fn seed() -> u64 {
    let mut bytes = [0; 8];
    let _filled = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::NONBLOCK);
    u64::from_ne_bytes(bytes)
}

/// Answers on these addresses, and comes back to those that somebody else has for now. Never ends.
pub(super) async fn serve(resolver: Arc<Resolver>, addresses: &[IpAddr], teller: &Teller) {
    let mut tasks = JoinSet::new();
    for address in addresses {
        let place = SocketAddr::from((*address, PORT));
        let (own, told) = (Arc::clone(&resolver), teller.clone());
        tasks.spawn(async move {
            let socket = hold(place, "udp", &told, || UdpSocket::bind(place)).await;
            serve_packets(own, Arc::new(socket)).await;
        });
        let (own, told) = (Arc::clone(&resolver), teller.clone());
        tasks.spawn(async move {
            let listener = hold(place, "tcp", &told, || TcpListener::bind(place)).await;
            serve_connections(own, listener).await;
        });
    }
    while tasks.join_next().await.is_some() {}
}

/// Gets a socket, as soon as it can be had; meanwhile people are told that there is none.
async fn hold<Socket, Bound: Future<Output = io::Result<Socket>>>(
    place: SocketAddr,
    protocol: &str,
    teller: &Teller,
    bind: impl Fn() -> Bound,
) -> Socket {
    let about = format!("units' names {place}/{protocol}");
    let mut told = None;
    loop {
        match bind().await {
            Ok(socket) => {
                if told.is_some() {
                    teller.stand(about, None);
                }
                return socket;
            }
            Err(error) => {
                let why = match error.kind() {
                    io::ErrorKind::AddrInUse => {
                        "a unit with the node's network has the port; it is tried again".to_owned()
                    }
                    _ => error.to_string(),
                };
                let warning = format!("units get no names from {place}/{protocol}: {why}");
                if told.as_ref() != Some(&warning) {
                    told = Some(warning.clone());
                    teller.stand(about.clone(), Some(warning));
                }
                tokio::time::sleep(AGAIN).await;
            }
        }
    }
}

async fn serve_packets(resolver: Arc<Resolver>, socket: Arc<UdpSocket>) {
    let mut asked = JoinSet::new();
    let mut buffer = vec![0; QUERY_MAX_BYTES];
    loop {
        let received = tokio::select! {
            received = socket.recv_from(&mut buffer) => received,
            Some(_) = asked.join_next() => continue,
        };
        let Ok((length, client)) = received else {
            tokio::time::sleep(REST).await;
            continue;
        };
        let packet = buffer.get(..length).unwrap_or_default();
        let Some(query) = message::parse(packet) else { continue };
        match resolver.look_up(&query) {
            Answer::Own(reply) => {
                let answer = reply.write(&query, query.packet_max_bytes());
                // A client that cannot be reached asks again or is gone.
                drop(socket.try_send_to(&answer, client));
            }
            Answer::AskOthers => {
                let Some(turn) = resolver.clients.query(client.ip()) else { continue };
                let forward = Forward { query, packet: packet.to_vec(), client, _turn: turn };
                asked.spawn(forward.work(Arc::clone(&resolver), Arc::clone(&socket)));
            }
        }
    }
}

/// A question that is asked of others.
struct Forward {
    query: Query,
    packet: Vec<u8>,
    client: SocketAddr,
    _turn: Turn,
}

impl Forward {
    async fn work(self, resolver: Arc<Resolver>, socket: Arc<UdpSocket>) {
        let answer = resolver.upstream.ask_by_packet(&self.query, &self.packet).await;
        let failed =
            || Reply::problem(Code::ServerFailed).write(&self.query, self.query.packet_max_bytes());
        let answer = answer.unwrap_or_else(failed);
        drop(socket.send_to(&answer, self.client).await);
    }
}

async fn serve_connections(resolver: Arc<Resolver>, listener: TcpListener) {
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next() => continue,
        };
        let Ok((stream, client)) = accepted else {
            tokio::time::sleep(REST).await;
            continue;
        };
        if let Some(turn) = resolver.clients.connection(client.ip()) {
            connections.spawn(serve_connection(Arc::clone(&resolver), stream, turn));
        }
    }
}

async fn serve_connection(resolver: Arc<Resolver>, mut stream: TcpStream, _turn: Turn) {
    for _ in 0..QUERIES_MAX {
        let Ok(Ok(packet)) = timeout(SILENCE_MAX, read_query(&mut stream)).await else { return };
        let Some(query) = message::parse(&packet) else { return };
        let answer = match resolver.look_up(&query) {
            Answer::Own(reply) => Some(reply.write(&query, CONNECTION_MAX_BYTES)),
            Answer::AskOthers => resolver.upstream.ask_by_connection(&query, &packet).await,
        };
        let failed = || Reply::problem(Code::ServerFailed).write(&query, CONNECTION_MAX_BYTES);
        let answer = answer.unwrap_or_else(failed);
        let Ok(length) = u16::try_from(answer.len()) else { return };
        let bytes = [&length.to_be_bytes()[..], &answer].concat();
        let Ok(Ok(())) = timeout(SILENCE_MAX, stream.write_all(&bytes)).await else { return };
    }
}

async fn read_query(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let length = usize::from(stream.read_u16().await?);
    if length > QUERY_MAX_BYTES {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut packet = vec![0; length];
    stream.read_exact(&mut packet).await?;
    Ok(packet)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::news::{self, News};

    #[tokio::test]
    async fn a_port_that_is_free_again_is_taken() {
        let other = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let place = other.local_addr().unwrap();
        let (teller, mut news) = news::channel();
        let held =
            tokio::spawn(
                async move { hold(place, "udp", &teller, || UdpSocket::bind(place)).await },
            );
        let Some(News::Standing { warning: Some(warning), .. }) = news.recv().await else {
            panic!("nothing said")
        };
        assert!(warning.contains("has the port"), "{warning}");
        drop(other);
        let socket = held.await.unwrap();
        assert_eq!(socket.local_addr().unwrap(), place);
        assert!(matches!(news.recv().await, Some(News::Standing { warning: None, .. })));
    }
}
