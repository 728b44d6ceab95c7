//! Packages: those that somebody needs, and what they were resolved to.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

/// Debian release that every package comes from.
pub const SUITE: &str = "trixie";

/// One package at one version.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Package {
    /// Name.
    pub name: String,
    /// Version, with epoch.
    pub version: String,
    /// Architecture: `amd64` or `all`.
    pub architecture: String,
    /// SHA-256 of the package file, lower-case hexadecimal.
    pub sha256: String,
    /// Size of the package file.
    pub size_bytes: u64,
}

/// Packages that somebody needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Wanted {
    /// Only these, because files are picked out of them.
    pub exact: BTreeSet<String>,
    /// These and everything that they depend on, because they are run.
    pub with_dependencies: BTreeSet<String>,
    /// Metapackages that stand for the newest kernel: the `linux-image-…` that they depend on is taken.
    pub kernels: BTreeSet<String>,
}

/// What a [`Wanted`] was resolved to, sorted by name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resolved {
    /// Every package, each once.
    pub packages: Vec<Package>,
    /// Names of those that stand for [`Wanted::kernels`], in that order.
    pub kernels: Vec<String>,
}

impl Resolved {
    /// The package called `name`.
    #[must_use]
    pub fn package(&self, name: &str) -> Option<&Package> {
        self.packages.iter().find(|package| package.name == name)
    }
}
