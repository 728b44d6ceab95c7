//! Volumes and files that are mounted into a container's root, before anything of the container runs.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use ferrite_schema::shim::{BindMount, MountSource};
use ferrite_schema::unit::Resources;
use ferrite_sys::idmap::Flags;

use super::inside::{self, Missing, Root};
use super::memory;
use super::owners::{self, Owners, OwnersProblem};
use super::quota::Claim;
use super::seed::{self, SeedProblem};

/// Where shared memory is: mounted with `/dev`, so a volume there only says its size.
pub(super) const SHARED_MEMORY: &str = "/dev/shm";
/// What the runtime itself mounts: a volume there would be hidden, or hide what protects the container.
pub(super) const RESERVED: [&str; 3] = ["/dev", "/proc", "/sys"];

/// A volume could not be mounted.
#[derive(Debug, thiserror::Error)]
pub(super) enum VolumeProblem {
    #[error("look at {path} in the image")]
    Look { path: String, source: io::Error },
    #[error("mount a volume on {path}: {} of the container is the runtime's own", place.display())]
    Reserved { path: String, place: PathBuf },
    #[error("mount {source_path} on {path}: one is a folder and the other a file")]
    Kind { source_path: String, path: String },
    #[error("find {path} on the node")]
    FindSource { path: String, source: io::Error },
    #[error("make memory of {bytes} bytes for {path}")]
    Memory { bytes: u64, path: String, source: io::Error },
    #[error(transparent)]
    Owners(#[from] OwnersProblem),
    #[error(transparent)]
    Seed(#[from] SeedProblem),
}

/// Mounts everything that is asked for onto `root`, outer places before those in them.
pub(super) fn mount(
    (mounts, resources): (&[BindMount], &Resources),
    owners: &Owners,
    root: &Path,
) -> Result<(), VolumeProblem> {
    let look = |path: &str| {
        let path = path.to_owned();
        move |source| VolumeProblem::Look { path, source }
    };
    let opened = Root::open(root).map_err(look("/"))?;
    let mut ordered: Vec<&BindMount> = mounts.iter().filter(|mount| !sizes_shm(mount)).collect();
    let claim = Claim { resources, volumes: named(&ordered) };
    ordered.sort_by_key(|mount| mount.target.split('/').filter(|part| !part.is_empty()).count());
    for mount in ordered {
        let target = mount.target.as_str();
        let missing = kind_of(mount)?;
        let place = {
            let _acting = owners.act_as_root();
            opened.place(target, missing).map_err(look(target))?
        };
        let name = opened.name_of(&place).map_err(look(target))?;
        if name == Path::new("/") || RESERVED.iter().any(|reserved| name.starts_with(reserved)) {
            return Err(VolumeProblem::Reserved { path: target.to_owned(), place: name });
        }
        if inside::is_folder(&place).map_err(look(target))? != (missing == Missing::Folder) {
            let source_path = source_of(mount).to_owned();
            return Err(VolumeProblem::Kind { source_path, path: target.to_owned() });
        }
        one((mount, claim), owners, &opened, &place)?;
    }
    Ok(())
}

/// How many named volumes there are: folders of the node's, each counted once. Files are made for the container.
fn named(mounts: &[&BindMount]) -> u64 {
    let volumes: BTreeSet<&str> = mounts
        .iter()
        .filter(|mount| matches!(mount.source, MountSource::Owned(_)))
        .filter(|mount| kind_of(mount).is_ok_and(|kind| kind == Missing::Folder))
        .map(|mount| source_of(mount))
        .collect();
    u64::try_from(volumes.len()).unwrap_or(u64::MAX)
}

/// The size that is asked for shared memory, if one is.
pub(super) fn shared_memory(mounts: &[BindMount]) -> Option<u64> {
    mounts.iter().filter(|mount| sizes_shm(mount)).find_map(|mount| match mount.source {
        MountSource::Tmpfs(bytes) => Some(bytes),
        MountSource::Owned(_) | MountSource::Host(_) => None,
    })
}

fn sizes_shm(mount: &BindMount) -> bool {
    mount.target.trim_end_matches('/') == SHARED_MEMORY
        && matches!(mount.source, MountSource::Tmpfs(_))
}

fn source_of(mount: &BindMount) -> &str {
    match &mount.source {
        MountSource::Owned(path) | MountSource::Host(path) => path,
        MountSource::Tmpfs(_) => "memory",
    }
}

fn kind_of(mount: &BindMount) -> Result<Missing, VolumeProblem> {
    match &mount.source {
        MountSource::Owned(path) | MountSource::Host(path) => match fs::metadata(path) {
            Ok(found) if found.is_dir() => Ok(Missing::Folder),
            Ok(_) => Ok(Missing::File),
            // A named volume that is used for the first time.
            Err(error)
                if error.kind() == io::ErrorKind::NotFound
                    && matches!(mount.source, MountSource::Owned(_)) =>
            {
                Ok(Missing::Folder)
            }
            Err(source) => Err(VolumeProblem::FindSource { path: path.clone(), source }),
        },
        MountSource::Tmpfs(_) => Ok(Missing::Folder),
    }
}

fn one(
    (mount, claim): (&BindMount, Claim<'_>),
    owners: &Owners,
    root: &Root,
    place: &File,
) -> Result<(), VolumeProblem> {
    let path = Path::new(&mount.target);
    let read_only = if mount.read_only { Flags::READ_ONLY } else { Flags::default() };
    let made = match &mount.source {
        MountSource::Owned(source) => {
            let source = Path::new(source);
            seed::seed(source, root, &mount.target, owners, claim)?;
            let made = owners.translated(source)?;
            // STATE forbids these for the node itself; the container lives in its own IDs.
            let clear = Flags::NO_EXECUTION.and(Flags::NO_SET_ID);
            owners::set_flags(&made, read_only.and(Flags::NO_DEVICES), clear, path)?;
            made
        }
        MountSource::Host(source) => {
            let made = owners::another(Path::new(source), true)?;
            owners::set_flags_below(&made, read_only, path)?;
            made
        }
        MountSource::Tmpfs(bytes) => {
            // Everybody in the container may use it, as `/tmp`.
            let made = memory::folder(*bytes, "1777", owners.root()).map_err(|errno| {
                VolumeProblem::Memory {
                    bytes: *bytes,
                    path: mount.target.clone(),
                    source: errno.into(),
                }
            })?;
            owners::set_flags(&made, read_only, Flags::default(), path)?;
            made
        }
    };
    Ok(owners::attach_on(&made, place, path)?)
}
