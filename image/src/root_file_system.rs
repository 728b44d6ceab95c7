//! The root as an erofs file system: read-only, compressed, the same bytes for the same tree.

use std::io;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use crate::packages::cache::{Cache, CacheError, settle, sha256_hex};
use crate::tools::{ToolError, Tools};
use crate::tree::{Node, Tree};

/// Fixed, so that the same tree makes the same file system; verity's root hash is what tells roots apart.
const UUID: &str = "fe221e00-0000-4000-8000-000000000001";
/// Compression and layout; they are part of the key of every cached file system.
///
/// lz4 is what a booting machine decompresses fastest; 64 KiB clusters make up for most of what zstd would save.
/// One worker: how large files are cut up must not depend on the builder's number of processors.
const OPTIONS: [&str; 5] = ["-zlz4hc,level=9", "-C65536", "-Eztailpacking", "-x-1", "--workers=1"];

/// Why the file system cannot be made.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum RootFileSystemError {
    #[error("use the package cache")]
    Cache {
        #[from]
        source: CacheError,
    },
    #[error("make the root file system")]
    Tool {
        #[from]
        source: ToolError,
    },
    #[error("archive {path} of the root")]
    Archive { path: String, source: io::Error },
    #[error("write {path}")]
    Write { path: PathBuf, source: io::Error },
}

/// Makes the file system of `tree`, or finds it in the cache. The file belongs to the cache: copy it. Every time stamp in it
/// is `date_s`, in seconds since the epoch: a node takes it for the image's date.
///
/// # Errors
/// The tools fail, or the cache cannot be written.
pub fn make(
    tree: &Tree,
    date_s: u64,
    cache: &Cache,
    tools: &Tools,
) -> Result<PathBuf, RootFileSystemError> {
    let key =
        sha256_hex(format!("{} {} of {date_s} {OPTIONS:?}", tree.sha256(), tools.key()).as_bytes());
    let directory = cache.root().join("roots");
    let target = directory.join(format!("{key}.erofs"));
    if target.is_file() {
        return Ok(target);
    }
    std::fs::create_dir_all(&directory)
        .map_err(|source| RootFileSystemError::Write { path: directory, source })?;
    let scratch = cache.scratch()?;
    let (archive, made) = (scratch.path().join("root.tar"), scratch.path().join("root.erofs"));
    write_archive(tree, date_s, &archive)?;
    let mut command = tools.command("mkfs.erofs");
    command.args(["--quiet", "--tar=f", "--all-root", "-U", UUID]);
    command.arg(format!("-T{date_s}")).args(OPTIONS).args([&made, &archive]);
    // It comes before `-T`.
    command.env("SOURCE_DATE_EPOCH", date_s.to_string());
    command.stdin(Stdio::null());
    tools.run("mkfs.erofs", command)?;
    settle(&made, &target)
        .map_err(|source| RootFileSystemError::Write { path: target.clone(), source })?;
    Ok(target)
}

/// A tar archive says owner, mode and order by itself, whatever file system and umask the builder has.
fn write_archive(tree: &Tree, date_s: u64, path: &Path) -> Result<(), RootFileSystemError> {
    let failed = |source| RootFileSystemError::Write { path: path.to_owned(), source };
    let file = std::fs::File::create(path).map_err(failed)?;
    let mut archive = tar::Builder::new(io::BufWriter::new(file));
    let top = ("./", &Node::Directory);
    for (name, node) in std::iter::once(top).chain(tree.nodes()) {
        append(&mut archive, name, node, date_s)
            .map_err(|source| RootFileSystemError::Archive { path: name.to_owned(), source })?;
    }
    archive.into_inner().and_then(|mut file| file.flush()).map_err(failed)
}

fn append(
    archive: &mut tar::Builder<impl Write>,
    name: &str,
    node: &Node,
    date_s: u64,
) -> io::Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_mode(node.mode());
    header.set_mtime(date_s);
    header.set_uid(0);
    header.set_gid(0);
    header.set_size(0);
    match node {
        Node::Directory => {
            header.set_entry_type(tar::EntryType::Directory);
            archive.append_data(&mut header, name, io::empty())
        }
        Node::File { content, .. } => {
            header.set_entry_type(tar::EntryType::Regular);
            header.set_size(u64::try_from(content.len()).map_err(io::Error::other)?);
            archive.append_data(&mut header, name, content.as_slice())
        }
        Node::Symlink { target } => {
            header.set_entry_type(tar::EntryType::Symlink);
            archive.append_link(&mut header, name, target)
        }
    }
}
