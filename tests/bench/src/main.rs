//! Ferrite's benchmarks: figures beside the figures of others, as a table and as JSON.
//!
//! Responsible for running each side under the same conditions and reporting all of it, lost comparisons included.
//! Never decides whether a build is good: that is for tests.

mod baseline;
mod boot;
mod containers;
mod machine;
mod memory;
mod report;
mod size;
mod start_up;

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};

use crate::report::Report;

/// Ferrite's benchmarks.
#[derive(Debug, Parser)]
struct Arguments {
    #[command(subcommand)]
    suite: Suite,
}

#[derive(Debug, Subcommand)]
enum Suite {
    /// Boot ticks, image sizes, memory after a minute idle.
    Boot(BootArguments),
    /// Containers: start, unpack, pull, memory, beside those of others.
    Containers(ContainersArguments),
    /// Writes the order in which the agent's code is linked.
    StartUp(StartUpArguments),
}

#[derive(Debug, clap::Args)]
struct StartUpArguments {
    /// Image with the probe beside the agent.
    #[arg(long)]
    probed_image: PathBuf,
    /// The agent of that image, with its symbols.
    #[arg(long)]
    agent: PathBuf,
    /// The operator's command.
    #[arg(long)]
    ferrite: PathBuf,
    /// OCI archive with busybox.
    #[arg(long)]
    busybox: PathBuf,
    /// The linker script that is written.
    #[arg(long)]
    list: PathBuf,
}

#[derive(Debug, clap::Args)]
struct BootArguments {
    /// Image, as `ferrite image build` leaves it.
    #[arg(long)]
    image: PathBuf,
    /// The same image with the probe beside the agent, for what can only be seen from inside.
    #[arg(long)]
    probed_image: PathBuf,
    /// The probe, which is the bare init of the comparison.
    #[arg(long)]
    probe: PathBuf,
    /// Debian 13 with systemd and podman, as a tar of its root; left out, that comparison is skipped.
    #[arg(long)]
    debian: Option<PathBuf>,
    /// Seconds that the last image build took, with everything compiled.
    #[arg(long)]
    build_s: Option<f64>,
    /// Runs of each side. Ticks repeat to 0.2 %, so a few are enough.
    #[arg(long, default_value_t = 3)]
    runs: usize,
    /// Where the figures go as JSON.
    #[arg(long)]
    json: PathBuf,
}

#[derive(Debug, clap::Args)]
struct ContainersArguments {
    /// Image with the probe beside the agent, for what is measured in a guest.
    #[arg(long)]
    probed_image: PathBuf,
    /// OCI archive with busybox.
    #[arg(long)]
    busybox: PathBuf,
    /// OCI archive with tens of megabytes, to pull.
    #[arg(long)]
    large: PathBuf,
    /// Debian 13 with podman, crun and a kernel, as a tar of its root; left out, those comparisons are skipped.
    #[arg(long)]
    debian: Option<PathBuf>,
    /// Only these parts.
    #[arg(long)]
    only: Vec<String>,
    /// Runs of each side.
    #[arg(long, default_value_t = 20)]
    runs: usize,
    /// Where the figures go as JSON.
    #[arg(long)]
    json: PathBuf,
}

fn main() -> Result<()> {
    match Arguments::parse().suite {
        Suite::Boot(arguments) => boot_suite(&arguments),
        Suite::StartUp(arguments) => start_up::write(&arguments),
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
    size::measure(&arguments.image, &mut report).context("measure sizes")?;
    memory::measure(&arguments.probed_image, &mut report).context("measure memory")?;
    if let Some(seconds) = arguments.build_s {
        report.target("image build, everything compiled", seconds, "s", 30.0);
    }
    report.write_json(&arguments.json)?;
    report.print()
}
