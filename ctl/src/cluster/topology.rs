//! The network of a new cluster, as data.

use std::net::Ipv4Addr;

use ferrite_schema::names::API_PORT;
use ferrite_vm::switch::topology::{Network, Service, Station};

use crate::cli::Offer;

/// A machine as the network knows it: its API is published.
pub(super) fn station(node: &str) -> Station {
    Station { name: node.to_owned(), published: vec![API_PORT] }
}

/// The network of a new cluster with these nodes.
pub(super) fn of(nodes: &[String], (offered, ipv6_only): (&[Offer], bool), seed: u64) -> Network {
    let names: Vec<&str> = nodes.iter().map(String::as_str).collect();
    let mut network = Network::of(&names, seed);
    network.ipv6_only = ipv6_only;
    network.machines = nodes.iter().map(|node| station(node)).collect();
    let service = |offer: &Offer| Service {
        name: offer.name.clone(),
        port: offer.port,
        host: (Ipv4Addr::LOCALHOST, offer.port).into(),
    };
    network.services = offered.iter().map(service).collect();
    network
}
