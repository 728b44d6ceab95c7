//! `ferrite cluster add`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use ferrite_schema::node_config::NodeConfig;
use ferrite_vm::host::Host;
use ferrite_vm::switch::client::Client;

use super::problem::ClusterError;
use super::record::Record;
use super::{commands, create, folder, network, topology, up};
use crate::cli::UpArguments;
use crate::failure::Failure;
use crate::session::Session;

/// Adds nodes to a cluster of several, one for each of `configs`, or one like the first, and starts them. What was made of them
/// stays where they do not become ready.
pub(super) fn add(
    name: &str,
    configs: &[PathBuf],
    (disk_size, timeout): (u32, Duration),
    session: &mut Session<'_>,
) -> Result<(), Failure> {
    let read = |path: &PathBuf| create::read_document(path).map(Some);
    let mut own = configs.iter().map(read).collect::<Result<Vec<_>, _>>()?;
    if own.is_empty() {
        own.push(None);
    }
    let nodes = make(name, own, disk_size)?;
    let arguments = UpArguments {
        name: name.to_owned(),
        image: None,
        config: None,
        boot: None,
        cpus: None,
        memory: None,
        disk_size,
        nodes: None,
        members: None,
        clock: None,
        publish: Vec::new(),
        offer: Vec::new(),
        renew: false,
        fresh: false,
        timeout,
    };
    up::up_with(&arguments, Some(&nodes), session)
}

fn make(
    name: &str,
    configs: Vec<Option<NodeConfig>>,
    disk_size: u32,
) -> Result<Vec<String>, ClusterError> {
    let _lock = folder::lock(name)?;
    let (cluster, mut record) = commands::load(name)?;
    let host = Host::probe()?;
    let size_bytes = u64::from(disk_size) << 30;
    each(name, configs, |config| one(&cluster, &mut record, config, (size_bytes, &host)))
}

/// Makes one node after the other. Those that were made before one fails stay, and are named.
fn each(
    name: &str,
    configs: Vec<Option<NodeConfig>>,
    mut make: impl FnMut(Option<NodeConfig>) -> Result<String, ClusterError>,
) -> Result<Vec<String>, ClusterError> {
    let mut added = Vec::new();
    for config in configs {
        match make(config) {
            Ok(node) => added.push(node),
            Err(error) if added.is_empty() => return Err(error),
            Err(error) => {
                let (name, source) = (name.to_owned(), Box::new(error));
                return Err(ClusterError::AddedInPart { name, added, source });
            }
        }
    }
    Ok(added)
}

/// Makes one more node.
fn one(
    cluster: &Path,
    record: &mut Record,
    config: Option<NodeConfig>,
    (size_bytes, host): (u64, &Host),
) -> Result<String, ClusterError> {
    let none = || ClusterError::NoNetwork { name: record.name.clone() };
    let mut network = record.network.clone().ok_or_else(none)?;
    let model = record.nodes.first().cloned().ok_or_else(none)?;
    let number =
        record.nodes.iter().filter_map(|node| node.rsplit_once('-')?.1.parse::<u32>().ok());
    let node = format!("{}-{}", record.name, number.max().unwrap_or(0) + 1);
    let station = topology::station(&node);
    network.machines.push(station.clone());
    network.check()?;
    record.network = Some(network);
    record.nodes.push(node.clone());
    create::make_further(cluster, record, (&node, &model, config), size_bytes, host)?;
    // A network that is down has it when it comes up.
    if let Ok(mut switch) = Client::connect(&network::folder_of(cluster)) {
        switch.add(station)?;
    }
    record.save(cluster)?;
    Ok(node)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_that_were_made_before_one_fails_are_named() {
        let makes = |fails_at: usize| {
            let mut count = 0;
            each("dev", vec![None; 3], |_| {
                count += 1;
                match count == fails_at {
                    true => Err(ClusterError::NoNetwork { name: "dev".to_owned() }),
                    false => Ok(format!("dev-{}", count + 1)),
                }
            })
        };
        assert_eq!(makes(4).unwrap(), ["dev-2", "dev-3", "dev-4"]);
        let first = makes(1).unwrap_err();
        assert!(matches!(first, ClusterError::NoNetwork { .. }), "{first}");
        for (fails_at, words) in [(2, "dev-2 was made"), (3, "dev-2, dev-3 were made")] {
            let later = makes(fails_at).unwrap_err();
            assert!(later.to_string().contains(words), "{later}");
            assert_eq!(later.exit(), first.exit());
            assert!(later.hint().is_some_and(|hint| hint.contains("`ferrite cluster up dev`")));
        }
    }
}
