//! Ranges of user and group IDs: each unit has one of its own, the same at every start.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use ferrite_files::durable;
use ferrite_schema::shim::IdRange;

/// IDs of a range: as many as programs know.
const COUNT: u32 = 1 << 16;
/// First range that is given away; what is below is the node's own.
const FIRST: u16 = 16;
/// One beyond the last range: the last ID of all is none.
const END: u16 = u16::MAX;

/// A range could not be given.
#[derive(Debug, thiserror::Error)]
pub enum IdsProblem {
    /// The record cannot be read.
    #[error("read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The record is damaged. Guessing could give two units the same range.
    #[error("understand {}: remove it while no unit runs", path.display())]
    Understand {
        /// The file.
        path: PathBuf,
        /// Why.
        source: serde_json::Error,
    },
    /// The record cannot be written.
    #[error(transparent)]
    Write(#[from] durable::WriteFile),
    /// The record is not JSON.
    #[error("write the ranges of IDs as JSON")]
    Encode(#[source] serde_json::Error),
    /// Every range is taken.
    #[error("give the unit a range of user IDs: all are taken")]
    Exhausted,
}

/// Which unit has which range, kept on STATE.
#[derive(Debug, Clone)]
pub struct Ranges {
    path: PathBuf,
    /// Unit to number of its range. Absent until it is first used.
    given: Arc<Mutex<Option<BTreeMap<String, u16>>>>,
}

impl Ranges {
    /// Names the record; reads nothing yet.
    #[must_use]
    pub fn at(path: &Path) -> Self {
        Self { path: path.to_owned(), given: Arc::default() }
    }

    /// The unit's range; a new one is on the disk before it is returned.
    ///
    /// # Errors
    /// No range was given.
    pub fn of(&self, unit: &str) -> Result<IdRange, IdsProblem> {
        let mut given = self.given.lock().unwrap_or_else(PoisonError::into_inner);
        let known = match given.take() {
            Some(known) => known,
            None => self.read()?,
        };
        let (known, number) = match known.get(unit).copied() {
            Some(number) => (known, number),
            None => {
                let number = free(&known).ok_or(IdsProblem::Exhausted)?;
                let mut more = known;
                more.insert(unit.to_owned(), number);
                self.write(&more)?;
                (more, number)
            }
        };
        *given = Some(known);
        Ok(IdRange { first: u32::from(number) * COUNT, count: COUNT })
    }

    /// Takes the range of a unit back that is forgotten.
    ///
    /// # Errors
    /// It stays given.
    pub fn release(&self, unit: &str) -> Result<(), IdsProblem> {
        let mut given = self.given.lock().unwrap_or_else(PoisonError::into_inner);
        let mut known = match given.take() {
            Some(known) => known,
            None => self.read()?,
        };
        if known.remove(unit).is_some() {
            self.write(&known)?;
        }
        *given = Some(known);
        Ok(())
    }

    fn read(&self) -> Result<BTreeMap<String, u16>, IdsProblem> {
        let path = || self.path.clone();
        let text = durable::read_optional(&self.path)
            .map_err(|source| IdsProblem::Read { path: path(), source })?;
        text.map_or(Ok(BTreeMap::new()), |text| {
            serde_json::from_str(&text)
                .map_err(|source| IdsProblem::Understand { path: path(), source })
        })
    }

    fn write(&self, known: &BTreeMap<String, u16>) -> Result<(), IdsProblem> {
        let text = serde_json::to_vec(known).map_err(IdsProblem::Encode)?;
        Ok(durable::write(&self.path, &text)?)
    }
}

/// The number after the last one while there is one, so that a range is not soon another unit's.
fn free(known: &BTreeMap<String, u16>) -> Option<u16> {
    let taken: BTreeSet<u16> = known.values().copied().collect();
    let after = taken.last().map_or(FIRST, |last| last.saturating_add(1));
    (after..END).chain(FIRST..END).find(|number| !taken.contains(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_units_share_a_range_and_each_keeps_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ids.json");
        let ranges = Ranges::at(&path);
        let (a, b) = (ranges.of("a").unwrap(), ranges.of("b").unwrap());
        assert_eq!(a, IdRange { first: 1 << 20, count: 1 << 16 });
        assert_eq!(b.first, a.first + a.count);
        // Another agent, later.
        let ranges = Ranges::at(&path);
        assert_eq!(ranges.of("b").unwrap(), b);
        ranges.release("a").unwrap();
        ranges.release("a").unwrap();
        assert_eq!(ranges.of("c").unwrap().first, b.first + b.count);
        assert_eq!(Ranges::at(&path).of("b").unwrap(), b);
    }

    #[test]
    fn a_damaged_record_gives_nothing_away() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ids.json");
        std::fs::write(&path, "{").unwrap();
        let ranges = Ranges::at(&path);
        assert!(matches!(ranges.of("a"), Err(IdsProblem::Understand { .. })));
        assert!(matches!(ranges.release("a"), Err(IdsProblem::Understand { .. })));
    }

    #[test]
    fn ranges_end_before_the_last_id_and_start_over() {
        let all = |numbers: std::ops::Range<u16>| {
            numbers.map(|number| (number.to_string(), number)).collect::<BTreeMap<_, _>>()
        };
        assert_eq!(free(&all(FIRST..END)), None);
        assert_eq!(free(&all(FIRST + 3..END)), Some(FIRST));
        assert!(u32::from(END - 1).checked_mul(COUNT).unwrap().checked_add(COUNT).is_some());
    }
}
