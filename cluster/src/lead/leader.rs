//! The loop of a leader.

use std::collections::BTreeMap;

use futures_util::StreamExt;

use super::clock::Clock;
use super::intake::{Intake, Tiding};
use super::writes::{next_batch, steps};
use crate::engine::{Event, Move, World, plan};
use crate::keys::{Key, PREFIX};
use crate::leadership::Fence;
use crate::presence::{Presences, Sign, Times};
use crate::records::Refused;
use crate::store::{Change, ClusterStore, Outcome, Revision, StoreProblem, Watch};

/// Why somebody leads no more.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LeadEnd {
    /// Another one leads.
    #[error("another member leads since revision {since}")]
    Fenced {
        /// The revision of `leader` now.
        since: Revision,
    },
    /// The store does not do what it must. What was asked of it last may have been done.
    #[error(transparent)]
    Store(#[from] StoreProblem),
    /// A record of its own is none.
    #[error("write an assignment")]
    Encode(#[from] Refused),
}

/// What a leader tells whoever runs it, after each decision is in the store.
#[derive(Debug)]
pub struct Report<'a> {
    /// What it knows; for [`crate::engine::why`].
    pub world: &'a World,
    /// What it just moved.
    pub moves: &'a [Move],
    /// Records that it cannot understand, and why.
    pub refused: &'a BTreeMap<Key, String>,
    /// An assignment is among them: nothing is decided until somebody mends it.
    pub blocked: bool,
    /// Many machines are gone at once: it waits a while before it believes it.
    pub braked: bool,
}

/// Leads until another one does, or the store fails. By `times` machines are gone. Dropping the future ends it at any
/// point without harm.
pub async fn lead<S: ClusterStore, C: Clock>(
    store: &S,
    fence: Fence,
    times: Times,
    clock: &C,
    mut report: impl FnMut(Report<'_>) + Send,
) -> LeadEnd {
    let mut presences = Presences::ending(times);
    loop {
        let begun = Term::begin(store, fence, clock, &mut presences).await;
        let run = match begun {
            Ok((mut term, watch)) => term.run(watch, &mut report).await,
            Err(end) => Err(end),
        };
        match run {
            // Something is not as it was known: all is read again.
            Ok(()) => {}
            Err(end) => return end,
        }
    }
}

/// What is done between one reading of everything and the next.
struct Term<'a, S, C> {
    store: &'a S,
    clock: &'a C,
    fence: Fence,
    presences: &'a mut Presences,
    intake: Intake,
    world: World,
    /// What the engine has not heard yet.
    events: Vec<Event>,
}

/// Everything must be read again.
struct Stale;

impl<'a, S: ClusterStore, C: Clock> Term<'a, S, C> {
    async fn begin(
        store: &'a S,
        fence: Fence,
        clock: &'a C,
        presences: &'a mut Presences,
    ) -> Result<(Self, Watch), LeadEnd> {
        let listing = store.list(PREFIX.as_bytes()).await?;
        let watch = store.watch(PREFIX.as_bytes(), listing.revision.next()).await?;
        let known = presences.known().map(|(id, presence)| Event::Presence(id.clone(), presence));
        let events = known.collect();
        let (intake, world) = (Intake::default(), World::new());
        let mut term = Self { store, clock, fence, presences, intake, world, events };
        let tidings = term.intake.begin(&listing.entries);
        term.hear(tidings)?;
        Ok((term, watch))
    }

    async fn run(
        &mut self,
        mut watch: Watch,
        report: &mut (impl FnMut(Report<'_>) + Send),
    ) -> Result<(), LeadEnd> {
        loop {
            self.sign(&Sign::Tick);
            let Ok(moves) = self.decide().await? else { return Ok(()) };
            report(Report {
                world: &self.world,
                moves: &moves,
                refused: self.intake.refused(),
                blocked: self.intake.blocked(),
                braked: self.presences.braked(),
            });
            let changes = match self.presences.deadline() {
                Some(deadline) => tokio::select! {
                    changes = watch.next() => Some(changes),
                    () = self.clock.until(deadline) => None,
                },
                None => Some(watch.next().await),
            };
            match changes {
                None => {}
                Some(Some(Ok(changes))) => self.changed(&changes)?,
                // Forgotten or cut off: what was missed is in the store.
                Some(Some(Err(_)) | None) => return Ok(()),
            }
        }
    }

    fn changed(&mut self, changes: &[Change]) -> Result<(), LeadEnd> {
        let tidings = self.intake.changes(changes);
        self.hear(tidings)
    }

    fn hear(&mut self, tidings: Vec<Tiding>) -> Result<(), LeadEnd> {
        for tiding in tidings {
            match tiding {
                Tiding::Event(event) => self.events.push(event),
                Tiding::Sign(sign) => self.sign(&sign),
                Tiding::Leader(since) if since > self.fence.0 => {
                    return Err(LeadEnd::Fenced { since });
                }
                Tiding::Leader(_) => {}
            }
        }
        Ok(())
    }

    fn sign(&mut self, sign: &Sign) {
        let changed = self.presences.step(sign, self.clock.now());
        let events = changed.into_iter().map(|(id, presence)| Event::Presence(id, presence));
        self.events.extend(events);
    }

    /// Decides, and writes it down.
    async fn decide(&mut self) -> Result<Result<Vec<Move>, Stale>, LeadEnd> {
        if self.intake.blocked() {
            return Ok(Ok(Vec::new()));
        }
        let moves = plan(&mut self.world, &std::mem::take(&mut self.events));
        for mut step in steps(&self.intake, &self.world, &moves)? {
            while let Some(batch) = next_batch(&mut step, &self.intake, self.fence)? {
                match self.store.transact(batch.transaction.clone()).await? {
                    Outcome::Done(revision) => {
                        for (id, stored) in batch.written(revision) {
                            self.intake.wrote(&id, stored);
                        }
                    }
                    Outcome::Failed(_) => return self.overtaken().await.map(Err),
                }
            }
        }
        Ok(Ok(moves))
    }

    /// A comparison did not hold: another one leads, or somebody wrote an assignment.
    async fn overtaken(&self) -> Result<Stale, LeadEnd> {
        let (at, entry) = self.store.get(&Key::Leader.bytes()).await?;
        match entry {
            Some(entry) if entry.mod_revision == self.fence.0 => Ok(Stale),
            Some(entry) => Err(LeadEnd::Fenced { since: entry.mod_revision }),
            None => Err(LeadEnd::Fenced { since: at }),
        }
    }
}
