//! Figures for Prometheus. All is pure but [`read`]: what was read goes in, and a text comes out.
//!
//! | module | what it does |
//! |---|---|
//! | `text` | the text that Prometheus reads, version 0.0.4: our own, since a library for it keeps every figure a second time and writes another format |
//! | `names` | every figure: its name, its labels, what it says |
//! | `node`, `units`, `cluster` | which figures come of what was read |
//! | `read` | files of the kernel |

mod cluster;
mod names;
mod node;
pub(crate) mod read;
mod text;
mod units;

use std::collections::BTreeMap;

use ferrite_schema::api::{Machine, NodeStats, UnitStats, UnitStatus};
use ferrite_schema::control::Status;

pub(crate) use cluster::{ClusterReading, EtcdReading};
pub(crate) use node::{Kernel, Traffic};

use text::Text;

/// All that was read at one moment. What could not be read is absent, and so are its figures.
#[derive(Debug, Default)]
pub(crate) struct Readings {
    /// Seconds since the epoch.
    pub(crate) now_s: f64,
    pub(crate) machine: Option<Machine>,
    pub(crate) kernel: Kernel,
    /// What the node uses; of STATE only where it can be used.
    pub(crate) stats: NodeStats,
    pub(crate) units: Vec<UnitStatus>,
    pub(crate) unit_stats: Vec<UnitStats>,
    /// Traffic of units that have a network of their own, by unit and interface.
    pub(crate) unit_traffic: BTreeMap<String, BTreeMap<String, Traffic>>,
    pub(crate) slots: Option<Status>,
    pub(crate) cluster: Option<ClusterReading>,
    /// Who was asked, and whether there was an answer in time.
    pub(crate) answered: Vec<(&'static str, bool)>,
}

/// The text for Prometheus.
pub(crate) fn text(readings: &Readings) -> String {
    let mut text = Text::default();
    node::add(&mut text, readings);
    units::add(&mut text, readings);
    cluster::add(&mut text, readings);
    text.whole()
}

#[cfg(test)]
#[path = "metrics/tests.rs"]
mod tests;
