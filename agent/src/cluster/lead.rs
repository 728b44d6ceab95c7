//! A member's part in leading: whoever is beside the raft leader decides what runs where, and who runs etcd.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::Pin;
use std::time::Duration;

use ferrite_cluster::keys::{Key, PREFIX};
use ferrite_cluster::lead::{Collector, LeadEnd, Monotonic, Report, lead};
use ferrite_cluster::leadership::{Effect, Event, Fence, Leadership, Seen, is_vacant, take};
use ferrite_cluster::presence::Times;
use ferrite_cluster::records::{Cluster, Leader, Machine, decode};
use ferrite_cluster::store::{Change, ClusterStore, Etcd, Outcome, Revision, StoreProblem};
use ferrite_schema::cluster::{ClusterName, MachineId, MachineName};
use futures_util::StreamExt;
use tokio::time::{Instant, MissedTickBehavior};

use super::growth::{self, History, Step};

/// How often etcd is asked who leads raft.
const ASK_EVERY: Duration = Duration::from_millis(500);
/// So long a part of a TTL there may be no leader: an election takes a moment, and whoever is linked here can wait for that.
const LEADERLESS: u32 = 2;
pub(super) const NO_LEADER: &str = "it knows no leader: it needs more than half of the members, and if they are lost for good, `ferrite etcd recover`";
/// How often a member looks whether anybody leads at all.
const VACANT_EVERY: Duration = Duration::from_secs(5);
/// How often a leader looks what nothing needs any more.
const COLLECT_EVERY: Duration = Duration::from_secs(10 * 60);
/// A leader that could not go on tries again after this long.
const AGAIN: Duration = Duration::from_secs(1);
/// How often the members are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// What leading needs to know.
#[derive(Debug, Clone)]
pub(super) struct Settings {
    pub(super) machine: MachineId,
    pub(super) cluster: ClusterName,
    pub(super) times: Times,
}

/// What a leader says, for logs and events.
pub(super) trait Tells: Send {
    /// What it just did.
    fn decided(&mut self, report: &Report<'_>);
    /// It leads no more.
    fn ended(&mut self);
}

/// Says that it is over, however it ends.
struct Telling<T: Tells>(T);

impl<T: Tells> Drop for Telling<T> {
    fn drop(&mut self) {
        self.0.ended();
    }
}

type Deciding<'store> = Pin<Box<dyn Future<Output = LeadEnd> + Send + 'store>>;

/// Takes part until the store fails; answers with why.
pub(super) async fn work(
    store: &Etcd,
    settings: &Settings,
    tells: impl Tells + Copy,
) -> StoreProblem {
    loop {
        match part(store, settings, tells).await {
            // The watch was cut off, or compacted: all is looked at again.
            Ok(()) => {}
            Err(problem) => return problem,
        }
    }
}

async fn part(
    store: &Etcd,
    settings: &Settings,
    tells: impl Tells + Copy,
) -> Result<(), StoreProblem> {
    let key = Key::Leader.bytes();
    let mut leadership = Leadership::new(store.raft().await?.member);
    let (revision, entry) = store.get(&key).await?;
    let mut watch = store.watch(&key, revision.next()).await?;
    let seen = entry.map_or(Seen { changed: Revision::NONE, exists: false }, |entry| Seen {
        changed: entry.mod_revision,
        exists: true,
    });
    let mut events = vec![Event::Record(seen)];
    let mut ticks = tokio::time::interval(ASK_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut vacancies = tokio::time::interval(VACANT_EVERY);
    vacancies.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut deciding, mut led_at): (Option<Deciding<'_>>, _) = (None, Instant::now());
    loop {
        while let Some(event) = events.pop() {
            for effect in leadership.step(event) {
                match effect {
                    Effect::Take { expected } => {
                        events.push(taken(store, &settings.machine, expected).await?);
                    }
                    Effect::Read => {
                        let (at, entry) = store.get(&key).await?;
                        let seen = entry.map_or(Seen { changed: at, exists: false }, |entry| {
                            Seen { changed: entry.mod_revision, exists: true }
                        });
                        events.push(Event::Record(seen));
                    }
                    Effect::Lead(fence) => {
                        tracing::info!(revision = fence.0.0, "leads");
                        deciding = Some(decide(store, settings, fence, tells));
                    }
                    Effect::StepDown => {
                        tracing::info!("leads-no-more");
                        deciding = None;
                    }
                }
            }
        }
        tokio::select! {
            _ = ticks.tick() => events.push(Event::Raft(led(store, settings, &mut led_at).await?)),
            _ = vacancies.tick(), if deciding.is_none() => events.extend(vacant(store).await?),
            changes = watch.next() => match changes {
                Some(Ok(changes)) => events.extend(changes.iter().rev().map(|change| {
                    let exists = matches!(change, Change::Put(_));
                    Event::Record(Seen { changed: change.revision(), exists })
                })),
                Some(Err(_)) | None => return Ok(()),
            },
            end = ended(&mut deciding) => {
                deciding = None;
                match end {
                    // The watch says the same.
                    LeadEnd::Fenced { .. } => {}
                    other => {
                        tracing::warn!(why = ?other, "leading-ended");
                        tokio::time::sleep(AGAIN).await;
                        if let Some(fence) = leadership.leads() {
                            deciding = Some(decide(store, settings, fence, tells));
                        }
                    }
                }
            }
        }
    }
}

/// Who leads raft; an error where nobody has for long.
async fn led(
    store: &Etcd,
    settings: &Settings,
    at: &mut Instant,
) -> Result<Option<u64>, StoreProblem> {
    let leader = store.raft().await?.leader;
    if leader.is_some() {
        *at = Instant::now();
    } else if at.elapsed() >= settings.times.ttl / LEADERLESS {
        return Err(StoreProblem::Unavailable { why: NO_LEADER.to_owned() });
    }
    Ok(leader)
}

/// Whether nobody decides that is there.
async fn vacant(store: &Etcd) -> Result<Option<Event>, StoreProblem> {
    let Some(number) = store.raft().await?.leader else { return Ok(None) };
    let members = store.members().await?;
    let beside = members.into_iter().find(|member| member.number == number);
    let Some(beside) = beside.and_then(|member| member.machine) else { return Ok(None) };
    let (_, Some(entry)) = store.get(&Key::Leader.bytes()).await? else { return Ok(None) };
    let Ok(holder) = decode::<Leader>(&Key::Leader, &entry.value) else { return Ok(None) };
    let mut there = BTreeSet::new();
    for machine in [&holder.machine, &beside] {
        if store.get(&Key::Alive(machine.clone()).bytes()).await?.1.is_some() {
            there.insert(machine.clone());
        }
    }
    let vacant = is_vacant(Some(&holder.machine), Some(&beside), |id| there.contains(id));
    Ok(vacant.then_some(Event::Vacant(entry.mod_revision)))
}

async fn ended(deciding: &mut Option<Deciding<'_>>) -> LeadEnd {
    match deciding {
        Some(deciding) => deciding.await,
        None => std::future::pending().await,
    }
}

async fn taken(
    store: &Etcd,
    machine: &MachineId,
    expected: Revision,
) -> Result<Event, StoreProblem> {
    let Ok(transaction) = take(machine, expected) else { return Ok(Event::TakeFailed) };
    Ok(match store.transact(transaction).await? {
        Outcome::Done(revision) => Event::Took(revision),
        Outcome::Failed(_) => Event::TakeFailed,
    })
}

fn decide<'store>(
    store: &'store Etcd,
    settings: &'store Settings,
    fence: Fence,
    tells: impl Tells + 'store,
) -> Deciding<'store> {
    let mut telling = Telling(tells);
    Box::pin(async move {
        let clock = Monotonic::start();
        let report = |report: Report<'_>| telling.0.decided(&report);
        tokio::select! {
            end = lead(store, fence, settings.times, &clock, report) => end,
            never = grow(store, settings) => never,
            never = collect(store, fence) => never,
        }
    })
}

/// Forgets versions that nothing needs any more. Never ends.
async fn collect(store: &Etcd, fence: Fence) -> LeadEnd {
    let mut collector = Collector::default();
    loop {
        tokio::time::sleep(COLLECT_EVERY).await;
        let Ok(listing) = store.list(PREFIX.as_bytes()).await else { continue };
        for transaction in collector.look(&listing, fence) {
            let count = transaction.operations.len();
            match store.transact(transaction).await {
                Ok(Outcome::Done(_)) => tracing::info!(count, "specifications-forgotten"),
                // One of them is used again, or another one leads.
                Ok(Outcome::Failed(_)) => {}
                Err(problem) => {
                    tracing::debug!(error = ferrite_schema::chain(&problem), "nothing-forgotten");
                }
            }
        }
    }
}

/// Sees to it that as many machines run etcd as should. Never ends: what cannot be done now is tried again.
async fn grow(store: &Etcd, settings: &Settings) -> LeadEnd {
    let mut history = History::default();
    let mut said = None;
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let step = match look(store, &mut history).await {
            Ok(step) => step,
            Err(problem) => {
                tracing::debug!(error = ferrite_schema::chain(&problem), "members-not-seen");
                continue;
            }
        };
        let Some(step) = step else {
            said = None;
            continue;
        };
        let done = match &step {
            Step::Add(machine) => {
                let name =
                    MachineName { machine: machine.clone(), cluster: settings.cluster.clone() };
                store.add_learner(&name).await
            }
            Step::Promote(number) => store.promote(*number).await,
            Step::HandOver(number) => store.hand_over(*number).await,
            Step::Remove(number) => store.remove_member(*number).await,
        };
        let why = done.err().map(|problem| ferrite_schema::chain(&problem));
        // Tried again and again: said once.
        if said != Some((step.clone(), why.clone())) {
            tracing::info!(?step, ?why, "members-change");
            said = Some((step, why));
        }
    }
}

async fn look(store: &Etcd, history: &mut History) -> Result<Option<Step>, StoreProblem> {
    let raft = store.raft().await?;
    // Whose etcd leads decides; the agent there takes over within a moment.
    if raft.leader != Some(raft.member) {
        return Ok(None);
    }
    let members = store.members().await?;
    let listing = store.list(PREFIX.as_bytes()).await?;
    let mut alive = BTreeSet::new();
    let mut seen = growth::Seen {
        members,
        leader: raft.member,
        eligible: BTreeSet::new(),
        cordoned: BTreeSet::new(),
        broken: BTreeSet::new(),
        gone: BTreeMap::new(),
        silent: None,
        vain: BTreeSet::new(),
        // Nothing that is not asked for is taken away, or added.
        target: 0,
    };
    for entry in &listing.entries {
        match Key::parse(&entry.key) {
            Ok(Key::Alive(id)) => drop(alive.insert(id)),
            Ok(key @ Key::Cluster) => {
                if let Ok(cluster) = decode::<Cluster>(&key, &entry.value) {
                    seen.target = cluster.member_target;
                }
            }
            Ok(key @ Key::Machine(_)) => {
                if let (Key::Machine(id), Ok(machine)) =
                    (&key, decode::<Machine>(&key, &entry.value))
                {
                    note(&mut seen, id, &machine);
                }
            }
            Ok(_) | Err(_) => {}
        }
    }
    if seen.target == 0 {
        tracing::debug!("the cluster's record is not understood");
        return Ok(None);
    }
    seen.eligible.retain(|machine| alive.contains(machine));
    history.look(&mut seen, &alive, std::time::Instant::now());
    Ok(growth::step(&seen))
}

/// What a machine's record says about running etcd there.
fn note(seen: &mut growth::Seen, id: &MachineId, machine: &Machine) {
    let sets = [
        (machine.eligible, &mut seen.eligible),
        (machine.cordoned, &mut seen.cordoned),
        (machine.etcd_unusable.is_some(), &mut seen.broken),
    ];
    for (is, set) in sets {
        if is {
            set.insert(id.clone());
        }
    }
}
