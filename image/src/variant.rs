//! What an image is made of: kernel package, modules, command line, files. Nothing else knows which kernel.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use ferrite_schema::document::{self, Problem};
use serde::Deserialize;

use crate::packages::Wanted;

/// A variant as its file says it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Variant {
    /// Name; that of the file.
    pub name: String,
    /// The kernel.
    pub kernel: Kernel,
    /// Its modules.
    pub modules: Modules,
    /// Files taken out of packages.
    #[serde(default)]
    pub files: Vec<PackageFile>,
    /// Certificate authorities.
    pub certificates: Certificates,
    /// Root directories of containers that belong to the OS.
    #[serde(default)]
    pub containers: Vec<Container>,
}

/// A kernel.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kernel {
    /// Metapackage of the kernel.
    pub package: String,
    /// Words of the command line.
    pub command_line: Vec<String>,
}

impl Kernel {
    /// The command line as the kernel gets it.
    #[must_use]
    pub fn command_line(&self) -> String {
        self.command_line.join(" ")
    }
}

/// Modules by name; `-` and `_` are the same. What they depend on comes along, what is built in is passed over.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Modules {
    /// In the initramfs and in the root.
    pub initramfs: Vec<String>,
    /// In the root only.
    pub root: Vec<String>,
}

/// A file of a package.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PackageFile {
    /// Package.
    pub package: String,
    /// Path in the package.
    pub from: String,
    /// Path in the root.
    pub to: String,
    /// Whether it may be run.
    #[serde(default)]
    pub executable: bool,
}

/// Certificate authorities, all in one file.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Certificates {
    /// Package with `/usr/share/ca-certificates`.
    pub package: String,
    /// Path in the root.
    pub to: String,
}

/// Root directory of a container.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Container {
    /// Name: its root is `/usr/share/ferrite/NAME`.
    pub name: String,
    /// Packages with its programs and their libraries.
    pub packages: Vec<String>,
    /// Programs.
    pub programs: Vec<String>,
}

/// Why a variant cannot be used.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum ReadVariant {
    #[error("read {path}")]
    Read { path: PathBuf, source: std::io::Error },
    #[error("read {path}")]
    Parse { path: PathBuf, source: Problem },
}

impl Variant {
    /// Reads the variant file at `path`.
    ///
    /// # Errors
    /// It cannot be read, or is not a variant.
    pub fn read(path: &Path) -> Result<Self, ReadVariant> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ReadVariant::Read { path: path.to_owned(), source })?;
        document::parse(&text)
            .map_err(|source| ReadVariant::Parse { path: path.to_owned(), source })
    }

    /// The packages that it takes.
    #[must_use]
    pub fn wanted(&self) -> Wanted {
        let mut exact: BTreeSet<String> =
            self.files.iter().map(|file| file.package.clone()).collect();
        exact.insert(self.certificates.package.clone());
        exact.extend(self.containers.iter().flat_map(|container| container.packages.clone()));
        Wanted {
            exact,
            with_dependencies: BTreeSet::new(),
            kernels: BTreeSet::from([self.kernel.package.clone()]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cloud_variant_is_read() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs/variants/cloud.toml");
        let variant = Variant::read(&path).unwrap();
        assert_eq!(variant.name, "cloud");
        let line = variant.kernel.command_line();
        assert!(line.starts_with("console=tty0 console=ttyS0,115200 "), "{line}");
        for word in ["panic=10", "oops=panic"] {
            assert!(line.split(' ').any(|found| found == word), "{word}");
        }
    }

    #[test]
    fn an_unknown_key_is_named_with_its_place() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs/variants/cloud.toml");
        let text = std::fs::read_to_string(path).unwrap();
        let text = text.replacen("command_line", "comand_line", 1);
        let problem = document::parse::<Variant>(&text).unwrap_err();
        assert_eq!(problem.column, 1, "{problem}");
        assert!(problem.message.contains("comand_line"), "{problem}");
    }
}
