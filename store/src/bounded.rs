//! Lists and annotations of other people's JSON, of which no more is taken into memory than an honest document has: a few
//! bytes of text may stand for a hundred in memory, and a document has four million of them.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::documents::{Annotations, KNOWN_ANNOTATIONS};

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

/// The annotations that mean something here; others are passed over.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Known(pub(super) Annotations);

impl<'de> Deserialize<'de> for Known {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Map;
        impl<'de> Visitor<'de> for Map {
            type Value = Known;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("annotations")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Known, A::Error> {
                let mut known = Annotations::new();
                while let Some(key) = map.next_key::<String>()? {
                    if KNOWN_ANNOTATIONS.contains(&key.as_str()) {
                        known.insert(key, map.next_value()?);
                    } else {
                        map.next_value::<IgnoredAny>()?;
                    }
                }
                Ok(Known(known))
            }
        }
        deserializer.deserialize_map(Map)
    }
}
