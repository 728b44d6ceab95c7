//! What stage 1 tells stage 2 of PID 1.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use ferrite_files::durable::private_folder;
use ferrite_layout::slot::{Reason, Slot};
use ferrite_layout::slot_header::SlotDocument;
use ferrite_schema::names;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::timeline::Recorder;
use crate::watchdog::Inherited;

/// The file; on the tmpfs that moves along.
pub const BOOT_STATE_FILE: &str = "/run/ferrite/boot-state.json";
/// Name of the root's device-mapper device.
pub const ROOT_DEVICE: &str = "ferrite-root";

/// How this boot came about.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BootState {
    /// Slot that the root comes from.
    pub slot: Slot,
    /// Why it was chosen.
    pub reason: Reason,
    /// It has not been healthy yet.
    pub unproven: bool,
    /// A person named it on the command line: no start was counted, and it is not left.
    pub persons_choice: bool,
    /// The slot, another than this one, whose kernel the running one refused to load: there is no way to it in this boot,
    /// nor in the next.
    pub refused: Option<Slot>,
    /// What the slot holds, as a trusted key vouches for it.
    pub document: SlotDocument,
    /// Kernel name of the system disk: `vda`.
    pub disk: String,
    /// Its GPT identity.
    pub disk_guid: Uuid,
    /// Things that were wrong and are worth telling, such as a slot that was given up.
    pub warnings: Vec<String>,
    /// The timeline up to now.
    pub timeline: Recorder,
    /// Watchdogs that are armed.
    pub watchdogs: Vec<Inherited>,
}

/// The hand-over did not work.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum HandOver {
    #[error("write the boot state to {path}")]
    Write { path: PathBuf, source: io::Error },
    #[error("read the boot state from {path}")]
    Read { path: PathBuf, source: io::Error },
    #[error("encode or decode the boot state")]
    Codec { source: serde_json::Error },
}

impl BootState {
    /// Writes the file.
    ///
    /// # Errors
    /// /run does not take it.
    pub fn write(&self) -> Result<(), HandOver> {
        let text = serde_json::to_vec(self).map_err(|source| HandOver::Codec { source })?;
        private_folder(Path::new(names::RUN_DIR))
            .and_then(|()| fs::write(BOOT_STATE_FILE, text))
            .map_err(|source| HandOver::Write { path: BOOT_STATE_FILE.into(), source })
    }

    /// Reads the file.
    ///
    /// # Errors
    /// It is not there or not readable: stage 1 did not run.
    pub fn read() -> Result<Self, HandOver> {
        let text = fs::read(BOOT_STATE_FILE)
            .map_err(|source| HandOver::Read { path: BOOT_STATE_FILE.into(), source })?;
        serde_json::from_slice(&text).map_err(|source| HandOver::Codec { source })
    }
}
