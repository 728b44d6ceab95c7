//! Why an entry is not in its layer.

use ferrite_archive::content::NotWritten;

/// Why an entry was not made.
pub(super) enum Problem {
    Refused(&'static str),
    Failed(NotWritten),
}

impl<E: Into<NotWritten>> From<E> for Problem {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}
