//! Pulling from Debian's registry on the host's loopback: ours beside podman, each in an emulated guest.

use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, ensure};

use super::Setting;
use super::guest::{self, Node};
use super::setting::succeed;
use crate::report::{Report, median};

/// A pull takes seconds in an emulated guest: a few are enough.
const RUNS_MAX: usize = 5;
/// Ours is to be no slower.
const TARGET: f64 = 1.0;

/// Adds the row.
pub(crate) fn measure(setting: &Setting, report: &mut Report) -> Result<()> {
    let folder = setting.scratch().join("pull");
    std::fs::create_dir_all(&folder)?;
    let registry = Registry::start(&folder)?;
    registry.push(&setting.large)?;
    let name = format!("10.0.2.2:{}/bench/large:1", registry.port);
    let settings = format!("\n[registries.\"10.0.2.2:{}\"]\nplain_http = true\n", registry.port);
    let runs = setting.runs.min(RUNS_MAX);
    let node = Node::boot(setting, &folder.join("node"), &settings)?;
    let mut ours = Vec::new();
    for _ in 0..runs {
        let start = Instant::now();
        node.ferrite(&["pull", &name])?;
        ours.push(start.elapsed().as_secs_f64());
        node.ferrite(&["images", "remove", &name])?;
    }
    drop(node);
    let ours = median(ours)?;
    let Some(debian) = &setting.debian else {
        report.missing("podman pull: there is no Debian to compare with");
        report.figure("pull, in a guest", ours, "s");
        return Ok(());
    };
    let script = format!(
        "for run in $(seq {runs}); do\ntimed pull podman pull -q --tls-verify=false {name}\n\
         podman rmi -f {name} >/dev/null\ndone\n"
    );
    let mut times = guest::in_debian(debian, &folder.join("debian"), &[], &script)?;
    let podman = median(times.remove("pull").context("hear podman")?)?;
    report.against("pull, in a guest", (ours, "s"), ("podman pull", podman), TARGET);
    Ok(())
}

/// Debian's docker-registry on the loopback, without TLS; gone when it is dropped.
struct Registry {
    process: Child,
    port: u16,
}

impl Registry {
    fn start(folder: &Path) -> Result<Self> {
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        let config = folder.join("registry.yml");
        let text = format!(
            "version: 0.1\nstorage: {{filesystem: {{rootdirectory: {}}}}}\nhttp: {{addr: 127.0.0.1:{port}, secret: x}}\n",
            folder.join("registry").display()
        );
        std::fs::write(&config, text)?;
        let mut command = Command::new("docker-registry");
        command.arg("serve").arg(&config).stderr(Stdio::piped()).stdout(Stdio::null());
        let mut process = command.spawn().context("run docker-registry")?;
        let mut log = BufReader::new(process.stderr.take().context("hear the registry")?);
        let registry = Self { process, port };
        let mut line = String::new();
        while !line.contains("listening on") {
            line.clear();
            ensure!(log.read_line(&mut line)? > 0, "the registry ended");
        }
        // What it says from now on is read by nobody, but must not stop it.
        std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
        Ok(registry)
    }

    fn push(&self, archive: &Path) -> Result<()> {
        let mut skopeo = Command::new("skopeo");
        skopeo.args(["--insecure-policy", "copy", "--quiet", "--dest-tls-verify=false"]);
        skopeo.arg(format!("oci-archive:{}", archive.display()));
        skopeo.arg(format!("docker://127.0.0.1:{}/bench/large:1", self.port));
        succeed(&mut skopeo).map(drop)
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.process.kill());
        drop(self.process.wait());
    }
}
