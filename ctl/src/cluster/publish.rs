//! Ports of machines that are reached on this computer's loopback: `ferrite cluster publish`.

use std::path::Path;
use std::str::FromStr;

use super::commands::Target;
use super::problem::ClusterError;
use super::record::{Published, Record};
use super::{folder, network};
use crate::cli::PublishedPort;
use crate::failure::Failure;
use crate::session::Session;

/// Publishes a port of a cluster's nodes, or of one, from now on.
pub(super) fn publish(
    port: PublishedPort,
    name: &str,
    session: &mut Session<'_>,
) -> Result<(), Failure> {
    let Target { cluster, mut record, nodes } = Target::find(name)?;
    let _lock = folder::lock(&record.name)?;
    let node = nodes.first().filter(|node| *node == name).cloned();
    let published = Published::new(port, node);
    if record.network.is_none() {
        return Err(ClusterError::NoNetwork { name: record.name }.into());
    }
    let PublishedPort { host, port } = port;
    if !record.published.contains(&published) {
        record.published.push(published);
    }
    // What is refused is not kept.
    restore(&cluster, &record)?;
    record.save(&cluster)?;
    session.say(&format!("localhost:{host} leads to port {port} of {name}"))
}

/// Publishes what is not published yet. A network that is down gets it when it comes up.
pub(super) fn restore(cluster: &Path, record: &Record) -> Result<(), ClusterError> {
    if record.published.is_empty() {
        return Ok(());
    }
    let Some(mut switch) = network::client(cluster, record)? else { return Ok(()) };
    let there = switch.status()?.published;
    for one in &record.published {
        if there.iter().any(|status| one.is(status)) {
            continue;
        }
        match &one.node {
            Some(node) => switch.publish(node, one.port, Some(one.host))?,
            None => switch.publish_any(one.port, Some(one.host))?,
        };
    }
    Ok(())
}

impl FromStr for PublishedPort {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (host, port) = text.split_once(':').unwrap_or((text, text));
        let number = |text: &str| match text.parse() {
            Ok(0) | Err(_) => {
                Err(format!("{text:?} is no port: write PORT or HOST-PORT:PORT, 1 to 65535"))
            }
            Ok(port) => Ok(port),
        };
        Ok(Self { host: number(host)?, port: number(port)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_one_or_two() {
        let parsed =
            |text: &str| text.parse::<PublishedPort>().ok().map(|one| (one.host, one.port));
        assert_eq!(parsed("8080"), Some((8080, 8080)));
        assert_eq!(parsed("8080:80"), Some((8080, 80)));
        for text in ["", "0", "80:", ":80", "1:2:3", "65536", "http"] {
            assert_eq!(parsed(text), None, "{text:?}");
        }
    }
}
