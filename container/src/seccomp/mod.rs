//! The filter of system calls: what a container may ask the kernel for, and how the kernel learns of it.

mod compile;
mod profile;
mod program;

use std::path::{Path, PathBuf};

use ferrite_schema::names;

pub(crate) use profile::profile;
pub(crate) use program::{Program, ProgramProblem};

/// Where compiled filters are kept; gone with the boot.
pub(crate) fn folder() -> PathBuf {
    Path::new(names::RUN_DIR).join("filters")
}
