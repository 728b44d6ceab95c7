//! Build tools out of the same Debian release as the image.
//!
//! They are unpacked into the cache and run through their own dynamic loader and libraries, so the image does not
//! depend on the host's versions and the host needs none of them.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};

use crate::epoch::EPOCH_S;
use crate::packages::cache::{CacheError, settle, sha256_hex};
use crate::packages::{Package, PackageError, PackageStore, Wanted};
use crate::progress::Progress;

/// Packages whose programs are used; their dependencies come along.
const PACKAGES: [&str; 7] =
    ["dosfstools", "e2fsprogs", "erofs-utils", "kmod", "mtools", "syslinux", "xz-utils"];
/// Packages that only hold files.
const DATA_PACKAGES: [&str; 2] = ["syslinux-common", "systemd-boot-efi"];
/// Changes whenever what [`assemble`] makes of the same packages changes.
const LAYOUT_VERSION: u32 = 1;

/// Directories with programs, below the tools' root.
const PROGRAM_DIRS: [&str; 2] = ["usr/sbin", "usr/bin"];
const LIBRARY_DIR: &str = "usr/lib/x86_64-linux-gnu";
const LOADER: &str = "usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2";

/// Why tools cannot be had or used.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum ToolError {
    #[error("obtain build tools")]
    Obtain {
        #[from]
        source: PackageError,
    },
    #[error("unpack build tools")]
    Unpack {
        #[from]
        source: CacheError,
    },
    #[error("write {path}")]
    Write { path: PathBuf, source: io::Error },
    #[error("run {tool}")]
    Start { tool: String, source: io::Error },
    #[error("run {tool}: {status}: {stderr}")]
    Failed { tool: String, status: ExitStatus, stderr: String },
}

/// The unpacked tools.
#[derive(Debug, Clone)]
pub struct Tools {
    directory: PathBuf,
    /// Packages that they come from, sorted by name.
    pub packages: Vec<Package>,
}

impl Tools {
    /// Fetches and unpacks the tools where the cache does not have them.
    ///
    /// # Errors
    /// They cannot be fetched or unpacked.
    pub fn obtain(store: &PackageStore, progress: &mut dyn Progress) -> Result<Self, ToolError> {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let wanted = Wanted {
            exact: names(&DATA_PACKAGES),
            with_dependencies: names(&PACKAGES),
            kernels: BTreeSet::new(),
        };
        let packages = store.obtain(&wanted, progress)?.packages;
        let sums: Vec<&str> = packages.iter().map(|package| package.sha256.as_str()).collect();
        let key = sha256_hex(format!("{LAYOUT_VERSION} {}", sums.join(" ")).as_bytes());
        let parent = store.cache.root().join("tools");
        let directory = parent.join(key);
        if !directory.is_dir() {
            progress.begin("unpack build tools");
            fs::create_dir_all(&parent).map_err(write(&parent))?;
            let scratch = store.cache.scratch()?;
            let made = scratch.path().join("tools");
            assemble(store, &packages, &made)?;
            settle(&made, &directory).map_err(write(&directory))?;
            progress.end(&format!("{} packages", packages.len()));
        }
        Ok(Self { directory, packages })
    }

    /// A command that runs the tool `name` (`mkfs.erofs`, `mcopy`, …) in a clean, fixed environment.
    #[must_use]
    pub fn command(&self, name: &str) -> Command {
        let mut path = self.bin().into_os_string();
        path.push(":/usr/bin:/bin");
        let mut command = Command::new(self.bin().join(name));
        command
            .env_clear()
            .env("PATH", path)
            .env("LC_ALL", "C")
            .env("TZ", "UTC")
            .env("SOURCE_DATE_EPOCH", EPOCH_S.to_string())
            .env("MKE2FS_CONFIG", self.file("etc/mke2fs.conf"))
            .env("MTOOLSRC", "/dev/null")
            .env("MTOOLS_SKIP_CHECK", "1");
        if let Some(directory) = std::env::var_os("TMPDIR") {
            command.env("TMPDIR", directory);
        }
        command
    }

    /// Runs `command`, which [`Self::command`] made for the tool `name`, and returns its standard output.
    ///
    /// # Errors
    /// It cannot be started or reports failure; its messages are in the error.
    pub fn run(&self, name: &str, mut command: Command) -> Result<Vec<u8>, ToolError> {
        let output = command
            .output()
            .map_err(|source| ToolError::Start { tool: name.to_owned(), source })?;
        if output.status.success() {
            return Ok(output.stdout);
        }
        Err(ToolError::Failed {
            tool: name.to_owned(),
            status: output.status,
            stderr: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        })
    }

    /// A file of the tools' packages, named by its path there (`usr/lib/syslinux/mbr/gptmbr.bin`).
    #[must_use]
    pub fn file(&self, path: &str) -> PathBuf {
        self.directory.join("root").join(path)
    }

    /// Identifies the tools: what they make can only differ where this does.
    #[must_use]
    pub fn key(&self) -> String {
        self.directory.file_name().map(|name| name.display().to_string()).unwrap_or_default()
    }

    fn bin(&self) -> PathBuf {
        self.directory.join("bin")
    }
}

/// `root/` has the packages' files, `bin/` a wrapper for every program among them.
fn assemble(store: &PackageStore, packages: &[Package], directory: &Path) -> Result<(), ToolError> {
    let (root, bin) = (directory.join("root"), directory.join("bin"));
    fs::create_dir_all(&root).map_err(write(&root))?;
    fs::create_dir_all(&bin).map_err(write(&bin))?;
    for package in packages {
        store.cache.unpack_into(package, &root)?;
    }
    for programs in PROGRAM_DIRS {
        let path = root.join(programs);
        for entry in fs::read_dir(&path).map_err(write(&path))?.flatten() {
            let name = entry.file_name();
            let wrapper = bin.join(&name);
            let text = wrapper_text(&format!("{programs}/{}", name.display()));
            fs::write(&wrapper, text).map_err(write(&wrapper))?;
            fs::set_permissions(&wrapper, fs::Permissions::from_mode(0o755))
                .map_err(write(&wrapper))?;
        }
    }
    Ok(())
}

/// The wrapper finds everything beside itself, and keeps the name it was called by: mtools and e2fsprogs act on it.
fn wrapper_text(program: &str) -> String {
    format!(
        "#!/bin/sh\ndir=${{0%/*}}/../root\n\
         exec \"$dir/{LOADER}\" --library-path \"$dir/{LIBRARY_DIR}\" --argv0 \"${{0##*/}}\" \"$dir/{program}\" \"$@\"\n"
    )
}

fn write(path: &Path) -> impl FnOnce(io::Error) -> ToolError + '_ {
    move |source| ToolError::Write { path: path.to_owned(), source }
}
