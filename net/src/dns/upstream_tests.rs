//! Name servers of every kind on loopback, and what is heard through them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UdpSocket;
use tokio::task::JoinSet;

use super::answer::{Code, Reply};
use super::message::{self, HEADER_BYTES, Query, RESPONSE};
use super::upstream::{Transport, Upstream};

/// Less than a server has until it is taken for silent.
const AT_ONCE: Duration = Duration::from_millis(1500);
const BOTH: [Transport; 2] = [Transport::Packet, Transport::Connection];

/// What a server answers to a question, if anything.
type Answers = fn(&[u8]) -> Option<Vec<u8>>;

/// A name server that counts what it is asked.
struct Server {
    address: SocketAddr,
    asked: Arc<AtomicUsize>,
    /// It ends with this.
    _tasks: JoinSet<()>,
}

impl Server {
    async fn begin(answers: Answers) -> Self {
        let (listener, socket) = super::dig::sockets().await;
        let address = socket.local_addr().unwrap();
        let asked = Arc::new(AtomicUsize::new(0));
        let mut tasks = JoinSet::new();
        let count = Arc::clone(&asked);
        tasks.spawn(async move {
            let mut buffer = [0; 512];
            loop {
                let (length, client) = socket.recv_from(&mut buffer).await.unwrap();
                count.fetch_add(1, Ordering::Relaxed);
                if let Some(answer) = answers(&buffer[..length]) {
                    socket.send_to(&answer, client).await.unwrap();
                }
            }
        });
        let count = Arc::clone(&asked);
        tasks.spawn(async move {
            let mut silent = Vec::new();
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let length = stream.read_u16().await.unwrap();
                let mut asked = vec![0; usize::from(length)];
                stream.read_exact(&mut asked).await.unwrap();
                count.fetch_add(1, Ordering::Relaxed);
                match answers(&asked) {
                    Some(answer) => {
                        stream.write_u16(u16::try_from(answer.len()).unwrap()).await.unwrap();
                        stream.write_all(&answer).await.unwrap();
                    }
                    None => silent.push(stream),
                }
            }
        });
        Self { address, asked, _tasks: tasks }
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }
}

/// The question with these flags.
fn with_flags(asked: &[u8], flags: u16) -> Vec<u8> {
    let mut answer = asked.to_vec();
    answer[2..4].copy_from_slice(&(flags | RESPONSE).to_be_bytes());
    answer
}

fn header_only(asked: &[u8], flags: u16) -> Vec<u8> {
    let mut answer = with_flags(&asked[..HEADER_BYTES], flags);
    answer[4..].fill(0);
    answer
}

fn good(asked: &[u8]) -> Option<Vec<u8>> {
    Some(with_flags(asked, message::RECURSION_AVAILABLE))
}

fn no_such_name(asked: &[u8]) -> Option<Vec<u8>> {
    Some(with_flags(asked, message::RECURSION_AVAILABLE | 3))
}

/// Everything that a server may say instead of an answer.
const FAILURES: [Answers; 9] = [
    |asked| Some(with_flags(asked, 1)),
    |asked| Some(with_flags(asked, 2)),
    |asked| Some(with_flags(asked, 4)),
    |asked| Some(with_flags(asked, message::RECURSION_AVAILABLE | 5)),
    |asked| Some(with_flags(asked, 9)),
    |asked| Some(with_flags(asked, 0)),
    |asked| Some(header_only(asked, 1)),
    |asked| Some(header_only(asked, 4)),
    |asked| Some(header_only(asked, 0)),
];

fn question() -> (Vec<u8>, Query) {
    let packet = message::ask(77, "example.org", message::A);
    let query = message::parse(&packet).unwrap();
    (packet, query)
}

/// What is heard through these servers, and how long it took.
async fn hear(
    upstream: &Upstream,
    servers: &[&Server],
    transport: Transport,
) -> (Option<Vec<u8>>, Duration) {
    let (packet, query) = question();
    let servers: Vec<SocketAddr> = servers.iter().map(|server| server.address).collect();
    let began = Instant::now();
    let heard = upstream.ask(&servers, transport, &query, &packet).await;
    (heard, began.elapsed())
}

#[test]
fn servers_are_read_and_never_the_resolver_itself() {
    let text = "# x\nnameserver 10.0.2.3\nsearch a\nnameserver fd00::3\nnameserver what\n\
        nameserver 10.120.0.1\nnameserver 1.1.1.1\nnameserver 2.2.2.2\n";
    let folder = tempfile::tempdir().unwrap();
    let resolv_conf = folder.path().join("resolv.conf");
    std::fs::write(&resolv_conf, text).unwrap();
    let own = vec!["10.120.0.1".parse().unwrap()];
    let upstream = Upstream::new(vec![], resolv_conf.clone(), own.clone());
    let found: Vec<String> =
        upstream.servers().iter().map(|server| server.ip().to_string()).collect();
    assert_eq!(found, ["10.0.2.3", "fd00::3", "1.1.1.1"]);
    let configured = vec!["9.9.9.9".parse().unwrap()];
    assert_eq!(Upstream::new(configured, resolv_conf, own).servers().len(), 1);
}

#[tokio::test]
async fn a_forged_answer_is_not_taken() {
    let server = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = server.local_addr().unwrap();
    let (packet, query) = question();
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
    let upstream = Upstream::default();
    let servers = [address];
    let ask = upstream.ask(&servers, Transport::Packet, &query, &packet);
    let (answer, ()) = tokio::join!(ask, serve);
    assert_eq!(answer.unwrap(), write(Code::NoSuchName, &query));
}

#[tokio::test]
async fn a_server_that_does_not_say_leads_to_the_next_at_once() {
    let next = Server::begin(good).await;
    let (packet, _) = question();
    for (index, failure) in FAILURES.into_iter().enumerate() {
        let first = Server::begin(failure).await;
        for transport in BOTH {
            let upstream = Upstream::default();
            let (heard, took) = hear(&upstream, &[&first, &next], transport).await;
            assert_eq!(heard, good(&packet), "failure {index} by {transport:?}");
            assert!(took < AT_ONCE, "failure {index} by {transport:?}: {took:?}");
        }
    }
}

#[tokio::test]
async fn where_all_fail_the_client_hears_the_first_failure_and_no_server_is_pressed() {
    let (packet, query) = question();
    let last = Server::begin(|asked| Some(with_flags(asked, 7))).await;
    for (index, failure) in FAILURES.into_iter().enumerate() {
        for transport in BOTH {
            let first = Server::begin(failure).await;
            let (heard, took) = hear(&Upstream::default(), &[&first, &last], transport).await;
            let expected = query.failure(&failure(&packet).unwrap());
            assert_eq!(heard.as_ref(), Some(&expected), "failure {index} by {transport:?}");
            assert_eq!(expected.len(), packet.len(), "with its question");
            assert!(took < AT_ONCE, "failure {index} by {transport:?}: {took:?}");
            let server_failed = index == 1 && transport == Transport::Packet;
            assert_eq!(first.asked(), if server_failed { 2 } else { 1 }, "failure {index}");
        }
    }
}

#[tokio::test]
async fn that_there_is_nothing_is_an_answer() {
    let (packet, _) = question();
    let next = Server::begin(good).await;
    for answers in [no_such_name as Answers, good] {
        let first = Server::begin(answers).await;
        for transport in BOTH {
            let (heard, _) = hear(&Upstream::default(), &[&first, &next], transport).await;
            assert_eq!(heard, answers(&packet), "by {transport:?}");
        }
    }
    assert_eq!(next.asked(), 0);
}

#[tokio::test]
async fn a_silent_server_costs_a_wait_once() {
    let (packet, _) = question();
    let (silent, next) = (Server::begin(|_| None).await, Server::begin(good).await);
    for transport in BOTH {
        let upstream = Upstream::default();
        let (heard, took) = hear(&upstream, &[&silent, &next], transport).await;
        assert_eq!(heard, good(&packet));
        assert!(took > AT_ONCE, "{took:?}");
        let (heard, took) = hear(&upstream, &[&silent, &next], transport).await;
        assert_eq!(heard, good(&packet));
        assert!(took < AT_ONCE, "{took:?}");
    }
    assert_eq!(silent.asked(), 2);
    // Nobody is there at all.
    let (closed, ..) = super::dig::sockets().await;
    let gone = closed.local_addr().unwrap();
    drop(closed);
    let (packet, query) = question();
    let upstream = Upstream::default();
    for transport in BOTH {
        let heard = upstream.ask(&[gone], transport, &query, &packet).await;
        assert_eq!(heard, None, "by {transport:?}");
    }
}

/// The first one of a list may know names that the others do not.
#[tokio::test]
async fn a_server_that_takes_no_connections_stays_the_first_for_packets() {
    let (listener, socket) = super::dig::sockets().await;
    let first = socket.local_addr().unwrap();
    drop(listener);
    let next = Server::begin(good).await;
    let (packet, query) = question();
    let (upstream, servers) = (Upstream::default(), [first, next.address]);
    let by_connection = upstream.ask(&servers, Transport::Connection, &query, &packet).await;
    assert_eq!((by_connection, next.asked()), (good(&packet), 1));
    let answers = async {
        let mut buffer = [0; 512];
        let (length, client) = socket.recv_from(&mut buffer).await.unwrap();
        socket.send_to(&good(&buffer[..length]).unwrap(), client).await.unwrap();
    };
    let asks = upstream.ask(&servers, Transport::Packet, &query, &packet);
    let (by_packet, ()) = tokio::join!(asks, answers);
    assert_eq!((by_packet, next.asked()), (good(&packet), 1));
}

#[tokio::test]
async fn an_answer_that_is_too_long_for_a_packet_is_said_to_be() {
    let (packet, query) = question();
    let long: Answers = |asked| {
        let mut answer = with_flags(asked, message::RECURSION_AVAILABLE);
        answer.resize(5000, 0);
        Some(answer)
    };
    let server = Server::begin(long).await;
    let (heard, _) = hear(&Upstream::default(), &[&server], Transport::Packet).await;
    assert_eq!(heard, Some(query.too_long(&long(&packet).unwrap())));
    let (heard, _) = hear(&Upstream::default(), &[&server], Transport::Connection).await;
    assert_eq!(heard, long(&packet));
}
