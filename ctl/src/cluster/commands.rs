//! The verbs that end, freeze or disturb a running cluster.

use std::path::PathBuf;
use std::time::Duration;

use ferrite_vm::deadline::Deadline;
use ferrite_vm::running::{MachineError, Running};

use super::problem::ClusterError;
use super::record::Record;
use super::{folder, network};
use crate::context;
use crate::failure::Failure;
use crate::session::Session;

/// Switches a cluster off in order, and cuts its power where that takes too long.
pub(super) fn down(
    name: &str,
    delete: bool,
    timeout: Duration,
    session: &mut Session<'_>,
) -> Result<(), Failure> {
    let target = Target::find(name)?;
    let _lock = folder::lock(&target.record.name)?;
    let cluster = &target.cluster;
    if delete && !target.is_all() {
        return Err(ClusterError::DeleteNode { name: name.to_owned() }.into());
    }
    let deadline = Deadline::after(timeout);
    let mut machines = Vec::new();
    for node in &target.nodes {
        let machine = folder::of_node(cluster, node);
        machines.extend(Running::attach(&machine).map_err(ClusterError::from)?);
    }
    let was_running = !machines.is_empty();
    for running in &mut machines {
        press(running)?;
    }
    let mut cut = false;
    for running in &mut machines {
        cut |= !ended(running, deadline)?;
    }
    if target.is_all() {
        network::stop(cluster);
    }
    if delete {
        context::remove(&target.record.name)?;
        folder::delete(cluster)?;
    }
    let ended = match (was_running, cut) {
        (false, _) => "was down already",
        (true, false) => "is down: it stopped in order",
        (true, true) => "is down: it did not stop in time and its power was cut",
    };
    let deleted = if delete { "; deleted" } else { "" };
    session.say(&format!("{name} {ended}{deleted}"))
}

/// Presses the power button.
fn press(running: &mut Running) -> Result<(), ClusterError> {
    // A frozen machine cannot obey its button.
    running.qmp().resume()?;
    Ok(running.qmp().power_button()?)
}

/// Waits for a machine's end. False where the power had to be cut.
fn ended(running: &mut Running, deadline: Deadline) -> Result<bool, ClusterError> {
    match running.wait_end(deadline) {
        Ok(()) => Ok(true),
        Err(MachineError::StillRunning) => {
            running.cut()?;
            Ok(false)
        }
        Err(error) => Err(error.into()),
    }
}

/// Cuts the power of a cluster.
pub(super) fn kill(name: &str, session: &mut Session<'_>) -> Result<(), Failure> {
    let target = Target::find(name)?;
    each(&target, |running| Ok(running.cut()?))?;
    if target.is_all() {
        network::stop(&target.cluster);
    }
    let cluster = &target.record.name;
    session.say(&format!("{name}: power cut; `ferrite cluster up {cluster}` starts it again"))
}

/// Pulls or restores network cables.
pub(super) fn cut(name: &str, restore: bool, session: &mut Session<'_>) -> Result<(), Failure> {
    let target = Target::find(name)?;
    match network::client(&target.cluster, &target.record)? {
        Some(mut switch) => {
            for node in &target.nodes {
                if restore { switch.heal(Some(node)) } else { switch.cut(node) }
                    .map_err(ClusterError::from)?;
            }
        }
        None => each(&target, |running| Ok(running.set_network(restore)?))?,
    }
    session.say(&format!("{name}: network {}", if restore { "restored" } else { "cut" }))
}

/// Freezes a cluster.
pub(super) fn pause(name: &str, session: &mut Session<'_>) -> Result<(), Failure> {
    each(&Target::find(name)?, |running| Ok(running.qmp().pause()?))?;
    session.say(&format!("{name}: paused; `ferrite cluster resume {name}` lets it go on"))
}

/// Lets a frozen cluster go on.
pub(super) fn resume(name: &str, session: &mut Session<'_>) -> Result<(), Failure> {
    each(&Target::find(name)?, |running| Ok(running.qmp().resume()?))?;
    session.say(&format!("{name}: goes on"))
}

/// Ends whatever runs of the cluster, finished or not, and deletes its folder.
pub(super) fn end_and_delete(name: &str) -> Result<(), ClusterError> {
    let cluster = folder::of(name)?;
    for machine in machine_folders(&cluster)? {
        if let Some(mut running) = Running::attach(&machine)? {
            running.cut()?;
        }
    }
    network::stop(&cluster);
    folder::delete(&cluster)
}

/// Folders in the cluster's folder that may hold a machine; asks no record, which may be missing.
fn machine_folders(cluster: &std::path::Path) -> Result<Vec<PathBuf>, ClusterError> {
    let read = |source| ClusterError::Read { path: cluster.to_owned(), source };
    let entries = match std::fs::read_dir(cluster) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(read(source)),
    };
    let mut folders = Vec::new();
    for entry in entries {
        let path = entry.map_err(read)?.path();
        if path.is_dir() {
            folders.push(path);
        }
    }
    Ok(folders)
}

/// What a name means: a cluster with all its nodes, or one node.
pub(super) struct Target {
    pub(super) cluster: PathBuf,
    pub(super) record: Record,
    pub(super) nodes: Vec<String>,
}

impl Target {
    /// A cluster's name comes first.
    pub(super) fn find(name: &str) -> Result<Self, ClusterError> {
        let unknown = match load(name) {
            Ok((cluster, record)) => {
                let nodes = record.nodes.clone();
                return Ok(Self { cluster, record, nodes });
            }
            Err(unknown @ ClusterError::Unknown { .. }) => unknown,
            Err(other) => return Err(other),
        };
        // A node has its cluster's name and a number.
        let Some((cluster, _)) = name.rsplit_once('-') else { return Err(unknown) };
        let none = || ClusterError::UnknownNode { name: name.to_owned() };
        let (cluster, record) = load(cluster).map_err(|_unknown| none())?;
        if !record.nodes.iter().any(|node| node == name) {
            return Err(none());
        }
        Ok(Self { cluster, record, nodes: vec![name.to_owned()] })
    }

    /// All nodes of the cluster are meant.
    pub(super) fn is_all(&self) -> bool {
        self.nodes == self.record.nodes
    }
}

/// The cluster of a node of this name, and the node; none where a cluster has the name, or nobody.
pub(super) fn node_of(name: &str) -> Result<Option<(String, String)>, ClusterError> {
    match Target::find(name) {
        Ok(target) if target.record.name != name => Ok(Some((target.record.name, name.to_owned()))),
        Ok(_) | Err(ClusterError::Unknown { .. } | ClusterError::UnknownNode { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Does something to every machine that is meant and runs. In a cluster some may be off already; one that is named must run.
fn each(
    target: &Target,
    act: impl Fn(&mut Running) -> Result<(), ClusterError>,
) -> Result<(), ClusterError> {
    let _lock = folder::lock(&target.record.name)?;
    let mut machines = Vec::new();
    for node in &target.nodes {
        machines.extend(Running::attach(&folder::of_node(&target.cluster, node))?);
    }
    if machines.is_empty() {
        let name = match &target.nodes[..] {
            [node] => node.clone(),
            _ => target.record.name.clone(),
        };
        return Err(ClusterError::NotRunning { name });
    }
    for running in &mut machines {
        act(running)?;
    }
    Ok(())
}

/// The folder and record of a cluster that exists.
pub(super) fn load(name: &str) -> Result<(PathBuf, Record), ClusterError> {
    let cluster = folder::of(name)?;
    match Record::load(&cluster)? {
        Some(record) => Ok((cluster, record)),
        None => Err(ClusterError::Unknown { name: name.to_owned() }),
    }
}
