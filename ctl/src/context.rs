//! Contexts: which node the client talks to and with which identity. `ferrite cluster up` writes one per
//! cluster, the client reads it; one of them is current.
//!
//! `$XDG_CONFIG_HOME/ferrite/contexts/NAME.json` holds a [`Context`] (mode 0600, it contains a private
//! key); `$XDG_CONFIG_HOME/ferrite/current` holds the name of the current one.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// How to reach a node and as whom. The last three are PEM texts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Context {
    /// Name.
    pub name: String,
    /// `https://HOST:PORT`; HOST is a name in the node's certificate.
    pub endpoint: String,
    /// Authority that signed the node's certificate.
    pub ca: String,
    /// Client certificate.
    pub certificate: String,
    /// Client's private key.
    pub key: String,
}

/// Why a context cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum ContextError {
    #[error("find the home directory: neither HOME nor the XDG variable is set")]
    FindHome,
    #[error(
        "find a context: none is current; `ferrite cluster up` makes one, `--context NAME` names one"
    )]
    NoneCurrent,
    #[error("find context {name:?}: there is no file {}", path.display())]
    Absent { name: String, path: PathBuf },
    #[error("read context file {}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("understand context file {}", path.display())]
    Parse { path: PathBuf, source: serde_json::Error },
    #[error("write context file {}", path.display())]
    Write { path: PathBuf, source: io::Error },
}

/// Reads the context `name`, or the current one.
///
/// # Errors
/// No context is current, or the file is absent or bad.
pub fn load(name: Option<&str>) -> Result<Context, ContextError> {
    let name = match name {
        Some(name) => name.to_owned(),
        None => current()?.ok_or(ContextError::NoneCurrent)?,
    };
    let path = path_of(&name)?;
    let text = match fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(ContextError::Absent { name, path });
        }
        Err(source) => return Err(ContextError::Read { path, source }),
    };
    serde_json::from_slice(&text).map_err(|source| ContextError::Parse { path, source })
}

/// Writes `context` and makes it the current one.
///
/// # Errors
/// A file cannot be written; the old files are then still whole.
pub fn save_as_current(context: &Context) -> Result<(), ContextError> {
    let path = path_of(&context.name)?;
    let text = serde_json::to_vec_pretty(context)
        .map_err(|source| ContextError::Write { path: path.clone(), source: source.into() })?;
    write_private(&path, &text)?;
    write_private(&directory()?.join("current"), context.name.as_bytes())
}

/// Removes the context `name`; where it was current, none is afterwards. Absent is fine.
///
/// # Errors
/// A file cannot be removed.
pub fn remove(name: &str) -> Result<(), ContextError> {
    remove_file(path_of(name)?)?;
    if current()?.as_deref() == Some(name) {
        remove_file(directory()?.join("current"))?;
    }
    Ok(())
}

/// Name of the current context.
///
/// # Errors
/// The file exists and cannot be read.
pub fn current() -> Result<Option<String>, ContextError> {
    let path = directory()?.join("current");
    match fs::read_to_string(&path) {
        Ok(text) => Ok(Some(text.trim().to_owned()).filter(|name| !name.is_empty())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(ContextError::Read { path, source }),
    }
}

fn path_of(name: &str) -> Result<PathBuf, ContextError> {
    Ok(directory()?.join("contexts").join(format!("{name}.json")))
}

fn directory() -> Result<PathBuf, ContextError> {
    xdg_directory("XDG_CONFIG_HOME", ".config")
}

/// Ferrite's folder under the XDG base directory that `variable` names, or under `fallback` in the home
/// directory.
///
/// # Errors
/// Neither variable is set.
pub fn xdg_directory(variable: &str, fallback: &str) -> Result<PathBuf, ContextError> {
    let absolute =
        |value: std::ffi::OsString| Some(PathBuf::from(value)).filter(|p| p.is_absolute());
    std::env::var_os(variable)
        .and_then(absolute)
        .or_else(|| std::env::var_os("HOME").and_then(absolute).map(|home| home.join(fallback)))
        .map(|base| base.join("ferrite"))
        .ok_or(ContextError::FindHome)
}

/// Writes a file that only its owner can read: whole or not at all.
fn write_private(path: &Path, bytes: &[u8]) -> Result<(), ContextError> {
    let act = || -> io::Result<()> {
        if let Some(parent) = path.parent() {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(parent)?;
        }
        let temporary = path.with_extension(format!("new.{}", std::process::id()));
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&temporary, path)
    };
    act().map_err(|source| ContextError::Write { path: path.to_owned(), source })
}

fn remove_file(path: PathBuf) -> Result<(), ContextError> {
    match fs::remove_file(&path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(ContextError::Write { path, source })
        }
        Ok(()) | Err(_) => Ok(()),
    }
}
