//! Who does not belong to a cluster, one by one: each is refused, knows why, and the cluster goes on as if nobody had come.
//! And what a machine must have to be let in: whom to believe, and a token.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, ensure};
use ferrite_ctl::context::{Context, Store};
use ferrite_ctl::founding::{Plan, found, numbered};
use ferrite_ctl::pki::{Authority, make_authority, make_client, make_server};
use ferrite_schema::node_config::{self, MemberConfig};
use ferrite_tests::computer::Computer;
use ferrite_tests::demo;
use ferrite_tests::images::{self, Kind};
use ferrite_tests::node::{BOOT, SOON};
use ferrite_tests::programs::said;
use ferrite_tests::turnstile;
use ferrite_vm::console::Until;
use ferrite_vm::deadline::Deadline;
use serde_json::Value;

use crate::fleet_functional;

const CLUSTER: &str = "strange";
/// The one member, a machine of the beginning that runs no etcd, and one that comes with a token.
const MEMBER: &str = "strange-1";
const WORKER: &str = "strange-2";
const JOINED: &str = "strange-3";
/// Strangers.
const OTHER_ROOT: &str = "strange-4";
const OTHER_CLUSTER: &str = "strange-5";
const WRONG_TOKEN: &str = "strange-6";
const USED_UP: &str = "strange-7";
const EXPIRED: &str = "strange-8";
/// Two thirds of a certificate's 30 days are over.
const LATER: Duration = Duration::from_secs(21 * 24 * 60 * 60);

fn text(value: &Value, key: &str) -> String {
    value[key].as_str().unwrap_or_default().to_owned()
}

/// Waits for a line of a node's console that has all `words`, whenever it was said.
fn says(computer: &Computer, node: &str, words: &[&str]) -> Result<String> {
    says_one(computer, node, words, &[""])
}

/// The same, with one of several words.
fn says_one(computer: &Computer, node: &str, words: &[&str], one: &[&str]) -> Result<String> {
    let mut console = computer.console(node)?;
    let until = Until { deadline: Deadline::after(SOON), machine: None, interrupt: None };
    loop {
        let line = console
            .next_line(until)
            .with_context(|| format!("{node} says {words:?} and one of {one:?}"))?;
        let has = |word: &&str| line.contains(word);
        if words.iter().all(has) && one.iter().any(has) {
            return Ok(line);
        }
    }
}

/// Waits until the member says `words` of a node that came from there.
fn member_says(computer: &Computer, node: &str, words: &[&str]) -> Result<String> {
    let [v4, v6] = addresses(node)?;
    let from = [format!("{v4}:"), format!("{v4}]:"), format!("{v6}]:")];
    says_one(computer, MEMBER, words, &from.each_ref().map(String::as_str))
}

/// What a node's network gives it.
fn addresses(node: &str) -> Result<[String; 2]> {
    let number: u8 = 9 + node.rsplit_once('-').context("a number")?.1.parse::<u8>()?;
    let v6 = format!("fd66:6572:7269:1:5054:ff:fe01:{number:x}");
    Ok([format!("192.168.1.{number}"), v6])
}

/// Where each node's API is on this computer.
fn endpoint(computer: &Computer, node: &str) -> Result<String> {
    let status = computer.ask(&["cluster", "status", CLUSTER])?;
    let machines = status["machines"].as_array().context("machines")?;
    let machine = machines.iter().find(|one| one["name"] == node).context("the node")?;
    Ok(text(machine, "endpoint"))
}

fn warnings(computer: &Computer, context: &str) -> Result<String> {
    Ok(computer.ask(&["machine", "status", "--context", context])?["warnings"].to_string())
}

/// What must be the same before and after.
#[derive(Debug, PartialEq)]
struct Seen {
    machines: BTreeMap<String, (String, Vec<Value>, bool)>,
    instances: BTreeMap<String, (String, String, bool)>,
    etcd: Value,
}

fn look(computer: &Computer) -> Result<Seen> {
    let machines = computer.ask(&["machine", "list"])?;
    let machines = machines.as_array().context("machines")?.iter().map(|one| {
        let addresses = one["addresses"].as_array().cloned().unwrap_or_default();
        let alive = one["state"] == "alive";
        (text(one, "name"), (text(one, "id"), addresses, alive))
    });
    let units = computer.ask(&["unit", "list"])?;
    let units = units.as_array().context("units")?;
    let instances = units.iter().flat_map(|unit| unit["instances"].as_array()).flatten();
    let instances = instances.map(|one| {
        (text(one, "name"), (text(one, "machine_name"), text(one, "state"), one["ready"] == true))
    });
    Ok(Seen {
        machines: machines.collect(),
        instances: instances.collect(),
        etcd: computer.ask(&["etcd", "members"])?,
    })
}

/// What is there once all of `web` is ready.
fn ready(computer: &Computer) -> Result<Seen> {
    let deadline = Instant::now() + SOON;
    loop {
        let seen = look(computer)?;
        if seen.instances.values().all(|(_, _, ready)| *ready) {
            return Ok(seen);
        }
        ensure!(Instant::now() < deadline, "{seen:?}");
    }
}

/// All is as it was, once it has calmed down.
fn is_as_before(computer: &Computer, before: &Seen) -> Result<()> {
    let deadline = Instant::now() + SOON;
    loop {
        let seen = look(computer)?;
        if seen == *before {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "{seen:?}, not {before:?}");
    }
}

/// A cloud-config of whoever is not let in has an API of its own, so that it can be asked why.
struct Asked {
    authority: Authority,
}

impl Asked {
    fn config(&self, node: &str, config: &str) -> Result<String> {
        let server = make_server(&self.authority, node)?;
        let ca = &self.authority.identity.certificate;
        Ok(format!(
            "{config}\n[api]\nca = '''\n{ca}'''\ncertificate = '''\n{}'''\nkey = '''\n{}'''\n",
            server.certificate, server.key
        ))
    }

    /// A context by which `node` is asked.
    fn context(&self, computer: &Computer, node: &str) -> Result<()> {
        let client = make_client(&self.authority, "ann")?;
        let context = Context {
            name: node.to_owned(),
            endpoint: endpoint(computer, node)?,
            further: Vec::new(),
            ca: self.authority.identity.certificate.clone(),
            certificate: client.certificate,
            key: client.key,
            cluster: None,
        };
        Ok(store(computer).save(&context)?)
    }
}

fn store(computer: &Computer) -> Store {
    Store::at(computer.contexts())
}

/// The text of a cloud-config in which one key of `[cluster]` has another value.
fn with(config: &str, key: &str, value: &str) -> Result<String> {
    let line = config.lines().find(|line| line.starts_with(&format!("{key} = ")));
    Ok(config.replace(line.context("the key")?, &format!("{key} = \"{value}\"")))
}

fn token(computer: &Computer, words: &[&str]) -> Result<Value> {
    computer.ask(&[&["cluster", "token", "new"], words].concat())
}

#[test]
fn strangers_are_refused_one_by_one_and_the_cluster_goes_on() -> Result<()> {
    let image = images::image(Kind::Product)?;
    let image = image.to_str().context("name the image's folder")?;
    let archive = demo::busybox()?;
    let archive = archive.to_str().context("name the archive")?;
    let _places = turnstile::enter_with(8);
    let computer = Computer::new("strangers", CLUSTER)?;
    let up = ["cluster", "up", CLUSTER, "--nodes", "2", "--members", "1", "--image", image];
    computer.ferrite(&up)?;
    whom_to_believe_and_a_token_let_a_machine_in(&computer)?;
    computer.ferrite(&["import", archive, "--name", "hello"])?;
    computer.ferrite(&["unit", "start", "../configs/units/web.toml"])?;
    let before = ready(&computer)?;
    let used: Vec<&str> = before.instances.values().map(|(machine, ..)| machine.as_str()).collect();
    ensure!(used.contains(&JOINED) && used.len() == 3, "{before:?}");
    etcd_is_open_to_its_peers_alone(&computer)?;
    somebody_is_let_in_and_shut_out_again(&computer)?;

    strangers_are_refused(&computer)?;
    is_as_before(&computer, &before)?;
    copies_are_refused(&computer, &before)?;
    is_as_before(&computer, &before)?;

    fleet_functional::all_that_is_cheap(&computer)?;
    fleet_functional::node_shutdown(&computer, JOINED)?;
    certificates_are_renewed_without_a_token(&computer)?;
    for node in [MEMBER, JOINED] {
        computer.ferrite(&["cluster", "kill", node])?;
    }
    computer.ferrite(&["cluster", "down", CLUSTER, "--delete"])?;
    Ok(())
}

/// A node with nobody's key, and no more of the root than its fingerprint, joins, is given units, and lets nobody in itself.
fn whom_to_believe_and_a_token_let_a_machine_in(computer: &Computer) -> Result<()> {
    let token = token(computer, &["--uses", "1"])?;
    let (secret, config) = (text(&token, "token"), text(&token, "config"));
    ensure!(config.contains("root_fingerprint") && !config.contains("PRIVATE KEY"), "{config}");
    let file = computer.folder().join("worker.toml");
    fs::write(&file, &config)?;
    let file = file.display().to_string();
    computer.ferrite(&["config", "validate", &file])?;
    computer.ferrite(&["cluster", "add", CLUSTER, "--config", &file])?;
    says(computer, JOINED, &["join-certificate"])?;
    member_says(computer, JOINED, &["join-answered"])?;
    says(computer, JOINED, &["assigned instances="])?;

    // It has no key by which others are let in, and the cluster has no token.
    let issuers = issuers(computer)?;
    let key = issuers.node_issuer.key.reveal().lines().nth(2).context("a line of the key")?;
    ensure!(key.len() > 30, "{key}");
    let disk = |node: &str| computer.folder().join(node).join("disk.qcow2");
    ensure!(has(&disk(MEMBER), key)?, "the member has the issuers' keys");
    ensure!(!has(&disk(JOINED), key)?, "the machine that joined has an issuer's key");
    let machines = computer.ask(&["machine", "list"])?;
    let joined = machines.as_array().context("machines")?.iter().find(|one| one["name"] == JOINED);
    ensure!(joined.is_some_and(|one| one["eligible"] == false), "{machines}");
    let copy = computer.folder().join("etcd.db").display().to_string();
    computer.ferrite(&["etcd", "snapshot", &copy])?;
    ensure!(has(Path::new(&copy), &text(&token, "digest"))?, "the digest is there");
    ensure!(!has(Path::new(&copy), &secret)?, "etcd has the token itself");
    let tokens = computer.ask(&["cluster", "token", "list"])?;
    let used_up = tokens.as_array().context("tokens")?.iter();
    ensure!(used_up.filter(|one| one["problem"] == "used up").count() == 1, "{tokens}");
    fs::write(computer.folder().join("used-up.toml"), config)?;
    Ok(())
}

/// Whether a file has these words somewhere.
fn has(file: &Path, words: &str) -> Result<bool> {
    let output = Command::new("grep").args(["-c", "-a", "-F", "-e", words]).arg(file).output()?;
    ensure!(output.status.code().is_some_and(|code| code < 2), "{}", said(&output));
    Ok(output.status.success())
}

/// Units do not reach it: `mesh` shows that.
fn etcd_is_open_to_its_peers_alone(computer: &Computer) -> Result<()> {
    let folder = computer.folder();
    let mut switch = computer.switch()?;
    let (peers, clients) =
        (switch.publish(MEMBER, 2380, None)?, switch.publish(MEMBER, 2379, None)?);
    let at = |name: &str| folder.join(name).display().to_string();
    let get = |url: &str, identity: &[&str]| {
        let mut curl = Command::new("curl");
        curl.args(["-s", "-S", "-k", "-m", "30", "--http1.1"]).args(identity).arg(url);
        curl.output().context("run curl")
    };
    let members = format!("https://{peers}/members");
    let nobody = get(&members, &[])?;
    ensure!(!nobody.status.success(), "{}", said(&nobody));
    ensure!(said(&nobody).contains("certificate"), "{}", said(&nobody));
    // An admin of the cluster is none either.
    let admin = store(computer).load(CLUSTER)?;
    fs::write(at("admin.pem"), format!("{}{}", admin.certificate, admin.key))?;
    let admin = get(&members, &["--cert", &at("admin.pem")])?;
    ensure!(!admin.status.success() && said(&admin).contains("unknown ca"), "{}", said(&admin));
    // One that its own authority vouches for is.
    let issuer = issuers(computer)?.peer_issuer;
    let mut peers_authority = make_authority("peers")?;
    peers_authority.identity.certificate = issuer.certificate.as_str().to_owned();
    peers_authority.identity.key = issuer.key.reveal().to_owned();
    // Good whatever a guest's clock says.
    let peer = make_client(&peers_authority, "peer")?;
    fs::write(at("peer.pem"), format!("{}{}", peer.certificate, peer.key))?;
    let peer = get(&members, &["--cert", &at("peer.pem")])?;
    ensure!(peer.status.success() && said(&peer).contains("peerURLs"), "{}", said(&peer));
    // For clients it has no port at all.
    let client = get(&format!("http://{clients}/version"), &[])?;
    ensure!(!client.status.success(), "{}", said(&client));
    for port in [peers.port(), clients.port()] {
        switch.unpublish(port)?;
    }
    Ok(())
}

/// By a certificate that opens what its role says, on every machine, until it is revoked.
fn somebody_is_let_in_and_shut_out_again(computer: &Computer) -> Result<()> {
    let file = computer.folder().join("ann.toml");
    let path = file.display().to_string();
    let grant = ["access", "grant", "ann", "--role", "reader", "--days", "1", "-f", &path];
    computer.ferrite(&grant)?;
    assert_eq!(file.metadata()?.permissions().mode() & 0o777, 0o600);
    let again = computer.run(&grant)?;
    ensure!(!again.status.success() && said(&again).contains("ann.toml"), "{}", said(&again));
    let given = ferrite_ctl::context::read(&file)?;
    store(computer).save(&Context { name: "ann".to_owned(), ..given.clone() })?;
    // Each machine by its own port: none goes by what another one says.
    for node in [MEMBER, WORKER, JOINED] {
        let (name, endpoint) = (format!("ann-{node}"), endpoint(computer, node)?);
        let further = Vec::new();
        store(computer).save(&Context { name, endpoint, further, ..given.clone() })?;
    }
    let looks =
        |node: &str| computer.run(&["machine", "status", "--context", &format!("ann-{node}")]);
    for machine in [MEMBER, WORKER, JOINED] {
        let looked = looks(machine)?;
        ensure!(looked.status.success(), "{machine}: {}", said(&looked));
    }
    let destroys = computer.run(&["unit", "destroy", "web", "--context", "ann"])?;
    ensure!(said(&destroys).contains("your certificate's role is reader"), "{}", said(&destroys));
    computer.ferrite(&["access", "revoke", "ann"])?;
    let all = computer.ask(&["access", "list"])?;
    let all = all.as_array().context("certificates")?;
    let ann = all.iter().find(|one| one["name"] == "ann").context("ann's")?;
    ensure!(text(ann, "problem").starts_with("revoked by operator"), "{ann}");
    for machine in [MEMBER, WORKER, JOINED] {
        let deadline = Instant::now() + SOON;
        loop {
            let looked = looks(machine)?;
            if said(&looked).contains("your certificate was revoked") {
                break;
            }
            ensure!(Instant::now() < deadline, "{machine}: {}", said(&looked));
        }
    }
    Ok(())
}

/// What the member alone was given.
fn issuers(computer: &Computer) -> Result<MemberConfig> {
    let path = computer.folder().join("founded/strange-1.toml");
    let config = node_config::parse(&fs::read_to_string(path)?);
    let config = config.map_err(|problem| anyhow::anyhow!("{problem}"))?;
    config.cluster.and_then(|cluster| cluster.member).context("the issuers")
}

/// Each stranger, with what it and the member say, and in what words.
const REFUSED: [(&str, &str, &str, &str); 5] = [
    (OTHER_ROOT, "is not believed to be a node of this cluster", "join-not-believed", ""),
    (OTHER_CLUSTER, "is not believed to be a node of this cluster", "join-not-believed", ""),
    (WRONG_TOKEN, "does not know the token of machine", "join-refused", "reason=WrongToken"),
    (USED_UP, "has let in as many machines as it was for", "join-refused", "reason=TokenUsedUp"),
    (EXPIRED, "has expired: make another one", "join-refused", "reason=TokenExpired"),
];

fn strangers_are_refused(computer: &Computer) -> Result<()> {
    let folder = computer.folder();
    let used_up = fs::read_to_string(folder.join("used-up.toml"))?;
    let revoked = token(computer, &["--uses", "3"])?;
    let id = text(&revoked, "digest");
    computer.ferrite(&["cluster", "token", "revoke", &id[..8]])?;
    let tokens = computer.ferrite(&["cluster", "token", "list"])?;
    ensure!(!tokens.contains(&id[..8]), "{tokens}");
    let expired = token(computer, &["--uses", "3", "--expires", "1s"])?;
    // Nobody vouches for this one; everything else is as it should be.
    let nowhere = format!("sha256:{}", "0123456789abcdef".repeat(4));
    let other_root = with(&used_up, "root_fingerprint", &nowhere)?;
    let configs = [
        (OTHER_ROOT, other_root),
        (OTHER_CLUSTER, other_cluster()?),
        (WRONG_TOKEN, text(&revoked, "config")),
        (USED_UP, used_up),
        (EXPIRED, text(&expired, "config")),
    ];
    let asked = Asked { authority: make_authority("strangers")? };
    let mut add: Vec<String> =
        ["cluster", "add", CLUSTER, "--timeout", "15m"].map(str::to_owned).to_vec();
    for (node, config) in &configs {
        let file: PathBuf = folder.join(format!("{node}.toml"));
        fs::write(&file, asked.config(node, config)?)?;
        add.extend(["--config".to_owned(), file.display().to_string()]);
    }
    computer.ferrite(&add.iter().map(String::as_str).collect::<Vec<_>>())?;
    for (node, theirs, word, reason) in REFUSED {
        let said = says(computer, node, &["join-not-answered", theirs])?;
        ensure!(said.contains(":7443"), "{said}");
        member_says(computer, node, &[word, reason])?;
        asked.context(computer, node)?;
        let shown = warnings(computer, node)?;
        ensure!(shown.contains("does not belong to its cluster yet"), "{node}: {shown}");
        ensure!(shown.contains(theirs), "{node}: {shown}");
        // It knows nothing of the cluster.
        let output = computer.run(&["unit", "list", "--context", node, "-o", "json"])?;
        let units: Value = serde_json::from_slice(&output.stdout)?;
        ensure!(units.as_array().is_some_and(Vec::is_empty), "{node}: {units}");
        computer.ferrite(&["cluster", "kill", node])?;
    }
    Ok(())
}

/// What somebody else's cluster tells a node, which looks for it at our addresses.
fn other_cluster() -> Result<String> {
    let name = "other".parse()?;
    let now_s = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let nodes = numbered(&name, 2, Some(1))?;
    let join = vec!["192.168.1.10:7443".to_owned().try_into()?];
    let network = ferrite_schema::node_config::ClusterNetworkConfig::default();
    let founded = found(&Plan { name, nodes, join, network, now_s })?;
    let node = founded.nodes.get(1).context("a node that is no member")?;
    Ok(node.document()?)
}

/// A copy of a machine's disk on another machine, while that one lives: of one that runs units, and of the one that runs etcd.
fn copies_are_refused(computer: &Computer, before: &Seen) -> Result<()> {
    for (node, copy) in [(WORKER, USED_UP), (MEMBER, EXPIRED)] {
        let (of, at) = (computer.folder().join(node), computer.folder().join(copy));
        computer.ferrite(&["cluster", "pause", node])?;
        for file in ["disk.qcow2", "cloud-config"] {
            fs::copy(of.join(file), at.join(file)).with_context(|| format!("copy {file}"))?;
        }
        computer.ferrite(&["cluster", "resume", node])?;
        computer.ferrite(&["cluster", "up", copy])?;
        let (id, own, _) = &before.machines[node];
        says(computer, copy, &[id, "a copy of its disk"])?;
        member_says(computer, copy, &["node-refused", id])?;
        fleet_functional::detect_machine_id(computer, (node, id, own), &addresses(copy)?)?;
        // It is a node of the cluster by its certificate, so that it is asked as one.
        let all = store(computer);
        let known = all.load(CLUSTER)?;
        let endpoint = endpoint(computer, copy)?;
        all.save(&Context {
            name: copy.to_owned(),
            endpoint: endpoint.clone(),
            further: Vec::new(),
            ..known
        })?;
        let deadline = Instant::now() + SOON;
        loop {
            let shown = warnings(computer, copy)?;
            if shown.contains("a copy of its disk") && shown.contains("runs nothing for it") {
                break;
            }
            ensure!(Instant::now() < deadline, "{shown}");
        }
        let pem = computer.folder().join("admin.pem").display().to_string();
        let mut curl = Command::new("curl");
        curl.args(["-s", "-S", "-k", "-f", "-m", "30", "--cert", &pem]);
        let units = curl.arg(format!("{endpoint}/v1/units")).output()?;
        ensure!(units.status.success(), "{}", said(&units));
        let units: Value = serde_json::from_slice(&units.stdout)?;
        let units = units.as_array().context("units")?;
        let runs = |one: &&Value| one["state"] == "running";
        ensure!(units.iter().filter(runs).count() == 0, "the copy runs {units:?}");
        // What runs on the machine itself is reached, over the mesh.
        let (instance, _) = before
            .instances
            .iter()
            .find(|(_, (machine, ..))| machine == node)
            .context("an instance there")?;
        let (other, _) = before
            .instances
            .iter()
            .find(|(_, (machine, ..))| machine != node)
            .context("an instance elsewhere")?;
        let number = instance.rsplit_once('@').context("a number")?.1;
        let line = format!("wget -q -O - http://{number}.web/");
        let answer = computer.ferrite(&["unit", "exec", other, "--", "/bin/sh", "-c", &line])?;
        assert_eq!(answer.trim(), instance.replace('@', "-"));
        computer.ferrite(&["cluster", "kill", copy])?;
    }
    Ok(())
}

/// All of the cluster was off for three weeks.
fn certificates_are_renewed_without_a_token(computer: &Computer) -> Result<()> {
    let until = |line: &str| -> Result<String> {
        let (_, rest) = line.split_once("until=").context("until")?;
        Ok(rest.chars().filter(|one| *one != '"').take(10).collect())
    };
    let first = until(&says(computer, JOINED, &["join-certificate"])?)?;
    for node in [MEMBER, WORKER, JOINED] {
        computer.run(&["cluster", "down", node])?;
    }
    let later = SystemTime::now() + LATER;
    let later_s = later.duration_since(UNIX_EPOCH)?.as_secs();
    let clock = ferrite_schema::utc::text(later_s).replace(" UTC", "").replace(' ', "T");
    let mut consoles = BTreeMap::new();
    for node in [MEMBER, JOINED] {
        let mut console = computer.console(node)?;
        console.skip_to_end()?;
        consoles.insert(node, console);
        computer.ferrite(&["cluster", "up", node, "--clock", &clock])?;
    }
    let mut renewed = BTreeMap::new();
    for (node, console) in &mut consoles {
        let wait = Until { deadline: Deadline::after(BOOT), machine: None, interrupt: None };
        let (_, line) = console.wait_for(&["join-certificate"], wait)?;
        renewed.insert(*node, until(&line)?);
    }
    let expected: String =
        ferrite_schema::utc::text(later_s + 30 * 24 * 60 * 60).chars().take(10).collect();
    ensure!(renewed[JOINED] > first, "{renewed:?}, after {first}");
    // Midnight may have passed between both.
    ensure!(renewed[JOINED] >= expected, "{renewed:?}, not {expected}");
    Ok(())
}
