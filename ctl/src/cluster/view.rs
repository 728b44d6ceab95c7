//! Shows clusters and their consoles.

use std::io::Write;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ferrite_vm::console::{Console, ConsoleError, Until};
use ferrite_vm::deadline::Deadline;
use ferrite_vm::running::{self, Running};
use serde::Serialize;

use super::problem::ClusterError;
use super::record::Record;
use super::start::Interrupt;
use super::{commands, folder, network};
use crate::cli::BootMethod;
use crate::failure::Failure;
use crate::output;
use crate::session::Session;

/// How long a console is followed at most; longer than anyone looks.
const FOLLOW: Duration = Duration::from_secs(7 * 86_400);

/// A cluster as it is now.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Status {
    /// Name.
    pub(super) name: String,
    /// Folder of the image that it was made from.
    pub(super) image: PathBuf,
    /// How its machines boot.
    pub(super) boot: BootMethod,
    /// Its machines.
    pub(super) machines: Vec<MachineStatus>,
}

/// A machine of a cluster.
#[derive(Debug, Clone, Serialize)]
pub(super) struct MachineStatus {
    /// Name of the node.
    pub(super) name: String,
    /// `running`, `paused`, another word of QEMU's, or `down`.
    pub(super) state: String,
    /// Process ID of its QEMU.
    pub(super) pid: Option<i32>,
    /// Address of its API.
    pub(super) endpoint: Option<String>,
    /// Its folder.
    pub(super) directory: PathBuf,
}

/// Shows a cluster.
pub(super) fn status(name: &str, session: &mut Session<'_>) -> Result<(), Failure> {
    let (cluster, record) = commands::load(name)?;
    let status = status_of(&cluster, &record)?;
    session.show(&status, |status| {
        let rows: Vec<_> = status
            .machines
            .iter()
            .map(|machine| {
                let missing = || "-".to_owned();
                [
                    machine.name.clone(),
                    machine.state.clone(),
                    machine.pid.map_or_else(missing, |pid| pid.to_string()),
                    machine.endpoint.clone().unwrap_or_else(missing),
                    status.boot.to_string(),
                    machine.directory.display().to_string(),
                ]
            })
            .collect();
        output::columns(["NODE", "STATE", "PID", "ENDPOINT", "BOOT", "FOLDER"], &rows)
    })
}

/// Lists all clusters.
pub(super) fn list(session: &mut Session<'_>) -> Result<(), Failure> {
    let mut clusters = Vec::new();
    for name in names()? {
        let (cluster, record) = commands::load(&name)?;
        clusters.push(status_of(&cluster, &record)?);
    }
    session.show(&clusters, |clusters| {
        let rows: Vec<_> = clusters
            .iter()
            .map(|cluster| {
                let states: Vec<_> =
                    cluster.machines.iter().map(|machine| machine.state.as_str()).collect();
                let (nodes, image) = (cluster.machines.len(), cluster.image.display());
                [cluster.name.clone(), nodes.to_string(), states.join(", "), image.to_string()]
            })
            .collect();
        output::columns(["CLUSTER", "NODES", "STATE", "IMAGE"], &rows)
    })
}

/// Shows the end of a node's console and, on request, what follows.
pub(super) fn console(
    name: &str,
    follow: bool,
    lines: usize,
    session: &mut Session<'_>,
) -> Result<(), Failure> {
    let target = commands::Target::find(name)?;
    for node in &target.nodes {
        let directory = folder::of_node(&target.cluster, node);
        let mut console =
            Console::open(&running::serial_log(&directory)).map_err(ClusterError::from)?;
        console.skip_to_end().map_err(ClusterError::from)?;
        let tail = console.tail(lines).map_err(ClusterError::from)?;
        if lines > 0 {
            output::write_line(session.out, &tail)?;
        }
        if follow {
            follow_console(&mut console, &directory, session.out)?;
        }
    }
    Ok(())
}

fn follow_console(
    console: &mut Console,
    directory: &Path,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let interrupt = Interrupt::catch()?;
    let process = running::find(directory).map_err(ClusterError::from)?;
    let until = Until {
        deadline: Deadline::after(FOLLOW),
        machine: process.as_ref().map(AsFd::as_fd),
        interrupt: Some(interrupt.as_fd()),
    };
    loop {
        match console.next_line(until) {
            Ok(line) => output::write_line(out, &format!("{line}\n"))?,
            Err(
                ConsoleError::Interrupted
                | ConsoleError::Ended { .. }
                | ConsoleError::Deadline { .. },
            ) => return Ok(()),
            Err(error) => return Err(ClusterError::from(error).into()),
        }
    }
}

/// What a cluster is now.
pub(super) fn status_of(cluster: &Path, record: &Record) -> Result<Status, ClusterError> {
    let machines = record
        .nodes
        .iter()
        .map(|node| machine_status(cluster, record, node))
        .collect::<Result<_, _>>()?;
    Ok(Status {
        name: record.name.clone(),
        image: record.image.clone(),
        boot: record.boot,
        machines,
    })
}

fn machine_status(
    cluster: &Path,
    record: &Record,
    node: &str,
) -> Result<MachineStatus, ClusterError> {
    let (directory, name) = (folder::of_node(cluster, node), node.to_owned());
    // First: a QEMU speaks to one at a time.
    let port = network::api_port(cluster, record, node)?;
    let Some(mut running) = Running::attach(&directory)? else {
        let state = "down".to_owned();
        return Ok(MachineStatus { name, state, pid: None, endpoint: None, directory });
    };
    let state = running.qmp().status()?;
    let pid = Some(running.process().identity().pid);
    let endpoint = port.map(|port| format!("https://127.0.0.1:{port}"));
    Ok(MachineStatus { name, state, pid, endpoint, directory })
}

/// Names of the clusters that were made, sorted.
fn names() -> Result<Vec<String>, ClusterError> {
    let all = folder::of_all()?;
    let read = |source| ClusterError::Read { path: all.clone(), source };
    let entries = match std::fs::read_dir(&all) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(read(source)),
    };
    let mut names = Vec::new();
    for entry in entries {
        let path = entry.map_err(read)?.path();
        if Record::load(&path).is_ok_and(|record| record.is_some()) {
            names.extend(path.file_name().map(|name| name.to_string_lossy().into_owned()));
        }
    }
    names.sort();
    Ok(names)
}
