//! Amounts of bytes as people write them: `"64MiB"`, `"1 GiB"`, `4096`.

use std::fmt;

use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// An amount of bytes. In documents a string with one of the units B, KiB, MiB, GiB, TiB, or a number of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bytes(pub u64);

/// Units, largest first.
const UNITS: [(&str, u64); 5] =
    [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

/// Reads a text such as `64MiB`. Only whole numbers: a fraction of a unit is written in the next smaller one.
fn parse(text: &str) -> Option<Bytes> {
    let text = text.trim();
    let (number, unit) = UNITS
        .iter()
        .find_map(|(unit, bytes)| Some((text.strip_suffix(unit)?, *bytes)))
        .unwrap_or((text, 1));
    number.trim_end().parse::<u64>().ok()?.checked_mul(unit).map(Bytes)
}

impl fmt::Display for Bytes {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (unit, bytes) = UNITS
            .into_iter()
            .find(|(_, bytes)| self.0 != 0 && self.0.is_multiple_of(*bytes))
            .unwrap_or(("B", 1));
        write!(formatter, "{}{unit}", self.0 / bytes)
    }
}

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

struct BytesVisitor;

impl Visitor<'_> for BytesVisitor {
    type Value = Bytes;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an amount of bytes such as \"64MiB\"")
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Bytes, E> {
        Ok(Bytes(value))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Bytes, E> {
        let unexpected = de::Unexpected::Signed(value);
        value.try_into().map(Bytes).map_err(|_negative| E::invalid_value(unexpected, &self))
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Bytes, E> {
        parse(value).ok_or_else(|| E::invalid_value(de::Unexpected::Str(value), &self))
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(BytesVisitor)
    }
}

#[cfg(feature = "openapi")]
impl utoipa::PartialSchema for Bytes {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        use utoipa::openapi::schema::{ObjectBuilder, OneOf, Schema, Type};
        // As many digits as are an amount with each unit, whatever they are.
        let text = "^([0-9]{1,19} *B?|[0-9]{1,16} *KiB|[0-9]{1,13} *MiB|[0-9]{1,10} *GiB|[0-9]{1,7} *TiB)$";
        let text = ObjectBuilder::new().schema_type(Type::String).pattern(Some(text));
        let number = ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(0));
        let amount = OneOf::builder()
            .description(Some("An amount of bytes: `\"64 MiB\"`, or a number of bytes."))
            .item(text)
            .item(number);
        utoipa::openapi::RefOr::T(Schema::OneOf(amount.build()))
    }
}

#[cfg(feature = "openapi")]
impl utoipa::ToSchema for Bytes {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_read_and_written_alike() {
        for (text, bytes) in
            [("64MiB", 64 << 20), ("1GiB", 1 << 30), ("1000B", 1000), ("0B", 0), ("3KiB", 3072)]
        {
            assert_eq!(parse(text), Some(Bytes(bytes)), "{text}");
            assert_eq!(Bytes(bytes).to_string(), text);
        }
        assert_eq!(parse(" 5 GiB "), Some(Bytes(5 << 30)));
        for text in ["", "GiB", "1GB", "1.5GiB", "-1", "99999999TiB"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
