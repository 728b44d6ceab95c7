//! User and group IDs of an image's files beyond those that every unit has: which there are, in stretches. Pure.

use std::fmt;
use std::str::FromStr;

/// IDs that every unit has: 0 and up, so many.
pub const NEAR: u32 = 1 << 16;
/// Most stretches: as many as the kernel takes of a container's IDs in one text of 4096 bytes, with room to spare.
const STRETCHES_MAX: usize = 100;
/// Most stretches while IDs come in no order, and some of them are yet to grow together.
const COLLECTED_MAX: usize = 4096;
/// What stands for more than can be.
const MANY: &str = "many";

/// IDs from [`NEAR`] on, but for the last of all, which means none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FarIds {
    /// First and last of each stretch, in ascending order, with a gap between any two.
    stretches: Vec<(u32, u32)>,
    /// There are more than are kept.
    many: bool,
}

/// There are more stretches of IDs than a unit can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("they are more than {STRETCHES_MAX} stretches")]
pub struct TooMany;

/// A text is no list of IDs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it is no list of IDs")]
pub struct NotIds;

impl FarIds {
    /// Adds an ID, unless every unit has it.
    pub fn add(&mut self, id: u32) {
        if id >= NEAR && id != u32::MAX && !self.many {
            self.stretch(id, id);
        }
    }

    /// Adds all of others.
    pub fn extend(&mut self, others: &Self) {
        self.many |= others.many;
        for (first, last) in &others.stretches {
            self.stretch(*first, *last);
        }
    }

    fn stretch(&mut self, first: u32, last: u32) {
        // Those that it touches become one with it.
        let from = self.stretches.partition_point(|(_, end)| *end < first - 1);
        let to = self.stretches.partition_point(|(start, _)| *start <= last.saturating_add(1));
        let touched = self.stretches.get(from..to).unwrap_or_default();
        let first = touched.first().map_or(first, |(start, _)| first.min(*start));
        let last = touched.last().map_or(last, |(_, end)| last.max(*end));
        self.stretches.splice(from..to.max(from), [(first, last)]);
        if self.stretches.len() > COLLECTED_MAX {
            self.many = true;
        }
    }

    /// There is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.stretches.is_empty() && !self.many
    }

    /// First and last of each stretch, in ascending order.
    ///
    /// # Errors
    /// There are too many.
    pub fn stretches(&self) -> Result<&[(u32, u32)], TooMany> {
        if self.many || self.stretches.len() > STRETCHES_MAX {
            return Err(TooMany);
        }
        Ok(&self.stretches)
    }
}

/// As a layer keeps it: `100000-100003 431982`.
impl fmt::Display for FarIds {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Ok(stretches) = self.stretches() else { return formatter.write_str(MANY) };
        for (index, (first, last)) in stretches.iter().enumerate() {
            let space = if index > 0 { " " } else { "" };
            match first == last {
                true => write!(formatter, "{space}{first}")?,
                false => write!(formatter, "{space}{first}-{last}")?,
            }
        }
        Ok(())
    }
}

impl FromStr for FarIds {
    type Err = NotIds;

    fn from_str(text: &str) -> Result<Self, NotIds> {
        let mut found = Self { stretches: Vec::new(), many: text == MANY };
        let words = text.split(' ').filter(|word| !word.is_empty() && !found.many);
        let stretch = |word: &str| {
            let (first, last) = word.split_once('-').unwrap_or((word, word));
            let (first, last) = (first.parse().ok()?, last.parse().ok()?);
            (NEAR <= first && first <= last && last != u32::MAX).then_some((first, last))
        };
        let stretches: Option<Vec<(u32, u32)>> = words.map(stretch).collect();
        for (first, last) in stretches.ok_or(NotIds)? {
            found.stretch(first, last);
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(ids: &[u32]) -> FarIds {
        let mut found = FarIds::default();
        for id in ids {
            found.add(*id);
        }
        found
    }

    #[test]
    fn ids_are_kept_in_stretches() {
        for (ids, expected) in [
            (&[][..], ""),
            (&[0, 1000, 65_535, u32::MAX], ""),
            (&[65_536], "65536"),
            (&[431_982, 100_011, 431_982], "100011 431982"),
            (&[100_002, 100_000, 100_001], "100000-100002"),
            (&[u32::MAX - 1, u32::MAX - 2], "4294967293-4294967294"),
        ] {
            assert_eq!(of(ids).to_string(), expected);
            assert_eq!(expected.parse(), Ok(of(ids)));
        }
        let mut both = of(&[100_000, 100_002]);
        both.extend(&of(&[100_001, 100_004]));
        assert_eq!(both.to_string(), "100000-100002 100004");
        for bad in ["1", "65535-65537", "70002-70001", "70000-", "x", "4294967295", "70000,70001"] {
            assert_eq!(bad.parse::<FarIds>(), Err(NotIds), "{bad}");
        }
    }

    #[test]
    fn more_than_a_unit_can_have_are_many_and_stay_so() {
        let odd = |count: u32| (0..count).map(|number| 100_000 + 2 * number).collect::<Vec<_>>();
        assert_eq!(of(&odd(100)).stretches().unwrap().len(), 100);
        for count in [101, 5000] {
            let many = of(&odd(count));
            assert_eq!(many.stretches(), Err(TooMany));
            let read: FarIds = many.to_string().parse().unwrap();
            let mut sum = FarIds::default();
            sum.extend(&read);
            assert_eq!((sum.stretches(), sum.is_empty()), (Err(TooMany), false));
        }
        // Longer than a page, no text is taken by the kernel, and this is less than a line there.
        let longest = (0..100).map(|number| u32::MAX - 3 - 3 * number).flat_map(|id| [id, id + 1]);
        assert!(of(&longest.collect::<Vec<_>>()).to_string().len() < 2300);
    }

    proptest! {
        #[test]
        fn no_id_is_lost_and_none_comes_in(ids in prop::collection::vec(65_530_u32..65_600, 0..60)) {
            let found = of(&ids);
            let stretches = found.stretches().unwrap();
            let seen: Vec<u32> = stretches.iter().flat_map(|(first, last)| *first..=*last).collect();
            let mut expected: Vec<u32> = ids.into_iter().filter(|id| *id >= NEAR).collect();
            expected.sort_unstable();
            expected.dedup();
            prop_assert_eq!(seen, expected);
            prop_assert!(stretches.windows(2).all(|pair| pair[0].1 + 1 < pair[1].0));
        }
    }
}
