//! Secrets as files of a container: in memory, read-only, and the unit's user's alone.
//!
//! One file system in memory holds them all. Its folder for `/run/secrets` is mounted there, and each file that has a place of its
//! own there. They are mounted after the volumes, so that a volume may be what they are in.

use std::fs::{self, File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use ferrite_files::durable;
use ferrite_files::removal::{self, RemoveTree};
use ferrite_files::small::{ReadSmall, read_small};
use ferrite_schema::node_config::SECRET_MAX_BYTES;
use ferrite_schema::shim::{self, Request, SecretMount};
use ferrite_schema::unit::SECRETS_FOLDER;
use ferrite_sys::idmap::Flags;

use super::inside::{self, Missing, Root};
use super::memory;
use super::owners::{self, Owners, OwnersProblem};
use super::user::User;
use super::volumes::RESERVED;

/// How the places of those in it begin.
const IN_FOLDER: &str = "/run/secrets/";
/// In the run folder, and in this process's mount namespace alone: where they are before the container has them.
const SHOWN: &str = "secrets-shown";
/// There, what becomes `/run/secrets`, and what has places of its own.
const DEFAULT: &str = "default";
const PLACED: &str = "placed";
/// What memory is given out in.
const PAGE_BYTES: u64 = 4096;
/// Only its owner can read it, and nobody write.
const MODE: u32 = 0o400;

/// A container could not be given its secrets.
#[derive(Debug, thiserror::Error)]
pub(super) enum SecretsProblem {
    #[error("read the secret for {target}: {why}")]
    Read { target: String, why: String },
    #[error("make memory for secrets")]
    Memory(#[source] io::Error),
    #[error("write the secret for {target}")]
    Write { target: String, source: io::Error },
    #[error("make a place for the secret at {target}, in the image or the volume that it is in")]
    Place { target: String, source: io::Error },
    #[error("mount a secret on {target}: {} of the container is the runtime's own", place.display())]
    Reserved { target: String, place: PathBuf },
    #[error("mount {what} on {target}: the image or a volume has a {} there", if *folder { "folder" } else { "file" })]
    Kind { what: &'static str, target: String, folder: bool },
    #[error(transparent)]
    Owners(#[from] OwnersProblem),
    #[error(transparent)]
    Remove(#[from] RemoveTree),
}

/// Gives the container at `root` its secrets, which are in the run folder `folder`, as files of `user`; they are nowhere else
/// afterwards.
pub(super) fn mount(
    request: &Request,
    (owners, user): (&Owners, &User),
    root: &Path,
    folder: &Path,
) -> Result<(), SecretsProblem> {
    if request.secrets.is_empty() {
        return Ok(());
    }
    let given = folder.join(shim::SECRETS);
    let contents = read(&request.secrets, &given)?;
    let shown = folder.join(SHOWN);
    lay(&contents, owners, &shown)?;
    // He is one whom the container has, or nobody but root reads it.
    let outside = |id| owners.outside(id).unwrap_or(owners.root());
    let owner = (outside(user.uid), outside(user.gid));
    let mut mounts = Vec::new();
    for (secret, content) in request.secrets.iter().zip(&contents) {
        let target = &secret.target;
        let failed = |source| SecretsProblem::Write { target: target.clone(), source };
        let path = match target.strip_prefix(IN_FOLDER) {
            Some(rest) => shown.join(DEFAULT).join(rest),
            None => {
                let path = shown.join(PLACED).join(&secret.file);
                mounts.push((path.clone(), target.as_str(), Missing::File));
                path
            }
        };
        write(&path, content, owner, owners.root()).map_err(failed)?;
    }
    if request.secrets.iter().any(|secret| secret.target.starts_with(IN_FOLDER)) {
        mounts.insert(0, (shown.join(DEFAULT), SECRETS_FOLDER, Missing::Folder));
    }
    for (source, target, kind) in mounts {
        attach(&source, target, kind, (owners, root))?;
    }
    Ok(removal::remove(&given)?)
}

fn read(secrets: &[SecretMount], given: &Path) -> Result<Vec<Vec<u8>>, SecretsProblem> {
    let one = |secret: &SecretMount| {
        let failed = |why: String| SecretsProblem::Read { target: secret.target.clone(), why };
        let found = read_small(&given.join(&secret.file), SECRET_MAX_BYTES as u64);
        found
            .map_err(|error: ReadSmall| failed(error.to_string()))?
            .ok_or_else(|| failed("it was not handed over".to_owned()))
    };
    secrets.iter().map(one).collect()
}

/// Memory for them, where only this process sees it.
fn lay(contents: &[Vec<u8>], owners: &Owners, shown: &Path) -> Result<(), SecretsProblem> {
    let pages = contents.iter().map(|content| (content.len() as u64).div_ceil(PAGE_BYTES).max(1));
    let memory = memory::folder(pages.sum::<u64>() * PAGE_BYTES, "755", owners.root())
        .map_err(|errno| SecretsProblem::Memory(errno.into()))?;
    let failed = SecretsProblem::Memory;
    durable::private_folder(shown).map_err(failed)?;
    owners::attach(&memory, shown)?;
    for name in [DEFAULT, PLACED] {
        make_folder(&shown.join(name), owners.root()).map_err(failed)?;
    }
    Ok(())
}

fn make_folder(path: &Path, owner: u32) -> io::Result<()> {
    fs::create_dir(path)?;
    fs::set_permissions(path, Permissions::from_mode(0o755))?;
    chown(path, Some(owner), Some(owner))
}

fn write(path: &Path, content: &[u8], (uid, gid): (u32, u32), root: u32) -> io::Result<()> {
    let missing: Vec<&Path> = path.ancestors().skip(1).take_while(|path| !path.exists()).collect();
    for folder in missing.into_iter().rev() {
        make_folder(folder, root)?;
    }
    let mut file = File::options().write(true).create_new(true).mode(MODE).open(path)?;
    file.write_all(content)?;
    chown(path, Some(uid), Some(gid))
}

fn attach(
    source: &Path,
    target: &str,
    kind: Missing,
    (owners, root): (&Owners, &Path),
) -> Result<(), SecretsProblem> {
    let failed = |source| SecretsProblem::Place { target: target.to_owned(), source };
    let opened = Root::open(root).map_err(failed)?;
    let place = {
        let _acting = owners.act_as_root();
        opened.place(target, kind).map_err(failed)?
    };
    let name = opened.name_of(&place).map_err(failed)?;
    if name == Path::new("/") || RESERVED.iter().any(|reserved| name.starts_with(reserved)) {
        return Err(SecretsProblem::Reserved { target: target.to_owned(), place: name });
    }
    let folder = inside::is_folder(&place).map_err(failed)?;
    if folder != (kind == Missing::Folder) {
        let what = if folder { "a secret's file" } else { "the folder of secrets" };
        return Err(SecretsProblem::Kind { what, target: target.to_owned(), folder });
    }
    let mount = owners::another(source, false)?;
    let flags = Flags::READ_ONLY.and(Flags::NO_DEVICES).and(Flags::NO_EXECUTION);
    owners::set_flags(&mount, flags.and(Flags::NO_SET_ID), Flags::default(), Path::new(target))?;
    Ok(owners::attach_on(&mount, &place, Path::new(target))?)
}

#[cfg(test)]
mod as_root;
