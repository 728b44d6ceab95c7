//! What a container's root and a named volume may take of STATE: a project each, counted by the file system and bounded.
//!
//! Nothing of a node may be ended by one neighbour, so there is a bound where a unit says none: a share of STATE that
//! grows with it. Space that images take is not a unit's.
//!
//! What a project may have by right is its soft limit of inodes. The hard one is the same, but where the node holds
//! everybody to what they have (`ferrite_files::reserve`): there the agent lowers it, and a container begins with little.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use ferrite_files::ballast::Ballast;
use ferrite_files::reserve::{self, Project, Reserve};
use ferrite_schema::names;
use ferrite_schema::unit::Resources;
use ferrite_sys::quota::{self, Inodes};
use rustix::io::Errno;

/// A root that says nothing gets one part in so many: it takes four that run away at the same time to fill STATE, and
/// on the smallest STATE it is some hundred megabytes, where honest roots write a few: data belongs into volumes.
const ROOT_PARTS: u64 = 4;
/// A volume is what a node is there for, so its space has no bound of its own: the file system keeps the last of it from
/// containers. Of files it keeps none back: the volumes of a unit that says nothing share one part in so many, however
/// many they are, so that one unit never takes all. A volume of several units has what the one that started last gives it.
const VOLUMES_PARTS: u64 = 2;
/// The numbers of volumes' projects begin here; below are those of roots, which are 16 bits.
const VOLUMES_FIRST: u32 = 1 << 16;

/// A limit that is none.
const UNBOUNDED: u64 = 0;

/// A bound could not be set.
#[derive(Debug, thiserror::Error)]
pub(super) enum QuotaProblem {
    #[error("give {} to project {project}", path.display())]
    Assign { path: PathBuf, project: u32, source: io::Error },
    #[error("bound what {} takes", path.display())]
    Limit { path: PathBuf, source: io::Error },
    #[error(
        "bound the unit's disk and inodes: this node's STATE was made without quotas; leave resources.disk and resources.inodes out"
    )]
    Unavailable,
}

/// What a unit asks for, and among how many volumes of its own its share is divided.
#[derive(Debug, Clone, Copy)]
pub(super) struct Claim<'a> {
    pub(super) resources: &'a Resources,
    pub(super) volumes: u64,
}

/// How much.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Bound {
    bytes: u64,
    inodes: u64,
}

/// Bounds a container's root, which is empty yet. On a STATE without quotas only a unit that asks for bounds fails.
pub(super) fn root(
    scratch: &Path,
    project: Option<u32>,
    resources: &Resources,
) -> Result<(), QuotaProblem> {
    let Some(project) = project else { return Ok(()) };
    let bounded = set(scratch, project, |all| wanted(share(all, ROOT_PARTS), resources))?;
    if !bounded && (resources.disk.is_some() || resources.inodes.is_some()) {
        return Err(QuotaProblem::Unavailable);
    }
    Ok(())
}

/// What a unit asks for, or else this.
fn wanted(bound: Bound, resources: &Resources) -> Bound {
    Bound {
        bytes: resources.disk.map_or(bound.bytes, |disk| disk.0),
        inodes: resources.inodes.unwrap_or(bound.inodes),
    }
}

fn of_volume(all: Bound, claim: Claim<'_>) -> Bound {
    let parts = VOLUMES_PARTS.saturating_mul(claim.volumes.max(1));
    wanted(Bound { bytes: UNBOUNDED, ..share(all, parts) }, claim.resources)
}

/// Gives a new, empty volume a project of its own among those beside it, and bounds it. The caller holds the volumes' lock.
pub(super) fn new_volume(path: &Path, claim: Claim<'_>) -> Result<(), QuotaProblem> {
    let beside = fs::read_dir(path.parent().unwrap_or(Path::new("/"))).into_iter().flatten();
    let folders =
        beside.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    let taken = folders.filter_map(|entry| {
        let folder = File::open(entry.path()).ok()?;
        quota::project(folder.as_fd()).ok()
    });
    let last = taken.max().unwrap_or(0).max(VOLUMES_FIRST);
    set(path, last.saturating_add(1), |all| of_volume(all, claim)).map(drop)
}

/// Bounds a volume that is there: STATE may have grown, or its unit asks for something else. One of an older version has
/// no project and no bound.
pub(super) fn volume(path: &Path, claim: Claim<'_>) -> Result<(), QuotaProblem> {
    let failed = |source| QuotaProblem::Limit { path: path.to_owned(), source };
    let folder = File::open(path).map_err(failed)?;
    match quota::project(folder.as_fd()) {
        Ok(project) if project > VOLUMES_FIRST => {
            limit(&folder, path, project, |all| of_volume(all, claim)).map(drop)
        }
        Ok(_) | Err(_) => Ok(()),
    }
}

/// `false` where STATE has no quotas.
fn set(path: &Path, project: u32, bound: impl Fn(Bound) -> Bound) -> Result<bool, QuotaProblem> {
    let failed = |source| QuotaProblem::Assign { path: path.to_owned(), project, source };
    let folder = File::open(path).map_err(failed)?;
    match quota::set_project(folder.as_fd(), project) {
        Ok(()) => limit(&folder, path, project, bound),
        Err(errno) if lacking(errno) => Ok(false),
        Err(errno) => Err(failed(errno.into())),
    }
}

fn limit(
    folder: &File,
    path: &Path,
    project: u32,
    bound: impl Fn(Bound) -> Bound,
) -> Result<bool, QuotaProblem> {
    let failed = |source| QuotaProblem::Limit { path: path.to_owned(), source };
    // Asked for a folder of a project, ext4 answers with the project's own bounds: each start would get a share of the last.
    let beside = path.parent().unwrap_or(Path::new("/"));
    let all = rustix::fs::statvfs(beside).map_err(|errno| failed(errno.into()))?;
    let bytes = all.f_blocks.saturating_mul(all.f_frsize);
    let bound = bound(Bound { bytes, inodes: all.f_files });
    // The agent's look, and what it then does to the bounds, comes before all of this or after it.
    let _alone = reserve::lock(Path::new(names::RUN_DIR));
    let used = quota::usage(folder.as_fd(), project).map_or(0, |usage| usage.inodes);
    let hard = begins(beside, used, bound.inodes).map_err(|errno| failed(errno.into()))?;
    match quota::limit(folder.as_fd(), project, bound.bytes, Inodes { hard, soft: bound.inodes }) {
        Ok(()) => Ok(true),
        Err(errno) if lacking(errno) => Ok(false),
        Err(errno) => Err(failed(errno.into())),
    }
}

/// The hard limit of inodes to begin with, for a project on the file system of `folder`.
fn begins(folder: &Path, used: u64, claim: u64) -> Result<u64, Errno> {
    let stat = rustix::fs::statvfs(folder)?;
    if stat.f_files == 0 {
        return Ok(claim);
    }
    let reserve = Reserve::of(stat.f_files);
    let let_go = Ballast::in_folder(Path::new(names::RESERVE_DIR)).let_go(reserve.inodes());
    let project = Project { used, most: claim, claim };
    Ok(reserve.begins(stat.f_favail, let_go, project))
}

/// A share of nothing is not [`UNBOUNDED`].
fn share(all: Bound, parts: u64) -> Bound {
    Bound { bytes: (all.bytes / parts).max(1), inodes: (all.inodes / parts).max(1) }
}

fn lacking(errno: Errno) -> bool {
    matches!(errno, Errno::NOTTY | Errno::OPNOTSUPP | Errno::SRCH | Errno::NOSYS)
}

#[cfg(test)]
mod tests {
    use ferrite_schema::unit::Bytes;

    use super::*;

    #[test]
    fn without_quotas_only_who_asks_for_bounds_fails() {
        let memory = Path::new("/proc/self/fd");
        root(memory, Some(20), &Resources::default()).unwrap();
        let asks = Resources { disk: Some(Bytes(1 << 30)), ..Resources::default() };
        root(memory, None, &asks).unwrap();
        assert!(matches!(root(memory, Some(20), &asks), Err(QuotaProblem::Unavailable)));
        volume(memory, Claim { resources: &asks, volumes: 1 }).unwrap();
    }

    #[test]
    fn a_share_is_never_without_bound() {
        let all = Bound { bytes: 1 << 30, inodes: 2 };
        assert_eq!(share(all, ROOT_PARTS), Bound { bytes: 1 << 28, inodes: 1 });
        let resources = &Resources::default();
        let hundred = Bound { bytes: 1 << 30, inodes: 100 };
        let volume = of_volume(hundred, Claim { resources, volumes: 1 });
        assert_eq!(volume, Bound { bytes: UNBOUNDED, inodes: 50 });
        let resources = &Resources { inodes: Some(7), ..Resources::default() };
        assert_eq!(of_volume(all, Claim { resources, volumes: 3 }).inodes, 7);
    }

    #[test]
    fn a_unit_that_says_nothing_never_takes_all_files() {
        let all = Bound { bytes: 1 << 40, inodes: 1 << 20 };
        let resources = &Resources::default();
        for volumes in 0..64 {
            let root = wanted(share(all, ROOT_PARTS), resources).inodes;
            let each = of_volume(all, Claim { resources, volumes }).inodes;
            let taken = root + volumes * each;
            assert!(taken <= all.inodes / 4 * 3, "{volumes} volumes and the root take {taken}");
        }
    }
}
