use std::convert::Infallible;
use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};

use ferrite_schema::node_config::Secret;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response, header};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::*;
use crate::documents::MANIFEST_TYPES;

mod choosing;
mod limits;
mod nearby;
mod renew;
mod repair;
mod shelf;
mod signed;
mod stacks;
mod tokens;

type Answer = Response<Full<Bytes>>;

/// A registry without TLS on the loopback that may behave as badly as it likes.
struct Server {
    authority: String,
    _tasks: JoinSet<()>,
}

/// What a request asks for: path, method, `Authorization`, first byte wanted.
struct Asked {
    path: String,
    method: String,
    authorization: Option<String>,
    from_byte: Option<u64>,
}

impl Server {
    async fn start(answer: impl Fn(&Asked) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let authority = listener.local_addr().unwrap().to_string();
        let answer = Arc::new(answer);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let answer = Arc::clone(&answer);
                let service = service_fn(move |request: Request<Incoming>| {
                    let header = |name| request.headers().get(name)?.to_str().ok();
                    let range =
                        |text: &str| text.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok();
                    let asked = Asked {
                        path: request.uri().to_string(),
                        method: request.method().to_string(),
                        authorization: header(header::AUTHORIZATION).map(str::to_owned),
                        from_byte: header(header::RANGE).and_then(range),
                    };
                    let answered = answer(&asked);
                    async move { Ok::<_, Infallible>(answered) }
                });
                connections.spawn(async move {
                    let http = hyper::server::conn::http1::Builder::new();
                    drop(http.serve_connection(TokioIo::new(stream), service).await);
                });
            }
        });
        Self { authority, _tasks: tasks }
    }
}

/// An image of one layer with one file.
#[derive(Clone)]
struct Made {
    manifest: Vec<u8>,
    config: Vec<u8>,
    layer: Vec<u8>,
}

impl Made {
    fn new() -> Self {
        let mut builder = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_size(300_000);
        header.set_mode(0o644);
        // Whoever runs the test: anybody else's files are root's alone to make.
        header.set_uid(rustix::process::geteuid().as_raw().into());
        header.set_gid(rustix::process::getegid().as_raw().into());
        builder.append_data(&mut header, "etc-file", &[7_u8; 300_000][..]).unwrap();
        let layer = builder.into_inner().unwrap();
        let config = format!(
            r#"{{"architecture":"amd64","os":"linux","rootfs":{{"type":"layers","diff_ids":["{}"]}}}}"#,
            Digest::of(&layer)
        )
        .into_bytes();
        let manifest = format!(
            r#"{{"schemaVersion":2,"mediaType":"{}","config":{{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"{}","size":{}}},
            "layers":[{{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":"{}","size":{}}}]}}"#,
            MANIFEST_TYPES[0], Digest::of(&config), config.len(), Digest::of(&layer), layer.len()
        )
        .into_bytes();
        Self { manifest, config, layer }
    }

    /// What an honest registry answers.
    fn answer(&self, asked: &Asked) -> Answer {
        let blobs = [&self.config, &self.layer, &self.manifest];
        let by_digest =
            |text: &str| blobs.into_iter().find(|blob| Digest::of(blob).to_string() == text);
        if let Some((_, digest)) = asked.path.split_once("/blobs/") {
            return by_digest(digest)
                .map_or_else(|| status(404), |blob| bytes(blob, asked.from_byte));
        }
        match asked.path.split_once("/manifests/") {
            Some((_, "1")) => manifest(&self.manifest),
            Some((_, digest)) if by_digest(digest).is_some() => manifest(&self.manifest),
            Some(_) | None => status(404),
        }
    }
}

fn status(code: u16) -> Answer {
    let body = r#"{"errors":[{"code":"X","message":"manifest\u001b unknown"}]}"#;
    Response::builder().status(code).body(Full::from(body)).unwrap()
}

fn manifest(bytes: &[u8]) -> Answer {
    let response = Response::builder().header(header::CONTENT_TYPE, MANIFEST_TYPES[0]);
    response.body(Full::from(bytes.to_vec())).unwrap()
}

fn bytes(blob: &[u8], from_byte: Option<u64>) -> Answer {
    let Some(from) = from_byte else { return Response::new(Full::from(blob.to_vec())) };
    let rest = blob[usize::try_from(from).unwrap()..].to_vec();
    let range = format!("bytes {from}-{}/{}", blob.len() - 1, blob.len());
    let response = Response::builder().status(206).header(header::CONTENT_RANGE, range);
    response.body(Full::from(rest)).unwrap()
}

struct Node {
    _folder: tempfile::TempDir,
    images: ImageStore,
    layers: Layers,
    puller: Puller,
}

fn plain() -> RegistryConfig {
    RegistryConfig { plain_http: true, ..RegistryConfig::default() }
}

fn known(user: &str, password: &str) -> RegistryConfig {
    let (username, password) = (Some(user.to_owned()), Some(Secret(password.to_owned())));
    RegistryConfig { username, password, ..plain() }
}

fn node(registries: &[(&Server, RegistryConfig)]) -> Node {
    node_with(registries, Vec::new())
}

fn node_with(registries: &[(&Server, RegistryConfig)], signatures: Vec<SignatureRule>) -> Node {
    let folder = tempfile::tempdir().unwrap();
    let images = ImageStore::open(&folder.path().join("images"));
    let layers = Layers::open(&folder.path().join("layers"));
    let registries = registries
        .iter()
        .map(|(server, config)| (server.authority.clone(), config.clone()))
        .collect();
    let settings = Settings { registries, signatures };
    let puller = Puller::new(images.clone(), layers.clone(), settings);
    Node { _folder: folder, images, layers, puller }
}

impl Node {
    async fn pull(&self, server: &Server) -> Result<Record, Pull> {
        self.puller.pull(&format!("{}/team/app:1", server.authority)).await
    }

    async fn fails(&self, server: &Server, expected: &str) {
        let error = self.pull(server).await.unwrap_err();
        let text = ferrite_schema::chain(&error);
        assert!(text.contains(expected), "{text}");
        assert!(!text.contains('\u{1b}'), "a registry's words steer the terminal");
        assert!(self.images.list().unwrap().is_empty());
    }
}

#[tokio::test]
async fn an_image_is_pulled_once_and_found_again() {
    let made = Made::new();
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    let server = Server::start(move |asked| {
        counted.fetch_add(1, Ordering::Relaxed);
        made.answer(asked)
    })
    .await;
    let node = node(&[(&server, plain())]);
    let name = format!("{}/team/app:1", server.authority);
    let (one, two) = tokio::join!(node.puller.ensure(&name), node.puller.ensure(&name));
    let record = one.unwrap();
    assert_eq!(record, two.unwrap());
    assert_eq!(count.load(Ordering::Relaxed), 3, "manifest, configuration and layer, once each");
    let layer = node.layers.path(&record.layers[0].parse().unwrap());
    assert_eq!(fs::metadata(layer.join("etc-file")).unwrap().len(), 300_000);
    node.fails_nothing(&record);
    let pinned = format!("{}/team/app@{}", server.authority, record.manifest);
    assert_eq!(node.puller.ensure(&pinned).await.unwrap().manifest, record.manifest);
}

impl Node {
    fn fails_nothing(&self, record: &Record) {
        assert_eq!(self.images.get(&record.name).unwrap().as_ref(), Some(record));
        let (done, total) = self.puller.watch(&record.name).borrow().bytes();
        assert_eq!(done, total);
    }
}

#[tokio::test]
async fn a_broken_download_is_continued_also_by_another_agent() {
    let made = Made::new();
    let short = Arc::new(AtomicUsize::new(0));
    let tries = Arc::clone(&short);
    let layer = format!("blobs/{}", Digest::of(&made.layer));
    let server = Server::start(move |asked| {
        if !asked.path.ends_with(&layer) {
            return made.answer(asked);
        }
        // Every transfer brings another 100,000 bytes and ends as if that were all.
        tries.fetch_add(1, Ordering::Relaxed);
        let from = usize::try_from(asked.from_byte.unwrap_or(0)).unwrap();
        let end = made.layer.len().min(from + 100_000);
        bytes(&made.layer[..end], asked.from_byte)
    })
    .await;
    let first = node(&[(&server, plain())]);
    first.pull(&server).await.unwrap();
    assert_eq!(short.load(Ordering::Relaxed), 4);
    // A file that an earlier agent left behind, and one that is wrong from its first byte.
    let content = Made::new().layer;
    for (left, expected) in [(content[..250_000].to_vec(), 1), (vec![9; 250_000], 5)] {
        let second = node(&[(&server, plain())]);
        fs::write(second.images.partial(&Digest::of(&content)), left).unwrap();
        short.store(0, Ordering::Relaxed);
        second.pull(&server).await.unwrap();
        assert_eq!(short.load(Ordering::Relaxed), expected);
    }
}

#[tokio::test]
async fn content_that_is_not_what_was_asked_for_is_refused() {
    let made = Made::new();
    let good = made.clone();
    let server = Server::start(move |asked| {
        let mut answer = good.clone();
        answer.layer[1000] ^= 1;
        match asked.path.split_once("/blobs/") {
            Some((_, digest)) if digest == Digest::of(&good.layer).to_string() => {
                bytes(&answer.layer, None)
            }
            _ => good.answer(asked),
        }
    })
    .await;
    let one = node(&[(&server, plain())]);
    one.fails(&server, "has the digest").await;
    assert!(!one.images.partial(&Digest::of(&made.layer)).exists(), "wrong bytes stay");
    let endless = made.clone();
    let server = Server::start(move |asked| match asked.path.contains("/blobs/") {
        true => bytes(&vec![0; 3_000_000], None),
        false => endless.answer(asked),
    })
    .await;
    node(&[(&server, plain())]).fails(&server, "gives more than").await;
    let server = Server::start(|_| manifest(&vec![b' '; 5 << 20])).await;
    node(&[(&server, plain())]).fails(&server, "larger than").await;
}

#[tokio::test]
async fn credentials_never_reach_another_server() {
    let made = Made::new();
    let (seen, blobs) = (Arc::new(Mutex::new(Vec::new())), made.clone());
    let noted = Arc::clone(&seen);
    let foreign = Server::start(move |asked| {
        noted.lock().unwrap().push(asked.authorization.clone());
        // It would like to know more.
        match asked.path.contains("curious") {
            true => {
                let wants = r#"Basic realm="x""#;
                let response =
                    Response::builder().status(401).header(header::WWW_AUTHENTICATE, wants);
                response.body(Full::default()).unwrap()
            }
            false => blobs.answer(asked),
        }
    })
    .await;
    let to = foreign.authority.clone();
    let expected = "Basic dXNlcjpzZWNyZXQ=";
    let server = Server::start(move |asked| {
        if asked.authorization.as_deref() != Some(expected) {
            let wants = r#"Basic realm="x""#;
            let response = Response::builder().status(401).header(header::WWW_AUTHENTICATE, wants);
            return response.body(Full::default()).unwrap();
        }
        match asked.path.contains("/blobs/") {
            true => {
                let location = format!("http://{to}{}", asked.path);
                let response = Response::builder().status(307).header(header::LOCATION, location);
                response.body(Full::default()).unwrap()
            }
            false => made.answer(asked),
        }
    })
    .await;
    let good = node(&[(&server, known("user", "secret")), (&foreign, plain())]);
    good.pull(&server).await.unwrap();
    {
        let seen = seen.lock().unwrap();
        assert_eq!(seen.len(), 2);
        assert!(seen.iter().all(Option::is_none), "{seen:?}");
    }
    node(&[(&server, known("user", "wrong"))])
        .fails(&server, "refuses the user or the password")
        .await;
    node(&[(&server, plain())]).fails(&server, "it wants a user and a password").await;
    let not_allowed = node(&[(&server, known("user", "secret"))]);
    not_allowed.fails(&server, "does not say `plain_http = true` for it").await;
}

#[tokio::test]
async fn a_token_service_is_asked_with_the_registrys_user() {
    let made = Made::new();
    let tokens = Server::start(|asked| {
        let right = asked.authorization.as_deref() == Some("Basic dXNlcjpzZWNyZXQ=")
            && asked.path == "/token?scope=repository%3Ateam%2Fapp%3Apull&service=reg";
        match right {
            true => Response::new(Full::from(r#"{"token":"t0ken"}"#)),
            false => status(401),
        }
    })
    .await;
    let realm = format!(
        r#"Bearer realm="http://{}/token",service="reg",scope="repository:team/app:pull""#,
        tokens.authority
    );
    let server = Server::start(move |asked| match asked.authorization.as_deref() {
        Some("Bearer t0ken") => made.answer(asked),
        _ => {
            let response = Response::builder().status(401).header(header::WWW_AUTHENTICATE, &realm);
            response.body(Full::default()).unwrap()
        }
    })
    .await;
    let good = node(&[(&server, known("user", "secret")), (&tokens, plain())]);
    good.pull(&server).await.unwrap();
    let wrong = node(&[(&server, known("user", "other")), (&tokens, plain())]);
    wrong.fails(&server, "refuses the user or the password").await;
}

#[tokio::test]
async fn mirrors_come_first_and_the_registry_last() {
    let made = Made::new();
    let count = Arc::new(AtomicUsize::new(0));
    let (counted, of_registry) = (Arc::clone(&count), made.clone());
    let server = Server::start(move |asked| {
        counted.fetch_add(1, Ordering::Relaxed);
        of_registry.answer(asked)
    })
    .await;
    let mirror = Server::start(move |asked| match asked.path.starts_with("/v2/cache/team/app/") {
        true => made.answer(asked),
        false => status(404),
    })
    .await;
    let config = |path: &str| {
        let mirrors = vec![format!("{}{path}", mirror.authority)];
        RegistryConfig { mirrors, ..plain() }
    };
    let with = node(&[(&server, config("/cache")), (&mirror, plain())]);
    with.pull(&server).await.unwrap();
    assert_eq!(count.load(Ordering::Relaxed), 0);
    let without = node(&[(&server, config("/elsewhere")), (&mirror, plain())]);
    without.pull(&server).await.unwrap();
    assert_eq!(count.load(Ordering::Relaxed), 3);
}

#[tokio::test]
async fn what_is_missing_or_fails_for_a_while_is_told_apart() {
    let server = Server::start(|_| status(404)).await;
    let one = node(&[(&server, plain())]);
    one.fails(&server, "the registry does not have it (manifest unknown)").await;
    let made = Made::new();
    let count = Arc::new(AtomicUsize::new(0));
    let server = Server::start(move |asked| match count.fetch_add(1, Ordering::Relaxed) {
        0 => status(503),
        _ => made.answer(asked),
    })
    .await;
    node(&[(&server, plain())]).pull(&server).await.unwrap();
    let nobody = Server::start(|_| {
        Response::builder()
            .status(302)
            .header(header::LOCATION, "/v2/again")
            .body(Full::default())
            .unwrap()
    })
    .await;
    node(&[(&nobody, plain())]).fails(&nobody, "leads on and on").await;
}
