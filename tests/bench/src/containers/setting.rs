//! What the parts of the suite work with: programs of both sides, a folder to work in.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use ferrite_vm::machine::Timing;

use crate::arguments::ContainersArguments;
use crate::machine::absolute;

/// Programs, images and numbers of runs.
#[derive(Debug)]
pub(crate) struct Setting {
    /// Folder with our programs.
    pub(crate) programs: PathBuf,
    /// Image with the probe beside the agent, for what is measured in a guest.
    pub(crate) probed_image: PathBuf,
    /// OCI archive with busybox.
    pub(crate) busybox: PathBuf,
    /// OCI archive with tens of megabytes.
    pub(crate) large: PathBuf,
    /// Debian 13 with podman, crun and a kernel, as a tar of its root.
    pub(crate) debian: Option<PathBuf>,
    /// How time passes in nodes.
    pub(crate) timing: Timing,
    /// Runs of each side.
    pub(crate) runs: usize,
    /// Folder for anything; gone at the end.
    scratch: tempfile::TempDir,
}

impl Setting {
    pub(crate) fn new(arguments: &ContainersArguments) -> Result<Self> {
        let own = std::env::current_exe().context("find the benchmark's own program")?;
        let programs = own.parent().context("find the folder of the programs")?.to_owned();
        Ok(Self {
            programs,
            probed_image: arguments.probed_image.clone(),
            busybox: absolute(&arguments.busybox)?,
            large: absolute(&arguments.large)?,
            debian: arguments.debian.clone().filter(|_| !arguments.ticks),
            timing: if arguments.ticks { Timing::Instructions } else { Timing::Real },
            runs: arguments.runs.max(1),
            scratch: tempfile::tempdir()?,
        })
    }

    /// A folder for anything.
    pub(crate) fn scratch(&self) -> &Path {
        self.scratch.path()
    }

    /// A program of ours.
    pub(crate) fn ours(&self, name: &str) -> PathBuf {
        self.programs.join(name)
    }

    /// A program of others, if this computer has it.
    #[must_use]
    pub(crate) fn theirs(name: &str) -> Option<PathBuf> {
        let path = std::env::var_os("PATH")?;
        std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file())
    }
}
