use std::sync::Mutex;

use axum::Router;
use axum::routing::post;
use ferrite_cluster::store::Revision;
use ferrite_schema::stream::PROTOCOL;
use futures_util::StreamExt;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::net::UnixListener;
use tokio::task::JoinSet;

use super::super::tests::{id, said};
use super::*;

/// Nothing here takes so long.
const SOON: Duration = Duration::from_secs(60);

/// A node whose etcd answers every connection with what it hears.
struct Fixture {
    folder: TempDir,
    places: Arc<Semaphore>,
    streams: Arc<Streams>,
    running: Mutex<JoinSet<()>>,
}

impl Fixture {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            places: Arc::new(Semaphore::new(1)),
            streams: Arc::default(),
            running: Mutex::default(),
        }
    }

    fn own(&self) -> Own {
        Own { socket: self.folder.path().join("etcd.sock"), whom_else: "ask machine 0b".to_owned() }
    }

    fn runs_etcd(&self) {
        let listener = UnixListener::bind(self.own().socket).unwrap();
        let echoes = async move {
            let mut all = JoinSet::new();
            while let Ok((mut stream, _)) = listener.accept().await {
                all.spawn(async move {
                    let (mut reader, mut writer) = stream.split();
                    drop(tokio::io::copy(&mut reader, &mut writer).await);
                });
            }
        };
        self.running.lock().unwrap().spawn(echoes);
    }

    /// Asks for a tunnel; the connection and the head of the answer.
    async fn asks(&self, protocol: &str) -> (DuplexStream, String) {
        let (mut ours, theirs) = tokio::io::duplex(1 << 16);
        let (own, places, streams) = (self.own(), Arc::clone(&self.places), self.streams.clone());
        let (own, streams) = (Arc::new(own), streams);
        let answer = move |request: Request| async move {
            let heard = Heard::of(request).await?;
            tunnel(&own, &places, &streams, heard).await
        };
        let router =
            TowerToHyperService::new(Router::new().route("/v1/etcd/connect", post(answer)));
        let served = hyper::server::conn::http1::Builder::new()
            .serve_connection(TokioIo::new(theirs), router)
            .with_upgrades();
        self.running.lock().unwrap().spawn(async move { drop(served.await) });
        let request = format!(
            "POST /v1/etcd/connect HTTP/1.1\r\nHost: node\r\nContent-Length: 0\r\n\
             Connection: upgrade\r\nUpgrade: {protocol}\r\n\r\n"
        );
        ours.write_all(request.as_bytes()).await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(ours.read_u8().await.unwrap());
        }
        (ours, String::from_utf8(head).unwrap())
    }

    /// Waits until so many tunnels may be added.
    async fn has_places(&self, count: u32) {
        let all = Arc::clone(&self.places).acquire_many_owned(count);
        drop(tokio::time::timeout(SOON, all).await.unwrap().unwrap());
    }
}

async fn echoed(stream: &mut DuplexStream, words: &[u8]) {
    stream.write_all(words).await.unwrap();
    let mut back = vec![0; words.len()];
    tokio::time::timeout(SOON, stream.read_exact(&mut back)).await.unwrap().unwrap();
    assert_eq!(back, words);
}

#[tokio::test]
async fn a_tunnel_carries_bytes_to_etcd_and_back_until_either_end_closes() {
    let fixture = Fixture::new();
    fixture.runs_etcd();
    let (mut stream, head) = fixture.asks(PROTOCOL).await;
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    echoed(&mut stream, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
    // It has the only place, until it ends.
    let (_, head) = fixture.asks(PROTOCOL).await;
    assert!(head.starts_with("HTTP/1.1 503 "), "{head}");
    drop(stream);
    fixture.has_places(1).await;
    let (mut stream, head) = fixture.asks(PROTOCOL).await;
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    echoed(&mut stream, b"again").await;
    fixture.running.lock().unwrap().abort_all();
}

#[tokio::test]
async fn what_asks_for_no_upgrade_gets_none_and_takes_no_place() {
    let fixture = Fixture::new();
    fixture.runs_etcd();
    let (_, head) = fixture.asks("websocket").await;
    assert!(head.starts_with("HTTP/1.1 426 "), "{head}");
    fixture.has_places(1).await;
}

#[tokio::test]
async fn a_node_without_etcd_sends_its_peer_to_another() {
    let fixture = Fixture::new();
    let (status, words) = said(fixture.own().reach().await).await;
    assert_eq!((status, words.as_str()), (503, "this node runs no etcd now: ask machine 0b"));
    // So it is where etcd has left its socket behind.
    drop(UnixListener::bind(fixture.own().socket).unwrap());
    let (status, words) = said(fixture.own().reach().await).await;
    assert_eq!((status, words.as_str()), (503, "this node runs no etcd now: ask machine 0b"));
    let (_, head) = fixture.asks(PROTOCOL).await;
    assert!(head.starts_with("HTTP/1.1 503 "), "{head}");
    fixture.has_places(1).await;
}

#[tokio::test]
async fn a_copy_that_breaks_off_does_not_look_whole() {
    let gone = || StoreProblem::Unavailable { why: "etcd hung up".to_owned() };
    let whole = vec![Ok(b"abc".to_vec()), Ok(b"de".to_vec())];
    let response = copy(5, stream::iter(whole));
    assert_eq!(response.headers()[header::CONTENT_LENGTH], "5");
    let body = axum::body::to_bytes(response.into_body(), 100).await.unwrap();
    assert_eq!(&body[..], b"abcde");
    let broken = vec![Ok(b"abc".to_vec()), Err(gone())];
    let mut body = copy(5, stream::iter(broken)).into_body().into_data_stream();
    assert_eq!(body.next().await.unwrap().unwrap(), Bytes::from_static(b"abc"));
    assert!(body.next().await.unwrap().is_err());
}

#[test]
fn what_etcd_says_is_shown_with_its_machine() {
    let status = OwnStatus {
        member: 0xab,
        leader: None,
        learner: false,
        version: "3.5.16".to_owned(),
        revision: Revision(7),
        raft_term: 2,
        raft_index: 9,
        raft_applied: 8,
        db_bytes: 4096,
        db_used_bytes: 1024,
        problems: vec!["etcdserver: no leader".to_owned()],
    };
    let shown = shown(status, id(1), "dev-1".to_owned());
    assert_eq!((shown.member.as_str(), shown.leader, shown.revision), ("ab", None, 7));
    assert_eq!((shown.machine, shown.machine_name), (id(1), "dev-1".to_owned()));
}
