//! Keeps the fence: a thread of its own looks at the clocks, however busy or stuck the rest of the agent is, and kills what must not run
//! any more. It begins with the first unit that must not run twice; a node without any has none of it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use ferrite_cluster::names::UnitName;
use ferrite_cluster::presence::Times;
use ferrite_files::durable;
use ferrite_files::small::read_small_text;
use ferrite_sys::cgroup::Cgroup;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};
use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, watch};

use super::{Event, Fence, Phase, Stamp};

/// How often it is looked.
const LOOK_EVERY_NS: i64 = 250_000_000;
/// Longest file that is read.
const FILE_MAX_BYTES: u64 = 4096;
/// Cgroup of the units' containers, below the mount of cgroup v2.
pub(crate) const UNIT_CGROUP: &str = "/units";
const CGROUPS: &str = "/sys/fs/cgroup";

/// What a successor of this agent goes on with in the same boot: the file is in memory.
#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    limit: Duration,
    counted: Stamp,
}

/// The fence, for the link, for what is assigned, and for its own thread. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Keeper(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    phase: watch::Sender<Phase>,
    /// Something must not run twice, and nobody knows yet whether it may run at all.
    hurries: Notify,
    file: PathBuf,
    cgroups: PathBuf,
}

#[derive(Debug)]
struct State {
    fence: Fence,
    /// What must not run twice, and is to run here.
    guarded: BTreeSet<UnitName>,
    /// The thread is there.
    watched: bool,
}

impl Keeper {
    /// Goes on where an agent before this one was in the same boot; `guarded` is what must not run twice, as far as it is remembered.
    pub(crate) fn begin(file: &Path, guarded: BTreeSet<UnitName>) -> Self {
        let cgroups = PathBuf::from(format!("{CGROUPS}{UNIT_CGROUP}"));
        let keeper = Self::at(file, &cgroups);
        keeper.guard(guarded);
        keeper
    }

    fn at(file: &Path, cgroups: &Path) -> Self {
        let kept = read_small_text(file, FILE_MAX_BYTES).ok().flatten();
        // What is not understood is as good as nothing: then it ends what may run elsewhere.
        let kept = kept.and_then(|text| serde_json::from_str::<Kept>(&text).ok());
        let fence = match kept {
            Some(Kept { limit, counted }) => Fence::again(limit, counted, Stamp::now()),
            None => Fence::new(),
        };
        let phase = watch::Sender::new(fence.phase());
        let state = State { fence, guarded: BTreeSet::new(), watched: false };
        Self(Arc::new(Shared {
            state: Mutex::new(state),
            phase,
            hurries: Notify::new(),
            file: file.to_owned(),
            cgroups: cgroups.to_owned(),
        }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The cluster's times.
    pub(crate) fn knows(&self, times: Times) {
        self.state().fence.knows(times);
    }

    /// These must not run twice, and are to run here, and no others.
    pub(crate) fn guard(&self, names: BTreeSet<UnitName>) {
        let mut state = self.state();
        if state.guarded == names {
            return;
        }
        let more = names.iter().any(|name| !state.guarded.contains(name));
        state.guarded = names;
        // What holds is the same, and is about others.
        self.0.phase.send_modify(|_| {});
        if !more {
            return;
        }
        if !std::mem::replace(&mut state.watched, true) {
            let shared = Arc::clone(&self.0);
            let begun = thread::Builder::new()
                .name("fence".to_owned())
                .spawn(move || Self(shared).watch_clocks());
            if let Err(error) = begun {
                // Nothing opens without it: see `is_open`.
                tracing::error!(%error, "fence-not-watched");
                state.watched = false;
            }
        }
        drop(state);
        self.0.hurries.notify_one();
    }

    /// Ends when something waits for the next renewal to count.
    pub(crate) async fn hurries(&self) {
        self.0.hurries.notified().await;
    }

    /// There is something that must not run twice: it is to be read after the next renewal whether it counts.
    pub(crate) fn guards(&self) -> bool {
        !self.state().guarded.is_empty()
    }

    /// What must not run twice, and is to run here.
    pub(crate) fn guarded(&self) -> BTreeSet<UnitName> {
        self.state().guarded.clone()
    }

    /// What must not run twice may run here now.
    pub(crate) fn is_open(&self) -> bool {
        let state = self.state();
        (state.watched || state.guarded.is_empty()) && *self.0.phase.borrow() == Phase::Open
    }

    /// What holds, as that changes, or what it is about.
    pub(crate) fn watch(&self) -> watch::Receiver<Phase> {
        self.0.phase.subscribe()
    }

    /// A renewal is sent.
    pub(crate) fn sent(&self, number: u64) {
        self.step(Event::Sent(number));
    }

    /// It counts.
    pub(crate) fn counted(&self, number: u64) {
        self.step(Event::Counted(number));
        let kept = self.state().fence.kept();
        let Some((limit, counted)) = kept else { return };
        let text = serde_json::to_vec(&Kept { limit, counted }).unwrap_or_default();
        // Lost, it ends something for nothing where the agent dies.
        if let Err(error) = durable::write(&self.0.file, &text) {
            tracing::debug!(error = ferrite_schema::chain(&error), "fence-not-kept");
        }
    }

    fn step(&self, event: Event) -> Phase {
        let mut state = self.state();
        let phase = state.fence.step(event, Stamp::now());
        // Below the lock: what is told is in the order of what happened.
        self.0.phase.send_if_modified(|told| {
            let differs = *told != phase;
            if differs && !state.guarded.is_empty() {
                tracing::warn!(was = ?*told, now = ?phase, "fence");
            }
            *told = phase;
            differs
        });
        phase
    }

    /// The thread. It ends with the program.
    fn watch_clocks(&self) {
        let ticks = match ticks() {
            Ok(ticks) => ticks,
            Err(error) => {
                tracing::error!(%error, "fence-not-watched");
                self.state().watched = false;
                return;
            }
        };
        let mut count = [0; 8];
        loop {
            // Whatever ends a wait is a reason to look.
            rustix::io::read(&ticks, &mut count).ok();
            if self.step(Event::Look) == Phase::Shut {
                self.kill();
            }
        }
    }

    /// Kills what must not run twice. Again and again: somebody may have begun it a moment before.
    fn kill(&self) {
        for name in self.guarded() {
            if let Err(error) = Cgroup::new(self.0.cgroups.join(name.as_str())).kill() {
                let error = ferrite_schema::chain(&error);
                tracing::error!(unit = %name, error, "fence-not-killed");
            }
        }
    }
}

/// A clock that rings, whether the machine was asleep or not.
fn ticks() -> rustix::io::Result<std::os::fd::OwnedFd> {
    let timer = timerfd_create(TimerfdClockId::Boottime, TimerfdFlags::CLOEXEC)?;
    let every = Timespec { tv_sec: 0, tv_nsec: LOOK_EVERY_NS };
    let times = Itimerspec { it_interval: every, it_value: every };
    timerfd_settime(&timer, TimerfdTimerFlags::empty(), &times)?;
    Ok(timer)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// Nothing here takes so long.
    const SOON: Duration = Duration::from_secs(60);

    fn names(all: &[&str]) -> BTreeSet<UnitName> {
        all.iter().map(|name| name.parse().unwrap()).collect()
    }

    /// The thread alone does it: nobody sends anything, and the file system stands for the kernel's.
    #[tokio::test]
    async fn what_runs_without_a_renewal_that_counts_is_killed() {
        let place = tempfile::tempdir().unwrap();
        let (file, cgroups) = (place.path().join("fence.json"), place.path().join("units"));
        for name in ["db", "web@1"] {
            fs::create_dir_all(cgroups.join(name)).unwrap();
            fs::write(cgroups.join(name).join("cgroup.kill"), "").unwrap();
        }
        let killed = |name: &str| fs::read(cgroups.join(name).join("cgroup.kill")).unwrap() == b"1";
        let keeper = Keeper::at(&file, &cgroups);
        assert!(!keeper.guards() && !keeper.is_open());
        keeper.guard(names(&["db", "gone"]));
        tokio::time::timeout(SOON, keeper.hurries()).await.expect("it waits for a renewal");
        let waits = async {
            while !killed("db") {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(SOON, waits).await.expect("it is killed");
        assert!(!killed("web@1"), "what may run twice is nobody's business here");
        keeper.knows(Times { ttl: Duration::from_secs(600), election: Duration::ZERO });
        keeper.sent(1);
        keeper.counted(1);
        assert!(keeper.is_open());
        // An agent that comes back in the same boot goes on.
        let again = Keeper::at(&file, &cgroups);
        again.guard(names(&["db"]));
        assert!(again.is_open());
        fs::write(&file, "nonsense").unwrap();
        assert!(!Keeper::at(&file, &cgroups).is_open());
    }
}
