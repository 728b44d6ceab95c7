//! Images that scenarios boot, each made once per run by `ferrite image build`.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use anyhow::Result;

use crate::programs::{artifacts, checkout, program, succeed};

/// An image that scenarios boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// As people get it, with the kernel that [`VARIANT`] says.
    Product,
    /// The product with the probe in the agent's place, which becomes the agent after starting its server,
    /// or does what [`crate::node::Node::agent_does`] says.
    Probed,
    /// [`Self::Probed`] with Debian's kernel and its modules.
    Debian,
    /// [`Self::Probed`] in another version and variant, with another kernel.
    Next,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Product => "product",
            Self::Debian => "debian",
            Self::Probed => "probed",
            Self::Next => "next",
        }
    }

    /// Arguments of `ferrite image build`.
    fn arguments(self) -> Result<Vec<String>> {
        let probe = program("ferrite-probe")?.display().to_string();
        let beside = format!("/usr/libexec/ferrite-agent={}", program("ferrite-agent")?.display());
        let variant = variant();
        let probed = ["--agent", &probe, "--add", &beside];
        let words = match self {
            Self::Product => vec!["--variant", &variant],
            Self::Debian => [&probed[..], &["--variant", "cloud"]].concat(),
            Self::Probed => [&probed[..], &["--variant", &variant]].concat(),
            Self::Next => {
                [&probed[..], &["--os-version", NEXT_VERSION, "--variant", "metal"]].concat()
            }
        };
        Ok(words.into_iter().map(str::to_owned).collect())
    }
}

/// Variable with the variant that most scenarios boot, for who has no time to build a kernel: `cloud`.
const VARIANT: &str = "FERRITE_TEST_VARIANT";
/// The variant that most scenarios boot.
#[must_use]
pub fn variant() -> String {
    env::var(VARIANT).unwrap_or_else(|_| "slim".to_owned())
}

/// Version of [`Kind::Next`].
pub const NEXT_VERSION: &str = "99.0.0";
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
