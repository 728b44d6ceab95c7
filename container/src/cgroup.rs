//! Cgroups of shims and containers, by name.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

pub(super) use ferrite_shim::cgroup::Cgroup;

/// Where cgroup v2 is mounted.
pub(super) const ROOT: &str = "/sys/fs/cgroup";

/// The shim's cgroup could not be joined.
#[derive(Debug, thiserror::Error)]
#[error("join cgroup {}", path.display())]
pub(super) struct Join {
    path: PathBuf,
    source: io::Error,
}

/// Moves the calling process to another cgroup, so that it lives on when the agent's is killed.
pub(super) fn join(path: &Path) -> Result<(), Join> {
    fs::create_dir_all(path)
        .and_then(|()| fs::write(path.join("cgroup.procs"), "0"))
        .map_err(|source| Join { path: path.to_owned(), source })
}

/// The container's cgroup; `relative` starts with `/`. Makes nothing.
pub(super) fn of_unit(relative: &str) -> Cgroup {
    Cgroup::new(Path::new(ROOT).join(relative.trim_start_matches('/')))
}
