//! `ferrite etcd` as people run it, against nodes that are none but speak as nodes do.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener as Listener, TcpStream as Blocking};
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use ferrite_ctl::context::{Context, ContextCluster};
use ferrite_pki::{Dates, Identity, Issuer, make_root, node_leaf, user_leaf};
use ferrite_schema::cluster::{ClusterId, ClusterName, MachineId, MachineName, Role};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

/// What a node's etcd is like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Etcd {
    /// There is none.
    Absent,
    /// It agrees with the others.
    Serves,
    /// It is cut off from them.
    CutOff,
    /// It serves, and breaks off copies.
    BreaksOff,
    /// It serves, and its copies are damaged.
    Damages,
}

#[derive(Debug)]
struct Node {
    number: u8,
    etcd: Etcd,
    /// Goes on alone.
    recovered: AtomicBool,
    /// Ports of all nodes that are there, by machine.
    ports: Arc<BTreeMap<String, u16>>,
}

fn id(number: u8) -> String {
    format!("{number:x}").repeat(32)
}

fn cluster() -> (ClusterId, ClusterName) {
    ("c".repeat(32).parse().unwrap(), "dev".parse().unwrap())
}

/// A database, and its digest behind it; what is cut off has another one.
fn copy(etcd: Etcd) -> Vec<u8> {
    let mut all = vec![if etcd == Etcd::CutOff { 8 } else { 7 }; 64 << 10];
    let digest = Sha256::digest(&all);
    all.extend_from_slice(&digest);
    all
}

impl Node {
    fn serves(&self) -> bool {
        matches!(self.etcd, Etcd::Serves | Etcd::BreaksOff | Etcd::Damages)
    }

    async fn answer<S: AsyncRead + AsyncWrite + Unpin>(&self, mut stream: S) {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            match stream.read_u8().await {
                Ok(byte) => head.push(byte),
                Err(_) => return,
            }
        }
        let head = String::from_utf8(head).unwrap();
        let length = head
            .lines()
            .find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
        let mut body = vec![0; length.unwrap_or(0)];
        stream.read_exact(&mut body).await.unwrap();
        let mut words = head.split(' ');
        let (method, path) = (words.next().unwrap(), words.next().unwrap());
        let serving = path.ends_with("?serving=true");
        let has = match serving {
            true => self.serves(),
            false => self.etcd != Etcd::Absent,
        };
        let path = path.trim_end_matches("?serving=true");
        let none = json!({"error": "this node runs no etcd now: ask another"});
        let machine =
            path.strip_prefix("/v1/machines/").and_then(|rest| rest.strip_suffix("/connect"));
        match (method, path, machine) {
            ("GET", "/v1/etcd/members", _) if self.serves() => {
                says(&mut stream, 200, &members()).await
            }
            ("GET", "/v1/machines", _) if self.serves() => {
                says(&mut stream, 200, &machines()).await
            }
            ("GET", "/v1/etcd/recovery", _) => says(&mut stream, 200, &self.remains()).await,
            ("POST", "/v1/etcd/recovery", _) => {
                let order: Value = serde_json::from_slice(&body).unwrap();
                assert_eq!(order, json!({"machine": id(self.number), "revision": 40}));
                self.recovered.store(true, Ordering::Relaxed);
                says(&mut stream, 200, &json!({"epoch": 2})).await
            }
            ("GET", "/v1/etcd", _) if has => says(&mut stream, 200, &self.status()).await,
            ("GET", "/v1/etcd/snapshot", _) if has => self.copies(&mut stream).await,
            ("POST", "/v1/etcd/connect", _) if has => {
                upgrades(&mut stream).await;
                let (mut reader, mut writer) = tokio::io::split(stream);
                drop(tokio::io::copy(&mut reader, &mut writer).await);
            }
            ("POST", _, Some(machine)) if self.serves() => {
                let port = self.ports.get(machine).copied();
                let Some(port) = port else {
                    let gone = json!({"error": format!("machine {machine} is not reached")});
                    return says(&mut stream, 502, &gone).await;
                };
                upgrades(&mut stream).await;
                let mut other = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.unwrap();
                drop(tokio::io::copy_bidirectional(&mut stream, &mut other).await);
            }
            _ => says(&mut stream, 503, &none).await,
        }
    }

    fn status(&self) -> Value {
        let leader = self.serves().then_some("1");
        let problems = if self.serves() { vec![] } else { vec!["etcdserver: no leader"] };
        json!({
            "machine": id(self.number), "machine_name": format!("dev-{}", self.number),
            "member": self.number.to_string(), "leader": leader, "learner": false,
            "version": "3.5.16", "revision": 40, "raft_term": 2, "raft_index": 50,
            "raft_applied": 50, "db_bytes": 20480, "db_used_bytes": 16384, "problems": problems,
        })
    }

    fn remains(&self) -> Value {
        let recovered = self.recovered.load(Ordering::Relaxed);
        let mut status = self.status();
        if recovered {
            status["leader"] = json!("1");
        }
        let mut remains = json!({
            "machine": id(self.number), "machine_name": format!("dev-{}", self.number),
            "members": members(), "epoch": if recovered { 2 } else { 1 }, "recovering": false, "serves": recovered,
        });
        match self.etcd {
            Etcd::Absent => remains["problem"] = json!("it does not answer"),
            _ => remains["status"] = status,
        }
        remains
    }

    async fn copies(&self, stream: &mut (impl AsyncWrite + Unpin)) {
        let mut all = copy(self.etcd);
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", all.len());
        match self.etcd {
            Etcd::Damages => all[1000] ^= 1,
            Etcd::BreaksOff => all.truncate(40_000),
            Etcd::Serves | Etcd::CutOff | Etcd::Absent => {}
        }
        stream.write_all(head.as_bytes()).await.unwrap();
        drop(stream.write_all(&all).await);
        drop(stream.shutdown().await);
    }
}

fn members() -> Value {
    let one = |number: u8| {
        json!({
            "member": number.to_string(), "machine": id(number), "started": true, "learner": false,
            "machine_name": format!("dev-{number}"), "urls": [format!("https://dev-{number}:2380")],
        })
    };
    json!([one(1), one(2), one(3)])
}

fn machines() -> Value {
    let one = |number: u8| {
        json!({
            "id": id(number), "name": format!("dev-{number}"), "addresses": [], "state": "alive",
            "cordoned": false, "leader": false, "eligible": true, "units": 0, "level": 1,
            "metadata": {}, "overrides": {}, "cpus_milli": 1, "memory_bytes": 1,
        })
    };
    json!([one(1), one(2), one(3)])
}

async fn says(stream: &mut (impl AsyncWrite + Unpin), status: u16, body: &Value) {
    let body = body.to_string();
    let head = format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\n\r\n", body.len());
    drop(stream.write_all((head + &body).as_bytes()).await);
    drop(stream.shutdown().await);
}

async fn upgrades(stream: &mut (impl AsyncWrite + Unpin)) {
    let head = "HTTP/1.1 101 X\r\nConnection: upgrade\r\nUpgrade: ferrite-stream/1\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.flush().await.unwrap();
}

/// Nodes that are there, and a user with a context for them.
struct Fixture {
    home: TempDir,
    /// With it the nodes end.
    _ends: tokio::sync::oneshot::Sender<()>,
}

/// TLS of a machine of the cluster. It believes everybody: who may do what is the nodes' own tests' matter.
fn shown(issuer: &Issuer, number: u8) -> TlsAcceptor {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let (cluster, name) = cluster();
    let machine: MachineId = id(number).parse().unwrap();
    let leaf = node_leaf(&cluster, &MachineName { machine, cluster: name }, now);
    let Identity { certificate, key } = issuer.issue(&leaf).unwrap();
    let chain = CertificateDer::pem_slice_iter(certificate.as_bytes());
    let chain = chain.collect::<Result<Vec<_>, _>>().unwrap();
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    TlsAcceptor::from(Arc::new(config))
}

async fn lives(node: Node, listener: Listener, acceptor: TlsAcceptor) {
    let node = Arc::new(node);
    let listener = TcpListener::from_std(listener).unwrap();
    while let Ok((stream, _)) = listener.accept().await {
        let (node, acceptor) = (Arc::clone(&node), acceptor.clone());
        tokio::spawn(async move {
            if let Ok(stream) = acceptor.accept(stream).await {
                node.answer(stream).await;
            }
        });
    }
}

impl Fixture {
    /// Nodes with these etcds, numbered from 1; the context has the addresses of all.
    fn new(all: &[Etcd]) -> Self {
        let root = make_root("root", 1, Dates::ALWAYS).unwrap();
        let issuer = Issuer::root(&root).unwrap().make_issuer("nodes", Dates::ALWAYS).unwrap();
        let issuer = Issuer::below(&issuer, &root.certificate).unwrap();
        let (mut nodes, mut ports, mut endpoints) = (Vec::new(), BTreeMap::new(), Vec::new());
        for (number, etcd) in (1..).zip(all) {
            let listener = Listener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
            listener.set_nonblocking(true).unwrap();
            let port = listener.local_addr().unwrap().port();
            ports.insert(id(number), port);
            endpoints.push(format!("https://127.0.0.1:{port}"));
            nodes.push((number, *etcd, listener, shown(&issuer, number)));
        }
        let (_ends, ends) = tokio::sync::oneshot::channel();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(async move {
                let ports = Arc::new(ports);
                for (number, etcd, listener, acceptor) in nodes {
                    let (recovered, ports) = (AtomicBool::new(false), Arc::clone(&ports));
                    let node = Node { number, etcd, recovered, ports };
                    tokio::spawn(lives(node, listener, acceptor));
                }
                drop(ends.await);
            });
        });
        let home = tempfile::tempdir().unwrap();
        let (id, name) = cluster();
        let user = issuer.issue(&user_leaf(&id, "ann", Role::Admin, Dates::ALWAYS)).unwrap();
        let context = Context {
            name: "dev".to_owned(),
            endpoint: endpoints[0].clone(),
            further: endpoints[1..].to_vec(),
            ca: root.certificate,
            certificate: user.certificate,
            key: user.key,
            cluster: Some(ContextCluster { id, name }),
        };
        let folder = home.path().join(".config/ferrite/contexts");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("dev.toml"), toml::to_string(&context).unwrap()).unwrap();
        Self { home, _ends }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ferrite"));
        command.args(["--context", "dev", "etcd"]).args(arguments).env_clear();
        command.env("HOME", self.home.path()).current_dir(self.home.path());
        command.stdin(Stdio::null());
        command
    }

    /// Runs it, asserts the exit code, and returns standard output and standard error.
    fn ends(&self, arguments: &[&str], code: i32) -> (String, String) {
        let Output { status, stdout, stderr } = self.command(arguments).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        let (out, err) = (text(stdout), text(stderr));
        assert_eq!(status.code(), Some(code), "{arguments:?}: {out}{err}");
        (out, err)
    }

    /// Files of the user.
    fn files(&self) -> Vec<String> {
        let entries = self.home.path().read_dir().unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.filter(|name| name != ".config").collect();
        names.sort();
        names
    }
}

#[test]
fn each_members_etcd_is_asked_through_its_own_machine() {
    // The third one's machine is gone.
    let fixture = Fixture::new(&[Etcd::Serves, Etcd::Serves]);
    let (out, err) = fixture.ends(&["status"], 1);
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(lines.len(), 4, "{out}");
    for (line, start) in lines.iter().zip([
        "MACHINE  ID        ROLE           REVISION  RAFT INDEX  DB SIZE    PROBLEMS",
        "dev-1    11111111  voter, leader  40        50          20.00 KiB  -",
        "dev-2    22222222  voter          40        50          20.00 KiB  -",
        "dev-3    33333333  voter          -         -           -          not asked: ",
    ]) {
        assert!(line.starts_with(start), "{out}");
    }
    assert!(err.contains("ask how etcd is on dev-3"), "{err}");
    let (out, _) = fixture.ends(&["status", "--machine", "dev-2"], 0);
    assert!(out.lines().count() == 2 && out.contains("dev-2"), "{out}");
    let (out, _) = fixture.ends(&["members", "-o", "json"], 0);
    let listed: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(listed[2]["urls"][0], "https://dev-3:2380");
}

#[test]
fn without_a_quorum_each_address_is_asked_for_what_it_knows() {
    let fixture = Fixture::new(&[Etcd::Absent, Etcd::CutOff]);
    let (out, err) = fixture.ends(&["status"], 5);
    let lines: Vec<&str> = out.lines().collect();
    assert!(lines[1].starts_with("https://127.0.0.1:") && lines[1].contains("no etcd"), "{out}");
    assert!(lines[2].starts_with("dev-2") && lines[2].ends_with("etcdserver: no leader"), "{out}");
    assert!(err.contains("no node of \"dev\" can answer"), "{err}");
    fixture.ends(&["members"], 5);
}

#[test]
fn a_copy_is_taken_from_the_first_that_can_and_never_replaces_a_file_unasked() {
    let fixture = Fixture::new(&[Etcd::Absent, Etcd::CutOff, Etcd::Serves]);
    let (out, _) = fixture.ends(&["snapshot", "one.db"], 0);
    assert!(out.starts_with("one.db: 64.03 KiB"), "{out}");
    let path = fixture.home.path().join("one.db");
    assert_eq!(std::fs::read(&path).unwrap(), copy(Etcd::Serves));
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    std::fs::write(&path, "mine").unwrap();
    let (_, err) = fixture.ends(&["snapshot", "one.db"], 1);
    assert!(err.contains("exists already") && err.contains("--force"), "{err}");
    assert_eq!(std::fs::read(&path).unwrap(), b"mine");
    fixture.ends(&["snapshot", "one.db", "--force"], 0);
    assert_eq!(std::fs::read(&path).unwrap(), copy(Etcd::Serves));
    assert_eq!(fixture.files(), ["one.db"]);
}

#[test]
fn a_copy_that_is_broken_leaves_nothing() {
    let fixture = Fixture::new(&[Etcd::BreaksOff]);
    let (_, err) = fixture.ends(&["snapshot", "one.db"], 5);
    assert!(err.contains("the connection broke"), "{err}");
    assert_eq!(fixture.files(), Vec::<String>::new());
    let fixture = Fixture::new(&[Etcd::Damages]);
    std::fs::write(fixture.home.path().join("one.db"), "mine").unwrap();
    let (_, err) = fixture.ends(&["snapshot", "one.db", "--force"], 4);
    assert!(err.contains("SHA-256"), "{err}");
    assert_eq!(fixture.files(), ["one.db"]);
    assert_eq!(std::fs::read(fixture.home.path().join("one.db")).unwrap(), b"mine");
}

#[test]
fn what_is_cut_off_is_copied_only_where_that_is_said() {
    let fixture = Fixture::new(&[Etcd::Absent, Etcd::CutOff]);
    let (_, err) = fixture.ends(&["snapshot", "one.db"], 5);
    assert!(err.contains("this node runs no etcd now"), "{err}");
    assert_eq!(fixture.files(), Vec::<String>::new());
    fixture.ends(&["snapshot", "one.db", "--without-quorum"], 0);
    assert_eq!(fixture.files(), ["one.db"]);
}

#[test]
fn a_port_leads_to_etcd_until_ctrl_c() {
    let fixture = Fixture::new(&[Etcd::Absent, Etcd::Serves]);
    let mut proxy = fixture.command(&["proxy"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut said = BufReader::new(proxy.stdout.take().unwrap()).lines();
    let line = said.nth(1).unwrap().unwrap();
    let address = line.strip_prefix("etcdctl --endpoints=http://").unwrap();
    let mut each: Vec<Blocking> = (0..3).map(|_| Blocking::connect(address).unwrap()).collect();
    for (stream, words) in each.iter_mut().zip([b"one", b"two", b"six"]) {
        stream.write_all(words).unwrap();
        let mut back = [0; 3];
        stream.read_exact(&mut back).unwrap();
        assert_eq!(&back, words);
    }
    let pid = rustix::process::Pid::from_child(&proxy);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    assert_eq!(proxy.wait().unwrap().code(), Some(0));
    // Where nobody can get to etcd, no port is lent.
    let fixture = Fixture::new(&[Etcd::Absent, Etcd::CutOff]);
    let (out, err) = fixture.ends(&["proxy"], 5);
    assert_eq!(out, "");
    assert!(err.contains("connect to etcd"), "{err}");
}

#[test]
fn what_is_left_goes_on_once_somebody_agrees_and_never_beside_a_quorum() {
    let fixture = Fixture::new(&[Etcd::Absent, Etcd::CutOff]);
    let (out, err) = fixture.ends(&["recover"], 2);
    let used = out.lines().find(|line| line.ends_with("its data is used")).unwrap();
    let words: Vec<&str> = used.split_whitespace().take(3).collect();
    assert_eq!(words, ["dev-2", "22222222", "40"]);
    assert!(out.contains("GIVEN UP") && out.contains("May be lost"), "{out}");
    assert!(err.contains("all but dev-2 are given up") && err.contains("--yes"), "{err}");
    // Nothing was ordered.
    fixture.ends(&["recover", "-o", "json"], 2);
    let (out, _) = fixture.ends(&["recover", "--yes", "-o", "json"], 0);
    let done: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((&done["machine_name"], &done["epoch"]), (&json!("dev-2"), &json!(2)));
    // It leads now: there is nothing to recover.
    let (_, err) = fixture.ends(&["recover", "--yes"], 1);
    assert!(err.contains("etcd of dev-2 has a leader"), "{err}");

    let fixture = Fixture::new(&[Etcd::CutOff, Etcd::CutOff]);
    let (_, err) = fixture.ends(&["recover", "--yes"], 1);
    assert!(err.contains("2 of 3 members answer (dev-1, dev-2)"), "{err}");
    let fixture = Fixture::new(&[Etcd::Absent]);
    let (_, err) = fixture.ends(&["recover", "--yes"], 1);
    assert!(err.contains("no machine has an etcd that answers"), "{err}");
}
