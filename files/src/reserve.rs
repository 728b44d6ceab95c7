//! How many inodes of a file system its owner keeps for itself, decided by pure functions. ext4 keeps blocks back, but no
//! inodes.
//!
//! A *ballast* of empty files ([`crate::ballast`]) takes as many as are kept. Where hardly any others are left, everybody
//! else is first held to what it has, by the hard limit of its project, and only then the ballast is let go: so it is the
//! owner's alone, however fast the others are. With enough removed the ballast is made again first, and then the bounds go
//! back to what they were. What each may have by right stays in its project's soft limit, which nothing enforces below the
//! hard one: nothing has to be remembered, and whoever comes next begins anywhere.
//!
//! | left, with the ballast | |
//! |---|---|
//! | below two reserves | the others are held |
//! | from three reserves on | they are let go |
//! | between | as before |

use std::fs::File;
use std::path::Path;

use rustix::fs::{FlockOperation, StatVfs};

/// A reserve is one part in so many of all inodes, as of the blocks.
const PARTS: u64 = 25;
/// A pull, some starts and records need so many, on the smallest file system, too.
const RESERVE_MIN: u64 = 512;
/// An image, many starts and all records fit in; making as many files takes a moment.
const RESERVE_MAX: u64 = 4096;
/// What one may have at least while all are held: a container's root is put together with half of it. Of the reserve, half
/// is the owner's for certain where there are no more than `RESERVE / START / 2` others that have less.
const START: u64 = 32;
/// The others are held below so many reserves.
const SHORT: u64 = 2;
/// They are let go from so many on.
const ENOUGH: u64 = 3;
/// Looks until the bounds are gone through although nothing was seen: somebody may have begun in a moment between two.
const LOOKS: u32 = 30;

/// How many inodes are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reserve(u64);

impl Reserve {
    /// That of a file system that can hold `all`.
    #[must_use]
    pub fn of(all: u64) -> Self {
        Self((all / PARTS).clamp(RESERVE_MIN, RESERVE_MAX))
    }

    /// How many.
    #[must_use]
    pub const fn inodes(self) -> u64 {
        self.0
    }

    /// How many must be left, with the ballast, until everybody is let go.
    #[must_use]
    pub const fn enough(self) -> u64 {
        self.0.saturating_mul(ENOUGH)
    }

    /// The bound of one that begins with so many free, and with the ballast let go or not: nobody waits for the next look.
    /// What is wrongly held is let go by it.
    #[must_use]
    pub fn begins(self, free: u64, let_go: bool, project: Project) -> u64 {
        if let_go || free < self.enough() { project.hold() } else { project.claim }
    }
}

/// What somebody else has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Project {
    /// Inodes that it has.
    pub used: u64,
    /// The most that it may have now.
    pub most: u64,
    /// The most that it may have by right.
    pub claim: u64,
}

impl Project {
    /// Its bound where it is held from now on. Never 0, which is no bound.
    #[must_use]
    pub fn hold(self) -> u64 {
        self.claim.min(self.used.max(START))
    }

    /// Its bound where all are held already: it may make again what it removes.
    #[must_use]
    pub fn held(self) -> u64 {
        if self.most < self.claim { self.most } else { self.hold() }
    }
}

/// How the others are bounded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Aim {
    /// Each may have what it claims.
    #[default]
    Free,
    /// Nobody may have more than it has now: what was set before, whenever that was, allows too much.
    Hold,
    /// All are held; whoever is not yet is now.
    Held,
}

/// What is seen of a file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// Inodes that it can hold; 0 where it makes them as they are needed.
    pub all: u64,
    /// Free for everybody.
    pub free: u64,
    /// Files of the ballast.
    pub ballast: u64,
}

impl Seen {
    /// From what the file system says.
    #[must_use]
    pub const fn of(stat: &StatVfs, ballast: u64) -> Self {
        Self { all: stat.f_files, free: stat.f_favail, ballast }
    }
}

/// What follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Todo {
    /// The bounds to go through, and what they are to be. Those of [`Aim::Free`] come after the ballast, others before it.
    pub bounds: Option<Aim>,
    /// Files that the ballast is to have.
    pub ballast: u64,
}

/// The watch over one file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Watch {
    aim: Aim,
    /// Looks until the bounds are gone through all the same.
    due: u32,
}

impl Watch {
    /// What is to be done about what is seen.
    pub fn step(&mut self, seen: Seen) -> Todo {
        if seen.all == 0 {
            return Todo { bounds: None, ballast: seen.ballast };
        }
        let reserve = Reserve::of(seen.all);
        let left = seen.free.saturating_add(seen.ballast);
        let (short, enough) = (left < reserve.0.saturating_mul(SHORT), left >= reserve.enough());
        self.aim = match self.aim {
            Aim::Free if short => Aim::Hold,
            Aim::Hold | Aim::Held if !enough => Aim::Held,
            Aim::Free | Aim::Hold | Aim::Held => Aim::Free,
        };
        let ballast = if self.aim == Aim::Free { reserve.0 } else { 0 };
        // As those see it who begin.
        let near = seen.free < reserve.enough() || self.aim != Aim::Free;
        let bounds = (near || self.due == 0).then_some(self.aim);
        self.due = match bounds {
            Some(_) if near => 0,
            Some(_) => LOOKS,
            None => self.due.saturating_sub(1),
        };
        Todo { bounds, ballast }
    }

    /// How the others are bounded since the last step.
    #[must_use]
    pub const fn aim(&self) -> Aim {
        self.aim
    }
}

/// Makes others who change bounds wait for as long as it is kept: who reads one and writes it must not undo what somebody
/// wrote in between. `folder` is one that no container enters; where there is none, nobody else is.
#[must_use]
pub fn lock(folder: &Path) -> Option<File> {
    let file = File::open(folder).ok()?;
    rustix::fs::flock(&file, FlockOperation::LockExclusive).ok()?;
    Some(file)
}

#[cfg(test)]
mod tests;
