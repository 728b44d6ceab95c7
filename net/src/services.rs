//! What the cluster's services are to the units' resolver.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ferrite_schema::unit::Protocol;

/// What the cluster answers for: which instances of which services are ready, and where machines are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Services {
    /// The instances that are ready, by the service's name, such as `web`. A service without any is known all the same.
    pub services: BTreeMap<String, Vec<Instance>>,
    /// Each machine's addresses, by its name.
    pub machines: BTreeMap<String, Vec<IpAddr>>,
}

/// An instance of a service that is ready.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Instance {
    /// The unit's name: `web@1`, or `web` where it runs once.
    pub name: String,
    /// Where it is.
    pub addresses: Vec<IpAddr>,
    /// What it serves there.
    pub ports: Vec<(u16, Protocol)>,
}
