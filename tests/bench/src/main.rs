//! Ferrite's benchmarks: figures beside the figures of others, as a table and as JSON.
//!
//! Responsible for running each side under the same conditions and reporting all of it, lost comparisons included.
//! Never decides whether a build is good: that is for tests.

mod arguments;
mod baseline;
mod boot;
mod cluster;
mod containers;
mod machine;
mod memory;
mod report;
mod size;
mod start_up;

use anyhow::{Context, Result};
use clap::Parser;

use crate::arguments::{Arguments, BootArguments, Suite};
use crate::report::Report;

fn main() -> Result<()> {
    match Arguments::parse().suite {
        Suite::Boot(arguments) => boot_suite(&arguments),
        Suite::StartUp(arguments) => start_up::write(&arguments),
        Suite::Cluster(arguments) => {
            let mut report = Report::default();
            cluster::measure(&arguments, &mut report)?;
            report.write_json(&arguments.json)?;
            report.print()
        }
        Suite::Containers(arguments) => {
            let mut report = Report::default();
            containers::measure(&arguments, &mut report)?;
            report.write_json(&arguments.json)?;
            report.print()
        }
    }
}

fn boot_suite(arguments: &BootArguments) -> Result<()> {
    let mut report = Report::default();
    boot::measure(arguments, &mut report).context("measure boots")?;
    for image in &arguments.images {
        size::measure(image, &mut report).context("measure sizes")?;
        memory::least(image, &mut report).context("find the least memory")?;
    }
    memory::measure(&arguments.probed_image, &mut report).context("measure memory")?;
    if let Some(seconds) = arguments.build_s {
        report.target("image build, everything compiled", seconds, "s", 30.0);
    }
    if let Some(seconds) = arguments.kernel_build_s {
        report.figure("kernel of our own, built from source", seconds, "s");
    }
    report.write_json(&arguments.json)?;
    report.print()
}
