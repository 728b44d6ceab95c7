//! Figures for Prometheus. All is pure but [`read`]: what was read goes in, and a text comes out.
//!
//! | module | what it does |
//! |---|---|
//! | `text` | the text that Prometheus reads, version 0.0.4: our own, since a library for it keeps every figure a second time and writes another format |
//! | `names` | every figure: its name, its labels, what it says |
//! | `node`, `units`, `cluster` | which figures come of what was read |
//! | `readings`, `read` | what is read, and files of the kernel |

mod cluster;
mod names;
mod node;
pub(crate) mod read;
mod readings;
mod text;
mod units;

pub(crate) use readings::{ClusterReading, EtcdReading, Readings};

use text::Text;

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
