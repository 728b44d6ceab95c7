//! Compiler and other tools that build a kernel, out of the same Debian release as the image, as a tree of their own.
//!
//! A compiler starts others (`cc1`, `as`, `ld`), and the kernel's build links and runs programs. That does not go
//! through a wrapper around their dynamic loader, as the other build tools' (`crate::tools`): they see this tree as `/`.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use crate::packages::cache::CacheError;
use crate::packages::{Package, PackageStore, Wanted};

/// Packages whose programs are used; what they depend on comes along.
const PACKAGES: [&str; 17] = [
    "bc",
    "bison",
    "coreutils",
    "dash",
    "diffutils",
    "findutils",
    "flex",
    "gcc",
    "grep",
    "gzip",
    "libelf-dev",
    "libssl-dev",
    "make",
    "mawk",
    "perl-base",
    "sed",
    "zstd",
];
/// And those that unpack the source.
const UNPACKERS: [&str; 2] = ["tar", "xz-utils"];
/// Links that Debian's base system makes, not a package: from, to.
const LINKS: [(&str, &str); 5] = [
    ("bin", "usr/bin"),
    ("lib", "usr/lib"),
    ("lib64", "usr/lib64"),
    ("sbin", "usr/sbin"),
    ("usr/bin/awk", "mawk"),
];
/// Folders that no package brings.
const FOLDERS: [&str; 3] = ["build", "dev", "tmp"];

/// Why the tree cannot be made.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum UnpackToolchain {
    #[error("unpack package {name}")]
    Unpack { name: String, source: CacheError },
    #[error("make {path}")]
    Make { path: PathBuf, source: io::Error },
}

/// The packages.
#[must_use]
pub fn wanted() -> Wanted {
    Wanted {
        exact: BTreeSet::new(),
        with_dependencies: PACKAGES
            .iter()
            .chain(&UNPACKERS)
            .map(|name| (*name).to_owned())
            .collect(),
        kernels: BTreeSet::new(),
    }
}

/// Makes a tree at `root` with everything of `packages` in it.
///
/// # Errors
/// A package cannot be unpacked; there is no space.
pub fn unpack(
    store: &PackageStore,
    packages: &[Package],
    root: &Path,
    mut advance: impl FnMut(usize),
) -> Result<(), UnpackToolchain> {
    let make = |path: &Path| {
        let path = path.to_owned();
        |source| UnpackToolchain::Make { path, source }
    };
    fs::create_dir_all(root.join("usr/bin")).map_err(make(root))?;
    for folder in FOLDERS {
        let path = root.join(folder);
        fs::create_dir(&path).map_err(make(&path))?;
    }
    for (from, to) in LINKS {
        let path = root.join(from);
        symlink(to, &path).map_err(make(&path))?;
    }
    for (index, package) in packages.iter().enumerate() {
        store
            .cache
            .unpack_into(package, root)
            .map_err(|source| UnpackToolchain::Unpack { name: package.name.clone(), source })?;
        advance(index + 1);
    }
    Ok(())
}
