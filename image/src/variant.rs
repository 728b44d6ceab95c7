//! What an image is made of: kernel package, modules, command line, files. Nothing else knows which kernel.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use ferrite_schema::document::{self, Problem};
use serde::Deserialize;

use crate::packages::Wanted;

/// A variant: its own file and the base that it names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Variant {
    /// Name; that of the file.
    pub name: String,
    /// The kernel.
    pub kernel: Kernel,
    /// Its modules; a kernel that is built has none, and in their place the options that `modules.toml` names.
    pub modules: Modules,
    /// Files taken out of packages.
    pub files: Vec<PackageFile>,
    /// Certificate authorities.
    pub certificates: Certificates,
    /// Root directories of containers that belong to the OS.
    pub containers: Vec<Container>,
    /// The files that say all this.
    pub sources: Vec<PathBuf>,
}

/// A variant's own file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    name: String,
    /// File beside this one whose lists come before those here.
    base: Option<String>,
    kernel: OwnKernel,
    #[serde(default)]
    modules: Modules,
    #[serde(default)]
    files: Vec<PackageFile>,
    certificates: Option<Certificates>,
    #[serde(default)]
    containers: Vec<Container>,
}

/// What variants have in common: everything but a name and a kernel.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Base {
    #[serde(default)]
    kernel: BaseKernel,
    #[serde(default)]
    modules: Modules,
    #[serde(default)]
    files: Vec<PackageFile>,
    certificates: Option<Certificates>,
    #[serde(default)]
    containers: Vec<Container>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct BaseKernel {
    #[serde(default)]
    command_line: Vec<String>,
}

/// A variant's own `[kernel]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct OwnKernel {
    package: Option<String>,
    source: Option<KernelSource>,
    #[serde(default)]
    command_line: Vec<String>,
}

/// A kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kernel {
    /// Where it comes from.
    pub origin: KernelOrigin,
    /// Words of the command line.
    pub command_line: Vec<String>,
}

/// Where a kernel comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KernelOrigin {
    /// A metapackage that stands for a kernel and its modules.
    Package(String),
    /// It is built, without modules.
    Source(KernelSource),
}

/// A kernel that is built from source.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KernelSource {
    /// Package with the source (`linux-source-6.12`).
    pub package: String,
    /// Folder of the configuration that says what is built, below `configs`.
    pub config: PathBuf,
}

impl Kernel {
    /// The command line as the kernel gets it.
    #[must_use]
    pub fn command_line(&self) -> String {
        self.command_line.join(" ")
    }
}

/// Modules by name; `-` and `_` are the same. What they depend on comes along, what is built in is passed over.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Modules {
    /// In the initramfs and in the root.
    #[serde(default)]
    pub initramfs: Vec<String>,
    /// In the root only.
    #[serde(default)]
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
    #[error("read {path}: there is no such variant; there are {known}")]
    Unknown { path: PathBuf, known: String },
    #[error(
        "read {path}: it is what variants are built on, and none itself: it has neither a name nor a kernel package"
    )]
    IsBase { path: PathBuf },
    #[error("read {path}: base = {base:?} must name a file in the same folder")]
    BaseName { path: PathBuf, base: String },
    #[error("read {path}, which {variant} names as its base")]
    ReadBase { path: PathBuf, variant: PathBuf, source: std::io::Error },
    #[error("read {path}: {what} {name:?} stands twice in it and its base; remove one")]
    Twice { path: PathBuf, what: &'static str, name: String },
    #[error("read {path}: neither it nor its base has [certificates]")]
    NoCertificates { path: PathBuf },
    #[error("read {path}: [kernel] must have either package = … or source = …, and not both")]
    Origin { path: PathBuf },
}

impl Variant {
    /// Reads the variant file at `path` and the base that it names.
    ///
    /// # Errors
    /// One of them cannot be read or is not what it should be, or something stands in both.
    pub fn read(path: &Path) -> Result<Self, ReadVariant> {
        let text = std::fs::read_to_string(path).map_err(|source| match source.kind() {
            std::io::ErrorKind::NotFound => {
                ReadVariant::Unknown { path: path.to_owned(), known: known_beside(path) }
            }
            _ => ReadVariant::Read { path: path.to_owned(), source },
        })?;
        let own: Document =
            document::parse(&text).map_err(|source| match document::parse::<Base>(&text) {
                Ok(_) => ReadVariant::IsBase { path: path.to_owned() },
                Err(_) => ReadVariant::Parse { path: path.to_owned(), source },
            })?;
        let mut sources = vec![path.to_owned()];
        let base = match &own.base {
            Some(name) => {
                let file = beside(path, name)?;
                let base = read_base(&file, path)?;
                sources.push(file);
                base
            }
            None => Base::default(),
        };
        Self::put_together(own, base, sources)
    }

    fn put_together(own: Document, base: Base, sources: Vec<PathBuf>) -> Result<Self, ReadVariant> {
        let path = || sources.first().cloned().unwrap_or_default();
        let certificates = own.certificates.or(base.certificates);
        let certificates =
            certificates.ok_or_else(|| ReadVariant::NoCertificates { path: path() })?;
        let origin = match (own.kernel.package, own.kernel.source) {
            (Some(package), None) => KernelOrigin::Package(package),
            (None, Some(source)) => KernelOrigin::Source(source),
            (Some(_), Some(_)) | (None, None) => return Err(ReadVariant::Origin { path: path() }),
        };
        let variant = Self {
            name: own.name,
            kernel: Kernel {
                origin,
                command_line: joined(base.kernel.command_line, own.kernel.command_line),
            },
            modules: Modules {
                initramfs: joined(base.modules.initramfs, own.modules.initramfs),
                root: joined(base.modules.root, own.modules.root),
            },
            files: joined(base.files, own.files),
            certificates,
            containers: joined(base.containers, own.containers),
            sources: sources.clone(),
        };
        let modules = variant.modules.initramfs.iter().chain(&variant.modules.root);
        let words = variant.kernel.command_line.iter();
        let twice = twice("module", modules.map(|name| name.replace('-', "_")))
            .or_else(|| twice("kernel parameter", words.cloned()))
            .or_else(|| twice("file", variant.files.iter().map(|file| file.to.clone())))
            .or_else(|| twice("container", variant.containers.iter().map(|one| one.name.clone())));
        match twice {
            Some((what, name)) => Err(ReadVariant::Twice { path: path(), what, name }),
            None => Ok(variant),
        }
    }

    /// The packages that it takes.
    #[must_use]
    pub fn wanted(&self) -> Wanted {
        let mut exact: BTreeSet<String> =
            self.files.iter().map(|file| file.package.clone()).collect();
        exact.insert(self.certificates.package.clone());
        exact.extend(self.containers.iter().flat_map(|container| container.packages.clone()));
        let mut kernels = BTreeSet::new();
        match &self.kernel.origin {
            KernelOrigin::Package(name) => kernels.insert(name.clone()),
            KernelOrigin::Source(source) => exact.insert(source.package.clone()),
        };
        Wanted { exact, with_dependencies: BTreeSet::new(), kernels }
    }
}

fn beside(path: &Path, name: &str) -> Result<PathBuf, ReadVariant> {
    let plain = Path::new(name).file_name().is_some_and(|file| file == name);
    match plain {
        true => Ok(path.with_file_name(name)),
        false => Err(ReadVariant::BaseName { path: path.to_owned(), base: name.to_owned() }),
    }
}

fn read_base(path: &Path, variant: &Path) -> Result<Base, ReadVariant> {
    let text = std::fs::read_to_string(path).map_err(|source| ReadVariant::ReadBase {
        path: path.to_owned(),
        variant: variant.to_owned(),
        source,
    })?;
    document::parse(&text).map_err(|source| ReadVariant::Parse { path: path.to_owned(), source })
}

/// The names of variants in the folder of `path`, for a person.
fn known_beside(path: &Path) -> String {
    let entries = path.parent().into_iter().filter_map(|folder| std::fs::read_dir(folder).ok());
    let names: BTreeSet<String> = entries
        .flatten()
        .flatten()
        .filter(|entry| Variant::read(&entry.path()).is_ok())
        .filter_map(|entry| Some(entry.path().file_stem()?.to_string_lossy().into_owned()))
        .collect();
    if names.is_empty() {
        return "none at all in this folder".to_owned();
    }
    names.into_iter().collect::<Vec<_>>().join(", ")
}

fn joined<T>(mut first: Vec<T>, then: Vec<T>) -> Vec<T> {
    first.extend(then);
    first
}

fn twice(
    what: &'static str,
    names: impl Iterator<Item = String>,
) -> Option<(&'static str, String)> {
    let mut seen = BTreeSet::new();
    names.into_iter().find(|name| !seen.insert(name.clone())).map(|name| (what, name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variants() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs/variants")
    }

    #[test]
    fn the_shipped_variants_are_read() {
        for name in ["cloud", "metal", "slim"] {
            let variant = Variant::read(&variants().join(name).with_extension("toml")).unwrap();
            assert_eq!(variant.name, name);
            let line = variant.kernel.command_line();
            assert!(line.starts_with("console=tty0 console=ttyS0,115200 "), "{line}");
            // What makes a kernel that has lost its way start again: `docs/operating.md`.
            for word in [
                "panic=10",
                "oops=panic",
                "watchdog_thresh=60",
                "softlockup_panic=1",
                "nmi_watchdog=panic",
                "watchdog.stop_on_reboot=0",
            ] {
                assert!(line.split(' ').any(|found| found == word), "{word}");
            }
            for module in ["virtio_blk", "overlay"] {
                let modules = &variant.modules;
                assert!(modules.initramfs.iter().chain(&modules.root).any(|found| found == module));
            }
            assert_eq!(variant.sources.len(), 2);
        }
    }

    const OWN: &str = "name = \"x\"\nbase = \"base.toml\"\n[kernel]\npackage = \"linux\"\n";
    const BASE: &str = "[kernel]\ncommand_line = [\"quiet\"]\n[modules]\nroot = [\"tcp-bbr\"]\n\
                        [certificates]\npackage = \"ca\"\nto = \"/ca\"\n";

    fn read(own: &str, base: &str) -> Result<Variant, String> {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("x.toml"), own).unwrap();
        std::fs::write(folder.path().join("base.toml"), base).unwrap();
        Variant::read(&folder.path().join("x.toml")).map_err(|error| {
            let cause = std::error::Error::source(&error).map(ToString::to_string);
            format!("{error}: {}", cause.unwrap_or_default())
                .replace(&folder.path().display().to_string(), "DIR")
        })
    }

    #[test]
    fn a_variant_adds_to_its_base() {
        let more =
            "command_line = [\"nosmt\"]\n[modules]\ninitramfs = [\"nvme\"]\nroot = [\"igb\"]\n";
        let variant = read(&format!("{OWN}{more}"), BASE).unwrap();
        assert_eq!(variant.kernel.command_line(), "quiet nosmt");
        assert_eq!(variant.modules.initramfs, ["nvme"]);
        assert_eq!(variant.modules.root, ["tcp-bbr", "igb"]);
        assert_eq!(variant.certificates.to, "/ca");
    }

    #[test]
    fn what_is_wrong_is_said_with_its_file() {
        let check = |own: &str, base: &str, expected: &str| {
            let error = read(own, base).unwrap_err();
            assert!(error.contains(expected), "{error}");
        };
        check(
            &OWN.replace("package", "pakage"),
            BASE,
            "read DIR/x.toml: line 4, column 1: unknown field `pakage`",
        );
        check(
            OWN,
            &BASE.replace("command_line", "comand_line"),
            "read DIR/base.toml: line 2, column 1: unknown field `comand_line`; did you mean `command_line`?",
        );
        check(
            &format!("{OWN}[modules]\ninitramfs = [\"tcp_bbr\"]\n"),
            BASE,
            "module \"tcp_bbr\" stands twice",
        );
        check(&format!("{OWN}command_line = [\"quiet\"]\n"), BASE, "kernel parameter \"quiet\"");
        check(&OWN.replace("base.toml", "../base.toml"), BASE, "in the same folder");
        check(&OWN.replace("base.toml", "absent.toml"), BASE, "DIR/absent.toml, which DIR/x.toml");
        check(OWN, "", "neither it nor its base has [certificates]");
        check(OWN, &format!("name = \"b\"\n{BASE}"), "read DIR/base.toml: line 1, column 1");
        check(BASE, BASE, "DIR/x.toml: it is what variants are built on");
        let either = "[kernel] must have either package = … or source = …, and not both";
        check(&OWN.replace("package = \"linux\"\n", ""), BASE, either);
        let both = "source = { package = \"linux-source-6.12\", config = \"k\" }\n";
        check(&format!("{OWN}{both}"), BASE, either);
        check(
            &format!("{OWN}{}", both.replace(", config = \"k\"", "")),
            BASE,
            "missing field `config`",
        );
    }

    #[test]
    fn an_unknown_variant_is_answered_with_those_that_there_are() {
        let error = Variant::read(&variants().join("clowd.toml")).unwrap_err().to_string();
        assert!(
            error.ends_with("there is no such variant; there are cloud, metal, slim"),
            "{error}"
        );
    }
}
