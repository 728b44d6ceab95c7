//! Tar as layers are written in: ustar, PAX, GNU's long names and sparse files. Read strictly and within bounds:
//! everybody here who reads an archive of somebody else reads it with this, and writes its files with this. Copies between
//! a container and its surroundings are packed here too.
//!
//! The format is old and its readers differ; what two of them would read differently is refused here: data behind a
//! link or a folder, global headers that rename, a lone block of zeros with more behind it.

pub mod content;
mod entry;
pub mod extract;
pub mod header;
pub mod pack;
pub mod pax;
mod problem;
mod record;
mod sparse;
pub mod stream;

pub use self::entry::{Entry, Extent};
pub use self::header::{BLOCK_BYTES, Kind};
pub use self::problem::TarProblem;
pub use self::stream::Tar;
