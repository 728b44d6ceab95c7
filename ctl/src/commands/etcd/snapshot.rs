//! `ferrite etcd snapshot`: a copy gets its name once it is whole, checked, and on the disk. Until then, and whatever breaks, there
//! is none.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use tempfile::NamedTempFile;

use crate::client::{Client, Which};
use crate::commands::ending::told_to_end;
use crate::etcd::{Check, Checked, EtcdProblem};
use crate::failure::Failure;
use crate::output::bytes;
use crate::session::Session;

/// It holds whatever the cluster's records hold, environments of units with it.
const OWNER_ONLY: u32 = 0o600;

/// Where a copy goes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Into<'a> {
    pub(super) file: &'a Path,
    /// It may take the place of a file.
    pub(super) force: bool,
}

#[derive(Debug, Serialize)]
struct Copied {
    file: PathBuf,
    bytes: u64,
    sha256: String,
}

pub(super) fn run(
    client: &Client,
    which: Which,
    into: &Into<'_>,
    session: &mut Session<'_>,
) -> Result<(), Failure> {
    let mut copy = Unfinished::begin(*into)?;
    let bar = bar(session.draws_progress());
    let checked = session.wait_for(async {
        let copies = client.etcd_snapshot::<Failure>(which, |piece, total| {
            if let Some(total) = total {
                bar.set_length(total);
            }
            bar.inc(piece.len() as u64);
            copy.take(piece)
        });
        tokio::select! {
            biased;
            told = told_to_end() => Err(match told {
                Ok(()) => EtcdProblem::BrokenOff.into(),
                Err(source) => Failure::Runtime { source },
            }),
            copied = copies => copied.map(drop),
        }
    });
    bar.finish_and_clear();
    checked?;
    let Checked { bytes, sha256 } = copy.finish()?;
    session.show(&Copied { file: into.file.to_owned(), bytes, sha256 }, text)
}

fn text(copied: &Copied) -> String {
    let size = bytes(copied.bytes);
    format!("{}: {size}, whole by its SHA-256\n{}", copied.file.display(), copied.sha256)
}

/// A copy beside the place where it goes. It vanishes with this, unless it is finished.
#[derive(Debug)]
struct Unfinished<'a> {
    out: NamedTempFile,
    check: Check,
    into: Into<'a>,
}

impl<'a> Unfinished<'a> {
    fn begin(into: Into<'a>) -> Result<Self, Failure> {
        if !into.force && fs::symlink_metadata(into.file).is_ok() {
            return Err(Failure::Exists { path: into.file.to_owned() });
        }
        let out = tempfile::Builder::new()
            .prefix(".ferrite-etcd-")
            .permissions(fs::Permissions::from_mode(OWNER_ONLY))
            .tempfile_in(folder(into.file))
            .map_err(|source| failed(into, source))?;
        Ok(Self { out, check: Check::default(), into })
    }

    fn take(&mut self, piece: &[u8]) -> Result<(), Failure> {
        self.check.take(piece);
        self.out.write_all(piece).map_err(|source| failed(self.into, source))
    }

    fn finish(self) -> Result<Checked, Failure> {
        let Self { out, check, into } = self;
        let checked = check.finish().map_err(EtcdProblem::from)?;
        out.as_file().sync_all().map_err(|source| failed(into, source))?;
        let named = match into.force {
            true => out.persist(into.file),
            false => out.persist_noclobber(into.file),
        };
        match named {
            Ok(_) => {}
            Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => {
                return Err(Failure::Exists { path: into.file.to_owned() });
            }
            Err(error) => return Err(failed(into, error.error)),
        }
        File::open(folder(into.file))
            .and_then(|folder| folder.sync_all())
            .map_err(|source| failed(into, source))?;
        Ok(checked)
    }
}

fn failed(into: Into<'_>, source: io::Error) -> Failure {
    Failure::Write { path: into.file.to_owned(), source }
}

fn folder(file: &Path) -> &Path {
    match file.parent() {
        Some(parent) if parent != Path::new("") => parent,
        Some(_) | None => Path::new("."),
    }
}

fn bar(draws: bool) -> ProgressBar {
    if !draws {
        return ProgressBar::hidden();
    }
    let template = "copy etcd [{bar:32}] {binary_bytes}/{binary_total_bytes}";
    // The template is constant: were it wrong, the plain style would do.
    match ProgressStyle::with_template(template) {
        Ok(style) => ProgressBar::new(0).with_style(style.progress_chars("=> ")),
        Err(_) => ProgressBar::new(0),
    }
}

#[cfg(test)]
mod tests {
    use sha2::{Digest, Sha256};

    use super::*;

    fn whole(byte: u8) -> Vec<u8> {
        let mut all = vec![byte; 1024];
        let digest = Sha256::digest(&all);
        all.extend_from_slice(&digest);
        all
    }

    fn copied(file: &Path, force: bool, content: &[u8]) -> Result<Checked, Failure> {
        let mut copy = Unfinished::begin(Into { file, force })?;
        copy.take(content)?;
        copy.finish()
    }

    #[test]
    fn a_copy_is_its_owners_alone_and_never_replaces_a_file_unasked() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("one.db");
        copied(&file, false, &whole(1)).unwrap();
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        let again = Unfinished::begin(Into { file: &file, force: false });
        assert!(matches!(again, Err(Failure::Exists { .. })));
        // Nor one that has come meanwhile.
        let other = folder.path().join("two.db");
        let mut late = Unfinished::begin(Into { file: &other, force: false }).unwrap();
        late.take(&whole(2)).unwrap();
        fs::write(&other, "somebody's").unwrap();
        assert!(matches!(late.finish(), Err(Failure::Exists { .. })));
        assert_eq!(fs::read(&other).unwrap(), b"somebody's");
        copied(&other, true, &whole(2)).unwrap();
        assert_eq!(fs::read(&other).unwrap(), whole(2));
        assert_eq!(fs::metadata(&other).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(folder.path().read_dir().unwrap().count(), 2, "nothing else is left behind");
    }

    #[test]
    fn a_copy_that_is_not_whole_leaves_nothing_and_what_was_there() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("one.db");
        fs::write(&file, "older").unwrap();
        let broken = copied(&file, true, &whole(1)[..512]);
        assert!(matches!(broken, Err(Failure::Etcd(EtcdProblem::Snapshot(_)))), "{broken:?}");
        let mut given_up = Unfinished::begin(Into { file: &file, force: true }).unwrap();
        given_up.take(b"half").unwrap();
        drop(given_up);
        assert_eq!(fs::read(&file).unwrap(), b"older");
        assert_eq!(folder.path().read_dir().unwrap().count(), 1);
    }
}
