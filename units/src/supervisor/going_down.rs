//! On the way down: dependents stop first, and whoever waits hears what is left and how long it takes at most.

use std::time::Duration;

use super::super::graph::{self, Edges};
use super::super::handle::Stopping;
use super::super::machine::{Event, Policy};
use super::super::system::PREFIX;
use super::{Entry, GoingDown, Supervisor};

/// What a stop of everything gets beyond the longest chain of graces: kills, last output, cgroups.
const STOP_MARGIN: Duration = Duration::from_secs(10);

/// What a stop of it takes at most: each of its containers gets its grace.
fn stop_time(entry: &Entry) -> Duration {
    let unit = entry.lives_by();
    let containers = u32::try_from(unit.post_stop.len() + 1).unwrap_or(u32::MAX);
    Policy::of(unit).grace.saturating_mul(containers)
}

impl Supervisor {
    /// What has no container yet is not to get one.
    pub(super) async fn abandon_starts(&mut self) {
        let unborn = |entry: &Entry| !entry.machine.at_rest() && !entry.machine.is_alive();
        let names = self.entries.iter().filter(|(_, entry)| unborn(entry));
        let names: Vec<String> = names.map(|(name, _)| name.clone()).collect();
        for name in names {
            self.stop_for_good(&name).await;
        }
    }

    async fn stop_for_good(&mut self, name: &str) {
        let Some(going_down) = &mut self.going_down else { return };
        if going_down.asked.insert(name.to_owned()) {
            let reason = "the machine is going down".to_owned();
            self.step(name, Event::Stop { reason }).await;
        }
    }

    /// On the way down: asks those to stop whose turn it is, and says where that stands. How long the rest takes at most,
    /// where fewer are left than before.
    pub(super) async fn stop_next(&mut self) -> Option<Duration> {
        self.going_down.as_ref()?;
        let edges = self.not_at_rest();
        let of_node = |name: &&str| name.starts_with(PREFIX);
        let only_own = edges.keys().all(of_node);
        let due = graph::first_to_stop(&edges);
        // Not even where the others wait for each other in a circle.
        let due = due.into_iter().filter(|name| only_own || !of_node(name));
        let due: Vec<String> = due.map(str::to_owned).collect();
        for name in &due {
            self.stop_for_good(name).await;
        }
        let edges = self.not_at_rest();
        let left = u32::try_from(edges.len()).unwrap_or(u32::MAX);
        let known = self.stopping.borrow().map(|stopping| stopping.left);
        if known.is_some_and(|known| left >= known) {
            return None;
        }
        let grace = |name: &str| self.entries.get(name).map_or(Duration::ZERO, stop_time);
        let within = graph::longest_stop(&edges, grace).saturating_add(STOP_MARGIN);
        self.stopping.send_replace(Some(Stopping { left, within }));
        Some(within)
    }

    /// Those that are not at rest, with those that they need: each needs the node's own.
    fn not_at_rest(&self) -> Edges<'_> {
        let left = || self.entries.iter().filter(|(_, entry)| !entry.machine.at_rest());
        let own = || left().filter(|(_, entry)| entry.system.is_some());
        left()
            .map(|(name, entry)| {
                let mut needed = graph::edges(entry.lives_by());
                if entry.system.is_none() {
                    needed.extend(own().map(|(name, _)| name.as_str()));
                }
                (name.as_str(), needed)
            })
            .collect()
    }

    /// Answers the one who waits for everything to be stopped.
    pub(super) fn finish(&mut self) {
        if let Some(GoingDown { reply, .. }) = self.going_down.take() {
            let left = self.entries.iter().filter(|(_, entry)| !entry.machine.at_rest());
            // Nobody waits any more: then nobody needs the answer.
            drop(reply.send(left.map(|(name, _)| name.clone()).collect()));
        }
    }
}
