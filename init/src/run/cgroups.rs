//! The tree of control groups.
//!
//! | group | who is in it |
//! |---|---|
//! | `/init` | PID 1 |
//! | `/system/agent` | the agent |
//! | `/system/shims/UNIT` | the process that owns the unit's container |
//! | `/node/UNIT` | a container of the node itself |
//! | `/units/UNIT` | a unit's container |

use std::fs;
use std::io;
use std::path::Path;

use rustix::mount::{MountFlags, mount};

use crate::log;

/// Mount point of the tree.
pub const ROOT: &str = "/sys/fs/cgroup";
/// The agent's group.
pub const AGENT: &str = "/sys/fs/cgroup/system/agent";
/// Units' containers.
pub const UNITS: &str = "/sys/fs/cgroup/units";
/// The agent and what it runs beside units.
pub const SYSTEM: &str = "/sys/fs/cgroup/system";

const INIT: &str = "/sys/fs/cgroup/init";
const SHIMS: &str = "/sys/fs/cgroup/system/shims";
/// What units may be limited in.
const CONTROLLERS: [&str; 5] = ["cpu", "io", "memory", "pids", "cpuset"];
/// Memory that the kernel does not take from PID 1 and the agent while units want more: above what both use
/// (2 MB and some 15 MB) with room for what the agent does for a moment.
const PROTECTED: [(&str, &str); 2] = [(INIT, "4M"), (SYSTEM, "48M")];

/// The tree could not be made.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum MakeTree {
    #[error("mount control groups at {ROOT}")]
    Mount { source: io::Error },
    #[error("make control group {path}")]
    MakeGroup { path: &'static str, source: io::Error },
    #[error("move PID 1 into control group {INIT}")]
    MoveInit { source: io::Error },
}

/// Makes the tree. A controller that the kernel lacks is only missed, with a warning.
///
/// # Errors
/// Says which step could not be done.
pub fn make_tree() -> Result<(), MakeTree> {
    if !Path::new(ROOT).join("cgroup.controllers").exists() {
        let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
        let options = c"nsdelegate,memory_recursiveprot,favordynmods";
        mount(c"cgroup2", ROOT, c"cgroup2", flags, options)
            // Older kernels do not know every option.
            .or_else(|_| mount(c"cgroup2", ROOT, c"cgroup2", flags, c"nsdelegate"))
            .map_err(|error| MakeTree::Mount { source: error.into() })?;
    }
    for path in [INIT, SYSTEM, UNITS] {
        make_group(path)?;
    }
    // Before controllers are switched on: a group with processes cannot pass them on.
    fs::write(Path::new(INIT).join("cgroup.procs"), "1")
        .map_err(|source| MakeTree::MoveInit { source })?;
    for path in [ROOT, SYSTEM, UNITS] {
        for controller in CONTROLLERS {
            set(path, "cgroup.subtree_control", &format!("+{controller}"));
        }
    }
    for path in [AGENT, SHIMS] {
        make_group(path)?;
    }
    for (path, bytes) in PROTECTED {
        set(path, "memory.min", bytes);
    }
    Ok(())
}

/// Kills every process in a group and below it.
///
/// # Errors
/// The group does not exist or the kernel refuses.
pub fn kill(path: &str) -> io::Result<()> {
    fs::write(Path::new(path).join("cgroup.kill"), "1")
}

fn make_group(path: &'static str) -> Result<(), MakeTree> {
    match fs::create_dir(path) {
        Err(source) if source.kind() != io::ErrorKind::AlreadyExists => {
            Err(MakeTree::MakeGroup { path, source })
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

fn set(path: &str, file: &str, value: &str) {
    if let Err(error) = fs::write(Path::new(path).join(file), value) {
        log::warn(format_args!("control group {path}: {file}={value} is not accepted: {error}"));
    }
}
