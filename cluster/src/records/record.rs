//! What all records have in common: bounds, unknown fields, and how they are refused.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::keys::Key;
use crate::names::{path_of, said};

/// What this version understands of units and records; a machine tells it in its record.
///
/// | level | what came with it |
/// |---|---|
/// | 1 | the beginning |
/// | 2 | networks without WireGuard ([`super::Networks::transport`]) |
pub const LEVEL: u32 = 2;

/// Fields that this version does not know.
pub type Rest = Map<String, Value>;

/// A record that is not what its key says, or is too big to be written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {field}: {why}")]
pub struct Refused {
    /// The key.
    pub key: Key,
    /// Path of the field: `instances.web@1.spec`; `.` where it is the whole.
    pub field: String,
    /// What is wrong with it.
    pub why: String,
}

/// A value that a record must not have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wrong {
    /// Path of the field.
    pub field: String,
    /// What is wrong with it.
    pub why: String,
}

impl Wrong {
    /// This field, for this reason.
    pub(crate) fn at(field: impl Into<String>, why: impl Into<String>) -> Self {
        Self { field: field.into(), why: why.into() }
    }
}

/// Most addresses of a machine, and of an instance: all nodes are told them.
pub const ADDRESSES_MAX: usize = 32;
/// Most bytes of a word, a digest or a key.
const WORD_MAX_BYTES: usize = 128;

/// A word that nobody here knows, a digest, or a key: short, and on one line.
pub(super) fn word(field: impl Into<String>, text: &str) -> Result<(), Wrong> {
    if text.len() <= WORD_MAX_BYTES && !text.chars().any(char::is_control) {
        return Ok(());
    }
    Err(Wrong::at(field, format!("it is on one line, of {WORD_MAX_BYTES} bytes at most")))
}

/// So many, and no more.
pub(super) fn count(field: impl Into<String>, found: usize, most: usize) -> Result<(), Wrong> {
    if found <= most {
        return Ok(());
    }
    Err(Wrong::at(field, format!("there are {found} of them, and {most} are the most")))
}

/// Something that is stored.
pub trait Record: Serialize + DeserializeOwned {
    /// Most bytes of it, as it is stored.
    const MAX_BYTES: usize;

    /// Looks at what types alone do not say.
    ///
    /// # Errors
    /// The first value that it must not have.
    fn check(&self) -> Result<(), Wrong> {
        Ok(())
    }
}

/// Understands what is stored below `key`.
///
/// # Errors
/// It is too big, is no JSON, or has a field that it must not have.
pub fn decode<R: Record>(key: &Key, bytes: &[u8]) -> Result<R, Refused> {
    let refused = |field: String, why: String| Refused { key: key.clone(), field, why };
    fits::<R>(bytes.len()).map_err(|why| refused(".".to_owned(), why))?;
    if let Key::Spec(hash) = key
        && crate::names::SpecHash::of(bytes) != *hash
    {
        return Err(refused(".".to_owned(), "its content is not what its hash says".to_owned()));
    }
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let record: R = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let field = path_of(error.path());
        refused(field, said(&error.into_inner().to_string()))
    })?;
    reader.end().map_err(|error| refused(".".to_owned(), said(&error.to_string())))?;
    record.check().map_err(|wrong| refused(wrong.field, wrong.why))?;
    Ok(record)
}

/// The record as it is stored below `key`.
///
/// # Errors
/// It is too big, or has a value that it must not have.
pub fn encode<R: Record>(key: &Key, record: &R) -> Result<Vec<u8>, Refused> {
    let refused = |field: String, why: String| Refused { key: key.clone(), field, why };
    record.check().map_err(|wrong| refused(wrong.field, wrong.why))?;
    let bytes =
        serde_json::to_vec(record).map_err(|error| refused(".".to_owned(), error.to_string()))?;
    fits::<R>(bytes.len()).map_err(|why| refused(".".to_owned(), why))?;
    Ok(bytes)
}

fn fits<R: Record>(size_bytes: usize) -> Result<(), String> {
    if size_bytes <= R::MAX_BYTES {
        return Ok(());
    }
    Err(format!("it has {size_bytes} bytes, and {} are the most", R::MAX_BYTES))
}
