//! Why an entry is not in its layer.

use ferrite_archive::content::NotWritten;

/// Why an entry was not made.
pub(super) enum Problem {
    Refused(&'static str),
    Failed(NotWritten),
}

impl Problem {
    /// A name on the way is no folder's.
    pub(super) fn is_no_folder(&self) -> bool {
        matches!(self, Self::Failed(NotWritten::Disk(error))
            if error.kind() == std::io::ErrorKind::NotADirectory)
    }

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
