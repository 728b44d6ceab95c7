//! Debian packages for an image: found, checked, kept and unpacked without root.
//!
//! A set of wanted packages is resolved once, by apt with a configuration of its own, to names, versions and
//! SHA-256 sums. That answer is kept in the cache, so that the next build needs no network; `refresh` asks again.
//! Package files are kept under their SHA-256, which apt has checked against the archive's signature.

pub mod apt;
pub mod cache;
pub mod mirror;
mod package;

use std::path::PathBuf;

use crate::epoch::EPOCH_S;
use crate::progress::Progress;
use apt::{Apt, AptError};
use cache::{Cache, CacheError};
use mirror::{FindMirror, Mirrors};
pub use package::{Package, Resolved, SUITE, Wanted};

/// Packages up to this size together are fetched at once.
const BATCH_BYTES: u64 = 8 << 20;

/// Why packages could not be had.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum PackageError {
    #[error("find a Debian mirror")]
    FindMirror { source: FindMirror },
    #[error("resolve packages")]
    Resolve { source: AptError },
    #[error("fetch packages {names}")]
    Fetch { names: String, source: AptError },
    #[error("use the package cache")]
    Cache {
        #[from]
        source: CacheError,
    },
}

/// Where packages come from and where they are kept.
#[derive(Debug)]
pub struct PackageStore {
    /// Cache; one per user.
    pub cache: Cache,
    /// Archives to use instead of the host's own.
    pub mirrors: Option<Mirrors>,
    /// Ask the mirror for versions even when an answer is in the cache.
    pub refresh: bool,
}

impl PackageStore {
    /// Resolves `wanted` and makes sure that every package file is in the cache.
    ///
    /// # Errors
    /// No mirror, no network, no space, or apt does not accept what it got.
    pub fn obtain(
        &self,
        wanted: &Wanted,
        progress: &mut dyn Progress,
    ) -> Result<Resolved, PackageError> {
        let _lock = self.cache.lock()?;
        let key = key_of(wanted);
        let remembered = if self.refresh { None } else { self.cache.resolution(&key)? };
        if let Some(resolved) = remembered.filter(|resolved| self.missing(resolved).is_empty()) {
            return Ok(resolved);
        }
        self.cache.check_space()?;
        let mirrors = match &self.mirrors {
            Some(mirrors) => mirrors.clone(),
            None => mirror::of_host().map_err(|source| PackageError::FindMirror { source })?,
        };
        if mirrors.security.is_none() {
            progress.say(&format!(
                "asks {} alone, so that security updates are missing which it does not have yet: name Debian's security \
                 archive with --mirror and --security-mirror",
                mirrors.main
            ));
        }
        let apt = Apt::new(&self.cache.apt_dir(), &mirrors)
            .map_err(|source| PackageError::Resolve { source })?;
        progress.begin(&format!("read package lists of {SUITE}"));
        apt.update().map_err(|source| PackageError::Resolve { source })?;
        let resolved = apt.resolve(wanted).map_err(|source| PackageError::Resolve { source })?;
        progress.end(&format!("{} packages", resolved.packages.len()));
        self.fetch(&apt, &resolved, progress)?;
        self.cache.remember(&key, &resolved)?;
        Ok(resolved)
    }

    /// What `wanted` was resolved to the last time. Asks nobody, and does not look whether the packages' files are here.
    ///
    /// # Errors
    /// The cache cannot be read.
    pub fn remembered(&self, wanted: &Wanted) -> Result<Option<Resolved>, PackageError> {
        Ok(self.cache.resolution(&key_of(wanted))?)
    }

    /// Directory with the content of a package that [`Self::obtain`] named; unpacks it on first use.
    ///
    /// # Errors
    /// The package cannot be unpacked.
    pub fn unpacked(&self, package: &Package) -> Result<PathBuf, PackageError> {
        Ok(self.cache.unpacked(package)?)
    }

    /// The date of the latest of these packages, in seconds since the epoch: the same inputs have the same date, whenever
    /// and by whomever they are put together.
    ///
    /// # Errors
    /// A package is not here any more.
    pub fn date_s(&self, resolved: &Resolved) -> Result<u64, PackageError> {
        let mut latest = EPOCH_S;
        for package in &resolved.packages {
            latest = latest.max(self.cache.made_s(package)?);
        }
        Ok(latest)
    }

    fn missing<'set>(&self, resolved: &'set Resolved) -> Vec<&'set Package> {
        resolved.packages.iter().filter(|package| !self.cache.has(package)).collect()
    }

    fn fetch(
        &self,
        apt: &Apt,
        resolved: &Resolved,
        progress: &mut dyn Progress,
    ) -> Result<(), PackageError> {
        let missing = self.missing(resolved);
        if missing.is_empty() {
            return Ok(());
        }
        progress.begin("fetch packages");
        let total = missing.iter().map(|package| package.size_bytes).sum();
        let mut done = 0;
        for batch in batches(&missing) {
            let directory = self.cache.scratch()?;
            let files = apt
                .download(batch, directory.path())
                .map_err(|source| PackageError::Fetch { names: names(batch), source })?;
            self.cache.keep(batch, &files)?;
            done += batch.iter().map(|package| package.size_bytes).sum::<u64>();
            progress.advance(done, total);
        }
        progress.end(&format!("{} packages, {} MB", missing.len(), total / 1_000_000));
        Ok(())
    }
}

/// Names a request, for its answer to be found again.
fn key_of(wanted: &Wanted) -> String {
    cache::sha256_hex(format!("{SUITE}\n{wanted:?}").as_bytes())
}

/// Neighbours that are fetched by one run of apt: each run takes a second of its own, and progress is told
/// after each.
fn batches<'set>(packages: &'set [&'set Package]) -> impl Iterator<Item = &'set [&'set Package]> {
    let mut size_bytes = 0;
    packages.chunk_by(move |package, next| {
        size_bytes += package.size_bytes;
        let together = size_bytes + next.size_bytes <= BATCH_BYTES;
        if !together {
            size_bytes = 0;
        }
        together
    })
}

fn names(packages: &[&Package]) -> String {
    let names: Vec<&str> = packages.iter().map(|package| package.name.as_str()).collect();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_hold_every_package_once_and_stay_small() {
        let package = |(index, size_mb): (usize, u64)| Package {
            name: format!("p{index}"),
            version: "1".to_owned(),
            architecture: "amd64".to_owned(),
            sha256: String::new(),
            size_bytes: size_mb << 20,
        };
        let all: Vec<Package> =
            [1, 2, 34, 1, 6, 2, 1].into_iter().enumerate().map(package).collect();
        let all: Vec<&Package> = all.iter().collect();
        let found: Vec<String> = batches(&all).map(names).collect();
        assert_eq!(found, ["p0, p1", "p2", "p3, p4", "p5, p6"]);
    }
}
