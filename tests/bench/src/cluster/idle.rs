//! What a cluster costs while nothing happens, beside a node that is in none.

use std::net::TcpListener;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use ferrite_tests::computer::Computer;
use serde_json::Value;

use super::asking::{pause, processor_s, revision, settle};
use super::{NODES, Setting};
use crate::memory::{PROBE_PORT, Processes};
use crate::report::Report;

/// How long it is watched.
const IDLE: Duration = Duration::from_secs(60);
const LONE: &str = "lone";
const NODES_F64: f64 = 3.0;

/// Writes to etcd, and processor time of a node.
pub(super) fn measure(setting: &Setting<'_>, report: &mut Report) -> Result<()> {
    let (computer, _) = setting.cluster()?;
    settle(computer)?;
    let before = revision(computer)?;
    let (share, seconds) = share(&NODES)?;
    let writes = f64::from(i32::try_from(revision(computer)? - before)?);
    report.target("idle: writes to etcd in a minute", writes / seconds * 60.0, "", 0.0);
    let name = "idle: processor of a node of a cluster, emulated";
    match lone_share(setting) {
        Ok(lone) => report.beside(name, (share / NODES_F64, "%"), ("without [cluster]", lone)),
        Err(error) => {
            report.figure(name, share / NODES_F64, "%");
            report.missing(&format!("idle without [cluster]: {error:#}"));
        }
    }
    Ok(())
}

/// Processor time of these machines together, as a share of one processor, and how long that was watched.
fn share(nodes: &[&str]) -> Result<(f64, f64)> {
    let (spent, begun) = (processor_s(nodes)?, Instant::now());
    pause(IDLE);
    let seconds = begun.elapsed().as_secs_f64();
    Ok(((processor_s(nodes)? - spent) / seconds * 100.0, seconds))
}

/// That of a node without `[cluster]`, beside which the cluster rests.
fn lone_share(setting: &Setting<'_>) -> Result<f64> {
    let computer = Computer::new("bench-lone", LONE)?;
    computer.ferrite(&["cluster", "up", LONE, "--image", setting.image()?])?;
    // Drivers that nobody waits for come after it is ready.
    pause(IDLE / 2);
    Ok(share(&[LONE])?.0)
}

/// What the agent holds, in a cluster and without: machines of their own, with the probe in them.
pub(super) fn memory(setting: &Setting<'_>, report: &mut Report) -> Result<()> {
    let Some(image) = &setting.arguments.probed_image else {
        report.missing("memory: there is no image with the probe (--probed-image)");
        return Ok(());
    };
    setting.leave();
    let lone = agent_mib(image, "memory", &[])?;
    let member = agent_mib(image, "memories", &["--nodes", "3"])?;
    report.beside("idle: agent of a member, PSS", (member, "MiB"), ("without [cluster]", lone));
    Ok(())
}

/// PSS of the agent of one of these machines, a minute after all of them are there.
fn agent_mib(image: &Path, name: &str, more: &[&str]) -> Result<f64> {
    let computer = Computer::new(&format!("bench-{name}"), name)?;
    let image = image.to_str().context("name the image")?;
    let port = free_port()?;
    let published = format!("{port}:{PROBE_PORT}");
    let words = ["cluster", "up", name, "--image", image];
    computer.ferrite(&[&words[..], more].concat())?;
    computer.ferrite(&["cluster", "publish", &published, name])?;
    pause(IDLE);
    let agent = |process: &Value| process["name"] == "ferrite-agent" && process["parent"] == 1;
    Processes::ask(port)?.pss_mib(agent)
}

/// A port of loopback that nobody has.
fn free_port() -> Result<u16> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).context("find a free port")?;
    Ok(listener.local_addr()?.port())
}
