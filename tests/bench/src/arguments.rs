//! The command line of the benchmarks.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

/// Ferrite's benchmarks.
#[derive(Debug, Parser)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) suite: Suite,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Suite {
    /// Boot ticks, image sizes, memory after a minute idle.
    Boot(BootArguments),
    /// Three machines: together, losing one of them, idle, speaking to one another.
    Cluster(ClusterArguments),
    /// Containers: start, unpack, pull, memory, beside those of others.
    Containers(ContainersArguments),
    /// Writes the order in which the agent's code is linked.
    StartUp(StartUpArguments),
}

#[derive(Debug, clap::Args)]
pub(crate) struct StartUpArguments {
    /// Image with the probe beside the agent.
    #[arg(long)]
    pub(crate) probed_image: PathBuf,
    /// The agent of that image, with its symbols.
    #[arg(long)]
    pub(crate) agent: PathBuf,
    /// The operator's command.
    #[arg(long)]
    pub(crate) ferrite: PathBuf,
    /// OCI archive with busybox.
    #[arg(long)]
    pub(crate) busybox: PathBuf,
    /// The linker script that is written.
    #[arg(long)]
    pub(crate) list: PathBuf,
}

#[derive(Debug, clap::Args)]
pub(crate) struct BootArguments {
    /// Image, as `ferrite image build` leaves it; given again, all are measured beside one another. The first has Debian's
    /// kernel, which the comparison with Debian takes.
    #[arg(long = "image", required = true)]
    pub(crate) images: Vec<PathBuf>,
    /// An image with the probe beside the agent, for what can only be seen from inside.
    #[arg(long)]
    pub(crate) probed_image: PathBuf,
    /// The probe, which is the bare init of the comparison.
    #[arg(long)]
    pub(crate) probe: PathBuf,
    /// Debian 13 with systemd and podman, as a tar of its root; left out, that comparison is skipped.
    #[arg(long)]
    pub(crate) debian: Option<PathBuf>,
    /// Seconds that the last image build took, with everything compiled.
    #[arg(long)]
    pub(crate) build_s: Option<f64>,
    /// Seconds that the kernel of our own took to build, its packages being there.
    #[arg(long)]
    pub(crate) kernel_build_s: Option<f64>,
    /// Runs of each side. Ticks repeat to 0.2 %, so a few are enough.
    #[arg(long, default_value_t = 3)]
    pub(crate) runs: usize,
    /// Where the figures go as JSON.
    #[arg(long)]
    pub(crate) json: PathBuf,
}

#[derive(Debug, clap::Args)]
pub(crate) struct ClusterArguments {
    /// Image, as `ferrite image build` leaves it.
    #[arg(long)]
    pub(crate) image: PathBuf,
    /// OCI archive with busybox.
    #[arg(long)]
    pub(crate) busybox: PathBuf,
    /// The same image with the probe beside the agent, for what the agent holds; left out, that is not measured.
    #[arg(long)]
    pub(crate) probed_image: Option<PathBuf>,
    /// Only these parts.
    #[arg(long)]
    pub(crate) only: Vec<String>,
    /// How often a machine is killed, for its instance elsewhere.
    #[arg(long, default_value_t = 20)]
    pub(crate) runs: usize,
    /// Where the figures go as JSON.
    #[arg(long)]
    pub(crate) json: PathBuf,
}

#[derive(Debug, clap::Args)]
pub(crate) struct ContainersArguments {
    /// Image with the probe beside the agent, for what is measured in a guest.
    #[arg(long)]
    pub(crate) probed_image: PathBuf,
    /// OCI archive with busybox.
    #[arg(long)]
    pub(crate) busybox: PathBuf,
    /// OCI archive with tens of megabytes, to pull.
    #[arg(long)]
    pub(crate) large: PathBuf,
    /// Debian 13 with podman, crun and a kernel, as a tar of its root; left out, those comparisons are skipped.
    #[arg(long)]
    pub(crate) debian: Option<PathBuf>,
    /// Guests' time passes by instructions, so that a few percent are seen whatever else this computer does: for comparing
    /// two images of ours. Nothing of others is measured then.
    #[arg(long)]
    pub(crate) ticks: bool,
    /// Only these parts.
    #[arg(long)]
    pub(crate) only: Vec<String>,
    /// Runs of each side.
    #[arg(long, default_value_t = 20)]
    pub(crate) runs: usize,
    /// Where the figures go as JSON.
    #[arg(long)]
    pub(crate) json: PathBuf,
}
