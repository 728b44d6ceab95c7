//! Why an entry is not in its layer.

use ferrite_archive::content::NotWritten;

/// Why an entry was not made.
pub(super) enum Problem {
    Refused(&'static str),
    Failed(NotWritten),
}

impl Problem {
    /// The kernel lets ordinary users not do it.
    pub(super) fn is_not_permitted(&self) -> bool {
        matches!(self, Self::Failed(NotWritten::Disk(error))
            if error.kind() == std::io::ErrorKind::PermissionDenied)
    }
}

impl<E: Into<NotWritten>> From<E> for Problem {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}
