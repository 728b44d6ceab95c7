//! Builds an image: everything from package names to the files of the output folder.
//!
//! Equal inputs give equal bytes, wherever, whenever and by whomever it is built. A folder that is up to date is
//! left alone; otherwise everything is made beside it, and `manifest.json` appears last: a folder with a manifest
//! is complete.

mod outputs;
mod parts;
mod problem;
mod request;
mod stamp;

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use ferrite_layout::disk_layout::DiskLayout;

pub use outputs::{MANIFEST, OUTPUTS, SBOM, VMLINUX};
pub use parts::{Parts, PartsRequest, parts};
pub use problem::BuildError;
pub use request::BuildRequest;

use crate::disk::{self, BiosLoader, Disk, EspFile};
use crate::manifest::{Manifest, OutputFile};
use crate::packages::PackageStore;
use crate::packages::cache::{sha256_of, write_whole};
use crate::progress::Progress;
use crate::qcow2;
use crate::sbom;
use crate::tools::Tools;
use outputs::outputs;
use problem::access;
use stamp::Stamp;

/// Folder on the EFI system partition for the BIOS loader.
const BIOS_FOLDER: &str = "/syslinux";
/// Begins the name of the folder that a build works in, inside the output folder.
const SCRATCH_PREFIX: &str = ".ferrite-build-";

/// What a build left.
#[derive(Debug)]
pub struct BuildOutput {
    /// The folder.
    pub out: PathBuf,
    /// Nothing had changed since the last build, so nothing was written.
    pub unchanged: bool,
    /// What is in it.
    pub manifest: Manifest,
}

/// Builds an image.
///
/// # Errors
/// An input is missing or not valid, packages cannot be had, a part does not fit, there is no space. The output
/// folder then has what it had before, or is without a manifest.
pub fn build(
    request: &BuildRequest,
    store: &PackageStore,
    progress: &mut dyn Progress,
) -> Result<BuildOutput, BuildError> {
    let layout = read_layout(&request.configs)?;
    let layout = match request.sector_bytes {
        Some(sector_bytes) => layout.with_sectors(sector_bytes),
        None => layout,
    };
    let tools = Tools::obtain(store, progress)?;
    let stamp = Stamp::of(request, store, &tools, progress)?;
    if let Some(manifest) = stamp.up_to_date(&request.out) {
        return Ok(BuildOutput { out: request.out.clone(), unchanged: true, manifest });
    }
    fs::create_dir_all(&request.out).map_err(access("make", &request.out))?;
    let folder = fs::File::open(&request.out).map_err(access("open", &request.out))?;
    rustix::fs::flock(&folder, rustix::fs::FlockOperation::LockExclusive)
        .map_err(|errno| access("lock", &request.out)(errno.into()))?;
    remove_interrupted(&request.out);
    let scratch = tempfile::Builder::new()
        .prefix(SCRATCH_PREFIX)
        .tempdir_in(&request.out)
        .map_err(access("make a directory in", &request.out))?;
    let scratch = scratch.path();
    let parts_request = PartsRequest {
        configs: request.configs.clone(),
        variant: request.variant.clone(),
        version: request.version.clone(),
        init: request.init.clone(),
        agent: request.agent.clone(),
        keys: request.public_keys(),
        state_template: disk::state_template(&layout, &tools, scratch)?,
        programs: request.programs.clone(),
    };
    let made = parts(&parts_request, (store, &tools), progress)?;
    let disk_parts = on_disk(request, &made, layout.sector_bytes, scratch)?;
    let disk = disk::build(&disk_parts, &layout, &tools, scratch, progress)?;
    progress.begin("make qcow2, manifest and bill of materials");
    qcow2::convert(&disk.raw, &scratch.join("disk.qcow2"))?;
    let manifest = describe(request, &made, &disk, (&tools, scratch))?;
    if !request.oem.is_empty() {
        keep_private(scratch)?;
    }
    publish(scratch, &request.out)?;
    stamp.write(&request.out)?;
    progress.end(&format!("{} packages", manifest.packages.len()));
    Ok(BuildOutput { out: request.out.clone(), unchanged: false, manifest })
}

/// Removes what builds left that were killed; the caller holds the folder's lock. Where that does not succeed, it is in nobody's way.
fn remove_interrupted(out: &Path) {
    for entry in fs::read_dir(out).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with(SCRATCH_PREFIX) {
            #[expect(clippy::disallowed_methods, reason = "our own build's folder")]
            drop(fs::remove_dir_all(entry.path()));
        }
    }
}

fn read_layout(configs: &Path) -> Result<DiskLayout, BuildError> {
    let path = configs.join("disk-layout.toml");
    let text = fs::read_to_string(&path).map_err(access("read", &path))?;
    text.parse().map_err(|source| BuildError::Layout { path, source })
}

/// Writes the parts into `scratch`, for the disk builder and for the output folder.
fn on_disk(
    request: &BuildRequest,
    made: &Parts,
    sector_bytes: u64,
    scratch: &Path,
) -> Result<disk::Parts, BuildError> {
    let write = |name: &str, content: &[u8]| {
        let path = scratch.join(name);
        fs::write(&path, content).map_err(access("write", &path))?;
        Ok::<_, BuildError>(path)
    };
    let mut esp = Vec::new();
    for (index, file) in made.boot_files.esp.iter().enumerate() {
        let source = write(&format!("esp-{index}"), &file.content)?;
        esp.push(EspFile { path: file.path.clone(), source });
    }
    write("cmdline", format!("{}\n", made.command_line).as_bytes())?;
    if let Some(built) = &made.built {
        let path = scratch.join(VMLINUX);
        fs::copy(&built.vmlinux, &path).map_err(access("write", &path))?;
    }
    let bios = BiosLoader {
        boot_code: write("boot-code", &made.boot_files.mbr_boot_code)?,
        directory: BIOS_FOLDER.to_owned(),
    };
    Ok(disk::Parts {
        version: request.version.clone(),
        variant: made.variant.name.clone(),
        boot_id: made.boot_id.clone(),
        kernel: write("kernel", &made.kernel)?,
        initramfs: write("initramfs", &made.initramfs)?,
        cmdline: made.command_line.clone(),
        root: made.root.clone(),
        esp,
        // A BIOS and its loaders know sectors of 512 bytes only.
        bios: (sector_bytes == 512).then_some(bios),
        oem: request.oem.clone(),
        key: request.key.clone(),
    })
}

/// Writes manifest and bill of materials into `scratch`.
fn describe(
    request: &BuildRequest,
    made: &Parts,
    disk: &Disk,
    (tools, scratch): (&Tools, &Path),
) -> Result<Manifest, BuildError> {
    let hashed = |path: &Path| -> Result<OutputFile, BuildError> {
        let size_bytes = fs::metadata(path).map_err(access("read", path))?.len();
        Ok(OutputFile { sha256: sha256_of(path).map_err(access("read", path))?, size_bytes })
    };
    let mut programs = vec![
        (ferrite_schema::names::INIT.to_owned(), request.init.clone()),
        (ferrite_schema::names::AGENT.to_owned(), request.agent.clone()),
    ];
    programs.extend(request.programs.iter().cloned());
    let mut manifest = Manifest {
        format: crate::manifest::FORMAT,
        slot: disk.document.clone(),
        kernel_release: made.release.clone(),
        programs: Default::default(),
        packages: made.packages.clone(),
        tools: tools.packages.clone(),
        kernel_build: made.built.as_ref().map(|built| built.record.clone()),
        files: Default::default(),
    };
    for (name, path) in programs {
        manifest.programs.insert(name, hashed(&path)?);
    }
    for name in outputs(scratch) {
        manifest.files.insert(name.to_owned(), hashed(&scratch.join(name))?);
    }
    write_json(&scratch.join(SBOM), &sbom::document(&manifest))?;
    manifest.files.insert(SBOM.to_owned(), hashed(&scratch.join(SBOM))?);
    write_json(&scratch.join(MANIFEST), &manifest)?;
    Ok(manifest)
}

fn write_json(path: &Path, value: &impl serde::Serialize) -> Result<(), BuildError> {
    let mut text =
        serde_json::to_vec_pretty(value).map_err(|source| BuildError::Describe { source })?;
    text.push(b'\n');
    write_whole(path, &text).map_err(access("write", path))
}

/// An OEM document has keys and passwords in it, and so has a disk with that document.
fn keep_private(scratch: &Path) -> Result<(), BuildError> {
    for name in OUTPUTS.into_iter().filter(|name| name.starts_with("disk.")) {
        let path = scratch.join(name);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600))
            .map_err(access("keep to its owner", &path))?;
    }
    Ok(())
}

/// Moves everything into the output folder. Its manifest goes first and comes last, so that a folder with a
/// manifest is never half of one build and half of another.
fn publish(scratch: &Path, out: &Path) -> Result<(), BuildError> {
    let stale = out.join(MANIFEST);
    match fs::remove_file(&stale) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(source) => return Err(access("replace", &stale)(source)),
    }
    let outputs: Vec<&str> = outputs(scratch).collect();
    if !outputs.contains(&VMLINUX) {
        // An older build's, of another kernel.
        drop(fs::remove_file(out.join(VMLINUX)));
    }
    for name in outputs.into_iter().chain([SBOM, MANIFEST]) {
        let target = out.join(name);
        fs::rename(scratch.join(name), &target).map_err(access("write", &target))?;
    }
    Ok(())
}
