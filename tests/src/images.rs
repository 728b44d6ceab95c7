//! Images that scenarios boot, each made once per run by `ferrite image build`.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use anyhow::Result;

use crate::programs::{artifacts, checkout, program, succeed};

/// An image that scenarios boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// As people get it.
    Product,
    /// The product and, beside its agent, the probe's server.
    Probed,
    /// Another version with another command line, hence another boot ID: for the second slot. Probed.
    Next,
    /// A next version whose agent never gets ready.
    NeverReady,
    /// A next version whose agent ends as soon as it is started.
    CrashLoop,
}

/// Where a probed image has the real agent.
pub const AGENT_BESIDE: &str = "/usr/libexec/ferrite-agent";

/// Kernel parameter that makes the probe, in the agent's place, start its server and become the agent.
pub const PROBE_BESIDE: &str = "probe=beside,/usr/libexec/ferrite-agent";

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Product => "product",
            Self::Probed => "probed",
            Self::Next => "next",
            Self::NeverReady => "never-ready",
            Self::CrashLoop => "crash-loop",
        }
    }

    /// Arguments of `ferrite image build`.
    fn arguments(self) -> Result<Vec<String>> {
        let probe = program("ferrite-probe")?.display().to_string();
        let beside = format!("{AGENT_BESIDE}={}", program("ferrite-agent")?.display());
        let words: &[&str] = match self {
            Self::Product => &[],
            Self::Probed => &["--agent", &probe, "--add", &beside, "--append", PROBE_BESIDE],
            Self::Next => &[
                "--os-version",
                "99.0.0",
                "--agent",
                &probe,
                "--add",
                &beside,
                "--append",
                PROBE_BESIDE,
                "--append",
                "next=1",
            ],
            Self::NeverReady => {
                &["--os-version", "99.0.1", "--agent", &probe, "--append", "probe=hang"]
            }
            Self::CrashLoop => {
                &["--os-version", "99.0.2", "--agent", &probe, "--append", "probe=exit,3"]
            }
        };
        Ok(words.iter().map(|word| (*word).to_owned()).collect())
    }
}

static BUILT: Mutex<Vec<Kind>> = Mutex::new(Vec::new());

/// Folder of the image, which is built on first use.
///
/// # Errors
/// The build fails.
pub fn image(kind: Kind) -> Result<PathBuf> {
    let folder = artifacts()?.join("images").join(kind.name());
    // Builds one after the other: each uses every processor.
    let mut built = BUILT.lock().unwrap_or_else(PoisonError::into_inner);
    if !built.contains(&kind) {
        build(&folder, kind)?;
        built.push(kind);
    }
    Ok(folder)
}

fn build(folder: &Path, kind: Kind) -> Result<()> {
    let mut command = Command::new(program("ferrite")?);
    command.current_dir(checkout()).args(["image", "build", "--out"]).arg(folder);
    succeed(command.args(kind.arguments()?)).map(drop)
}
