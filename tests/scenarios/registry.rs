//! A real registry, with TLS of a private authority and passwords, serves a node.

use std::fs::{self, OpenOptions};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use anyhow::{Context, Result, ensure};
use ferrite_tests::agent_death::Ambush;
use ferrite_tests::demo;
use ferrite_tests::images::Kind;
use ferrite_tests::node::Node;
use ferrite_tests::programs::{said, succeed};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, SanType, SigningKey as _};
use serde_json::json;

/// The host's loopback, as QEMU's user network shows it to a guest.
const HOST: &str = "10.0.2.2";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const USER: &str = "node";
const PASSWORD: &str = "pass word:1";

/// Debian's docker-registry on the loopback; gone when it is dropped.
struct Registry {
    process: Child,
    port: u16,
    folder: tempfile::TempDir,
    ca: String,
}

impl Drop for Registry {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

impl Registry {
    fn start() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let ca = certificates(folder.path())?;
        let users = succeed(Command::new("htpasswd").args(["-Bbn", USER, PASSWORD]))?;
        fs::write(folder.path().join("users"), users)?;
        let port = free_port()?;
        let path = |name: &str| folder.path().join(name).display().to_string();
        let config = format!(
            "version: 0.1\nstorage: {{filesystem: {{rootdirectory: {}}}}}\nhttp:\n  addr: 127.0.0.1:{port}\n  \
             secret: x\n  tls: {{certificate: {}, key: {}}}\nauth: {{htpasswd: {{realm: test, path: {}}}}}\n",
            path("data"),
            path("server.pem"),
            path("server.key"),
            path("users")
        );
        fs::write(folder.path().join("config.yml"), config)?;
        let mut command = Command::new("docker-registry");
        command.arg("serve").arg(folder.path().join("config.yml"));
        let mut process = command.stderr(Stdio::piped()).stdout(Stdio::null()).spawn()?;
        let mut log = BufReader::new(process.stderr.take().context("hear the registry")?);
        let mut line = String::new();
        while !line.contains("listening on") {
            line.clear();
            ensure!(log.read_line(&mut line)? > 0, "the registry ended");
        }
        // What it says from now on is read by nobody, but must not stop it.
        thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
        Ok(Self { process, port, folder, ca })
    }

    /// Copies the archive into the registry.
    fn push(&self, archive: &Path, name: &str) -> Result<()> {
        let to = format!("docker://127.0.0.1:{}/{name}", self.port);
        let mut skopeo = Command::new("skopeo");
        skopeo.args(["--insecure-policy", "copy", "--quiet", "--dest-tls-verify=false"]);
        skopeo.arg(format!("--dest-creds={USER}:{PASSWORD}"));
        skopeo.arg(format!("oci-archive:{}", archive.display())).arg(to);
        succeed(&mut skopeo).map(drop)
    }

    /// The file of the largest blob.
    fn largest_blob(&self) -> Result<PathBuf> {
        let blobs = self.folder.path().join("data/docker/registry/v2/blobs/sha256");
        let mut files = Vec::new();
        for two in fs::read_dir(blobs)? {
            for blob in fs::read_dir(two?.path())? {
                let file = blob?.path().join("data");
                files.push((fs::metadata(&file)?.len(), file));
            }
        }
        Ok(files.into_iter().max().context("find a blob")?.1)
    }

    /// Puts a blob or a manifest into it, as any client does.
    fn put(&self, path: &str, kind: &str, file: &Path) -> Result<()> {
        let mut curl = self.curl();
        curl.args(["--request", "PUT", "--header", &format!("Content-Type: {kind}")]);
        succeed(curl.arg("--data-binary").arg(format!("@{}", file.display())).arg(path)).map(drop)
    }

    fn curl(&self) -> Command {
        let _ = self;
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--show-error", "--fail-with-body", "--insecure", "--user"]);
        curl.arg(format!("{USER}:{PASSWORD}"));
        curl
    }

    /// Uploads a blob; its digest.
    fn put_blob(&self, repository: &str, content: &[u8]) -> Result<String> {
        let file = self.folder.path().join("blob");
        fs::write(&file, content)?;
        let sum = succeed(Command::new("sha256sum").arg(&file))?;
        let digest = format!("sha256:{}", sum.split_whitespace().next().unwrap_or_default());
        let mut begin = self.curl();
        begin.args([
            "--request",
            "POST",
            "--output",
            "/dev/null",
            "--write-out",
            "%header{location}",
        ]);
        let uploads = format!("https://127.0.0.1:{}/v2/{repository}/blobs/uploads/", self.port);
        let place = succeed(begin.arg(uploads))?;
        self.put(&format!("{place}&digest={digest}"), "application/octet-stream", &file)?;
        Ok(digest)
    }

    /// Signs an image that is in it as cosign does.
    fn sign(&self, repository: &str, key: &KeyPair) -> Result<()> {
        let image = format!("docker://127.0.0.1:{}/{repository}:1", self.port);
        let mut inspect = Command::new("skopeo");
        inspect.args(["inspect", "--tls-verify=false", "--format", "{{.Digest}}"]);
        let digest = succeed(inspect.arg(format!("--creds={USER}:{PASSWORD}")).arg(image))?;
        let digest = digest.trim();
        let payload = json!({
            "critical": {
                "identity": { "docker-reference": format!("{HOST}:{}/{repository}", self.port) },
                "image": { "docker-manifest-digest": digest },
                "type": "cosign container image signature",
            },
            "optional": null,
        })
        .to_string();
        let file = self.folder.path().join("signature");
        fs::write(&file, key.sign(payload.as_bytes())?)?;
        let signature = succeed(Command::new("base64").arg("--wrap=0").arg(&file))?;
        let (blob, config) =
            (self.put_blob(repository, payload.as_bytes())?, self.put_blob(repository, b"{}")?);
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": { "mediaType": "application/vnd.oci.image.config.v1+json", "digest": config, "size": 2 },
            "layers": [{
                "mediaType": "application/vnd.dev.cosign.simplesigning.v1+json",
                "digest": blob,
                "size": payload.len(),
                "annotations": { "dev.cosignproject.cosign/signature": signature },
            }],
        });
        let file = self.folder.path().join("manifest");
        fs::write(&file, manifest.to_string())?;
        let tag = format!("{}.sig", digest.replace(':', "-"));
        let place = format!("https://127.0.0.1:{}/v2/{repository}/manifests/{tag}", self.port);
        self.put(&place, MANIFEST, &file)
    }

    /// What the cloud-config says about it at `port`.
    fn settings(&self, port: u16, ca: &str, password: &str) -> String {
        let _ = self;
        format!(
            "\n[registries.\"{HOST}:{port}\"]\nca = '''\n{ca}'''\nusername = \"{USER}\"\npassword = \"{password}\"\n"
        )
    }
}

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// Writes a server's certificate and key; returns its authority's certificate.
fn certificates(folder: &Path) -> Result<String> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    let key = KeyPair::generate()?;
    let ca = params.self_signed(&key)?.pem();
    let authority = Issuer::new(params, key);
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::default();
    params.subject_alt_names = vec![
        SanType::IpAddress(IpAddr::V4(HOST.parse()?)),
        SanType::IpAddress(IpAddr::V4(Ipv4Addr::LOCALHOST)),
    ];
    let certificate = params.signed_by(&key, &authority)?;
    fs::write(folder.join("server.pem"), certificate.pem())?;
    fs::write(folder.join("server.key"), key.serialize_pem())?;
    Ok(ca)
}

/// Passes connections on, and cuts each after so many bytes from the registry.
struct Cutter {
    port: u16,
    passed_bytes: Arc<AtomicU64>,
}

impl Cutter {
    fn start(to: u16, after_bytes: usize) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let port = listener.local_addr()?.port();
        let passed_bytes = Arc::new(AtomicU64::new(0));
        let passed = Arc::clone(&passed_bytes);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let passed = Arc::clone(&passed);
                thread::spawn(move || pass(&client, to, after_bytes, &passed));
            }
        });
        Ok(Self { port, passed_bytes })
    }
}

fn pass(client: &TcpStream, to: u16, after_bytes: usize, passed: &AtomicU64) -> Result<()> {
    let server = TcpStream::connect((Ipv4Addr::LOCALHOST, to))?;
    let (mut from_client, mut to_server) = (client.try_clone()?, server.try_clone()?);
    thread::spawn(move || std::io::copy(&mut from_client, &mut to_server));
    let (mut from_server, mut to_client) = (server.try_clone()?, client.try_clone()?);
    let mut buffer = vec![0; 16 * 1024];
    let mut count = 0;
    while count < after_bytes {
        let length = from_server.read(&mut buffer)?;
        if length == 0 {
            break;
        }
        to_client.write_all(&buffer[..length])?;
        count += length;
        passed.fetch_add(length as u64, Ordering::Relaxed);
    }
    client.shutdown(std::net::Shutdown::Both)?;
    server.shutdown(std::net::Shutdown::Both)?;
    Ok(())
}

fn refuses(node: &Node, name: &str, expected: &str) -> Result<()> {
    let output = node.ferrite_output(&["pull", name])?;
    let words = said(&output);
    ensure!(output.status.code() == Some(1), "{words}");
    ensure!(words.contains(expected), "{expected:?} is not in {words}");
    Ok(())
}

#[test]
fn a_node_pulls_from_a_registry_with_tls_and_passwords() -> Result<()> {
    let registry = Registry::start()?;
    let (busybox, large) = (demo::busybox()?, demo::busybox_with_probe()?);
    registry.push(&large, "team/large:1")?;
    let blob = registry.largest_blob()?;
    let blob_bytes = fs::metadata(&blob)?.len();
    registry.push(&busybox, "team/app:1")?;
    // Each connection ends after a third of the large blob.
    let cutter = Cutter::start(registry.port, usize::try_from(blob_bytes / 3)?)?;
    // Two more ways to the same registry, with settings that are wrong.
    let all = usize::MAX;
    let (wrong_password, wrong_ca) =
        (Cutter::start(registry.port, all)?, Cutter::start(registry.port, all)?);
    let mut node = Node::new("registry", Kind::Probed)?;
    let mut config =
        OpenOptions::new().append(true).open(node.machine.directory.join("cloud-config"))?;
    let other_ca = {
        let folder = tempfile::tempdir()?;
        certificates(folder.path())?
    };
    for (port, ca, password) in [
        (registry.port, &registry.ca, PASSWORD),
        (cutter.port, &registry.ca, PASSWORD),
        (wrong_password.port, &registry.ca, "other"),
        (wrong_ca.port, &other_ca, PASSWORD),
    ] {
        config.write_all(registry.settings(port, ca, password).as_bytes())?;
    }
    let keys = [KeyPair::generate()?, KeyPair::generate()?];
    for (repository, key) in
        [("closed/signed", Some(0)), ("closed/other", Some(1)), ("closed/plain", None)]
    {
        registry.push(&busybox, &format!("{repository}:1"))?;
        if let Some(key) = key {
            registry.sign(repository, &keys[key])?;
        }
    }
    write!(
        config,
        "\n[[signatures]]\nname = \"{HOST}:{}/closed/*\"\npolicy = \"signed\"\nkeys = ['''\n{}''']\n",
        registry.port,
        keys[0].public_key_pem()
    )?;
    node.boot()?;
    let name = |port: u16, rest: &str| format!("{HOST}:{port}/team/{rest}");

    let app = name(registry.port, "app:1");
    node.ferrite(&["pull", &app])?;
    let images = node.ask(&["images"])?;
    ensure!(
        images[0]["name"] == app.as_str() && images[0]["own_bytes"].as_u64() > Some(0),
        "{images}"
    );

    refuses(&node, &name(registry.port, "app:2"), "the registry does not have it")?;
    refuses(&node, &name(wrong_password.port, "app:1"), "refuses the user or the password")?;
    refuses(&node, &name(wrong_ca.port, "app:1"), "check the certificate")?;
    // A broken download is continued, not begun anew.
    node.ferrite(&["pull", &name(cutter.port, "large:1")])?;
    let passed = cutter.passed_bytes.load(Ordering::Relaxed);
    ensure!(passed < blob_bytes * 2, "{passed} bytes were sent for a blob of {blob_bytes}");

    // Archives that other tools read.
    for (format, transport) in [("oci", "oci-archive"), ("docker", "docker-archive")] {
        let file = node.machine.directory.join(format!("{format}.tar"));
        let path = file.display().to_string();
        node.ferrite(&["images", "export", &app, "-f", &path, "--format", format])?;
        let mut inspect = Command::new("skopeo");
        let seen =
            succeed(inspect.args(["inspect", "--config"]).arg(format!("{transport}:{path}")))?;
        ensure!(seen.contains("diff_ids"), "{seen}");
    }

    // A blob that is not what its digest says is refused; the node has forgotten the good one first.
    for image in [&name(cutter.port, "large:1"), &app] {
        node.ferrite(&["images", "remove", image])?;
    }
    let good = fs::read(&blob)?;
    let mut bytes = good.clone();
    bytes[1000] ^= 1;
    fs::write(&blob, bytes)?;
    refuses(&node, &name(registry.port, "large:1"), "has the digest")?;
    fs::write(&blob, good)?;

    // On demand, when a unit starts.
    let unit = node.machine.directory.join("app.toml");
    fs::write(
        &unit,
        format!(
            "name = \"app\"\nimage = \"{app}\"\ncommand = [\"echo\", \"pulled\"]\noneshot = true\n"
        ),
    )?;
    node.ferrite(&["unit", "start", &unit.display().to_string(), "--until", "ended"])?;
    ensure!(node.ferrite(&["unit", "logs", "app"])?.contains("pulled"));
    let refused = node.ferrite_output(&["images", "remove", &app])?;
    ensure!(refused.status.code() == Some(7), "{}", said(&refused));
    only_signed_images_are_taken(&node, &format!("{HOST}:{}/closed", registry.port))?;
    a_killed_agent_begins_no_image_twice(&mut node, &name(cutter.port, "large:1"))
}

/// Where the node's rule wants a signature by one of its keys.
fn only_signed_images_are_taken(node: &Node, place: &str) -> Result<()> {
    let refuses = |image: &str, why: &str| {
        let output = node.ferrite_output(&["pull", image])?;
        ensure!(!output.status.success() && said(&output).contains(why), "{}", said(&output));
        Ok(())
    };
    refuses(&format!("{place}/plain:1"), "wants a signature, and it has none")?;
    refuses(&format!("{place}/other:1"), "no key of the rule made the one it has")?;
    let unit = |name: &str, repository: &str| {
        let image =
            format!("image = \"{place}/{repository}:1\"\ncommand = [\"echo\", \"trusted\"]");
        let file = format!("{name}.toml");
        let text = format!("name = \"{name}\"\n{image}\nrestart = \"never\"\nnetwork = \"none\"\n");
        fs::write(node.machine.directory.join(&file), text)?;
        Ok::<String, std::io::Error>(file)
    };
    node.ferrite_output(&["unit", "start", &unit("unsigned", "plain")?, "--until", "ended"])?;
    let why = node.ferrite(&["unit", "why", "unsigned"])?;
    ensure!(why.contains("wants a signature"), "{why}");
    node.ferrite(&["pull", &format!("{place}/signed:1")])?;
    node.ferrite(&["unit", "start", &unit("signed", "signed")?, "--until", "ended"])?;
    let log = node.ferrite(&["unit", "logs", "signed"])?;
    ensure!(log.contains("trusted"), "{log}");
    Ok(())
}

/// The agent is killed while it downloads an image for a unit, and once more while it unpacks it: the unit runs once,
/// and nothing half done is left.
fn a_killed_agent_begins_no_image_twice(node: &mut Node, image: &str) -> Result<()> {
    node.expected.push("agent");
    let text = format!(
        "name = \"large\"\nimage = \"{image}\"\ncommand = [\"/bin/sleep\", \"1000000\"]\nstop_grace_s = 0\n"
    );
    fs::write(node.machine.directory.join("large.toml"), text)?;
    // What refused downloads left is used up by one that succeeds.
    node.ferrite(&["pull", image])?;
    node.ferrite(&["images", "remove", image])?;
    for moment in ["/var/lib/ferrite/images/partial/*", "/var/lib/ferrite/layers/tmp-*"] {
        let ambush = Ambush::lie(node, moment)?;
        // Its connection may break with the agent.
        node.ferrite_output(&["unit", "start", "large.toml", "--no-wait"])?;
        ambush.spring(node).context(moment)?;
        // The wish was kept; this waits for what the agent's successor makes of it.
        node.ferrite(&["unit", "start", "large"])?;
        let status = node.ask(&["unit", "status", "large"])?;
        ensure!(
            (&status["state"], &status["restarts"]) == (&"running".into(), &0.into()),
            "{status}"
        );
        let shims = node.probe(&["processes"])?.to_string().matches("\"ferrite-shim\"").count();
        ensure!(shims == 1, "{shims} containers");
        for folder in ["images/partial", "images/staging"] {
            let left = node.probe(&["list", &format!("/var/lib/ferrite/{folder}")])?;
            ensure!(left.as_array().is_some_and(Vec::is_empty), "{folder} has {left}");
        }
        let layers = node.probe(&["list", "/var/lib/ferrite/layers"])?.to_string();
        ensure!(!layers.contains("tmp-"), "{layers}");
        node.ferrite(&["unit", "stop", "large"])?;
        node.ferrite(&["unit", "destroy", "large"])?;
        node.ferrite(&["images", "remove", image])?;
    }
    Ok(())
}
