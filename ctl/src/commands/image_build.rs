//! `ferrite image build`.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use ferrite_image::build::{self, BuildOutput, BuildRequest};
use ferrite_image::disk::OemFile;
use ferrite_image::keys::{self, SlotKey};
use ferrite_image::packages::cache::Cache;
use ferrite_image::packages::{PackageError, PackageStore};
use ferrite_layout::arguments::Arguments;
use ferrite_layout::slot_header::TrustedKey;
use ferrite_schema::{names, node_config};
use serde::Serialize;

use super::keys::own_folder;
use crate::cli::BuildArguments;
use crate::document;
use crate::failure::Failure;
use crate::output::{bytes, facts};
use crate::progress::Steps;
use crate::session::Session;

/// Name of the configuration on the OEM partition; nodes read it at `ferrite_schema::names::OEM_CLOUD_CONFIG`.
const OEM_CLOUD_CONFIG: &str = "cloud-config.toml";
/// Name of the kernel arguments there, `ferrite_schema::names::OEM_KERNEL_ARGUMENTS`.
const OEM_KERNEL_ARGUMENTS: &str = "kernel-args";

/// What was made.
#[derive(Debug, Serialize)]
struct Outcome {
    folder: PathBuf,
    /// It was up to date already.
    unchanged: bool,
    version: String,
    variant: String,
    key: String,
    development: bool,
    boot_id: String,
    kernel_release: String,
    kernel_bytes: u64,
    /// Package with the kernel's source, and its version, where it was built.
    kernel_source: Option<String>,
    vmlinux_bytes: Option<u64>,
    initramfs_bytes: u64,
    root_bytes: u64,
    packages: usize,
}

pub(super) fn run(arguments: &BuildArguments, session: &mut Session<'_>) -> Result<(), Failure> {
    let Programs { init, agent, container, shim } = programs(arguments)?;
    let mut added = vec![(names::CONTAINER.to_owned(), container), (names::SHIM.to_owned(), shim)];
    added.extend(arguments.add.iter().cloned());
    let key = match &arguments.key {
        Some(path) => SlotKey::load(path)?,
        None => SlotKey::development(&own_folder()?)?,
    };
    let trusted = arguments
        .trust
        .iter()
        .map(|path| keys::load_trusted(path))
        .collect::<Result<Vec<TrustedKey>, _>>()?;
    let request = BuildRequest {
        configs: arguments.configs.clone(),
        variant: arguments.variant.clone(),
        version: arguments.os_version.clone(),
        init,
        agent,
        programs: added,
        key,
        trusted,
        oem: oem(arguments)?,
        sector_bytes: arguments.sector_bytes.as_deref().and_then(|bytes| bytes.parse().ok()),
        out: arguments.out.clone().unwrap_or_else(|| Path::new("out").join(&arguments.variant)),
    };
    let store = PackageStore {
        cache: Cache::of_user().map_err(PackageError::from)?,
        mirrors: arguments.mirrors.named(),
        refresh: arguments.refresh,
    };
    let mut steps = Steps::new(session.draws_progress());
    let outcome = outcome(build::build(&request, &store, &mut steps)?);
    session.show(&outcome, table)
}

/// The OEM partition's files. What a node would refuse is refused here.
fn oem(arguments: &BuildArguments) -> Result<Vec<OemFile>, Failure> {
    let mut files = Vec::new();
    if let Some(path) = &arguments.cloud_config {
        let content = document::load(path, |text| {
            node_config::parse(text).map(|_valid| text.as_bytes().to_vec())
        })?;
        files.push(OemFile { name: OEM_CLOUD_CONFIG.to_owned(), content });
    }
    if let Some(words) = &arguments.kernel_args {
        words.parse::<Arguments>().map_err(|source| Failure::KernelArguments { source })?;
        let content = format!("{words}\n").into_bytes();
        files.push(OemFile { name: OEM_KERNEL_ARGUMENTS.to_owned(), content });
    }
    Ok(files)
}

/// Our own programs in an image.
struct Programs {
    init: PathBuf,
    agent: PathBuf,
    container: PathBuf,
    shim: PathBuf,
}

/// `ferrite-init`, `ferrite-agent`, `ferrite-container` and `ferrite-shim`, in the folder that was named or beside this program.
fn programs(arguments: &BuildArguments) -> Result<Programs, Failure> {
    let folder = match &arguments.binaries {
        Some(folder) => folder.clone(),
        None => std::env::current_exe()
            .map_err(|source| Failure::NoProgram { path: "ferrite".into(), source })?
            .parent()
            .map(Path::to_owned)
            .unwrap_or_default(),
    };
    let agent = arguments.agent.clone().unwrap_or_else(|| folder.join("ferrite-agent"));
    Ok(Programs {
        init: program(folder.join("ferrite-init"))?,
        agent: program(agent)?,
        container: program(folder.join("ferrite-container"))?,
        shim: program(folder.join("ferrite-shim"))?,
    })
}

fn program(path: PathBuf) -> Result<PathBuf, Failure> {
    match fs::metadata(&path) {
        Ok(found) if found.is_file() => Ok(path),
        Ok(_) => Err(Failure::NoProgram { path, source: io::ErrorKind::IsADirectory.into() }),
        Err(source) => Err(Failure::NoProgram { path, source }),
    }
}

fn outcome(built: BuildOutput) -> Outcome {
    let slot = built.manifest.slot;
    Outcome {
        folder: built.out,
        unchanged: built.unchanged,
        version: slot.version,
        variant: slot.variant,
        key: slot.key,
        development: slot.development,
        boot_id: slot.boot_id,
        kernel_release: built.manifest.kernel_release,
        kernel_bytes: slot.kernel.size_bytes,
        kernel_source: built
            .manifest
            .kernel_build
            .map(|kernel| format!("{} {}", kernel.source.name, kernel.source.version)),
        vmlinux_bytes: built.manifest.files.get(build::VMLINUX).map(|file| file.size_bytes),
        initramfs_bytes: slot.initramfs.size_bytes,
        root_bytes: slot.root.data_bytes,
        packages: built.manifest.packages.len(),
    }
}

fn table(outcome: &Outcome) -> String {
    let folder = outcome.folder.display();
    let mut rows = vec![
        (
            "image",
            if outcome.unchanged { format!("{folder}, unchanged") } else { folder.to_string() },
        ),
        ("version", format!("{} ({})", outcome.version, outcome.variant)),
        ("signed by", outcome.key.clone()),
        ("boot ID", outcome.boot_id.clone()),
        ("kernel", format!("{}, {}", outcome.kernel_release, bytes(outcome.kernel_bytes))),
        ("initramfs", bytes(outcome.initramfs_bytes)),
        ("root", format!("{}, {} packages", bytes(outcome.root_bytes), outcome.packages)),
    ];
    if let (Some(source), Some(vmlinux)) = (&outcome.kernel_source, outcome.vmlinux_bytes) {
        rows.push(("built from", source.clone()));
        rows.push(("vmlinux", format!("{}, for monitors that load it themselves", bytes(vmlinux))));
        let not_signed = "not for this kernel yet: nobody has signed it for firmware";
        rows.push(("Secure Boot", not_signed.to_owned()));
    }
    if outcome.development {
        rows.push(("WARNING", "development key: anyone could have made this image".to_owned()));
    }
    facts(&rows)
}
