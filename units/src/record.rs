//! What an agent writes down about a unit's life for its successor: on a tmpfs, so it ends with the boot.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use ferrite_files::durable;
use ferrite_schema::api::Origin;
use ferrite_schema::unit::Unit;
use serde::{Deserialize, Serialize};

use super::machine::Life;
use super::system::SystemUnit;

/// A unit's life, and what it is about.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// The life.
    pub life: Life,
    /// Number of its latest run.
    pub run: u64,
    /// When its state began, in seconds since the epoch.
    pub since_s: u64,
    /// The document that its container was started with.
    pub launched: Option<Unit>,
    /// Signal that asks its container to stop.
    pub stop_signal: i32,
    /// Its addresses.
    pub addresses: Vec<String>,
    /// What a person should know of what its image says.
    #[serde(default)]
    pub image_notes: Vec<String>,
    /// Who wants it here.
    #[serde(default)]
    pub origin: Origin,
    /// What it is, where it is the node's own.
    #[serde(default)]
    pub system: Option<SystemUnit>,
}

fn path(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!("{name}.json"))
}

/// Writes a record: the old one or the new one is there, whenever the agent ends.
///
/// # Errors
/// The old one is there.
pub fn write(folder: &Path, name: &str, record: &Record) -> io::Result<()> {
    durable::private_folder(folder)?;
    // The unit's environment is in it.
    durable::write(&path(folder, name), &serde_json::to_vec(record)?).map_err(|error| error.source)
}

/// Reads a record; `None` where there is none that can be understood.
#[must_use]
pub fn read(folder: &Path, name: &str) -> Option<Record> {
    let bytes = fs::read(path(folder, name)).ok()?;
    serde_json::from_slice(&bytes)
        .inspect_err(|error| tracing::warn!(unit = name, %error, "unit-record-unreadable"))
        .ok()
}

/// Names of the units that there are records of.
#[must_use]
pub fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let name =
        |entry: fs::DirEntry| Some(entry.file_name().to_str()?.strip_suffix(".json")?.to_owned());
    entries.filter_map(name).collect()
}

/// Forgets a record.
pub fn remove(folder: &Path, name: &str) {
    // One that stays is about a unit that no longer exists, and is overwritten by one of its name.
    drop(fs::remove_file(path(folder, name)));
}
