//! `ferrite keys`, and which keys an image command trusts.

use std::path::{Path, PathBuf};

use ferrite_image::keys::{self, KeyError, SlotKey};
use ferrite_layout::slot_header::TrustedKey;
use serde::Serialize;

use crate::cli::{KeysCommand, TrustArguments};
use crate::context::xdg_directory;
use crate::failure::Failure;
use crate::output::{columns, facts};
use crate::session::Session;

/// A key, without its secret.
#[derive(Debug, Serialize)]
struct Key {
    name: String,
    public: String,
    file: PathBuf,
}

pub(super) fn run(command: &KeysCommand, session: &mut Session<'_>) -> Result<(), Failure> {
    match command {
        KeysCommand::New { name, dir } => {
            let folder = dir.clone().map_or_else(own_folder, Ok)?;
            let key = row(&folder, &SlotKey::create(&folder, name)?.trusted());
            session.show(&key, |key| {
                facts(&[
                    ("key", key.name.clone()),
                    ("public", key.public.clone()),
                    ("secret file", key.file.with_extension("key").display().to_string()),
                    ("public file", key.file.display().to_string()),
                ])
            })
        }
        KeysCommand::List => {
            let folder = own_folder()?;
            let keys: Vec<Key> = keys::load_trusted_directory(&folder)?
                .iter()
                .map(|key| row(&folder, key))
                .collect();
            session.show(&keys, |keys| table(keys))
        }
    }
}

/// The keys that were named, or else those in the user's own folder.
pub(super) fn trusted(arguments: &TrustArguments) -> Result<Vec<TrustedKey>, Failure> {
    if arguments.trust.is_empty() {
        return Ok(keys::load_trusted_directory(&own_folder()?)?);
    }
    let loaded: Result<Vec<TrustedKey>, KeyError> =
        arguments.trust.iter().map(|path| keys::load_trusted(path)).collect();
    Ok(loaded?)
}

/// Where the user's own keys are.
pub(super) fn own_folder() -> Result<PathBuf, Failure> {
    Ok(xdg_directory("XDG_DATA_HOME", ".local/share")?.join("keys"))
}

fn row(folder: &Path, key: &TrustedKey) -> Key {
    let public = key.key.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    Key { name: key.name.clone(), public, file: folder.join(format!("{}.pub", key.name)) }
}

fn table(keys: &[Key]) -> String {
    if keys.is_empty() {
        return "no keys yet: `ferrite keys new NAME` makes one".to_owned();
    }
    let rows: Vec<[String; 2]> =
        keys.iter().map(|key| [key.name.clone(), key.public.clone()]).collect();
    columns(["NAME", "PUBLIC KEY"], &rows)
}
