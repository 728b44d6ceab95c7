//! Why a stream is not read.

/// A stream is no tar that is read here.
#[derive(Debug, thiserror::Error)]
pub enum TarProblem {
    /// It could not be read.
    #[error("read the tar")]
    Read(#[source] std::io::Error),
    /// It ends within an entry.
    #[error("read the tar: it ends within an entry")]
    Truncated,
    /// It says something that is wrong or that others would read otherwise.
    #[error("read the tar: {why}")]
    Refused {
        /// What.
        why: &'static str,
    },
}

pub(super) const fn refused(why: &'static str) -> TarProblem {
    TarProblem::Refused { why }
}
