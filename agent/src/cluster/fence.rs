//! Until when this machine may run what must not run twice: a step function without a clock, an I/O or a lock.
//!
//! A unit without `replicas` runs once in the cluster. A machine that is cut off cannot know whether it was placed elsewhere: it must
//! end it before that can be. It goes by the age of its last renewal that *counts*: one after which a linearizable read has found its
//! `alive` with its own lease, since an etcd may confirm the renewal of a lease that is gone (etcd#20590). The age runs from when the
//! renewal was sent, so that the lease ends later than this machine thinks, never earlier.
//!
//! ```text
//!            counted                    age ≥ limit − GRACE                age ≥ limit
//!   Shut ─────────────▶ Open ───────────────────────────────▶ Ending ─────────────────────▶ Shut
//!    ▲                   ▲ │ counted: younger again             │ counted: Open              │
//!    └───────────────────┼─┘                                    │                            │
//!                        └──────────────────────────────────────┘                            │
//!                        └────────────────────────────── counted ────────────────────────────┘
//! ```
//!
//! In `Shut` nothing of it may run; in `Ending` it is asked to end; what runs when `Shut` comes is killed. The limit is the TTL and four
//! times etcd's election, so that an election stops nothing. Whoever places it elsewhere waits as much longer than the lease, and
//! [`ferrite_cluster::presence::FENCE_MARGIN`] more. Events come from the link ([`Event::Sent`], [`Event::Counted`]) and from a thread that looks at the clocks.

use std::collections::BTreeSet;
use std::time::Duration;

use ferrite_cluster::names::UnitName;
use ferrite_cluster::presence::Times;
use ferrite_cluster::records::{Assigned, Spec, Target};

use super::Cluster;
use crate::node::Node;

mod keeper;
mod stamp;

pub(crate) use keeper::{Keeper, UNIT_CGROUP};
use stamp::Stamp;

/// From the word to end until it is ended.
pub(super) const GRACE: Duration = Duration::from_secs(2);
/// Least that is left between the word to end and the beginning, whatever a record says of the times.
const LIMIT_MIN: Duration = Duration::from_secs(4);
const _: () = assert!(LIMIT_MIN.as_secs() > GRACE.as_secs());

/// Something that happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Event {
    /// A renewal with this number is sent.
    Sent(u64),
    /// It counts.
    Counted(u64),
    /// It is looked at the clocks.
    Look,
}

/// What follows for what must not run twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// It may run.
    Open,
    /// It is asked to end.
    Ending,
    /// Nothing of it may run; what does is killed.
    Shut,
}

/// The fence of one boot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fence {
    limit: Duration,
    phase: Phase,
    /// When the last renewal that counts was sent.
    counted: Option<Stamp>,
    /// The last one that was sent, and does not count yet.
    sent: Option<(u64, Stamp)>,
}

impl Fence {
    /// Nothing counts yet in this boot. Before the cluster's times are known, nothing does.
    pub(super) const fn new() -> Self {
        Self { limit: LIMIT_MIN, phase: Phase::Shut, counted: None, sent: None }
    }

    /// Goes on with what an agent before this one knew in the same boot: its death touches nothing that runs.
    pub(super) fn again(limit: Duration, counted: Stamp, now: Stamp) -> Self {
        let limit = limit.max(LIMIT_MIN);
        let mut fence = Self { limit, phase: Phase::Open, counted: Some(counted), sent: None };
        fence.step(Event::Look, now);
        fence
    }

    /// The cluster's times: leases last for `ttl`, and etcd elects within `election`.
    pub(super) fn knows(&mut self, times: Times) {
        self.limit = times.fence().max(LIMIT_MIN);
    }

    /// Takes in what happened; answers with what holds from now on.
    pub(super) fn step(&mut self, event: Event, now: Stamp) -> Phase {
        match event {
            Event::Sent(number) => self.sent = Some((number, now)),
            Event::Counted(number) => {
                if let Some((sent, at)) = self.sent
                    && sent == number
                {
                    self.sent = None;
                    // What comes late may be older than what is here, never younger than it was.
                    if now.since(at) < self.limit.saturating_sub(GRACE) {
                        self.counted = Some(at);
                        self.phase = Phase::Open;
                    }
                }
            }
            Event::Look => {}
        }
        let age = self.counted.map(|at| now.since(at));
        self.phase = match (self.phase, age) {
            (_, None) => Phase::Shut,
            (_, Some(age)) if age >= self.limit => Phase::Shut,
            (Phase::Open, Some(age)) if age >= self.limit.saturating_sub(GRACE) => Phase::Ending,
            (phase, Some(_)) => phase,
        };
        self.phase
    }

    /// What holds.
    pub(super) const fn phase(&self) -> Phase {
        self.phase
    }

    /// The last renewal that counts and its limit: what a successor of this agent goes on with.
    pub(super) const fn kept(&self) -> Option<(Duration, Stamp)> {
        match self.counted {
            Some(counted) => Some((self.limit, counted)),
            None => None,
        }
    }
}

/// Those of an assignment that must not run twice: they run as their unit, not as one of its replicas.
pub(super) fn singles<'all>(
    wanted: impl IntoIterator<Item = (&'all UnitName, &'all Assigned, &'all Spec)>,
) -> BTreeSet<UnitName> {
    let launched =
        wanted.into_iter().filter(|(_, assigned, _)| assigned.target == Target::Launched);
    let single = launched.filter(|(name, _, spec)| is_single(name, spec));
    single.map(|(name, _, _)| name.clone()).collect()
}

/// It runs as its unit. One that cannot be understood is not begun here at all.
pub(super) fn is_single(name: &UnitName, spec: &Spec) -> bool {
    spec.unit().is_ok_and(|unit| unit.name == name.as_str())
}

/// Has what must not run twice end while the fence is not open. Never ends.
pub(super) async fn work(cluster: &Cluster, node: &Node) {
    let mut phase = cluster.fence.watch();
    let mut again = tokio::time::interval(AGAIN);
    loop {
        let now = *phase.borrow_and_update();
        let ends = now != Phase::Open;
        let names = if ends { cluster.fence.guarded() } else { BTreeSet::new() };
        let said = (!names.is_empty()).then(|| {
            let names: Vec<&str> = names.iter().map(UnitName::as_str).collect();
            format!(
                "{} must not run twice, and do not run here until this node hears of its cluster again",
                names.join(", ")
            )
        });
        node.stand(ABOUT.to_owned(), said);
        for name in &names {
            // It may have been begun a moment before, or be gone.
            let reason = "this node cannot know whether it runs elsewhere".to_owned();
            if let Err(error) = node.units.withhold(name.as_str(), reason).await {
                tracing::debug!(unit = %name, error = ferrite_schema::chain(&error), "not-withheld");
            }
        }
        tokio::select! {
            changed = phase.changed() => {
                if changed.is_err() {
                    return std::future::pending().await;
                }
            }
            _ = again.tick(), if !names.is_empty() => {}
        }
    }
}

const ABOUT: &str = "cluster fence";
/// How often it is looked whether something was begun all the same.
const AGAIN: Duration = Duration::from_secs(1);

#[cfg(test)]
#[path = "fence/tests.rs"]
mod tests;
