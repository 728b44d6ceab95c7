//! What the API knows about the node, shared by all requests.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use ferrite_files::quarantine::Quarantine;
use ferrite_schema::api::Machine;
use ferrite_schema::names;
use ferrite_store::layer::Layers;
use ferrite_store::pull::Puller;
use ferrite_store::store::ImageStore;
use ferrite_units::events::Events;
use ferrite_units::supervisor::Units;
use ferrite_units::volumes::Volumes;

use crate::cluster::{self, Cluster, Part};
use crate::stats;
use crate::streams::Streams;

/// Most warnings that are kept: the newest.
const WARNINGS_MAX: usize = 100;
/// Most warnings of a start: what comes later has a place beside them.
pub(crate) const WARNINGS_AT_START_MAX: usize = 40;
/// Most that the node's status says of what was set aside.
const SET_ASIDE_MAX: usize = 40;

/// The node.
#[derive(Debug)]
pub struct Node {
    /// Machine ID.
    pub id: String,
    /// Hostname.
    pub hostname: String,
    /// OS version.
    pub version: String,
    /// Image variant.
    pub variant: String,
    /// Running slot; empty where PID 1 is not ours.
    pub slot: String,
    /// STATE could not be used: why. Nothing is run, and nothing that is written is kept.
    pub rescue: Option<String>,
    /// STATE is of another cluster than the configuration, and operators are let in for orders about the machine alone: why.
    pub estranged: OnceLock<String>,
    /// Units.
    pub units: Units,
    /// Images.
    pub images: ImageStore,
    /// Unpacked layers.
    pub layers: Layers,
    /// Named volumes.
    pub volumes: Volumes,
    /// What brings images from registries.
    pub puller: Puller,
    /// What happened lately.
    pub events: Events,
    /// Run folders of units.
    pub run: PathBuf,
    /// Connections that became streams.
    pub streams: Streams,
    /// The cluster that the node belongs to; none for a lone node.
    pub cluster: Option<Arc<Cluster>>,
    /// Folder of the units' logs.
    pub logs: PathBuf,
    /// PID 1 was told that the node is ready.
    pub ready: AtomicBool,
    /// Things a person should know.
    pub warnings: Mutex<Vec<String>>,
    /// Things that a person should know as long as they are so, by what they are about.
    pub standing: Mutex<BTreeMap<String, String>>,
}

/// What a node is to its cluster.
#[derive(Debug)]
pub(crate) struct Own {
    /// The cluster that its STATE belongs to, for people.
    pub(crate) cluster: Option<String>,
    /// Its part in that.
    pub(crate) part: Part,
}

/// The first of these, and how many more there are: ten thousand damaged files are one trouble, and a status that
/// nobody can read is another.
pub(crate) fn bounded(mut sentences: Vec<String>, most: usize) -> Vec<String> {
    if sentences.len() > most {
        let left = sentences.len() - most;
        sentences.truncate(most);
        sentences.push(format!("and {left} more like these"));
    }
    sentences
}

impl Node {
    /// Keeps a warning for the node's status and logs it.
    pub fn warn(&self, warning: String) {
        tracing::warn!("{warning}");
        let mut warnings = self.warnings.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if warnings.len() >= WARNINGS_MAX {
            warnings.remove(0);
        }
        warnings.push(warning);
    }

    /// Shows a warning in the node's status until `about` is said to be well again.
    pub fn stand(&self, about: String, warning: Option<String>) {
        let mut standing = self.standing.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        match warning {
            // Said again and again by who tries again and again, it is logged once.
            Some(warning) => {
                if standing.get(&about) != Some(&warning) {
                    tracing::warn!("{warning}");
                    standing.insert(about, warning);
                }
            }
            None => drop(standing.remove(&about)),
        }
    }

    /// What the node is to its cluster.
    #[must_use]
    pub(crate) fn part(&self) -> Own {
        let kept = cluster::kept_cluster(Path::new(names::MEMBERSHIP_DIR));
        let named = kept.as_ref().map(|record| format!("{} ({})", record.name, record.id));
        let part = match (&self.cluster, &kept) {
            (None, _) => Part::Alone,
            _ if self.rescue.is_some() => Part::Alone,
            (Some(cluster), Some(kept)) if kept.id != *cluster.id() => Part::Estranged,
            (Some(cluster), _) => cluster.part(),
        };
        Own { cluster: named, part }
    }

    /// Status for the API.
    #[must_use]
    pub fn machine(&self) -> Machine {
        let info = rustix::system::uname();
        let uptime = rustix::time::clock_gettime(rustix::time::ClockId::Boottime).tv_sec;
        let warnings = self.warnings.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let standing = self.standing.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let set_aside = Quarantine::at(Path::new(names::QUARANTINE_DIR)).sentences();
        Machine {
            id: self.id.clone(),
            hostname: self.hostname.clone(),
            version: self.version.clone(),
            variant: self.variant.clone(),
            kernel: info.release().to_string_lossy().into_owned(),
            slot: self.slot.clone(),
            rescue: self.rescue.clone(),
            ready: self.ready.load(Ordering::Relaxed),
            uptime_s: u64::try_from(uptime).unwrap_or(0),
            warnings: warnings
                .iter()
                .chain(standing.values())
                .cloned()
                .chain(stats::state_is_full(&self.logs))
                .chain(bounded(set_aside, SET_ASIDE_MAX))
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::bounded;

    #[test]
    fn many_sentences_become_few() {
        let many = |count: usize| (0..count).map(|one| one.to_string()).collect::<Vec<_>>();
        assert_eq!(bounded(many(3), 3), ["0", "1", "2"]);
        assert_eq!(bounded(many(9_953), 3), ["0", "1", "2", "and 9950 more like these"]);
    }
}
