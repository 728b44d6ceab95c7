//! Lists of other people's JSON, of which no more is taken into memory than an honest document has: a few
//! bytes of text may stand for a hundred in memory, and a document has four million of them.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// A list of at most so many values. Reading a longer one ends at the first that is too many.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Bounded<T, const MAX: usize>(pub(super) Vec<T>);

impl<'de, T: Deserialize<'de>, const MAX: usize> Deserialize<'de> for Bounded<T, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct List<T, const MAX: usize>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>, const MAX: usize> Visitor<'de> for List<T, MAX> {
            type Value = Bounded<T, MAX>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(formatter, "a list of at most {MAX}")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
                let mut taken = Vec::new();
                while let Some(value) = list.next_element()? {
                    if taken.len() >= MAX {
                        return Err(A::Error::custom(format!(
                            "a list in it has more than {MAX} entries"
                        )));
                    }
                    taken.push(value);
                }
                Ok(Bounded(taken))
            }
        }
        deserializer.deserialize_seq(List(PhantomData))
    }
}

/// Names of at most so many values, in their order, without the values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Keys<const MAX: usize>(pub(super) Vec<String>);

impl<'de, const MAX: usize> Deserialize<'de> for Keys<MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Table<const MAX: usize>;
        impl<'de, const MAX: usize> Visitor<'de> for Table<MAX> {
            type Value = Keys<MAX>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(formatter, "at most {MAX} names with values")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut table: A) -> Result<Self::Value, A::Error> {
                let mut taken = Vec::new();
                while let Some((name, IgnoredAny)) = table.next_entry()? {
                    if taken.len() >= MAX {
                        return Err(A::Error::custom(format!("more than {MAX} names")));
                    }
                    taken.push(name);
                }
                Ok(Keys(taken))
            }
        }
        deserializer.deserialize_map(Table)
    }
}
