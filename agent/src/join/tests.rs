//! Both sides against each other, over TLS on loopback, with a cluster in memory.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::routing::get;
use axum::{Extension, Router};
use ferrite_pki::{Dates, Identity, Issuer, certificates, digest, fingerprint, make_root};
use ferrite_schema::cluster::{ClusterId, MachineId, MachineName, Role};
use ferrite_schema::join::{ClusterRecord, JoinRequest, RefusalReason};
use ferrite_schema::node_config::{
    Certificate, ClusterConfig, ClusterNetworkConfig, Fingerprint, IssuerConfig, JoinAddress,
    MemberConfig, PrivateKey, Root, Secret, Token,
};
use proptest::prelude::*;
use tokio::sync::{Notify, Semaphore, watch};
use tokio::task::JoinSet;

use super::ask::{Ask, Cluster, ask};
use super::knowledge::{
    Entered, Entry, Knowledge, Known, Later, MachineRecord, TokenRecord, Unavailable,
};
use super::service::Door;
use super::work::{self, Membership, Settings, Told, work};
use crate::api::peer::Peer;
use crate::api::server::{Ending, Server};
use crate::api::tls::Doors;

/// Nothing here takes so long.
const SOON: Duration = Duration::from_secs(120);
const DAY_S: u64 = 24 * 60 * 60;

/// A cluster in memory.
#[derive(Debug, Default)]
struct Book {
    pages: Mutex<Pages>,
    /// Whoever looks waits for one of these, where there are any rules about it.
    gate: Option<Semaphore>,
    looked: Notify,
}

#[derive(Debug, Default)]
struct Pages {
    tokens: BTreeMap<String, TokenRecord>,
    machines: BTreeMap<MachineId, MachineRecord>,
    alive: BTreeMap<MachineId, String>,
    revoked: Vec<String>,
    revision: u64,
    looks: u32,
    unavailable: bool,
    /// So many entries find that something has changed.
    disturbed: u32,
}

impl Book {
    fn pages(&self) -> std::sync::MutexGuard<'_, Pages> {
        self.pages.lock().unwrap()
    }
}

impl Knowledge for Book {
    fn look<'a>(&'a self, machine: &'a MachineId, token: Option<&'a str>) -> Later<'a, Known> {
        Box::pin(async move {
            self.pages().looks += 1;
            self.looked.notify_one();
            if let Some(gate) = &self.gate {
                gate.acquire().await.unwrap().forget();
            }
            let pages = self.pages();
            if pages.unavailable {
                return Err(Unavailable { why: "etcd has no leader".to_owned() });
            }
            Ok(Known {
                token: token.and_then(|token| pages.tokens.get(token).cloned()),
                machine: pages.machines.get(machine).cloned(),
                alive: pages.alive.get(machine).cloned(),
                forgotten: false,
                revoked: pages.revoked.clone(),
                revision: pages.revision,
            })
        })
    }

    fn enter(&self, entry: Entry) -> Later<'_, Entered> {
        Box::pin(async move {
            let mut pages = self.pages();
            if pages.disturbed > 0 {
                pages.disturbed -= 1;
                pages.revision += 1;
            }
            if pages.revision != entry.seen {
                return Ok(Entered::Changed);
            }
            pages.revision += 1;
            pages.machines.insert(entry.machine, entry.record);
            let token = entry.spends.and_then(|token| pages.tokens.get_mut(&token));
            if let Some(left) = token.and_then(|token| token.uses_left.as_mut()) {
                *left -= 1;
            }
            Ok(Entered::Done)
        })
    }

    fn record(&self) -> Later<'_, ClusterRecord> {
        let record = ClusterRecord {
            id: id('c').parse().unwrap(),
            name: "dev".parse().unwrap(),
            epoch: 3,
            members: vec!["10.0.0.1:7443".to_owned()],
        };
        Box::pin(std::future::ready(Ok(record)))
    }
}

fn id(digit: char) -> String {
    digit.to_string().repeat(32)
}

fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// A cluster's keys.
struct Keys {
    root: Identity,
    nodes: Identity,
    peers: Identity,
}

impl Keys {
    fn make() -> Self {
        let root = make_root("root", 1, Dates::ALWAYS).unwrap();
        let above = Issuer::root(&root).unwrap();
        let nodes = above.make_issuer("nodes", Dates::ALWAYS).unwrap();
        let peers = above.make_issuer("peers", Dates::ALWAYS).unwrap();
        Self { root, nodes, peers }
    }

    fn issuer(&self) -> Issuer {
        Issuer::below(&self.nodes, &self.root.certificate).unwrap()
    }

    fn pem(text: &str) -> Certificate {
        Certificate::try_from(text.to_owned()).unwrap()
    }

    /// What a node is told that can only join.
    fn config(&self, join: Vec<JoinAddress>) -> ClusterConfig {
        ClusterConfig {
            id: id('c').parse().unwrap(),
            name: "dev".parse().unwrap(),
            root: Root::Certificate(self.root.certificate.clone()),
            token: Some(Token::try_from("t".repeat(64)).unwrap()),
            join,
            member: None,
            network: ClusterNetworkConfig::default(),
        }
    }

    fn member_config(&self) -> ClusterConfig {
        let issuer = |identity: &Identity| IssuerConfig {
            certificate: Self::pem(&identity.certificate),
            key: PrivateKey::try_from(identity.key.clone()).unwrap(),
        };
        let member = MemberConfig {
            expect: 1,
            node_issuer: issuer(&self.nodes),
            peer_issuer: issuer(&self.peers),
        };
        ClusterConfig { member: Some(member), ..self.config(Vec::new()) }
    }

    /// The certificate of machine `digit`, made `ago_s` ago.
    fn membership(&self, digit: char, ago_s: u64) -> Membership {
        let name =
            MachineName { machine: id(digit).parse().unwrap(), cluster: "dev".parse().unwrap() };
        let leaf = ferrite_pki::node_leaf(&id('c').parse().unwrap(), &name, now_s() - ago_s);
        let Identity { certificate, key } = self.issuer().issue(&leaf).unwrap();
        Membership { certificate, key }
    }
}

/// A member that serves, on loopback.
struct Member {
    keys: Keys,
    book: Arc<Book>,
    address: JoinAddress,
    _doors: watch::Sender<Option<Doors>>,
    _end: watch::Sender<bool>,
    _running: JoinSet<()>,
}

async fn whoami(Extension(peer): Extension<Peer>) -> String {
    format!("{} is {}", peer.name, peer.role)
}

async fn member_with(book: Book, opens: bool) -> Member {
    let keys = Keys::make();
    let book = Arc::new(book);
    let knowledge: Arc<dyn Knowledge> = Arc::<Book>::clone(&book);
    let doors =
        Doors::of_cluster(None, &id('c').parse().unwrap(), &keys.membership('a', 0)).unwrap();
    let (doors, seen) = watch::channel(Some(doors));
    let (server, address) = Server::listen_on_loopback(seen).await;
    let SocketAddr::V4(address) = address else { panic!("{address}") };
    let server = match opens {
        true => server.letting_in(Door::open(&keys.member_config(), knowledge).unwrap().router()),
        false => server,
    };
    let (end, ending) = Ending::new();
    let mut running = JoinSet::new();
    running.spawn(server.serve(Router::new().route("/whoami", get(whoami)), ending));
    let address = JoinAddress { host: Ipv4Addr::LOCALHOST.to_string(), port: address.port() };
    Member { keys, book, address, _doors: doors, _end: end, _running: running }
}

async fn member() -> Member {
    let member = member_with(Book::default(), true).await;
    let token = TokenRecord { uses_left: Some(1), until_s: None };
    member.book.pages().tokens.insert(digest("t".repeat(64).as_bytes()), token);
    member
}

/// What a node was told; the last of it is waited for.
#[derive(Debug, Default)]
struct Heard {
    standing: Mutex<Option<String>>,
    warnings: Mutex<Vec<String>>,
    membership: Mutex<Option<Membership>>,
    estranged: Mutex<Option<Option<(ClusterId, Membership)>>>,
    news: Notify,
}

impl Told for Heard {
    fn stand(&self, warning: Option<String>) {
        *self.standing.lock().unwrap() = warning;
        self.news.notify_one();
    }

    fn warn(&self, warning: String) {
        self.warnings.lock().unwrap().push(warning);
    }

    fn estranged(&self, _why: &str, reached: Option<(ClusterId, Membership)>) {
        *self.estranged.lock().unwrap() = Some(reached);
        self.news.notify_one();
    }

    fn member(&self, membership: Membership) {
        *self.membership.lock().unwrap() = Some(membership);
        self.news.notify_one();
    }
}

/// A node that lives until what is waited for has happened.
async fn node(config: &ClusterConfig, folder: &Path, until: impl Fn(&Heard) -> bool) -> Heard {
    let settings = Settings {
        config: config.clone(),
        machine: id('1').parse().unwrap(),
        folder: folder.join("cluster"),
        hardware: "these parts".to_owned(),
        boot: "this boot".to_owned(),
    };
    let heard = Heard::default();
    let happens = async {
        while !until(&heard) {
            heard.news.notified().await;
        }
    };
    let done = tokio::time::timeout(SOON, async {
        tokio::select! {
            () = work(settings, &heard) => panic!("it has ended"),
            () = happens => {}
        }
    });
    done.await.unwrap_or_else(|_| panic!("it does not happen: {heard:?}"));
    heard
}

fn is_member(heard: &Heard) -> bool {
    heard.membership.lock().unwrap().is_some()
}

fn is_told(heard: &Heard) -> bool {
    heard.standing.lock().unwrap().is_some()
}

async fn complains(config: &ClusterConfig, folder: &Path) -> String {
    let heard = node(config, folder, is_told).await;
    assert!(!is_member(&heard), "{heard:?}");
    heard.standing.into_inner().unwrap().unwrap()
}

fn openssl(arguments: &[&str], folder: &Path) -> Result<String, String> {
    let output = Command::new("openssl").args(arguments).current_dir(folder).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    let (out, err) = (text(output.stdout), text(output.stderr));
    if output.status.success() { Ok(out) } else { Err(out + &err) }
}

#[tokio::test]
async fn a_machine_with_a_token_is_let_in_once_and_stays_in() {
    let member = member().await;
    let folder = tempfile::tempdir().unwrap();
    let config = member.keys.config(vec![member.address.clone()]);
    let heard = node(&config, folder.path(), is_member).await;
    let first = heard.membership.into_inner().unwrap().unwrap();
    assert_eq!(member.book.pages().tokens.values().next().unwrap().uses_left, Some(0));
    // Somebody else's program finds it good, and the key with it.
    let at = |name: &str| folder.path().join(name);
    std::fs::write(at("root"), &member.keys.root.certificate).unwrap();
    std::fs::write(at("nodes"), &member.keys.nodes.certificate).unwrap();
    let all = [
        "verify",
        "-x509_strict",
        "-CAfile",
        "root",
        "-untrusted",
        "nodes",
        "cluster/certificate.pem",
    ];
    openssl(&all, folder.path()).unwrap();
    let text =
        openssl(&["x509", "-in", "cluster/certificate.pem", "-noout", "-text"], folder.path())
            .unwrap();
    assert!(
        text.contains(&format!("DNS:{}.node.dev, URI:ferrite://{}/node", id('1'), id('c'))),
        "{text}"
    );
    let public = openssl(&["pkey", "-in", "cluster/key.pem", "-pubout"], folder.path()).unwrap();
    let certified =
        openssl(&["x509", "-in", "cluster/certificate.pem", "-noout", "-pubkey"], folder.path());
    assert_eq!(certified.unwrap(), public);
    // Started again it has what it needs, and asks nobody.
    let looks = member.book.pages().looks;
    let heard = node(&config, folder.path(), is_member).await;
    assert_eq!(heard.membership.into_inner().unwrap().unwrap(), first);
    assert_eq!(member.book.pages().looks, looks);
    // The answer was lost: it is given another one for the same key, and the token has nothing to do with it.
    std::fs::remove_file(folder.path().join("cluster/certificate.pem")).unwrap();
    let heard = node(&config, folder.path(), is_member).await;
    let second = heard.membership.into_inner().unwrap().unwrap();
    assert_eq!(second.key, first.key);
    assert_ne!(second.certificate, first.certificate);
    let pages = member.book.pages();
    let machine = &pages.machines[&id('1').parse().unwrap()];
    assert_eq!(machine.issued.len(), 2);
    assert_eq!(pages.tokens.values().next().unwrap().uses_left, Some(0));
}

#[tokio::test]
async fn a_machine_that_was_off_for_long_renews_without_a_token() {
    let member = member().await;
    let folder = tempfile::tempdir().unwrap();
    let config = member.keys.config(vec![member.address.clone()]);
    node(&config, folder.path(), is_member).await;
    member.book.pages().tokens.clear();
    // Its certificate ends while it is off.
    let key = std::fs::read_to_string(folder.path().join("cluster/key.pem")).unwrap();
    let requested = ferrite_pki::read_request(&ferrite_pki::make_request(&key).unwrap()).unwrap();
    let name = MachineName { machine: id('1').parse().unwrap(), cluster: "dev".parse().unwrap() };
    let leaf = ferrite_pki::node_leaf(&id('c').parse().unwrap(), &name, now_s() - 400 * DAY_S);
    let old = member.keys.issuer().certify(&leaf, &requested).unwrap();
    std::fs::write(folder.path().join("cluster/certificate.pem"), &old).unwrap();
    let renewed = |heard: &Heard| {
        heard.membership.lock().unwrap().as_ref().is_some_and(|member| member.certificate != old)
    };
    let heard = node(&config, folder.path(), renewed).await;
    let facts =
        ferrite_pki::first_facts(&heard.membership.lock().unwrap().as_ref().unwrap().certificate);
    assert!(facts.unwrap().dates.until_s > now_s() + 29 * DAY_S);
}

#[tokio::test]
async fn strangers_are_refused_and_both_sides_say_why() {
    let member = member().await;
    let config = member.keys.config(vec![member.address.clone()]);
    let machine: MachineId = id('1').parse().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let of_token = |uses_left, until_s| {
        let token = TokenRecord { uses_left, until_s };
        member.book.pages().tokens.insert(digest("t".repeat(64).as_bytes()), token);
    };
    let mut wrong = config.clone();
    wrong.token = Some(Token::try_from("w".repeat(64)).unwrap());
    let said = complains(&wrong, folder.path()).await;
    assert!(said.contains("does not know the token") && !said.contains("www"), "{said}");
    of_token(Some(0), None);
    let said = complains(&config, folder.path()).await;
    assert!(said.contains("as many machines as it was for"), "{said}");
    of_token(None, Some(1));
    let said = complains(&config, folder.path()).await;
    assert!(said.contains("has expired: make another one"), "{said}");
    let other = ClusterConfig { id: id('d').parse().unwrap(), ..config.clone() };
    let said = complains(&other, folder.path()).await;
    assert!(said.contains("is not believed") && said.contains("of another cluster"), "{said}");
    assert!(member.book.pages().machines.is_empty());
    // It is let in, and then its disk is copied while it lives.
    of_token(None, None);
    node(&config, folder.path(), is_member).await;
    std::fs::remove_file(folder.path().join("cluster/certificate.pem")).unwrap();
    member.book.pages().alive.insert(machine.clone(), "the boot of the one that lives".to_owned());
    let said = complains(&config, folder.path()).await;
    assert!(said.contains("a copy of its disk"), "{said}");
    member.book.pages().alive.clear();
    // Its certificate is revoked.
    let serial = member.book.pages().machines[&machine].issued[0].serial.clone();
    member.book.pages().revoked.push(serial);
    let said = complains(&config, folder.path()).await;
    assert!(said.contains("was revoked"), "{said}");
    // Another machine takes its ID.
    let thief = tempfile::tempdir().unwrap();
    member.book.pages().revoked.clear();
    let said = complains(&config, thief.path()).await;
    assert!(said.contains("with another key"), "{said}");
    member.book.pages().unavailable = true;
    let said = complains(&config, folder.path()).await;
    assert!(said.contains("etcd has no leader"), "{said}");
}

#[tokio::test]
async fn nobody_is_believed_for_having_answered() {
    let ours = member().await;
    let theirs = member().await;
    let folder = tempfile::tempdir().unwrap();
    // A cluster of the same name and ID, with another root.
    let config = ours.keys.config(vec![theirs.address.clone()]);
    let said = complains(&config, folder.path()).await;
    assert!(said.contains("is not believed to be a node of this cluster"), "{said}");
    assert!(said.contains("another cluster answers there, or somebody else"), "{said}");
    let print = |member: &Member| {
        let root = certificates(&member.keys.root.certificate).unwrap();
        Root::Fingerprint(Fingerprint(fingerprint(&root[0])))
    };
    let pinned = ClusterConfig { root: print(&ours), ..config.clone() };
    let said = complains(&pinned, folder.path()).await;
    assert!(said.contains("no certificate with the fingerprint"), "{said}");
    assert_eq!(theirs.book.pages().looks, 0, "the token was shown to a stranger");
    // The one that is ours is found behind it, by its fingerprint alone.
    let both = vec![theirs.address.clone(), ours.address.clone()];
    let pinned = ClusterConfig { root: print(&ours), join: both, ..config };
    node(&pinned, folder.path(), is_member).await;
}

#[tokio::test]
async fn a_node_that_lets_nobody_in_is_passed_over() {
    let closed = member_with(Book::default(), false).await;
    let config = closed.keys.config(vec![closed.address.clone()]);
    let folder = tempfile::tempdir().unwrap();
    let said = complains(&config, folder.path()).await;
    assert!(said.contains("lets no machines in"), "{said}");
    let nobody = JoinAddress { host: "127.0.0.1".to_owned(), port: 1 };
    let config = ClusterConfig { join: vec![nobody], ..config };
    let said = complains(&config, folder.path()).await;
    assert!(said.contains("reach 127.0.0.1:1"), "{said}");
}

#[tokio::test]
async fn state_of_another_cluster_waits_for_a_person() {
    let member = member().await;
    let config = member.keys.config(vec![member.address.clone()]);
    let folder = tempfile::tempdir().unwrap();
    node(&config, folder.path(), is_member).await;
    let looks = member.book.pages().looks;
    let other =
        ClusterConfig { id: id('d').parse().unwrap(), name: "prod".parse().unwrap(), ..config };
    let said = complains(&other, folder.path()).await;
    assert!(
        said.contains("STATE belongs to cluster dev") && said.contains("machine reset --at"),
        "{said}"
    );
    assert_eq!(member.book.pages().looks, looks);
    // It has no certificate of its new cluster; operators of the old one reach it.
    let told = |heard: &Heard| heard.estranged.lock().unwrap().is_some();
    let heard = node(&other, folder.path(), told).await;
    let (cluster, membership) = heard.estranged.into_inner().unwrap().unwrap().unwrap();
    assert_eq!(cluster.as_str(), id('c'));
    Doors::estranged(&cluster, &membership).unwrap();
    assert_eq!(heard.membership.into_inner().unwrap(), None, "it is a node of neither");
}

/// Whoever gave it the configuration reaches it; nothing of that is kept, and the other cluster's is as it was.
#[tokio::test]
async fn a_node_with_issuers_and_state_of_another_cluster_certifies_itself_for_its_operators() {
    let (old, new) = (Keys::make(), Keys::make());
    let folder = tempfile::tempdir().unwrap();
    let old = ClusterConfig { id: id('d').parse().unwrap(), ..old.member_config() };
    node(&old, folder.path(), is_member).await;
    let files = ["key.pem", "certificate.pem", "cluster.json"];
    let read =
        || files.map(|file| std::fs::read(folder.path().join("cluster").join(file)).unwrap());
    let before = read();
    let told = |heard: &Heard| heard.estranged.lock().unwrap().is_some();
    let config = new.member_config();
    assert!(work::is_foreign(&config, &folder.path().join("cluster")));
    assert!(!work::is_foreign(&old, &folder.path().join("cluster")));
    let heard = node(&config, folder.path(), told).await;
    let (cluster, membership) = heard.estranged.into_inner().unwrap().unwrap().unwrap();
    assert_eq!(cluster, config.id);
    let facts = ferrite_pki::first_facts(&membership.certificate).unwrap();
    assert_eq!(facts.role, Some((config.id, Role::Node)));
    Doors::estranged(&cluster, &membership).unwrap();
    assert_eq!(read(), before);
}

#[tokio::test]
async fn a_node_with_the_issuers_keys_asks_nobody() {
    let keys = Keys::make();
    let folder = tempfile::tempdir().unwrap();
    let heard = node(&keys.member_config(), folder.path(), is_member).await;
    let membership = heard.membership.into_inner().unwrap().unwrap();
    Doors::of_cluster(None, &id('c').parse().unwrap(), &membership).unwrap();
    // With an issuer of another root it says so.
    let other =
        ClusterConfig { root: Keys::make().config(Vec::new()).root, ..keys.member_config() };
    let elsewhere = tempfile::tempdir().unwrap();
    let said = complains(&other, elsewhere.path()).await;
    assert!(said.contains("node_issuer"), "{said}");
}

fn request(key: &str) -> JoinRequest {
    JoinRequest {
        cluster: id('c').parse().unwrap(),
        machine: id('1').parse().unwrap(),
        token: Some(Secret("t".repeat(64))),
        csr: ferrite_pki::make_request(key).unwrap(),
        hardware: "these parts".to_owned(),
        boot: "this boot".to_owned(),
    }
}

fn door(book: Book) -> Door {
    book.pages()
        .tokens
        .insert(digest("t".repeat(64).as_bytes()), TokenRecord { uses_left: None, until_s: None });
    Door::open(&Keys::make().member_config(), Arc::new(book)).unwrap()
}

#[tokio::test]
async fn what_changes_meanwhile_is_decided_anew_and_not_for_ever() {
    let body = serde_json::to_vec(&request(&ferrite_pki::make_key().unwrap())).unwrap();
    for (disturbed, lets_in) in [(0, true), (3, true), (4, false)] {
        let book = Book::default();
        book.pages().disturbed = disturbed;
        let answered = door(book).let_in(&body, now_s()).await;
        assert_eq!(answered.is_ok(), lets_in, "{disturbed}: {answered:?}");
        if let Err(refusal) = answered {
            assert_eq!(refusal.reason, RefusalReason::Unavailable);
        }
    }
}

#[tokio::test]
async fn eight_are_let_in_at_a_time() {
    let book = Book { gate: Some(Semaphore::new(0)), ..Book::default() };
    let door = door(book);
    let body = serde_json::to_vec(&request(&ferrite_pki::make_key().unwrap())).unwrap();
    let mut waiting: Vec<_> = (0..8).map(|_| Box::pin(door.let_in(&body, now_s()))).collect();
    for one in &mut waiting {
        assert!(futures_util::FutureExt::now_or_never(one.as_mut()).is_none());
    }
    let refusal = door.let_in(&body, now_s()).await.unwrap_err();
    assert!(
        refusal.reason == RefusalReason::Unavailable && refusal.error.contains("try again"),
        "{refusal:?}"
    );
    drop(waiting);
    assert!(futures_util::FutureExt::now_or_never(Box::pin(door.let_in(&body, now_s()))).is_none());
}

#[tokio::test]
async fn what_openssl_asks_for_is_understood_and_only_its_key_counts() {
    let folder = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str]| openssl(arguments, folder.path()).unwrap();
    run(&["ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", "p256"]);
    run(&["ecparam", "-name", "secp384r1", "-genkey", "-noout", "-out", "p384"]);
    run(&["genrsa", "-out", "rsa", "2048"]);
    let asks = |key: &str| {
        let extension =
            "subjectAltName=DNS:evil.node.dev,URI:ferrite://cccccccccccccccccccccccccccccccc/admin";
        run(&[
            "req",
            "-new",
            "-key",
            key,
            "-subj",
            "/CN=admin",
            "-addext",
            extension,
            "-addext",
            "basicConstraints=critical,CA:TRUE",
        ])
    };
    let door = door(Book::default());
    let with = |csr: String| {
        let request = JoinRequest { csr, ..request(&ferrite_pki::make_key().unwrap()) };
        serde_json::to_vec(&request).unwrap()
    };
    let good = asks("p256");
    let answer = door.let_in(&with(good.clone()), now_s()).await.unwrap();
    let facts = ferrite_pki::first_facts(&answer.certificate).unwrap();
    assert_eq!(facts.names, [format!("{}.node.dev", id('1'))]);
    assert_eq!(facts.role.as_ref().map(|(_, role)| *role), Some(Role::Node));
    assert!(!facts.certifies && facts.subject == id('1'), "{facts:?}");
    for key in ["p384", "rsa"] {
        let refusal = door.let_in(&with(asks(key)), now_s()).await.unwrap_err();
        assert!(refusal.error.contains("make an ECDSA key on P-256"), "{refusal:?}");
    }
    // One byte of the signature is another: who asks does not have the key.
    let der = openssl(&["req", "-outform", "DER", "-out", "der"], folder.path());
    drop(der);
    std::fs::write(folder.path().join("csr"), &good).unwrap();
    run(&["req", "-in", "csr", "-outform", "DER", "-out", "der"]);
    let mut der = std::fs::read(folder.path().join("der")).unwrap();
    *der.last_mut().unwrap() ^= 1;
    std::fs::write(folder.path().join("der"), der).unwrap();
    let forged = run(&["req", "-inform", "DER", "-in", "der", "-outform", "PEM"]);
    let refusal = door.let_in(&with(forged), now_s()).await.unwrap_err();
    assert!(refusal.error.contains("not signed with its own key"), "{refusal:?}");
}

/// A peer of the API with this certificate, or without one, that asks for `path` after speaking `protocol`.
async fn gets(
    member: &Member,
    identity: Option<&Identity>,
    protocol: &[u8],
    sent: &[u8],
) -> std::io::Result<String> {
    use rustls::pki_types::pem::PemObject;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let root = certificates(&member.keys.root.certificate).unwrap().remove(0);
    let cluster = (id('c').parse::<ClusterId>().unwrap(), "dev".parse().unwrap());
    let verifier = ferrite_pki::NodeVerifier::new(
        ferrite_pki::Pin::Root(root),
        cluster,
        None,
        Arc::clone(&provider),
    );
    let builder = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    let mut config = match identity {
        Some(identity) => builder
            .with_client_auth_cert(
                certificates(&identity.certificate).unwrap(),
                rustls::pki_types::PrivateKeyDer::from_pem_slice(identity.key.as_bytes()).unwrap(),
            )
            .unwrap(),
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![protocol.to_vec()];
    let tcp = tokio::net::TcpStream::connect(("127.0.0.1", member.address.port)).await?;
    let name = rustls::pki_types::ServerName::try_from("anything").unwrap();
    let mut stream = tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, tcp).await?;
    stream.write_all(sent).await?;
    let mut answer = vec![0; 4096];
    let count = stream.read(&mut answer).await?;
    Ok(String::from_utf8_lossy(&answer[..count]).into_owned())
}

#[tokio::test]
async fn requests_carry_who_asks_and_the_door_for_strangers_leads_nowhere_else() {
    let member = member().await;
    let cluster: ClusterId = id('c').parse().unwrap();
    let ask = b"GET /whoami HTTP/1.1\r\nHost: node\r\n\r\n";
    for role in [Role::Admin, Role::Operator, Role::Reader] {
        let leaf = ferrite_pki::user_leaf(&cluster, "ann", role, Dates::ALWAYS);
        let ann = member.keys.issuer().issue(&leaf).unwrap();
        let answer = gets(&member, Some(&ann), b"http/1.1", ask).await.unwrap();
        assert!(answer.ends_with(&format!("ann is {role}")), "{answer}");
        // Without the protocol that knows her she is nobody.
        let answer = gets(&member, Some(&ann), ferrite_schema::join::PROTOCOL, ask).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 404") && answer.contains("/v1/join"), "{answer}");
    }
    let Membership { certificate, key } = member.keys.membership('2', 0);
    let answer =
        gets(&member, Some(&Identity { certificate, key }), b"http/1.1", ask).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 403") && answer.contains("is a machine's"), "{answer}");
    let peers = Issuer::below(&member.keys.peers, &member.keys.root.certificate).unwrap();
    let name = MachineName { machine: id('2').parse().unwrap(), cluster: "dev".parse().unwrap() };
    let peer = peers.issue(&ferrite_pki::peer_leaf(&cluster, &name, now_s())).unwrap();
    let answer = gets(&member, Some(&peer), b"http/1.1", ask).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 403") && answer.contains("etcd peer's"), "{answer}");
    // TLS 1.3 lets a client write before it hears that it is refused.
    assert!(gets(&member, None, b"http/1.1", ask).await.map_or(true, |answer| answer.is_empty()));
    let old = member.keys.membership('2', 60 * DAY_S);
    let old = Identity { certificate: old.certificate, key: old.key };
    assert!(
        gets(&member, Some(&old), b"http/1.1", ask).await.map_or(true, |answer| answer.is_empty())
    );
}

#[tokio::test]
async fn a_request_to_join_is_bounded() {
    let member = member().await;
    let protocol = ferrite_schema::join::PROTOCOL;
    for (length, expected) in
        [(4097, "more than 4096 bytes"), (4096, "not understood"), (0, "not understood")]
    {
        let head =
            format!("POST /v1/join HTTP/1.1\r\nHost: node\r\nContent-Length: {length}\r\n\r\n");
        let sent = [head.as_bytes(), &vec![b' '; length]].concat();
        let answer = gets(&member, None, protocol, &sent).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 400") && answer.contains(expected), "{answer}");
    }
    // Of unknown length.
    let chunk = format!("1000\r\n{}\r\n", " ".repeat(4096)).repeat(2);
    let sent = format!(
        "POST /v1/join HTTP/1.1\r\nHost: node\r\nTransfer-Encoding: chunked\r\n\r\n{chunk}"
    );
    let answer = gets(&member, None, protocol, sent.as_bytes()).await.unwrap();
    assert!(
        answer.starts_with("HTTP/1.1 400") && answer.contains("more than 4096 bytes"),
        "{answer}"
    );
    assert_eq!(member.book.pages().looks, 0);
}

#[tokio::test]
async fn a_certificate_for_somebody_else_is_not_taken() {
    let keys = Keys::make();
    let theirs = keys.membership('2', 0);
    let facts = ferrite_pki::first_facts(&theirs.certificate).unwrap();
    let root = certificates(&keys.root.certificate).unwrap().remove(0);
    let cluster = Cluster {
        pin: ferrite_pki::Pin::Root(root),
        id: id('c').parse().unwrap(),
        name: "dev".parse().unwrap(),
        machine: id('1').parse().unwrap(),
        key: facts.key,
    };
    let said = cluster.check(&theirs.certificate, now_s()).unwrap_err();
    assert!(said.contains(&format!("it is machine {}", id('2'))), "{said}");
    let other =
        Cluster { key: "00".to_owned(), machine: id('2').parse().unwrap(), ..cluster.clone() };
    assert!(other.check(&theirs.certificate, now_s()).unwrap_err().contains("another key"));
    let ours = Cluster { machine: id('2').parse().unwrap(), ..cluster };
    ours.check(&theirs.certificate, now_s() + 4_000 * DAY_S).unwrap();
    let address = JoinAddress { host: "127.0.0.1".to_owned(), port: 1 };
    let failed = ask(&ours, &address, &request(&theirs.key), now_s()).await.unwrap_err();
    assert!(matches!(failed, Ask::Connect { .. }) && !failed.is_final(), "{failed}");
}

/// A request that is good but for what was done to its bytes.
fn mangled() -> impl Strategy<Value = Vec<u8>> {
    let key = ferrite_pki::make_key().unwrap();
    let good = serde_json::to_vec(&request(&key)).unwrap();
    let length = good.len();
    prop::collection::vec((0..length, any::<u8>(), 0..3_u8), 1..6).prop_map(move |changes| {
        let mut bytes = good.clone();
        for (at, byte, how) in changes {
            let at = at % bytes.len().max(1);
            match how {
                0 if at < bytes.len() => bytes[at] = byte,
                1 => bytes.truncate(at),
                _ => bytes.insert(at.min(bytes.len()), byte),
            }
        }
        bytes
    })
}

/// A key and values of any shape under the names that the protocol has.
fn shaped() -> impl Strategy<Value = Vec<u8>> {
    let value = prop_oneof![
        any::<String>().prop_map(serde_json::Value::from),
        any::<u64>().prop_map(serde_json::Value::from),
        Just(serde_json::Value::Null),
        Just(serde_json::json!(["a"])),
        "[0-9a-f]{32}".prop_map(serde_json::Value::from),
        Just(serde_json::Value::from(
            "-----BEGIN CERTIFICATE REQUEST-----\nMIIB\n-----END CERTIFICATE REQUEST-----\n"
        )),
    ];
    let names = prop::sample::select(vec![
        "cluster", "machine", "token", "csr", "hardware", "boot", "more",
    ]);
    prop::collection::btree_map(names, value, 0..7)
        .prop_map(|document| serde_json::to_vec(&document).unwrap())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]
    /// Whatever a stranger sends is answered, with a sentence where it is refused, and nobody is entered who has not shown a
    /// key that it has.
    #[test]
    fn garbage_is_refused(body in prop_oneof![
        prop::collection::vec(any::<u8>(), 0..5_000), mangled(), shaped(),
    ]) {
        thread_local! {
            static DOOR: (tokio::runtime::Runtime, Door) = (
                tokio::runtime::Builder::new_current_thread().build().unwrap(),
                door(Book::default()),
            );
        }
        DOOR.with(|(runtime, door)| {
            match runtime.block_on(door.let_in(&body, 1_795_000_000)) {
                Ok(answer) => prop_assert!(ferrite_pki::first_facts(&answer.certificate).is_ok()),
                Err(refusal) => {
                    prop_assert!(refusal.error.len() > 10 && refusal.error.len() < 1_000, "{:?}", refusal);
                    let reason = refusal.reason;
                    prop_assert!(reason != RefusalReason::Unavailable && reason != RefusalReason::Unknown);
                }
            }
            Ok(())
        })?;
    }
}
