//! Writes a cluster's beginning into a folder of its own: all of it or nothing, over nothing that is there, for its owner
//! alone.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags, renameat_with};

use super::Founded;
use crate::context::Context;

/// The root's certificate.
pub const ROOT_CERTIFICATE: &str = "root.pem";
/// The root's key.
pub const ROOT_KEY: &str = "root.key";
/// How the operator speaks to the cluster.
pub const CONTEXT: &str = "context.toml";

/// Why nothing was written.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum WriteFolder {
    #[error("write {}: it exists already, and what may be in it are the only keys of a cluster", path.display())]
    Exists { path: PathBuf },
    #[error("write {}", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("write what {what} says as TOML")]
    Encode { what: String, source: toml::ser::Error },
}

/// Name of the file with a node's cloud-config.
#[must_use]
pub fn file_of(hostname: &str) -> String {
    format!("{hostname}.toml")
}

/// Writes `founded` and its context to `folder`, which must not exist.
///
/// # Errors
/// It exists, or cannot be written; nothing is left then.
pub fn write(folder: &Path, founded: &Founded, context: &Context) -> Result<(), WriteFolder> {
    let mut files = vec![
        (ROOT_CERTIFICATE.to_owned(), founded.root.certificate.clone()),
        (ROOT_KEY.to_owned(), founded.root.key.clone()),
        (CONTEXT.to_owned(), encoded(CONTEXT, toml::to_string(context))?),
    ];
    for node in &founded.nodes {
        files.push((file_of(&node.hostname), encoded(&node.hostname, node.document())?));
    }
    let failed = |source| WriteFolder::Write { path: folder.to_owned(), source };
    let parent = match folder.parent() {
        Some(parent) if parent != Path::new("") => parent,
        Some(_) | None => Path::new("."),
    };
    // Removed with everything in it unless it gets its name.
    let beside = tempfile::Builder::new().prefix(".ferrite-").tempdir_in(parent).map_err(failed)?;
    let inner = beside.path().join("cluster");
    fs::DirBuilder::new().mode(0o700).create(&inner).map_err(failed)?;
    for (name, text) in &files {
        write_new(&inner.join(name), text).map_err(failed)?;
    }
    File::open(&inner).and_then(|inner| inner.sync_all()).map_err(failed)?;
    match renameat_with(CWD, &inner, CWD, folder, RenameFlags::NOREPLACE) {
        Ok(()) => File::open(parent).and_then(|parent| parent.sync_all()).map_err(failed),
        Err(rustix::io::Errno::EXIST) => Err(WriteFolder::Exists { path: folder.to_owned() }),
        Err(errno) => Err(failed(errno.into())),
    }
}

fn encoded(what: &str, text: Result<String, toml::ser::Error>) -> Result<String, WriteFolder> {
    text.map_err(|source| WriteFolder::Encode { what: what.to_owned(), source })
}

fn write_new(path: &Path, text: &str) -> io::Result<()> {
    let mut file = File::options().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}
