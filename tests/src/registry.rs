//! A real registry on the loopback.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{IpAddr, Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;

use anyhow::{Context, Result, ensure};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, SanType, SigningKey as _};
use serde_json::json;

use crate::programs::succeed;

/// The host's loopback, as QEMU's user network shows it to a guest.
pub const HOST: &str = "10.0.2.2";
/// The password of a guarded registry.
pub const PASSWORD: &str = "pass word:1";
const USER: &str = "node";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// Debian's docker-registry on the loopback; gone when it is dropped.
#[derive(Debug)]
pub struct Registry {
    process: Child,
    /// Its port.
    pub port: u16,
    guarded: bool,
    folder: tempfile::TempDir,
}

impl Drop for Registry {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

impl Registry {
    /// One without TLS that lets everybody in.
    ///
    /// # Errors
    /// docker-registry is missing or ends.
    pub fn open() -> Result<Self> {
        Self::serve(tempfile::tempdir()?, false, "")
    }

    /// One with TLS and a password, and the certificate of its private authority, in PEM.
    ///
    /// # Errors
    /// docker-registry or htpasswd is missing, or the registry ends.
    pub fn guarded() -> Result<(Self, String)> {
        let folder = tempfile::tempdir()?;
        let ca = certificates(folder.path())?;
        let users = succeed(Command::new("htpasswd").args(["-Bbn", USER, PASSWORD]))?;
        fs::write(folder.path().join("users"), users)?;
        let path = |name: &str| folder.path().join(name).display().to_string();
        let guard = format!(
            "  tls: {{certificate: {}, key: {}}}\nauth: {{htpasswd: {{realm: test, path: {}}}}}\n",
            path("server.pem"),
            path("server.key"),
            path("users")
        );
        Ok((Self::serve(folder, true, &guard)?, ca))
    }

    fn serve(folder: tempfile::TempDir, guarded: bool, guard: &str) -> Result<Self> {
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        let data = folder.path().join("data");
        let config = format!(
            "version: 0.1\nstorage: {{filesystem: {{rootdirectory: {}}}}}\nhttp:\n  addr: 127.0.0.1:{port}\n  \
             secret: x\n{guard}",
            data.display()
        );
        fs::write(folder.path().join("config.yml"), config)?;
        let mut command = Command::new("docker-registry");
        command.arg("serve").arg(folder.path().join("config.yml"));
        let command = command.stderr(Stdio::piped()).stdout(Stdio::null());
        let mut process = command.spawn().context("run docker-registry")?;
        let log = process.stderr.take();
        let registry = Self { process, port, guarded, folder };
        let mut log = BufReader::new(log.context("hear the registry")?);
        let mut line = String::new();
        while !line.contains("listening on") {
            line.clear();
            ensure!(log.read_line(&mut line)? > 0, "the registry ended");
        }
        // What it says from now on is read by nobody, but must not stop it.
        thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
        Ok(registry)
    }

    /// Copies the OCI archive into it.
    ///
    /// # Errors
    /// skopeo is missing or fails.
    pub fn push(&self, archive: &Path, name: &str) -> Result<()> {
        let to = format!("docker://127.0.0.1:{}/{name}", self.port);
        let mut skopeo = Command::new("skopeo");
        skopeo.args(["--insecure-policy", "copy", "--quiet", "--dest-tls-verify=false"]);
        if self.guarded {
            skopeo.arg(format!("--dest-creds={USER}:{PASSWORD}"));
        }
        skopeo.arg(format!("oci-archive:{}", archive.display())).arg(to);
        succeed(&mut skopeo).map(drop)
    }

    /// The file of the largest blob.
    ///
    /// # Errors
    /// It has none.
    pub fn largest_blob(&self) -> Result<PathBuf> {
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
    fn put(path: &str, kind: &str, file: &Path) -> Result<()> {
        let mut curl = Self::curl();
        curl.args(["--request", "PUT", "--header", &format!("Content-Type: {kind}")]);
        succeed(curl.arg("--data-binary").arg(format!("@{}", file.display())).arg(path)).map(drop)
    }

    fn curl() -> Command {
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
        let mut begin = Self::curl();
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
        Self::put(&format!("{place}&digest={digest}"), "application/octet-stream", &file)?;
        Ok(digest)
    }

    /// Signs an image that is in it, which must be guarded, as cosign does.
    ///
    /// # Errors
    /// It does not take the signature.
    pub fn sign(&self, repository: &str, key: &KeyPair) -> Result<()> {
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
        Self::put(&place, MANIFEST, &file)
    }

    /// What the cloud-config says about a guarded one at `port`.
    #[must_use]
    pub fn settings(port: u16, ca: &str, password: &str) -> String {
        format!(
            "\n[registries.\"{HOST}:{port}\"]\nca = '''\n{ca}'''\nusername = \"{USER}\"\npassword = \"{password}\"\n"
        )
    }
}

/// Writes a server's certificate and key; returns its authority's certificate.
///
/// # Errors
/// The files cannot be written.
pub fn certificates(folder: &Path) -> Result<String> {
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
