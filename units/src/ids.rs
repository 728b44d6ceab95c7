//! Ranges of user and group IDs: each unit has one of its own, the same at every start.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use ferrite_files::durable;
use ferrite_files::quarantine::{Quarantine, SetAside};
use ferrite_files::small::{ReadSmall, read_small};
use ferrite_schema::shim::{self, IdRange};

/// Longest list of ranges that is read.
const GIVEN_MAX_BYTES: u64 = 16 << 20;
/// IDs of a range: as many as programs know.
const COUNT: u32 = 1 << 16;
/// First range that is given away; what is below is the node's own.
const FIRST: u16 = 16;
/// One beyond the last range: the last ID of all is none.
const END: u16 = u16::MAX;

/// A range could not be given.
#[derive(Debug, thiserror::Error)]
pub enum IdsProblem {
    /// The disk does not give the record. Guessing could give two units the same range.
    #[error("read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The record cannot be understood, nor be set aside.
    #[error(transparent)]
    SetAside(#[from] SetAside),
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

/// Who has which range by other evidence than the record, for when that is damaged: every unit that ever ran with a
/// range has, until it is forgotten, a folder whose owner is in the range (root's, until its container gives it away); those that run say so themselves.
#[derive(Debug, Clone)]
pub struct Evidence {
    /// What containers write to their roots, a folder for each unit.
    pub scratch: PathBuf,
    /// Run folders of units.
    pub run: PathBuf,
}

/// Which unit has which range, kept on STATE.
#[derive(Debug, Clone)]
pub struct Ranges {
    path: PathBuf,
    evidence: Evidence,
    /// Unit to number of its range. Absent until it is first used.
    given: Arc<Mutex<Option<Given>>>,
}

/// Key in the record of the range that is given next. No unit has such a name, and the range is nobody's: an older version takes it
/// for one more unit's, and keeps it.
const NEXT: &str = ".next";

/// Key in the record of a unit's second range: no unit has such a name either.
fn far(unit: &str) -> String {
    format!("{unit}/far")
}

/// What is given, and where to go on: a range that was given back is not soon another unit's, whose files would be the first one's
/// where some of those were forgotten.
#[derive(Debug, Default)]
struct Given {
    numbers: BTreeMap<String, u16>,
    next: Option<u16>,
}

impl Ranges {
    /// Names the record; reads nothing yet.
    #[must_use]
    pub fn at(path: &Path, evidence: Evidence) -> Self {
        Self { path: path.to_owned(), evidence, given: Arc::default() }
    }

    /// The unit's range; a new one is on the disk before it is returned.
    ///
    /// # Errors
    /// No range was given.
    pub fn of(&self, unit: &str) -> Result<IdRange, IdsProblem> {
        let number = self.number(unit)?;
        Ok(IdRange { first: u32::from(number) * COUNT, count: COUNT })
    }

    /// A second range, for a unit that has IDs beyond those of a range; as [`Ranges::of`].
    ///
    /// # Errors
    /// No range was given.
    pub fn second(&self, unit: &str) -> Result<IdRange, IdsProblem> {
        self.of(&far(unit))
    }

    /// Number of the unit's range, from which its first ID follows.
    ///
    /// # Errors
    /// No range was given.
    pub fn number(&self, unit: &str) -> Result<u16, IdsProblem> {
        let mut given = self.given.lock().unwrap_or_else(PoisonError::into_inner);
        let known = match given.take() {
            Some(known) => known,
            None => self.read()?,
        };
        let (known, number) = match known.numbers.get(unit).copied() {
            Some(number) => (known, number),
            None => {
                let mut more = known;
                let number = more.give(unit).ok_or(IdsProblem::Exhausted)?;
                self.write(&more)?;
                (more, number)
            }
        };
        *given = Some(known);
        Ok(number)
    }

    /// Takes the ranges of a unit back that is forgotten.
    ///
    /// # Errors
    /// It stays given.
    pub fn release(&self, unit: &str) -> Result<(), IdsProblem> {
        let mut given = self.given.lock().unwrap_or_else(PoisonError::into_inner);
        let mut known = match given.take() {
            Some(known) => known,
            None => self.read()?,
        };
        let second = known.numbers.remove(&far(unit));
        if known.numbers.remove(unit).or(second).is_some() {
            self.write(&known)?;
        }
        *given = Some(known);
        Ok(())
    }

    /// Looks at the record, so that a damaged one is met, said and replaced before anything starts.
    ///
    /// # Errors
    /// No range can be given now.
    pub fn look(&self) -> Result<(), IdsProblem> {
        let mut given = self.given.lock().unwrap_or_else(PoisonError::into_inner);
        if given.is_none() {
            *given = Some(self.read()?);
        }
        Ok(())
    }

    fn read(&self) -> Result<Given, IdsProblem> {
        let why = match read_small(&self.path, GIVEN_MAX_BYTES) {
            Ok(Some(bytes)) => match understand(&bytes) {
                Ok(given) => return Ok(given),
                Err(why) => why,
            },
            // It may have been set aside, and the power gone before it was written anew.
            Ok(None) => return Ok(self.evidence.given()),
            Err(ReadSmall::Read(source)) => {
                return Err(IdsProblem::Read { path: self.path.clone(), source });
            }
            Err(other) => other.to_string(),
        };
        Quarantine::beside(&self.path).keep(&self.path, &why)?;
        let given = self.evidence.given();
        self.write(&given)?;
        Ok(given)
    }

    fn write(&self, known: &Given) -> Result<(), IdsProblem> {
        let next = known.next.map(|next| (NEXT, next));
        let numbers = known.numbers.iter().map(|(unit, number)| (unit.as_str(), *number));
        let record: BTreeMap<&str, u16> = next.into_iter().chain(numbers).collect();
        let text = serde_json::to_vec(&record).map_err(IdsProblem::Encode)?;
        Ok(durable::write(&self.path, &text)?)
    }
}

/// A record in which no two units share a range, and none has the node's own.
fn understand(bytes: &[u8]) -> Result<Given, String> {
    let mut given: BTreeMap<String, u16> =
        serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    let mut numbers = BTreeSet::new();
    for (unit, number) in &given {
        if !(FIRST..END).contains(number) || !numbers.insert(*number) {
            return Err(format!("range {number} of unit {unit} is another's"));
        }
    }
    let next = given.remove(NEXT);
    Ok(Given { numbers: given, next })
}

impl Evidence {
    fn given(&self) -> Given {
        let mut given = BTreeMap::new();
        let mut taken = BTreeSet::new();
        // Those that run come first: theirs is certain.
        for (unit, number) in self.running().into_iter().chain(self.ran()) {
            if !given.contains_key(&unit) && taken.insert(number) {
                given.insert(unit, number);
            }
        }
        Given { numbers: given, next: None }
    }

    fn running(&self) -> Vec<(String, u16)> {
        let at = |unit: &str, place: &str| {
            // Whatever version wrote it.
            let request = fs::read(self.run.join(unit).join(shim::REQUEST)).ok()?;
            let request: serde_json::Value = serde_json::from_slice(&request).ok()?;
            let first = request.pointer(place)?.as_u64()?;
            number_of(u32::try_from(first).ok()?)
        };
        let first = each(&self.run, |unit| at(unit, "/ids/first"));
        // Where nothing runs, nobody has one: what a container writes to its root is gone with it.
        let second = each(&self.run, |unit| at(unit, "/far_ids/0/first"));
        let second = second.into_iter().map(|(unit, number)| (far(&unit), number));
        first.into_iter().chain(second).collect()
    }

    fn ran(&self) -> Vec<(String, u16)> {
        let of = |unit: &str| {
            let upper = fs::symlink_metadata(self.scratch.join(unit).join("upper")).ok()?;
            within(upper.uid())
        };
        each(&self.scratch, of)
    }
}

fn each(folder: &Path, of: impl Fn(&str) -> Option<u16>) -> Vec<(String, u16)> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    // What was taken away to be removed is nobody's.
    let units = names.filter(|name| !name.starts_with('.'));
    units.filter_map(|unit| of(&unit).map(|number| (unit, number))).collect()
}

fn number_of(first: u32) -> Option<u16> {
    within(first).filter(|_| first.is_multiple_of(COUNT))
}

/// The number of the range that an ID is in.
fn within(id: u32) -> Option<u16> {
    u16::try_from(id / COUNT).ok().filter(|number| (FIRST..END).contains(number))
}

impl Given {
    /// Gives a unit that has none the next range; `None` where all are taken.
    fn give(&mut self, unit: &str) -> Option<u16> {
        let mut taken: BTreeSet<u16> = self.numbers.values().copied().collect();
        // A record without the mark is an older version's, or was made anew.
        let after = || taken.last().map_or(FIRST, |last| last.saturating_add(1));
        let number = free(&taken, self.next.unwrap_or_else(after))?;
        self.numbers.insert(unit.to_owned(), number);
        taken.insert(number);
        self.next = free(&taken, number);
        Some(number)
    }
}

/// The first number from this one on that is not taken, and the first of all after the last.
fn free(taken: &BTreeSet<u16>, from: u16) -> Option<u16> {
    (from..END).chain(FIRST..END).find(|number| !taken.contains(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_units_share_a_range_and_each_keeps_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ids.json");
        let ranges = at(&path);
        let (a, b) = (ranges.of("a").unwrap(), ranges.of("b").unwrap());
        assert_eq!(a, IdRange { first: 1 << 20, count: 1 << 16 });
        assert_eq!(b.first, a.first + a.count);
        // Another agent, later.
        let ranges = at(&path);
        assert_eq!(ranges.of("b").unwrap(), b);
        ranges.release("a").unwrap();
        ranges.release("a").unwrap();
        assert_eq!(ranges.of("c").unwrap().first, b.first + b.count);
        assert_eq!(at(&path).of("b").unwrap(), b);
        let second = ranges.second("b").unwrap();
        assert_eq!(at(&path).second("b").unwrap(), second);
        let all = [&b, &second, &ranges.of("c").unwrap(), &ranges.of("d").unwrap()];
        assert_eq!(all.map(|range| range.first).into_iter().collect::<BTreeSet<_>>().len(), 4);
        ranges.release("b").unwrap();
        assert!(!fs::read_to_string(&path).unwrap().contains("\"b"));
    }

    /// What was left of the unit would be the other one's.
    #[test]
    fn a_range_that_was_given_back_is_not_the_next_units() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ids.json");
        let mut seen = BTreeSet::new();
        for unit in ["a", "b", "c"] {
            let ranges = at(&path);
            assert!(seen.insert(ranges.number(unit).unwrap()), "{unit}");
            ranges.release(unit).unwrap();
            assert!(seen.insert(ranges.number("other").unwrap()), "{unit}");
            ranges.release("other").unwrap();
        }
        // An older version understands the record: every key has a range of its own.
        at(&path).of("d").unwrap();
        let record: BTreeMap<String, u16> =
            serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        assert_eq!(record.len(), 2);
        assert_eq!(record.values().collect::<BTreeSet<_>>().len(), 2);
        // And what it has written is understood: it has given the range after all.
        fs::write(&path, r#"{".next":40,"d":41,"e":42}"#).unwrap();
        assert_eq!(at(&path).number("f").unwrap(), 40);
        assert_eq!(at(&path).number("g").unwrap(), 43);
        fs::write(&path, r#"{"d":40,"e":42}"#).unwrap();
        assert_eq!(at(&path).number("f").unwrap(), 43);
    }

    #[test]
    fn a_damaged_record_gives_nothing_away_twice() {
        let damaged = [&b"{"[..], b"\xff", b"{\"a\":3}", b"{\"a\":20,\"b\":20}", b""];
        for bytes in damaged {
            let folder = tempfile::tempdir().unwrap();
            let lib = folder.path().join("lib");
            let (path, run) = (lib.join("ids.json"), lib.join("run/web"));
            fs::create_dir_all(&run).unwrap();
            fs::write(&path, bytes).unwrap();
            // A unit that runs says which range it has.
            let request = format!(
                "{{\"ids\":{{\"first\":{},\"count\":65536}},\"far_ids\":[{{\"first\":{}}}]}}",
                40 * COUNT,
                44 * COUNT
            );
            fs::write(run.join(shim::REQUEST), request).unwrap();
            let ranges = at(&path);
            assert_eq!(ranges.of("db").unwrap().first, 45 * COUNT, "{bytes:?}");
            assert_eq!(ranges.of("web").unwrap().first, 40 * COUNT);
            assert_eq!(ranges.second("web").unwrap().first, 44 * COUNT);
            assert_eq!(at(&path).of("db").unwrap().first, 45 * COUNT);
            let kept = fs::read_dir(lib.join("quarantine")).unwrap().next().unwrap().unwrap();
            assert_eq!(fs::read(kept.path()).unwrap(), bytes);
        }
    }

    /// The first ID that a container may have.
    const FIRST_ID: u32 = FIRST as u32 * COUNT;

    #[test]
    fn what_runs_counts_more_than_what_ran_and_nothing_counts_twice() {
        assert_eq!(number_of(40 * COUNT), Some(40));
        for none in [0, 15 * COUNT, 40 * COUNT + 1, u32::from(END) * COUNT] {
            assert_eq!(number_of(none), None, "{none}");
        }
        // A container may give its root to any of its users, and keeps its range.
        for owner in [40 * COUNT, 40 * COUNT + 5, 41 * COUNT - 1] {
            assert_eq!(within(owner), Some(40), "{owner}");
        }
        for none in [0, 1000, FIRST_ID - 1, u32::from(END) * COUNT + 7] {
            assert_eq!(within(none), None, "{none}");
        }
    }

    fn at(path: &Path) -> Ranges {
        let lib = path.parent().unwrap();
        Ranges::at(path, Evidence { scratch: lib.join("scratch"), run: lib.join("run") })
    }

    #[test]
    fn ranges_end_before_the_last_id_and_start_over() {
        let all = |numbers: std::ops::Range<u16>, next| {
            let numbers = numbers.map(|number| (number.to_string(), number)).collect();
            Given { numbers, next }
        };
        assert_eq!(all(FIRST..END, None).give("new"), None);
        for next in [None, Some(FIRST), Some(END - 1)] {
            assert_eq!(all(FIRST + 3..END, next).give("new"), Some(FIRST), "{next:?}");
        }
        let mut last = all(FIRST + 1..END, None);
        assert_eq!((last.give("new"), last.next), (Some(FIRST), None));
        assert_eq!(last.give("more"), None);
        last.numbers.remove("40");
        assert_eq!((last.give("more"), last.next), (Some(40), None));
        let mut back = all(FIRST..FIRST + 2, Some(END - 1));
        assert_eq!((back.give("one"), back.next), (Some(END - 1), Some(FIRST + 2)));
        assert!(u32::from(END - 1).checked_mul(COUNT).unwrap().checked_add(COUNT).is_some());
    }
}
