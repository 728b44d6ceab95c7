//! Images from registries: found, downloaded, checked, unpacked and named.
//!
//! One pull per image at a time; whoever wants the same image meanwhile waits for it and sees the same progress.
//! A pull is its caller's future: dropping it ends the pull, and what was downloaded is kept for the next one.

pub mod address;
pub mod blob;
mod by_digest;
pub mod challenge;
mod connect;
mod cosign;
mod document;
pub mod http;
pub mod manifest;
pub mod nearby;
pub mod partial;
pub mod place;
mod problem;
mod referrers;
pub mod registry;
mod renew;
pub mod retry_after;
pub mod trust;

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use ferrite_files::own;
use ferrite_schema::api::{LayerPhase, LayerProgress, PullProgress};
use ferrite_schema::node_config::{NodeConfig, RegistryConfig, SignatureRule};
use ferrite_schema::reference::Reference;
use ferrite_schema::unit::PullPolicy;
use futures_util::stream::{FuturesUnordered, TryStreamExt};
use tokio::sync::{Semaphore, watch};

use self::http::Client;
use self::manifest::Found;
use self::nearby::Nearby;
use self::trust::Trust;
use super::access::{self, Opened, Unusable};
use super::beside::beside;
use super::config::ImageConfig;
use super::digest::Digest;
use super::documents::{Blob, DOCUMENT_MAX_BYTES, Manifest, Refuse};
use super::layer::{Layer, Layers};
use super::platform::HERE;
use super::signature::{Policy, Refused};
use super::stack::{Stack, Step};
use super::store::{ImageStore, Record};

pub use self::problem::Pull;
pub use self::renew::Brought;

/// Layers of one image that are downloaded at a time.
const PARALLEL_MAX: usize = 4;

/// Whose turn it is among the layers of an image.
#[derive(Clone, Copy)]
struct Turns<'a> {
    downloads: &'a Semaphore,
    /// How many are unpacked, from the lowest on.
    unpacked: &'a watch::Sender<usize>,
}

/// A pull that somebody wants.
#[derive(Debug)]
struct Job {
    progress: watch::Sender<PullProgress>,
    turn: tokio::sync::Mutex<()>,
}

#[derive(Debug)]
struct Shared {
    images: ImageStore,
    layers: Layers,
    client: Client,
    trust: Arc<Trust>,
    policy: Policy,
    nearby: OnceLock<Arc<dyn Nearby>>,
    jobs: Mutex<HashMap<String, Arc<Job>>>,
    /// A layer that two images share is downloaded once.
    blobs: Mutex<HashMap<Digest, Arc<tokio::sync::Mutex<()>>>>,
}

/// A handle that images are pulled through; its clones share their work.
#[derive(Debug, Clone)]
pub struct Puller {
    shared: Arc<Shared>,
}

/// What pulls go by.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// Registries and mirrors.
    pub registries: BTreeMap<String, RegistryConfig>,
    /// Which images may be used.
    pub signatures: Vec<SignatureRule>,
}

impl From<&NodeConfig> for Settings {
    fn from(config: &NodeConfig) -> Self {
        Self { registries: config.registries.clone(), signatures: config.signatures.clone() }
    }
}

impl Shared {
    fn open(&self, name: &str) -> Result<Opened, Unusable> {
        access::open(&self.images, &self.policy, name)
    }
}

impl Puller {
    /// Pulls into these stores.
    #[must_use]
    pub fn new(images: ImageStore, layers: Layers, settings: Settings) -> Self {
        let trust = Arc::new(Trust::new(settings.registries));
        Self {
            shared: Arc::new(Shared {
                images,
                layers,
                client: Client::new(Arc::clone(&trust)),
                trust,
                policy: Policy::new(settings.signatures),
                nearby: OnceLock::new(),
                jobs: Mutex::default(),
                blobs: Mutex::default(),
            }),
        }
    }

    /// The rules that images must pass.
    #[must_use]
    pub fn policy(&self) -> &Policy {
        &self.shared.policy
    }

    /// The image called `name`, pulled only where what is here cannot be used. Dropping the future ends the pull; what was
    /// downloaded is kept for the next one.
    ///
    /// # Errors
    /// The image cannot be used.
    pub async fn ensure(&self, name: &str) -> Result<Record, Pull> {
        match self.look(name).await {
            Ok(record) => Ok(record),
            Err(problem) if problem.is_final() => Err(problem.into()),
            Err(_) => self.pull_unless(name, true).await,
        }
    }

    /// The image called `name`, if it is here, whole, and the rules let it be used.
    ///
    /// # Errors
    /// It cannot be used as it is; [`Unusable::is_final`] says whether a pull could help.
    pub async fn look(&self, name: &str) -> Result<Record, Unusable> {
        let (shared, own) = (Arc::clone(&self.shared), name.to_owned());
        let work = move || {
            let opened = shared.open(&own)?;
            opened.folders(&shared.layers)?;
            shared.images.note_use(&opened.record);
            Ok(opened.record)
        };
        beside(work).await
    }

    /// Opens the image called `name`, which is on this node. Reads files.
    ///
    /// # Errors
    /// It cannot be used as it is.
    pub fn open(&self, name: &str) -> Result<Opened, Unusable> {
        self.shared.open(name)
    }

    /// What the node's rules say against what is kept as `name`, in memory but for its record.
    #[must_use]
    pub fn objection(&self, name: &str) -> Option<Refused> {
        let reference = self.shared.images.reference(name).ok()?;
        let policy = &self.shared.policy;
        match self.shared.images.get(name) {
            Ok(Some(record)) => policy.check_stored(&record, &reference).err(),
            Ok(None) | Err(_) => policy.check_name(&reference).err(),
        }
    }

    /// The image called `name` as the registry has it now.
    ///
    /// # Errors
    /// The image cannot be had; the one that is here, if any, stays.
    pub async fn pull(&self, name: &str) -> Result<Record, Pull> {
        self.pull_unless(name, false).await
    }

    /// The digest that `name` means: of the image that is here, else of the one that its registry has, as far as `policy` lets
    /// them be asked; with [`PullPolicy::Always`] the registry alone. It is the manifest's, or that of the index before it where a
    /// signature let the image in: that may be what was signed.
    ///
    /// # Errors
    /// It is not here, and its registry does not say.
    pub async fn resolve(&self, name: &str, policy: PullPolicy) -> Result<String, Pull> {
        let reference = self.shared.images.reference(name)?;
        if policy != PullPolicy::Always {
            let (shared, own) = (Arc::clone(&self.shared), name.to_owned());
            match beside(move || shared.open(&own).map(|opened| opened.record)).await {
                Ok(record) => {
                    let index = record.signed_by.and_then(|_| record.indexes.into_iter().next());
                    return Ok(index.unwrap_or(record.manifest));
                }
                Err(problem) if policy == PullPolicy::Never => return Err(problem.into()),
                Err(_) => {}
            }
        }
        self.shared.policy.check_name(&reference)?;
        let found = self.search().find(&reference, name).await?;
        let index = found.verdict.key().and_then(|_| found.image.indexes.first());
        Ok(index.unwrap_or(&found.image.digest).to_string())
    }

    fn search(&self) -> manifest::Search<'_> {
        manifest::Search {
            client: &self.shared.client,
            trust: &self.shared.trust,
            policy: &self.shared.policy,
        }
    }

    /// How far the pull of `name` is, now and from now on.
    #[must_use]
    pub fn watch(&self, name: &str) -> watch::Receiver<PullProgress> {
        self.job(&self.key(name)).progress.subscribe()
    }

    fn key(&self, name: &str) -> String {
        self.shared.images.reference(name).map_or_else(|_| name.to_owned(), |one| one.to_string())
    }

    fn job(&self, key: &str) -> Arc<Job> {
        let mut jobs = self.shared.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        // Jobs that nobody works on or watches any more are forgotten here.
        jobs.retain(|_, job| Arc::strong_count(job) > 1 || job.progress.receiver_count() > 0);
        let new = || {
            let progress = PullProgress { name: key.to_owned(), layers: Vec::new() };
            let progress = watch::channel(progress).0;
            Arc::new(Job { progress, turn: tokio::sync::Mutex::default() })
        };
        Arc::clone(jobs.entry(key.to_owned()).or_insert_with(new))
    }

    async fn pull_unless(&self, name: &str, here_is_enough: bool) -> Result<Record, Pull> {
        let reference = self.shared.images.reference(name)?;
        let key = reference.to_string();
        let job = self.job(&key);
        let _turn = job.turn.lock().await;
        let _in_use = self.shared.images.begin_use();
        let (mut problem, mut unasked) = (None, None);
        if here_is_enough {
            match self.mended(name).await {
                Ok(record) => return Ok(record),
                Err(why) if why.is_final() => return Err(why.into()),
                Err(why) => {
                    match self.near(&reference, name).await {
                        Ok(record) => return Ok(record),
                        Err(who) => unasked = who,
                    }
                    problem = Some(why).filter(|why| !matches!(why, Unusable::Absent { .. }))
                }
            }
        }
        job.progress.send_modify(|progress| progress.layers.clear());
        tracing::info!(image = key, "pull-begun");
        let pulled = self.run(&reference, &key, &job.progress).await;
        let pulled = pulled.map_err(|source| source.or_later(unasked));
        let record = match (pulled, problem) {
            (Ok(record), _) => record,
            (Err(source), None) => return Err(source),
            (Err(source), Some(problem)) => {
                return Err(Pull::Again { problem: Box::new(problem), source: Box::new(source) });
            }
        };
        tracing::info!(image = key, digest = record.manifest, "pull-done");
        Ok(record)
    }

    /// The image as it is here, after layers that are missing were unpacked again from their blobs.
    async fn mended(&self, name: &str) -> Result<Record, Unusable> {
        let problem = match self.look(name).await {
            Err(problem @ Unusable::Layer { .. }) => problem,
            other => return other,
        };
        let (shared, own) = (Arc::clone(&self.shared), name.to_owned());
        let opened = beside(move || shared.open(&own)).await?;
        for (step, blob) in opened.stack.steps().zip(&opened.manifest.layers) {
            let why = match self.unpack(blob, step, name).await {
                Ok(true) => continue,
                Ok(false) => "its blob is not right any more".to_owned(),
                Err(error) => ferrite_schema::chain(&error),
            };
            tracing::warn!(error = why, image = name, "layer-not-unpacked-again");
            return Err(problem);
        }
        self.look(name).await
    }

    async fn run(
        &self,
        reference: &Reference,
        name: &str,
        progress: &watch::Sender<PullProgress>,
    ) -> Result<Record, Pull> {
        self.shared.policy.check_name(reference)?;
        let found = self.search().find(reference, name).await?;
        let config = self.blob(&found, &found.image.manifest.config, name, &|_| ()).await;
        config?;
        let images = &self.shared.images;
        let config_digest = found.image.manifest.config.digest;
        let config = images.read_document(&config_digest, DOCUMENT_MAX_BYTES)?;
        let config: ImageConfig = serde_json::from_slice(&config)
            .map_err(|source| Pull::ReadConfig { name: name.to_owned(), source })?;
        let tars = config.tars().map_err(Refuse::Digest);
        let tars = tars.map_err(|source| Pull::Document { name: name.to_owned(), source })?;
        let unfit = |why| Pull::Unfit { name: name.to_owned(), why };
        if !found.image.stated
            && let Some(other) = config.elsewhere()
        {
            return Err(unfit(format!("it is for {other}, and this node is {HERE}")));
        }
        let (blobs, named) = (found.image.manifest.layers.len(), tars.len());
        if named != blobs {
            return Err(unfit(format!(
                "its manifest has {blobs} layers, its configuration {named}"
            )));
        }
        let stack = Stack::new(tars);
        self.announce(&found.image.manifest, &stack, progress);
        self.layers(&found, &stack, name, progress).await?;
        self.keep(name, &found, stack.tars()).await
    }

    /// Downloads some layers at a time, and unpacks each when those below it are.
    async fn layers(
        &self,
        found: &Found,
        stack: &Stack,
        name: &str,
        progress: &watch::Sender<PullProgress>,
    ) -> Result<(), Pull> {
        let (downloads, unpacked) = (Semaphore::new(PARALLEL_MAX), watch::Sender::new(0));
        let turns = Turns { downloads: &downloads, unpacked: &unpacked };
        let layers = found.image.manifest.layers.iter().zip(stack.steps()).enumerate();
        let mut running: FuturesUnordered<_> = layers
            .map(|(index, (blob, step))| {
                self.layer(found, (index, blob, step), name, (progress, turns))
            })
            .collect();
        while running.try_next().await?.is_some() {}
        Ok(())
    }

    async fn keep(&self, name: &str, found: &Found, tars: &[Digest]) -> Result<Record, Pull> {
        let mut blobs: Vec<&Blob> = found.image.manifest.layers.iter().collect();
        blobs.sort_by_key(|blob| blob.digest);
        blobs.dedup_by_key(|blob| blob.digest);
        let of_layers = blobs.iter().fold(0_u64, |sum, blob| sum.saturating_add(blob.size_bytes));
        let record = Record {
            name: name.to_owned(),
            manifest: found.image.digest.to_string(),
            config: found.image.manifest.config.digest.to_string(),
            layers: tars.iter().map(Digest::to_string).collect(),
            size_bytes: of_layers
                .saturating_add(found.image.manifest.config.size_bytes)
                .saturating_add(found.bytes.len() as u64),
            blobs: found.image.manifest.layers.iter().map(|blob| blob.digest.to_string()).collect(),
            signed_by: found.verdict.key(),
            key: Some(name.to_owned()),
            indexes: found.image.indexes.iter().map(Digest::to_string).collect(),
            imported: false,
        };
        let (images, kept) = (self.shared.images.clone(), record.clone());
        let (digest, document) = (found.image.digest, found.bytes.clone());
        let keeping =
            move || images.write_document(&digest, &document).and_then(|()| images.put(&kept));
        beside(keeping).await?;
        Ok(record)
    }

    fn announce(&self, manifest: &Manifest, stack: &Stack, progress: &watch::Sender<PullProgress>) {
        let layers = manifest.layers.iter().zip(stack.folders()).map(|(blob, folder)| {
            let here = self.shared.layers.is_whole(folder);
            LayerProgress {
                digest: blob.digest.to_string(),
                size_bytes: blob.size_bytes,
                done_bytes: if here { blob.size_bytes } else { 0 },
                phase: if here { LayerPhase::Done } else { LayerPhase::Waiting },
            }
        });
        progress.send_modify(|progress| progress.layers = layers.collect());
    }

    async fn layer(
        &self,
        found: &Found,
        (index, blob, step): (usize, &Blob, Step<'_>),
        name: &str,
        (progress, turns): (&watch::Sender<PullProgress>, Turns<'_>),
    ) -> Result<(), Pull> {
        let set = |phase, done_bytes| {
            progress.send_modify(|progress| {
                if let Some(layer) = progress.layers.get_mut(index) {
                    layer.phase = phase;
                    layer.done_bytes = done_bytes;
                }
            });
        };
        let downloaded = |bytes| set(LayerPhase::Downloading, bytes);
        // In the order in which they were asked for; nobody closes it.
        let turn = turns.downloads.acquire().await;
        self.blob(found, blob, name, &downloaded).await?;
        drop(turn);
        // Its sender is there as long as this future.
        drop(turns.unpacked.subscribe().wait_for(|count| *count >= index).await);
        set(LayerPhase::Unpacking, blob.size_bytes);
        if !self.unpack(blob, step, name).await? {
            // What the disk has under the blob's name is not the blob any more.
            self.blob(found, blob, name, &downloaded).await?;
            set(LayerPhase::Unpacking, blob.size_bytes);
            if !self.unpack(blob, step, name).await? {
                let why = io::Error::other("its blob is wrong again after it was downloaded anew");
                let source = Layer::Decompress { digest: *step.tar, source: why };
                return Err(Pull::Layer { name: name.to_owned(), source });
            }
        }
        turns.unpacked.send_replace(index + 1);
        set(LayerPhase::Done, blob.size_bytes);
        Ok(())
    }

    /// Unpacks a layer; `false` where its blob turned out to be wrong and was removed.
    async fn unpack(&self, blob: &Blob, step: Step<'_>, name: &str) -> Result<bool, Pull> {
        let (shared, digest) = (Arc::clone(&self.shared), blob.digest);
        let (tar, folder, below) = (*step.tar, *step.folder, step.below.to_vec());
        // It goes on where the pull is dropped, and so must what it needs.
        let in_use = self.shared.images.begin_use();
        let work = move || {
            let _in_use = in_use;
            let path = shared.images.blob(&digest);
            let step = Step { tar: &tar, folder: &folder, below: &below };
            match shared.layers.ensure(&step, &path) {
                Ok(()) => Ok(true),
                Err(error @ (Layer::Prepare { .. } | Layer::Below { .. })) => Err(error),
                Err(error) => match shared.images.is_right(&digest) {
                    Ok(false) => {
                        tracing::warn!(%digest, "blob-changed-on-disk");
                        // One that stays is refused once more.
                        drop(own::remove(&path));
                        Ok(false)
                    }
                    Ok(true) | Err(_) => Err(error),
                },
            }
        };
        match tokio::task::spawn_blocking(work).await {
            Ok(Ok(unpacked)) => Ok(unpacked),
            Ok(Err(source)) => Err(Pull::Layer { name: name.to_owned(), source }),
            Err(_) => Err(Pull::GoingDown { name: name.to_owned() }),
        }
    }

    async fn blob(
        &self,
        found: &Found,
        blob: &Blob,
        name: &str,
        progress: &(impl Fn(u64) + Sync),
    ) -> Result<(), Pull> {
        let turn = {
            let mut turns = self.shared.blobs.lock().unwrap_or_else(PoisonError::into_inner);
            turns.retain(|_, turn| Arc::strong_count(turn) > 1);
            Arc::clone(turns.entry(blob.digest).or_default())
        };
        let _turn = turn.lock().await;
        if self.shared.images.holds(&blob.digest, blob.size_bytes) {
            return Ok(());
        }
        blob::fetch(blob, &found.places, &self.shared.images, progress)
            .await
            .map_err(|source| Pull::Download { name: name.to_owned(), source })
    }
}

#[cfg(test)]
mod spellings;
#[cfg(test)]
mod tests;
