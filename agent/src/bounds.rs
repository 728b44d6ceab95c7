//! How many inodes units may take of STATE, set for all of them at once: `container` sets it for each that begins.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use ferrite_files::reserve::{self, Aim, Project};
use ferrite_sys::quota::{self, Inodes, Usage};
use rustix::io::Errno;

/// A bound is not as it should be; all others are.
#[derive(Debug, thiserror::Error)]
pub enum BoundsProblem {
    /// The projects' folders cannot be listed.
    #[error("list {}", path.display())]
    List {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// One folder cannot be bounded.
    #[error("bound the files in {}", path.display())]
    Bound {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// What one of them has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bounded {
    /// As a person knows it.
    pub name: String,
    /// Files, folders and all else.
    pub inodes: u64,
}

/// The folders of one kind of project, a folder each.
#[derive(Debug, Clone, Copy)]
pub struct Kind<'a> {
    /// As a person calls it.
    pub name: &'a str,
    /// Where they are.
    pub folder: &'a Path,
}

/// Where the bounds of all projects are set.
#[derive(Debug, Clone, Copy)]
pub struct Bounds<'a> {
    /// Whose lock is taken: see [`reserve::lock`].
    pub run: &'a Path,
    /// All kinds of projects.
    pub kinds: &'a [Kind<'a>],
    /// Inodes of the file system: what one that never had a bound may have.
    pub all: u64,
}

impl Bounds<'_> {
    /// Sets the bounds of all projects. Returns what each has; nothing on a STATE without quotas.
    #[must_use]
    pub fn set(&self, aim: Aim) -> (Vec<Bounded>, Option<BoundsProblem>) {
        let _alone = reserve::lock(self.run);
        let (mut bounded, mut problem, mut seen) = (Vec::new(), None, BTreeSet::new());
        for kind in self.kinds {
            let entries = match folders(kind.folder) {
                Ok(entries) => entries,
                Err(source) => {
                    let path = kind.folder.to_owned();
                    problem = problem.or(Some(BoundsProblem::List { path, source }));
                    continue;
                }
            };
            for path in entries {
                match self.one(&path, aim, &mut seen) {
                    Ok(Some(usage)) => {
                        let name = path.file_name().unwrap_or_default().to_string_lossy();
                        let name = format!("{} {name}", kind.name);
                        bounded.push(Bounded { name, inodes: usage.inodes });
                    }
                    // It is gone at this moment, or was never given a project.
                    Ok(None) | Err(Errno::NOENT) => {}
                    Err(errno) => {
                        let source = errno.into();
                        problem = problem.or(Some(BoundsProblem::Bound { path, source }));
                    }
                }
            }
        }
        bounded.sort_by_key(|one| std::cmp::Reverse(one.inodes));
        (bounded, problem)
    }

    fn one(&self, path: &Path, aim: Aim, seen: &mut BTreeSet<u32>) -> Result<Option<Usage>, Errno> {
        let folder =
            File::open(path).map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
        let (project, usage) = match quota::project(folder.as_fd()) {
            Ok(project) if project > 0 && seen.insert(project) => {
                (project, quota::usage(folder.as_fd(), project))
            }
            Ok(_) | Err(Errno::NOTTY | Errno::OPNOTSUPP) => return Ok(None),
            Err(errno) => return Err(errno),
        };
        let usage = match usage {
            Err(Errno::SRCH | Errno::NOSYS) => return Ok(None),
            usage => usage?,
        };
        if let Some(inodes) = wanted(aim, &usage, self.all) {
            quota::limit_inodes(folder.as_fd(), project, inodes)?;
        }
        Ok(Some(usage))
    }
}

fn folders(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut folders = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            folders.push(entry.path());
        }
    }
    Ok(folders)
}

/// What the kernel is to be told; `None` where it knows. The soft limit keeps what the project may have by right; an older
/// version set the hard one alone, or none.
fn wanted(aim: Aim, usage: &Usage, all: u64) -> Option<Inodes> {
    let now = Inodes { hard: usage.inodes_max, soft: usage.inodes_soft };
    let or = |bound: u64, other: u64| if bound == 0 { other } else { bound };
    let claim = or(now.soft, or(now.hard, all));
    let project = Project { used: usage.inodes, most: or(now.hard, all).min(claim), claim };
    let hard = match aim {
        Aim::Free if now.soft == 0 => return None,
        Aim::Free => claim,
        Aim::Hold => project.hold(),
        Aim::Held => project.held(),
    };
    let wanted = Inodes { hard, soft: claim };
    (wanted != now).then_some(wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: u64 = 100_000;

    fn usage(inodes: u64, inodes_max: u64, inodes_soft: u64) -> Usage {
        Usage { inodes, inodes_max, inodes_soft, ..Usage::default() }
    }

    fn check(aim: Aim, usage: Usage, expected: Option<(u64, u64)>) {
        let found = wanted(aim, &usage, ALL);
        let expected = expected.map(|(hard, soft)| Inodes { hard, soft });
        assert_eq!(found, expected, "{aim:?} {usage:?}");
    }

    #[test]
    fn what_a_project_may_have_by_right_is_never_lost() {
        check(Aim::Hold, usage(40_000, 50_000, 50_000), Some((40_000, 50_000)));
        check(Aim::Held, usage(30_000, 40_000, 50_000), None);
        check(Aim::Hold, usage(30_000, 40_000, 50_000), Some((30_000, 50_000)));
        check(Aim::Free, usage(30_000, 40_000, 50_000), Some((50_000, 50_000)));
        check(Aim::Free, usage(30_000, 50_000, 50_000), None);
        // It has all that it may have, or more: the node itself put some there.
        check(Aim::Hold, usage(50_000, 50_000, 50_000), None);
        check(Aim::Hold, usage(64, 64, 64), None);
        check(Aim::Hold, usage(70, 64, 64), None);
        // One that has next to nothing can be put together.
        check(Aim::Hold, usage(3, 50_000, 50_000), Some((32, 50_000)));
    }

    #[test]
    fn bounds_of_an_older_version_become_what_a_project_may_have_by_right() {
        check(Aim::Hold, usage(40_000, 50_000, 0), Some((40_000, 50_000)));
        check(Aim::Hold, usage(40_000, 0, 0), Some((40_000, ALL)));
        check(Aim::Free, usage(40_000, 50_000, 0), None);
        check(Aim::Free, usage(40_000, 0, 0), None);
    }

    #[test]
    fn without_quotas_nothing_is_bounded_and_what_is_missing_is_said() {
        let temporary = tempfile::tempdir_in("/dev/shm").unwrap();
        let there = temporary.path().join("scratch");
        fs::create_dir_all(there.join("one")).unwrap();
        let gone = temporary.path().join("volumes");
        let kinds = [Kind { name: "unit", folder: &there }, Kind { name: "volume", folder: &gone }];
        let bounds = Bounds { run: temporary.path(), kinds: &kinds, all: ALL };
        let (bounded, problem) = bounds.set(Aim::Hold);
        assert_eq!(bounded, []);
        assert!(matches!(problem, Some(BoundsProblem::List { path, .. }) if path == gone));
    }
}
