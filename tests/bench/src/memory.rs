//! Memory of PID 1 and the agent after a minute of doing nothing.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use ferrite_vm::host::Host;
use ferrite_vm::machine::Timing;
use ferrite_vm::running::Running;
use serde_json::Value;

use crate::machine::{node, tsc};
use crate::report::Report;

/// Port of the probe's server in a probed image.
pub(crate) const PROBE_PORT: u16 = 7444;
const IDLE: Duration = Duration::from_secs(60);
const PID1_TARGET_MIB: f64 = 2.0;
const AGENT_TARGET_MIB: f64 = 12.0;
const KIB_PER_MIB: f64 = 1024.0;

/// Boots the probed image, leaves it alone, and adds what its processes hold.
pub(crate) fn measure(image: &Path, report: &mut Report) -> Result<()> {
    let host = Host::probe()?;
    let scratch = tempfile::tempdir()?;
    let mut machine = node(&host, image, scratch.path(), Timing::Real)?;
    machine.forwards.push(PROBE_PORT);
    let mut running = Running::start(&machine, &host)?;
    tsc(&mut running.console()?, "ferrite-init: ready")?;
    idle();
    let processes = Processes::ask(running.forwarded_port(PROBE_PORT)?)?;
    let pid1 = processes.pss_mib(|process| process["pid"] == 1)?;
    let agent = |process: &Value| process["name"] == "ferrite-agent" && process["parent"] == 1;
    let agent = processes.pss_mib(agent)?;
    report.target("PID 1 after a minute idle, PSS", pid1, "MiB", PID1_TARGET_MIB);
    report.target("agent after a minute idle, PSS", agent, "MiB", AGENT_TARGET_MIB);
    Ok(())
}

/// The processes of a guest, as its probe sees them.
pub(crate) struct Processes(Value);

impl Processes {
    /// Asks the probe's server at `port`.
    pub(crate) fn ask(port: u16) -> Result<Self> {
        ask(port, &["processes"]).map(Self)
    }

    /// The number of the first process like that.
    pub(crate) fn pid(&self, wanted: impl Fn(&Value) -> bool) -> Result<i64> {
        let all = self.0.as_array().into_iter().flatten();
        all.filter(|process| wanted(process))
            .find_map(|process| process.get("pid")?.as_i64())
            .with_context(|| format!("find the process in {}", self.0))
    }

    /// What the first process like that holds.
    pub(crate) fn pss_mib(&self, wanted: impl Fn(&Value) -> bool) -> Result<f64> {
        let all = self.0.as_array().into_iter().flatten();
        let pss_kib = all
            .filter(|process| wanted(process))
            .find_map(|process| process.get("pss_kib")?.as_f64())
            .with_context(|| format!("find the process in {}", self.0))?;
        Ok(pss_kib / KIB_PER_MIB)
    }
}

#[expect(clippy::disallowed_methods, reason = "a minute of doing nothing is what is measured")]
fn idle() {
    std::thread::sleep(IDLE);
}

/// What the probe's server at `port` answers.
pub(crate) fn ask(port: u16, words: &[&str]) -> Result<Value> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).context("reach the probe")?;
    writeln!(stream, "{}", serde_json::to_string(words)?)?;
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer)?;
    serde_json::from_str(&answer).with_context(|| format!("understand {answer:?}"))
}
