//! Archives on their way to a store: a file of their own in its staging folder, for as long as somebody holds it.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::store::ImageStore;

/// Tells archives apart that come at the same time.
static NEXT: AtomicU64 = AtomicU64::new(0);

/// A place for an archive that comes; what is there is gone when this is dropped, whatever became of it.
#[derive(Debug)]
pub struct Arrival(PathBuf);

impl Arrival {
    /// A place that nobody else has. Makes nothing.
    #[must_use]
    pub fn at(images: &ImageStore) -> Self {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        Self(images.staging().join(format!("arrival-{number}")))
    }

    /// Where it is to be written to.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Arrival {
    fn drop(&mut self) {
        // What stays is removed at the next start.
        drop(std::fs::remove_file(&self.0));
    }
}
