use std::collections::BTreeSet;

use axum::http::StatusCode;
use axum::routing::{get, post};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, Issuer, KeyPair};
use rustls::pki_types::ServerName;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::*;
use crate::api::hearing::to_its_end;

/// So many silent connections kept everybody out.
const STRANGERS: usize = 80;
/// Nothing here takes so long; what waits for a place that nobody leaves would.
const SOON: Duration = Duration::from_secs(60);
/// More than a connection's buffers hold.
const BODY_BYTES: usize = 8 << 20;
/// A patience that no test outlives.
const FOR_EVER: Duration = Duration::from_secs(3600);

struct Fixture {
    _doors: watch::Sender<Option<Doors>>,
    address: SocketAddr,
    /// Serial number of the operator's certificate.
    serial: String,
    revoked: watch::Sender<Arc<BTreeSet<String>>>,
    connector: TlsConnector,
    running: JoinSet<()>,
    end: watch::Sender<bool>,
}

fn certificate(issuer: &Issuer<'_, KeyPair>, name: &str) -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    (params.signed_by(&key, issuer).unwrap().pem(), key.serialize_pem())
}

async fn fixture(patience: Duration) -> Fixture {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let (certificate_pem, key) = certificate(&authority, "node");
    let ca = authority.pem();
    let api = ApiConfig { ca: ca.clone(), certificate: certificate_pem, key };
    let (doors, seen) = watch::channel(Some(Doors::alone(&api).unwrap()));
    let server = Server::listen(seen, 0).await.unwrap();
    let port = server.listener.local_addr().unwrap().port();
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(ca.as_bytes()).unwrap()).unwrap();
    let (own, key) = certificate(&authority, "operator");
    let serial = ferrite_pki::first_facts(&own).unwrap().serial;
    let revoked = watch::Sender::new(Arc::default());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_client_auth_cert(
            vec![CertificateDer::from_pem_slice(own.as_bytes()).unwrap()],
            PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap(),
        )
        .unwrap();
    let mut running = JoinSet::new();
    let (end, ending) = Ending::new();
    let told = end.clone();
    let down = move || async move {
        told.send_replace(true);
        // The answer is not ready when the server is told to end.
        tokio::task::yield_now().await;
        "going down"
    };
    let stream = || async {
        axum::body::Body::from_stream(futures_util::stream::pending::<io::Result<Vec<u8>>>())
    };
    let router = Router::new()
        .route("/", get(|| async { "here" }))
        .route("/down", get(down))
        .route("/stream", get(stream))
        .route("/refuses", post(async || StatusCode::CONFLICT))
        .layer(axum::middleware::from_fn(to_its_end));
    let server = Server { patience, ..server }.refusing(revoked.subscribe());
    running.spawn(server.serve(router, ending));
    Fixture {
        _doors: doors,
        address,
        serial,
        revoked,
        connector: TlsConnector::from(Arc::new(config)),
        running,
        end,
    }
}

impl Fixture {
    async fn stranger(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    async fn operator(&self) -> TlsStream<TcpStream> {
        let name = ServerName::try_from("node").unwrap();
        self.connector.connect(name, self.stranger().await).await.unwrap()
    }
}

async fn asks(stream: &mut TlsStream<TcpStream>) -> String {
    asks_for(stream, "/").await
}

async fn asks_for(stream: &mut TlsStream<TcpStream>, path: &str) -> String {
    stream
        .write_all(format!("GET {path} HTTP/1.1\r\nHost: node\r\n\r\n").as_bytes())
        .await
        .unwrap();
    let mut answer = vec![0; 4096];
    let count = stream.read(&mut answer).await.unwrap();
    String::from_utf8_lossy(&answer[..count]).into_owned()
}

#[tokio::test]
async fn strangers_do_not_keep_an_operator_out() {
    let fixture = fixture(FOR_EVER).await;
    for first_byte in [&b""[..], b"\x16"] {
        let mut strangers = Vec::new();
        for _ in 0..STRANGERS {
            let mut stranger = fixture.stranger().await;
            stranger.write_all(first_byte).await.unwrap();
            strangers.push(stranger);
        }
        let answer =
            tokio::time::timeout(SOON, async { asks(&mut fixture.operator().await).await });
        assert!(answer.await.unwrap().ends_with("here"));
        // One that was there before them stays, and its place is nobody's.
        drop(strangers);
    }
}

/// Each time that they are sent away they come again, as a program does that means it.
#[tokio::test]
async fn strangers_that_come_again_do_not_keep_an_operator_out() {
    let fixture = fixture(FOR_EVER).await;
    let come_again = async {
        let stranger = || async {
            loop {
                let mut stranger = fixture.stranger().await;
                let mut byte = [0];
                drop(stranger.read(&mut byte).await);
            }
        };
        futures_util::future::join_all((0..STRANGERS).map(|_| stranger())).await
    };
    let operators = async {
        for _ in 0..20 {
            assert!(asks(&mut fixture.operator().await).await.ends_with("here"));
        }
    };
    tokio::select! {
        _ = come_again => {}
        ended = tokio::time::timeout(10 * SOON, operators) => ended.unwrap(),
    }
}

#[tokio::test]
async fn a_connection_that_stands_is_not_lost_to_strangers() {
    let fixture = fixture(FOR_EVER).await;
    let mut operator = fixture.operator().await;
    assert!(asks(&mut operator).await.ends_with("here"));
    let mut strangers = Vec::new();
    for _ in 0..2 * STRANGERS {
        strangers.push(fixture.stranger().await);
    }
    // The server has seen them: the first of them are gone.
    let mut byte = [0];
    let gone = tokio::time::timeout(SOON, strangers[0].read(&mut byte)).await.unwrap();
    assert!(matches!(gone, Ok(0) | Err(_)));
    assert!(asks(&mut operator).await.ends_with("here"));
}

/// A connection that waits for its next request, and one that carries an answer without end.
#[tokio::test]
async fn whose_certificate_is_revoked_is_sent_away_also_in_the_middle_of_something() {
    let fixture = fixture(FOR_EVER).await;
    fixture.revoked.send_replace(Arc::new(["0a".to_owned()].into()));
    let mut operator = fixture.operator().await;
    assert!(asks(&mut operator).await.ends_with("here"), "another one is revoked");
    let mut follows = fixture.operator().await;
    assert!(asks_for(&mut follows, "/stream").await.starts_with("HTTP/1.1 200"));
    fixture.revoked.send_replace(Arc::new([fixture.serial.clone()].into()));
    for stream in [&mut operator, &mut follows] {
        let mut rest = Vec::new();
        let ends = tokio::time::timeout(SOON, stream.read_to_end(&mut rest)).await;
        // However it ends: cut off in the middle, TLS says nothing.
        drop(ends.expect("it is cut"));
    }
    let answer = asks(&mut fixture.operator().await).await;
    assert!(answer.starts_with("HTTP/1.1 403") && answer.contains("was revoked"), "{answer}");
}

#[tokio::test]
async fn a_handshake_byte_by_byte_ends() {
    let fixture = fixture(Duration::from_millis(200)).await;
    let mut stranger = fixture.stranger().await;
    let (mut reader, mut writer) = stranger.split();
    let drip = async {
        // A header that promises much, and then its bytes, each well within the patience.
        let bytes =
            [0x16, 3, 1, 0x3f, 0xff, 1, 0, 0x3f, 0xfb].into_iter().chain(std::iter::repeat(0));
        for byte in bytes {
            if writer.write_all(&[byte]).await.is_err() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let mut rest = Vec::new();
    let ended = tokio::time::timeout(SOON, async {
        tokio::select! {
            _ = reader.read_to_end(&mut rest) => {}
            () = drip => {}
        }
    });
    ended.await.unwrap();
}

#[tokio::test]
async fn a_full_house_answers_when_somebody_leaves() {
    let fixture = fixture(FOR_EVER).await;
    let mut house = Vec::new();
    for _ in 0..CONNECTIONS_MAX {
        let mut operator = fixture.operator().await;
        assert!(asks(&mut operator).await.ends_with("here"));
        house.push(operator);
    }
    let mut late = fixture.operator().await;
    drop(house.pop());
    let answer = tokio::time::timeout(SOON, asks(&mut late)).await.unwrap();
    assert!(answer.ends_with("here"), "{answer}");
}

#[tokio::test]
async fn who_asks_for_the_end_is_answered_and_streams_do_not_hold_it_up() {
    let mut fixture = fixture(FOR_EVER).await;
    let mut idle = fixture.operator().await;
    assert!(asks(&mut idle).await.ends_with("here"));
    let mut follower = fixture.operator().await;
    assert!(asks_for(&mut follower, "/stream").await.starts_with("HTTP/1.1 200"));
    let _stranger = fixture.stranger().await;
    let mut operator = fixture.operator().await;
    let answer = asks_for(&mut operator, "/down").await;
    assert!(answer.ends_with("going down"), "{answer:?}");
    assert!(*fixture.end.borrow());
    let ended = tokio::time::timeout(SOON, fixture.running.join_next());
    ended.await.unwrap().unwrap().unwrap();
}

#[tokio::test]
async fn who_is_refused_before_its_body_has_come_hears_so_and_goes_on() {
    let fixture = fixture(FOR_EVER).await;
    let mut operator = fixture.operator().await;
    let head =
        format!("POST /refuses HTTP/1.1\r\nHost: node\r\nContent-Length: {BODY_BYTES}\r\n\r\n");
    operator.write_all(head.as_bytes()).await.unwrap();
    let mut answer = vec![0; 4096];
    let count = operator.read(&mut answer).await.unwrap();
    assert!(answer[..count].starts_with(b"HTTP/1.1 409 "));
    operator.write_all(&vec![b'x'; BODY_BYTES]).await.unwrap();
    assert!(asks(&mut operator).await.ends_with("here"));
}

#[tokio::test]
async fn a_body_that_never_ends_is_not_heard_for_ever() {
    let fixture = fixture(FOR_EVER).await;
    let mut operator = fixture.operator().await;
    let head =
        format!("POST /refuses HTTP/1.1\r\nHost: node\r\nContent-Length: {BODY_BYTES}\r\n\r\n");
    operator.write_all(head.as_bytes()).await.unwrap();
    let ends = async { while !matches!(operator.read(&mut [0; 4096]).await, Ok(0) | Err(_)) {} };
    tokio::time::timeout(SOON, ends).await.unwrap();
}
