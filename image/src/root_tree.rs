//! What is in the read-only root.

use std::path::{Path, PathBuf};

use ferrite_schema::names::{AGENT, INIT, OS_RELEASE, STATE_TEMPLATE};

use crate::initramfs::PublicKey;
use crate::modules::{KernelModules, ModuleError};
use crate::packages::{PackageError, PackageStore, Resolved};
use crate::root_container::{self, ContainerError};
use crate::tools::Tools;
use crate::tree::{Tree, TreeError, read};
use crate::variant::{Certificates, Variant};

/// Directory of what is ours.
const SHARE_DIR: &str = "usr/share/ferrite";
/// Where the rest of the machine is mounted.
const MOUNT_POINTS: [&str; 9] = ["dev", "efi", "etc", "oem", "proc", "run", "sys", "tmp", "var"];

/// Why the root cannot be put together.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum RootError {
    #[error("add modules to the root")]
    Modules {
        #[from]
        source: ModuleError,
    },
    #[error("add to the root")]
    Tree {
        #[from]
        source: TreeError,
    },
    #[error("add container {name} to the root")]
    Container { name: String, source: ContainerError },
    #[error("unpack package {name}")]
    Unpack { name: String, source: PackageError },
    #[error("take files out of package {name}: it was not resolved")]
    NoPackage { name: String },
    #[error("find certificates in {path}")]
    Certificates { path: PathBuf, source: std::io::Error },
}

/// What goes into a root beside the variant's packages.
#[derive(Debug)]
pub struct Ingredients<'build> {
    /// The variant.
    pub variant: &'build Variant,
    /// Version of the OS.
    pub version: &'build str,
    /// Identifies kernel, initramfs and command line.
    pub boot_id: &'build str,
    /// PID 1, static.
    pub init: &'build Path,
    /// Agent, static.
    pub agent: &'build Path,
    /// Kernel settings that PID 1 makes.
    pub sysctl: &'build Path,
    /// Empty STATE file system, in the form of `ferrite_layout::sparse`.
    pub state_template: &'build [u8],
    /// Keys that may sign slots.
    pub keys: &'build [PublicKey],
    /// The variant's packages.
    pub packages: &'build Resolved,
    /// The kernel's modules; `None` where everything is built in.
    pub modules: Option<&'build KernelModules>,
}

impl Ingredients<'_> {
    /// Puts the root together.
    ///
    /// # Errors
    /// Something cannot be found or read.
    pub fn tree(&self, unpack: (&PackageStore, &Tools)) -> Result<Tree, RootError> {
        let (store, _) = unpack;
        let mut tree = Tree::default();
        for mount_point in MOUNT_POINTS {
            tree.directory(mount_point)?;
        }
        tree.symlink("lib", "usr/lib")?;
        tree.program(INIT, read(self.init)?)?;
        tree.program(AGENT, read(self.agent)?)?;
        tree.file(OS_RELEASE, self.os_release())?;
        tree.file(STATE_TEMPLATE, self.state_template.to_vec())?;
        tree.file(&format!("{SHARE_DIR}/sysctl.conf"), read(self.sysctl)?)?;
        for key in self.keys {
            tree.file(&format!("{SHARE_DIR}/slot-keys/{}.pub", key.name), key.text())?;
        }
        if let Some(kernel) = self.modules {
            let modules = &self.variant.modules;
            let names: Vec<&str> =
                modules.initramfs.iter().chain(&modules.root).map(String::as_str).collect();
            kernel.add_to(&mut tree, "usr/lib", &names, unpack)?;
        }
        for file in &self.variant.files {
            let from = self.unpacked(store, &file.package)?;
            let content = read(&from.join(file.from.trim_start_matches('/')))?;
            if file.executable {
                tree.program(&file.to, content)?;
            } else {
                tree.file(&file.to, content)?;
            }
        }
        let certificates = &self.variant.certificates;
        tree.file(&certificates.to, self.certificates(store, certificates)?)?;
        for container in &self.variant.containers {
            let base = format!("{SHARE_DIR}/{}", container.name);
            root_container::add_to(&mut tree, &base, container, (store, self.packages))
                .map_err(|source| RootError::Container { name: container.name.clone(), source })?;
        }
        Ok(tree)
    }

    fn unpacked(&self, store: &PackageStore, name: &str) -> Result<PathBuf, RootError> {
        let package = self
            .packages
            .package(name)
            .ok_or_else(|| RootError::NoPackage { name: name.to_owned() })?;
        store
            .unpacked(package)
            .map_err(|source| RootError::Unpack { name: name.to_owned(), source })
    }

    /// All authorities in one file, in the order of their file names.
    fn certificates(
        &self,
        store: &PackageStore,
        certificates: &Certificates,
    ) -> Result<Vec<u8>, RootError> {
        let directory =
            self.unpacked(store, &certificates.package)?.join("usr/share/ca-certificates/mozilla");
        let entries = std::fs::read_dir(&directory)
            .map_err(|source| RootError::Certificates { path: directory, source })?;
        let mut files: Vec<PathBuf> = entries
            .flatten()
            .map(|entry| entry.path())
            .filter(|path| path.extension().is_some_and(|extension| extension == "crt"))
            .collect();
        files.sort();
        let mut bundle = Vec::new();
        for file in files {
            bundle.extend(read(&file)?);
            if !bundle.ends_with(b"\n") {
                bundle.push(b'\n');
            }
        }
        Ok(bundle)
    }

    fn os_release(&self) -> Vec<u8> {
        os_release(self.version, &self.variant.name, self.boot_id).into_bytes()
    }
}

/// Content of `os-release(5)`; the UKI carries it as well.
#[must_use]
pub fn os_release(version: &str, variant: &str, boot_id: &str) -> String {
    let build = boot_id.get(..16).unwrap_or(boot_id);
    format!(
        "ID=ferrite\nNAME=Ferrite\nPRETTY_NAME=\"Ferrite {version} ({variant})\"\nVERSION=\"{version}\"\n\
         VERSION_ID={version}\nVARIANT=\"{variant}\"\nVARIANT_ID={variant}\nBUILD_ID={build}\n"
    )
}
