//! Knows whether an output folder is what a build would make again.
//!
//! The stamp is a hash over everything that goes into a build: the builder itself, configuration, programs, keys,
//! packages, tools. Beside it stand size and time of every output, as a file that was written to since is not what
//! was built any more.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{BuildError, BuildRequest, MANIFEST, SBOM, access, outputs};
use crate::kernel::ObtainKernel;
use crate::kernel::plan::KernelPlan;
use crate::manifest::Manifest;
use crate::packages::PackageStore;
use crate::packages::cache::{sha256_of, write_whole};
use crate::progress::Progress;
use crate::tools::Tools;
use crate::variant::{KernelOrigin, Variant};

/// Name of the stamp in the output folder.
const STAMP: &str = ".build-stamp.json";

/// What a build is made from.
#[derive(Debug)]
pub(super) struct Stamp {
    inputs: String,
}

/// The stamp's file.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Written {
    inputs: String,
    files: BTreeMap<String, State>,
}

/// What changes whenever somebody writes to a file.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct State {
    size_bytes: u64,
    modified_s: i64,
    modified_ns: i64,
    inode: u64,
}

impl Stamp {
    /// Hashes the inputs of `request`; resolves its packages.
    pub(super) fn of(
        request: &BuildRequest,
        store: &PackageStore,
        tools: &Tools,
        progress: &mut dyn Progress,
    ) -> Result<Self, BuildError> {
        let configs = &request.configs;
        let variant_file = configs.join("variants").join(&request.variant).with_extension("toml");
        let variant = Variant::read(&variant_file)?;
        if let KernelOrigin::Source(source) = &variant.kernel.origin {
            KernelPlan::say_needs((configs, source), &variant.wanted(), store, progress)
                .map_err(ObtainKernel::from)?;
        }
        let packages = store.obtain(&variant.wanted(), progress)?;
        let kernel = match &variant.kernel.origin {
            KernelOrigin::Package(_) => None,
            KernelOrigin::Source(source) => Some(
                KernelPlan::make((configs, source), &packages, store, progress)
                    .map_err(ObtainKernel::from)?,
            ),
        };
        let mut inputs = Inputs { hasher: Sha256::new() };
        let builder =
            std::env::current_exe().map_err(access("find", Path::new("/proc/self/exe")))?;
        for path in &variant.sources {
            inputs.add_file(path)?;
        }
        if let Some(plan) = kernel {
            inputs.add(&plan.wanted().key());
            for path in plan.definition.files() {
                inputs.add_file(&path)?;
            }
        }
        for path in [
            &builder,
            &configs.join("disk-layout.toml"),
            &configs.join("sysctl.conf"),
            &request.init,
            &request.agent,
        ] {
            inputs.add_file(path)?;
        }
        for (path, file) in &request.programs {
            inputs.add(path);
            inputs.add_file(file)?;
        }
        let keys = super::public_keys(request);
        let oem: Vec<_> = request.oem.iter().map(|file| (&file.name, &file.content)).collect();
        inputs.add(&format!("{:?} {:?} {packages:?}", tools.key(), request.version));
        inputs.add(&format!(
            "{keys:?} {} {oem:?} {:?}",
            request.key.is_development(),
            request.sector_bytes
        ));
        Ok(Self { inputs: hex::encode(inputs.hasher.finalize()) })
    }

    /// The manifest of `out` where a build would make the same again.
    pub(super) fn up_to_date(&self, out: &Path) -> Option<Manifest> {
        let written: Written = serde_json::from_slice(&fs::read(out.join(STAMP)).ok()?).ok()?;
        if written != (Written { inputs: self.inputs.clone(), files: states(out).ok()? }) {
            return None;
        }
        serde_json::from_slice(&fs::read(out.join(MANIFEST)).ok()?).ok()
    }

    /// Says that `out` was made from these inputs.
    pub(super) fn write(&self, out: &Path) -> Result<(), BuildError> {
        let files = states(out).map_err(access("read", out))?;
        let text = serde_json::to_vec(&Written { inputs: self.inputs.clone(), files })
            .map_err(|source| BuildError::Describe { source })?;
        let path = out.join(STAMP);
        write_whole(&path, &text).map_err(access("write", &path))
    }
}

#[derive(Debug)]
struct Inputs {
    hasher: Sha256,
}

impl Inputs {
    fn add(&mut self, text: &str) {
        self.hasher.update(text.len().to_string());
        self.hasher.update(":");
        self.hasher.update(text);
    }

    fn add_file(&mut self, path: &Path) -> Result<(), BuildError> {
        let sum = sha256_of(path).map_err(access("read", path))?;
        self.add(&sum);
        Ok(())
    }
}

fn states(out: &Path) -> io::Result<BTreeMap<String, State>> {
    outputs(out)
        .chain([SBOM, MANIFEST])
        .map(|name| {
            let found = fs::metadata(out.join(name))?;
            let state = State {
                size_bytes: found.len(),
                modified_s: found.mtime(),
                modified_ns: found.mtime_nsec(),
                inode: found.ino(),
            };
            Ok((name.to_owned(), state))
        })
        .collect()
}
