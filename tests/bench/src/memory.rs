//! Memory of PID 1 and the agent after a minute of doing nothing.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::os::fd::AsFd;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use ferrite_vm::console::{ConsoleError, Until};
use ferrite_vm::deadline::Deadline;
use ferrite_vm::host::Host;
use ferrite_vm::machine::Timing;
use ferrite_vm::running::Running;
use serde_json::Value;

use crate::boot::name_of;
use crate::machine::{node, tsc};
use crate::report::Report;

/// Port of the probe's server in a probed image.
pub(crate) const PROBE_PORT: u16 = 7444;
/// Enough for every image.
const BOOTS_MIB: u32 = 256;
const STEP_MIB: u32 = 8;
/// What a boot that goes well stays far below, without KVM too.
const SMALL_BOOT: Duration = Duration::from_secs(120);
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

/// Finds the least memory with which the image gets ready, to [`STEP_MIB`].
pub(crate) fn least(image: &Path, report: &mut Report) -> Result<()> {
    let host = Host::probe()?;
    let (mut fails, mut boots) = (0, BOOTS_MIB);
    while boots - fails > STEP_MIB {
        let between = fails.midpoint(boots);
        if gets_ready(&host, image, between)? {
            boots = between;
        } else {
            fails = between;
        }
    }
    let name = format!("{}: least memory that gets ready", name_of(image));
    report.figure(&name, f64::from(boots), "MiB");
    Ok(())
}

fn gets_ready(host: &Host, image: &Path, memory_mib: u32) -> Result<bool> {
    let scratch = tempfile::tempdir()?;
    let mut machine = node(host, image, scratch.path(), Timing::Real)?;
    machine.memory_mib = memory_mib;
    machine.extra_arguments.push("-no-reboot".to_owned());
    let running = Running::start(&machine, host)?;
    let until = Until {
        deadline: Deadline::after(SMALL_BOOT),
        machine: Some(running.process().as_fd()),
        interrupt: None,
    };
    match running
        .console()?
        .wait_for(&["ferrite-init: ready", "Kernel panic", "Out of memory"], until)
    {
        Ok((index, _)) => Ok(index == 0),
        Err(ConsoleError::Deadline { .. } | ConsoleError::Ended { .. }) => Ok(false),
        Err(error) => Err(error.into()),
    }
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
