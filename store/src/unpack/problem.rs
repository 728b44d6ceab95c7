//! Why an entry is not in its layer.

use std::io;

use ferrite_archive::TarProblem;
use rustix::io::Errno;

/// Why an entry was not made.
pub(super) enum Problem {
    Refused(&'static str),
    Failed(io::Error),
    Tar(TarProblem),
}

impl From<Errno> for Problem {
    fn from(errno: Errno) -> Self {
        Self::Failed(errno.into())
    }
}

impl From<io::Error> for Problem {
    fn from(error: io::Error) -> Self {
        Self::Failed(error)
    }
}

impl From<TarProblem> for Problem {
    fn from(problem: TarProblem) -> Self {
        Self::Tar(problem)
    }
}
