//! The name servers that know everything else.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

use super::message::{self, Query};

/// How long a server has to answer; then the next one is asked.
const ANSWER_MAX: Duration = Duration::from_secs(2);
/// How often each server is asked.
const ROUNDS: usize = 2;
/// Servers that are asked.
const SERVERS_MAX: usize = 3;
/// Longest answer in a packet: what clients ask for with EDNS is less.
const PACKET_MAX_BYTES: usize = 4096;
const PORT: u16 = 53;

/// Where the servers are.
#[derive(Debug, Clone)]
pub(crate) struct Upstream {
    /// Those of the node's configuration; they win.
    pub(crate) configured: Vec<IpAddr>,
    /// The file with those of the node's leases.
    pub(crate) resolv_conf: PathBuf,
    /// The resolver's own addresses, which it must not ask.
    pub(crate) own: Vec<IpAddr>,
}

impl Upstream {
    fn servers(&self) -> Vec<SocketAddr> {
        let found = if self.configured.is_empty() {
            name_servers(&std::fs::read_to_string(&self.resolv_conf).unwrap_or_default())
        } else {
            self.configured.clone()
        };
        let others = found.into_iter().filter(|server| !self.own.contains(server));
        others.take(SERVERS_MAX).map(|server| SocketAddr::new(server, PORT)).collect()
    }

    /// Asks by UDP, one server after the other.
    pub(super) async fn ask_by_packet(&self, query: &Query, packet: &[u8]) -> Option<Vec<u8>> {
        let servers = self.servers();
        for server in std::iter::repeat_n(&servers, ROUNDS).flatten() {
            if let Ok(Ok(answer)) = timeout(ANSWER_MAX, by_packet(*server, query, packet)).await {
                return Some(answer);
            }
        }
        None
    }

    /// Asks by TCP.
    pub(super) async fn ask_by_connection(&self, query: &Query, packet: &[u8]) -> Option<Vec<u8>> {
        for server in self.servers() {
            if let Ok(Ok(answer)) = timeout(ANSWER_MAX, by_connection(server, query, packet)).await
            {
                return Some(answer);
            }
        }
        None
    }
}

/// The servers of a `resolv.conf(5)`.
fn name_servers(text: &str) -> Vec<IpAddr> {
    let server = |line: &str| {
        let mut words = line.split_whitespace();
        (words.next() == Some("nameserver")).then(|| words.next()?.parse().ok()).flatten()
    };
    text.lines().filter_map(server).collect()
}

/// A question goes out from a port and with an ID that nobody can guess; an answer to another is not one.
async fn by_packet(server: SocketAddr, query: &Query, packet: &[u8]) -> io::Result<Vec<u8>> {
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
    let mut answer = vec![0; PACKET_MAX_BYTES];
    loop {
        let length = socket.recv(&mut answer).await?;
        if query.is_answered_by(answer.get(..length).unwrap_or_default(), id) {
            answer.truncate(length);
            message::set_id(&mut answer, query.id);
            return Ok(answer);
        }
    }
}

async fn by_connection(server: SocketAddr, query: &Query, packet: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(server).await?;
    let length = u16::try_from(packet.len()).map_err(|_too_long| io::ErrorKind::InvalidInput)?;
    stream.write_all(&[&length.to_be_bytes()[..], packet].concat()).await?;
    let length = stream.read_u16().await?;
    let mut answer = vec![0; usize::from(length)];
    stream.read_exact(&mut answer).await?;
    let fits = query.is_answered_by(&answer, query.id);
    if fits { Ok(answer) } else { Err(io::ErrorKind::InvalidData.into()) }
}

fn random_id() -> io::Result<u16> {
    let mut bytes = [0; 2];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())?;
    Ok(u16::from_ne_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::super::answer::{Code, Reply};
    use super::*;

    #[test]
    fn servers_are_read_and_never_the_resolver_itself() {
        let text = "# x\nnameserver 10.0.2.3\nsearch a\nnameserver fd00::3\nnameserver what\n\
            nameserver 10.120.0.1\nnameserver 1.1.1.1\nnameserver 2.2.2.2\n";
        let folder = tempfile::tempdir().unwrap();
        let resolv_conf = folder.path().join("resolv.conf");
        std::fs::write(&resolv_conf, text).unwrap();
        let own = vec!["10.120.0.1".parse().unwrap()];
        let upstream = Upstream { configured: vec![], resolv_conf, own };
        let found: Vec<String> =
            upstream.servers().iter().map(|server| server.ip().to_string()).collect();
        assert_eq!(found, ["10.0.2.3", "fd00::3", "1.1.1.1"]);
        let configured = vec!["9.9.9.9".parse().unwrap()];
        assert_eq!(Upstream { configured, ..upstream }.servers().len(), 1);
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_forged_answer_is_not_taken() {
        let server = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = server.local_addr().unwrap();
        let packet = message::ask(77, "example.org", message::A);
        let query = message::parse(&packet).unwrap();
        let write = |code, query: &Query| Reply::problem(code).write(query, 512);
        let serve = async {
            let mut buffer = [0; 512];
            let (length, client) = server.recv_from(&mut buffer).await.unwrap();
            let asked = message::parse(&buffer[..length]).unwrap();
            let mut forged = write(Code::Fine, &asked);
            message::set_id(&mut forged, asked.id.wrapping_add(1));
            server.send_to(&forged, client).await.unwrap();
            let true_one = write(Code::NoSuchName, &asked);
            server.send_to(&true_one, client).await.unwrap();
        };
        let (answer, ()) = tokio::join!(by_packet(address, &query, &packet), serve);
        assert_eq!(answer.unwrap(), write(Code::NoSuchName, &query));
    }
}
