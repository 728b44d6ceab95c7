//! A unit that is at rest or forgotten, and what goes with it.

use std::path::Path;
use std::time::Duration;

use ferrite_files::quarantine::Quarantine;
use ferrite_files::removal;
use ferrite_schema::api::EventKind;
use ferrite_schema::names;
use ferrite_store::beside;
use ferrite_sys::cgroup::Cgroup;

use super::super::record;
use super::super::volumes::{self, Volumes};
use super::Supervisor;

/// Bound of the wait for killed processes to be gone: what stays is the next start's to clear.
const EMPTY_WITHIN: Duration = Duration::from_secs(2);

impl Supervisor {
    /// Gives back what a unit has only while it lives. A volume that its shim had not filled to its end goes as well: nobody
    /// would see it, and the next start would begin anew.
    pub(super) async fn release(&mut self, name: &str) {
        let Some(entry) = self.entries.get_mut(name) else { return };
        entry.addresses.clear();
        let units = [Some(&entry.unit), entry.launched.as_ref()];
        if !volumes::users(units.into_iter().flatten()).is_empty() {
            let volumes = Volumes::in_folder(&self.tools.places.volumes);
            beside::unwaited(move || volumes.clean_unfinished());
        }
        self.tools.containers.detach(name).await;
    }

    pub(super) async fn forget(&mut self, name: &str) {
        let cgroup = self.cgroup(name);
        let gone = self.entries.remove(name).map(|entry| entry.gone);
        self.changed = true;
        self.tools.containers.detach(name).await;
        record::remove(&self.tools.records, name);
        self.remove_folders(name, cgroup).await;
        self.publish(name, EventKind::Removed, "forgotten".to_owned());
        for reply in gone.into_iter().flatten() {
            drop(reply.send(Ok(())));
        }
    }

    /// Takes away what is kept about a unit that is forgotten, and gives its IDs back. How much a container has written is
    /// its own affair: removing it takes its time beside the supervisor.
    async fn remove_folders(&mut self, name: &str, cgroup: Cgroup) {
        let (places, unit) = (self.tools.places.clone(), name.to_owned());
        let taken = self.beside(move || {
            let mut gone = Vec::new();
            // Its shim has removed it, where that was not lost.
            for cgroup in [cgroup, places.shim_cgroup_of(&unit)] {
                if let Err(error) = cgroup.clear(EMPTY_WITHIN) {
                    let error = ferrite_schema::chain(&error);
                    tracing::warn!(unit, error, "cgroup-not-removed");
                }
            }
            // In memory, and small.
            drop(removal::remove(&places.run.join(&unit)));
            for folder in [&places.scratch, &places.logs] {
                match removal::take_away(&folder.join(&unit)) {
                    Ok(taken) => gone.extend(taken),
                    // What stays is emptied by a unit of the same name before it starts.
                    Err(error) => tracing::warn!(unit, %error, "folder-not-taken-away"),
                }
            }
            if let Err(error) = places.ids.release(&unit) {
                tracing::warn!(unit, error = ferrite_schema::chain(&error), "ids-not-released");
            }
            gone
        });
        let gone = taken.await;
        let quarantine = Quarantine::at(Path::new(names::QUARANTINE_DIR));
        beside::unwaited(move || {
            for folder in gone {
                if let Err(error) = quarantine.remove(&folder) {
                    tracing::error!(error = ferrite_schema::chain(&error), "remains-stay");
                }
            }
        });
    }
}
