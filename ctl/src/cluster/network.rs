//! The network between a cluster's machines: a switch, as a process that is started with the first machine and ends with the
//! cluster.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use ferrite_schema::names::API_PORT;
use ferrite_vm::deadline::{Deadline, wait_readable};
use ferrite_vm::machine::Card;
use ferrite_vm::running::{self, Running};
use ferrite_vm::switch::Switch;
use ferrite_vm::switch::client::Client;

use super::folder;
use super::problem::ClusterError;
use super::record::Record;

/// Its folder in the cluster's: sockets, the capture, the history, what the switch complains about.
const FOLDER: &str = "net";
const LOG: &str = "switch.log";
/// What the switch gets until it can be spoken to.
const PATIENCE: Duration = Duration::from_secs(20);
/// What it says when it can be.
const SET_UP: &[u8; 7] = b"set up\n";

/// Its folder.
pub(super) fn folder_of(cluster: &Path) -> PathBuf {
    cluster.join(FOLDER)
}

/// The card of a node's machine.
pub(super) fn card(record: &Record, node: &str) -> Result<Card, ClusterError> {
    match &record.network {
        // From the machine's own folder: a socket's path must be short.
        Some(network) => Ok(network.card(&Path::new("..").join(FOLDER), node)?),
        None => Ok(Card::User),
    }
}

/// How long the switch goes on when nobody uses it: longer than a command needs from starting it to starting machines.
const UNUSED: Duration = Duration::from_secs(30);

/// Starts the switch, unless it runs.
pub(super) fn start(cluster: &Path, record: &Record) -> Result<(), ClusterError> {
    if record.network.is_none() || Client::connect(&folder_of(cluster)).is_ok() {
        return Ok(());
    }
    let net = folder_of(cluster);
    folder::make_private(&net)?;
    let log = net.join(LOG);
    let written = |source| ClusterError::Write { path: log.clone(), source };
    let output = File::create(&log).map_err(written)?;
    let failed = |source| ClusterError::StartSwitch { source };
    let itself = std::env::current_exe().map_err(failed)?;
    let mut switch = Command::new(itself);
    switch.args(["cluster", "switch", &record.name]).current_dir("/");
    switch.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(output);
    // Ctrl-C is for the command that waits, not for the network.
    let mut child = switch.process_group(0).spawn().map_err(failed)?;
    let mut said = [0; SET_UP.len()];
    if let Some(mut out) = child.stdout.take() {
        let ready = wait_readable(&[out.as_fd()], Deadline::after(PATIENCE)).map_err(failed)?;
        // It says one word when it is set up, and nothing when it ends.
        if ready.is_some() && out.read_exact(&mut said).is_ok() && said == *SET_UP {
            return Ok(());
        }
    }
    drop(child.kill());
    let said = folder::read_if_there(&log)?.unwrap_or_default();
    let said = String::from_utf8_lossy(&said).trim().to_owned();
    Err(ClusterError::SwitchEnded { log, said })
}

/// Is the switch: `ferrite cluster switch`, which nobody starts by hand.
pub(super) fn run(cluster: &Path, record: &Record) -> Result<(), ClusterError> {
    let Some(network) = record.network.clone() else {
        return Err(ClusterError::NoNetwork { name: record.name.clone() });
    };
    let switch = Switch::new(network, &folder_of(cluster))?;
    // Who has started it may not wait any more.
    drop(std::io::stdout().write_all(SET_UP));
    Ok(switch.ending_when_unused_for(UNUSED).run()?)
}

/// Ends the switch, if it runs.
pub(super) fn stop(cluster: &Path) {
    if let Ok(mut client) = Client::connect(&folder_of(cluster)) {
        // It answers and ends, or has ended.
        drop(client.stop());
    }
}

/// Whoever speaks to the switch of a cluster; none where its machine has a network of its own.
pub(super) fn client(cluster: &Path, record: &Record) -> Result<Option<Client>, ClusterError> {
    match &record.network {
        Some(_) => Ok(Some(Client::connect(&folder_of(cluster))?)),
        None => Ok(None),
    }
}

/// Port of this computer at which a node's API is reached; none while it runs not.
pub(super) fn api_port(
    cluster: &Path,
    record: &Record,
    node: &str,
) -> Result<Option<u16>, ClusterError> {
    let directory = folder::of_node(cluster, node);
    if record.network.is_none() {
        let Some(mut running) = Running::attach(&directory)? else { return Ok(None) };
        return Ok(Some(running.forwarded_port(API_PORT)?));
    }
    // Its QEMU speaks to one at a time, which may be who starts it.
    if running::find(&directory)?.is_none() {
        return Ok(None);
    }
    let status = Client::connect(&folder_of(cluster))?.status()?;
    let mut published = status.published.iter();
    let found = published.find(|one| one.machine.as_deref() == Some(node) && one.port == API_PORT);
    Ok(found.map(|one| one.at.port()))
}
