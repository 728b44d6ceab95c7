//! `ferrite image build`.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use ferrite_image::build::{self, Parts, PartsRequest};
use ferrite_image::disk::{self, BiosLoader, EspFile};
use ferrite_image::initramfs::PublicKey;
use ferrite_image::keys::{self, SlotKey};
use ferrite_image::packages::cache::{Cache, sha256_of, write_whole};
use ferrite_image::packages::{Package, PackageStore};
use ferrite_image::qcow2;
use ferrite_image::tools::Tools;
use ferrite_layout::disk_layout::DiskLayout;
use ferrite_layout::slot_header::{SlotDocument, TrustedKey};
use serde::Serialize;

use super::keys::own_folder;
use crate::cli::BuildArguments;
use crate::failure::Failure;
use crate::output::{bytes, facts};
use crate::progress::Steps;
use crate::session::Session;

/// What was made.
#[derive(Debug, Serialize)]
struct Outcome {
    folder: PathBuf,
    version: String,
    variant: String,
    key: String,
    development: bool,
    boot_id: String,
    kernel_bytes: u64,
    initramfs_bytes: u64,
    root_bytes: u64,
}

/// Boot code and the files of firmware, as `disk` wants them: on disk.
const BIOS_FOLDER: &str = "/syslinux";
const BOOT_CODE: &str = "boot-code.bin";

pub(super) fn run(arguments: &BuildArguments, session: &mut Session<'_>) -> Result<(), Failure> {
    let layout = read_layout(&arguments.configs)?;
    let key = match &arguments.key {
        Some(path) => SlotKey::load(path)?,
        None => SlotKey::development(&own_folder()?)?,
    };
    let out = arguments.out.clone().unwrap_or_else(|| Path::new("out").join(&arguments.variant));
    let (init, agent) = programs(arguments)?;
    fs::create_dir_all(&out).map_err(|source| writing(&out, source))?;
    let mut steps = Steps::new(session.draws_progress());

    let store = PackageStore {
        cache: Cache::of_user().map_err(ferrite_image::packages::PackageError::from)?,
        mirror: arguments.mirror.clone(),
        refresh: arguments.refresh,
    };
    let tools = Tools::obtain(&store, &mut steps)?;
    let scratch = tempfile::Builder::new()
        .prefix(".ferrite-build-")
        .tempdir_in(&out)
        .map_err(|source| writing(&out, source))?;
    let request = PartsRequest {
        configs: arguments.configs.clone(),
        variant: arguments.variant.clone(),
        version: arguments.os_version.clone(),
        init,
        agent,
        keys: public_keys(&key, &arguments.trust)?,
        state_template: disk::state_template(&layout, &tools, scratch.path())?,
        programs: arguments.add.clone(),
    };
    let made = build::parts(&request, (&store, &tools), &mut steps)?;
    let parts = on_disk(&made, &request, key, scratch.path())?;
    let disk = disk::build(&parts, &layout, &tools, &out, &mut steps)?;
    qcow2::convert(&disk.raw, &out.join("disk.qcow2"))?;
    for name in ["kernel", "initramfs", "cmdline"] {
        let target = out.join(name);
        fs::rename(scratch.path().join(name), &target)
            .map_err(|source| writing(&target, source))?;
    }

    write_manifest(&out, &made, &disk.document)?;

    let outcome = Outcome {
        folder: out,
        version: disk.document.version,
        variant: disk.document.variant,
        key: disk.document.key,
        development: disk.document.development,
        boot_id: disk.document.boot_id,
        kernel_bytes: disk.document.kernel.size_bytes,
        initramfs_bytes: disk.document.initramfs.size_bytes,
        root_bytes: disk.document.root.data_bytes,
    };
    session.show(&outcome, table)
}

/// What an image consists of, with the hash of everything.
#[derive(Debug, Serialize)]
struct Manifest<'build> {
    slot: &'build SlotDocument,
    files: BTreeMap<&'static str, String>,
    packages: &'build [Package],
}

/// Files whose hashes are in the manifest; the disk is made of nothing else.
const HASHED: [&str; 5] = ["cmdline", "initramfs", "kernel", "slot.kern", "slot.root"];

fn write_manifest(out: &Path, made: &Parts, slot: &SlotDocument) -> Result<(), Failure> {
    let mut files = BTreeMap::new();
    for name in HASHED {
        let path = out.join(name);
        files.insert(name, sha256_of(&path).map_err(|source| writing(&path, source))?);
    }
    let path = out.join("manifest.json");
    let manifest = Manifest { slot, files, packages: &made.packages };
    let text = serde_json::to_vec_pretty(&manifest)
        .map_err(|source| crate::output::OutputError::Json { source })?;
    write_whole(&path, &text).map_err(|source| writing(&path, source))
}

fn read_layout(configs: &Path) -> Result<DiskLayout, Failure> {
    let path = configs.join("disk-layout.toml");
    Ok(crate::document::load(&path, |text| {
        text.parse::<DiskLayout>().map_err(|problem| ferrite_schema::document::Problem {
            line: problem.line,
            column: problem.column,
            message: problem.message,
        })
    })?)
}

/// `ferrite-init` and `ferrite-agent`, in the folder that was named or beside this program.
fn programs(arguments: &BuildArguments) -> Result<(PathBuf, PathBuf), Failure> {
    let folder = match &arguments.binaries {
        Some(folder) => folder.clone(),
        None => std::env::current_exe()
            .map_err(|source| Failure::NoProgram { path: "ferrite".into(), source })?
            .parent()
            .map(Path::to_owned)
            .unwrap_or_default(),
    };
    let program = |name: &str| {
        let path = folder.join(name);
        match fs::metadata(&path) {
            Ok(found) if found.is_file() => Ok(path),
            Ok(_) => Err(Failure::NoProgram { path, source: io::ErrorKind::InvalidInput.into() }),
            Err(source) => Err(Failure::NoProgram { path, source }),
        }
    };
    let agent = match &arguments.agent {
        Some(path) => path.clone(),
        None => program("ferrite-agent")?,
    };
    Ok((program("ferrite-init")?, agent))
}

fn public_keys(key: &SlotKey, further: &[PathBuf]) -> Result<Vec<PublicKey>, Failure> {
    let public = |key: &TrustedKey| PublicKey {
        name: key.name.clone(),
        hex: key.key.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect(),
    };
    let mut all = vec![public(&key.trusted())];
    for path in further {
        all.push(public(&keys::load_trusted(path)?));
    }
    Ok(all)
}

/// Writes the parts into `scratch` and names them.
fn on_disk(
    made: &Parts,
    request: &PartsRequest,
    key: SlotKey,
    scratch: &Path,
) -> Result<disk::Parts, Failure> {
    let write = |name: &str, content: &[u8]| {
        let path = scratch.join(name);
        fs::write(&path, content).map(|()| path.clone()).map_err(|source| writing(&path, source))
    };
    let mut esp = Vec::new();
    for (index, file) in made.boot_files.esp.iter().enumerate() {
        let source = write(&format!("esp-{index}"), &file.content)?;
        esp.push(EspFile { path: file.path.clone(), source });
    }
    write("cmdline", format!("{}\n", made.command_line).as_bytes())?;
    Ok(disk::Parts {
        version: request.version.clone(),
        variant: made.variant.name.clone(),
        boot_id: made.boot_id.clone(),
        kernel: write("kernel", &made.kernel)?,
        initramfs: write("initramfs", &made.initramfs)?,
        cmdline: made.command_line.clone(),
        root: made.root.clone(),
        esp,
        bios: Some(BiosLoader {
            boot_code: write(BOOT_CODE, &made.boot_files.mbr_boot_code)?,
            directory: BIOS_FOLDER.to_owned(),
        }),
        oem: Vec::new(),
        key,
    })
}

fn writing(path: &Path, source: io::Error) -> Failure {
    Failure::Write { path: path.to_owned(), source }
}

fn table(outcome: &Outcome) -> String {
    let mut rows = vec![
        ("image", outcome.folder.display().to_string()),
        ("version", format!("{} ({})", outcome.version, outcome.variant)),
        ("signed by", outcome.key.clone()),
        ("boot ID", outcome.boot_id.clone()),
        ("kernel", bytes(outcome.kernel_bytes)),
        ("initramfs", bytes(outcome.initramfs_bytes)),
        ("root", bytes(outcome.root_bytes)),
    ];
    if outcome.development {
        rows.push(("WARNING", "development key: anyone could have made this image".to_owned()));
    }
    facts(&rows)
}
