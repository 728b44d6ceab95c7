//! `ferrite cluster add`.

use std::time::Duration;

use ferrite_vm::host::Host;
use ferrite_vm::switch::client::Client;

use super::problem::ClusterError;
use super::{commands, create, folder, network, topology, up};
use crate::cli::UpArguments;
use crate::failure::Failure;
use crate::session::Session;

/// Adds a node to a cluster of several, and starts it. What was made of it stays where it does not become ready.
pub(super) fn add(
    name: &str,
    disk_size: u32,
    timeout: Duration,
    session: &mut Session<'_>,
) -> Result<(), Failure> {
    let node = make(name, disk_size)?;
    let arguments = UpArguments {
        name: node,
        image: None,
        config: None,
        boot: None,
        cpus: None,
        memory: None,
        disk_size,
        nodes: None,
        publish: Vec::new(),
        offer: Vec::new(),
        renew: false,
        fresh: false,
        timeout,
    };
    up::up(&arguments, session)
}

fn make(name: &str, disk_size: u32) -> Result<String, ClusterError> {
    let _lock = folder::lock(name)?;
    let (cluster, mut record) = commands::load(name)?;
    let none = || ClusterError::NoNetwork { name: name.to_owned() };
    let network = record.network.as_mut().ok_or_else(none)?;
    let model = record.nodes.first().cloned().ok_or_else(none)?;
    let number =
        record.nodes.iter().filter_map(|node| node.rsplit_once('-')?.1.parse::<u32>().ok());
    let node = format!("{name}-{}", number.max().unwrap_or(0) + 1);
    let station = topology::station(&node);
    network.machines.push(station.clone());
    network.check()?;
    record.nodes.push(node.clone());
    let size_bytes = u64::from(disk_size) << 30;
    create::make_further(&cluster, &record, (&node, &model), size_bytes, &Host::probe()?)?;
    // A network that is down has it when it comes up.
    if let Ok(mut switch) = Client::connect(&network::folder_of(&cluster)) {
        switch.add(station)?;
    }
    record.save(&cluster)?;
    Ok(node)
}
