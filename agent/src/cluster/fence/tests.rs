use proptest::prelude::*;

use super::*;

const TTL: Duration = Duration::from_secs(5);
const ELECTION: Duration = Duration::from_secs(1);
const LIMIT: Duration = Duration::from_secs(9);

fn at(boot_ms: u64) -> Stamp {
    Stamp { boot: Duration::from_millis(boot_ms), battery_s: None }
}

fn fence() -> Fence {
    let mut fence = Fence::new();
    fence.knows(Times { ttl: TTL, election: ELECTION });
    assert_eq!(fence.limit, LIMIT);
    fence
}

#[test]
fn what_must_not_run_twice_runs_once_a_renewal_counts_and_ends_before_it_is_too_old() {
    let mut fence = fence();
    assert_eq!(fence.step(Event::Look, at(0)), Phase::Shut, "nothing counts yet");
    assert_eq!(fence.step(Event::Sent(1), at(1_000)), Phase::Shut);
    assert_eq!(fence.step(Event::Counted(1), at(1_200)), Phase::Open);
    // The age runs from when it was sent.
    for (ms, phase) in [(7_999, Phase::Open), (8_000, Phase::Ending), (9_999, Phase::Ending)] {
        assert_eq!(fence.step(Event::Look, at(ms)), phase, "{ms}");
    }
    assert_eq!(fence.step(Event::Look, at(10_000)), Phase::Shut);
    assert_eq!(fence.step(Event::Look, at(1_000_000)), Phase::Shut);
    fence.step(Event::Sent(2), at(1_000_000));
    assert_eq!(fence.step(Event::Counted(2), at(1_000_001)), Phase::Open);
}

#[test]
fn a_renewal_that_counts_while_it_ends_opens_again() {
    let mut fence = fence();
    fence.step(Event::Sent(1), at(0));
    fence.step(Event::Counted(1), at(1));
    fence.step(Event::Sent(2), at(6_000));
    assert_eq!(fence.step(Event::Look, at(7_500)), Phase::Ending);
    assert_eq!(fence.step(Event::Counted(2), at(7_600)), Phase::Open);
    assert_eq!(fence.step(Event::Look, at(12_999)), Phase::Open);
    assert_eq!(fence.step(Event::Look, at(13_000)), Phase::Ending);
}

#[test]
fn what_was_never_sent_or_comes_too_late_counts_for_nothing() {
    let mut fence = fence();
    assert_eq!(fence.step(Event::Counted(7), at(0)), Phase::Shut);
    fence.step(Event::Sent(1), at(0));
    fence.step(Event::Sent(2), at(100));
    assert_eq!(fence.step(Event::Counted(1), at(200)), Phase::Shut, "of an earlier link, perhaps");
    assert_eq!(fence.step(Event::Counted(2), at(7_100)), Phase::Shut, "it would end at once");
    fence.step(Event::Sent(3), at(7_200));
    assert_eq!(fence.step(Event::Counted(3), at(7_300)), Phase::Open);
    assert_eq!(fence.step(Event::Counted(3), at(14_100)), Phase::Open, "twice is once");
    assert_eq!(fence.step(Event::Look, at(14_200)), Phase::Ending);
}

#[test]
fn an_agent_that_comes_back_goes_on_and_a_longer_absence_has_ended_it() {
    let mut before = fence();
    assert_eq!(before.kept(), None);
    before.step(Event::Sent(1), at(1_000));
    before.step(Event::Counted(1), at(1_100));
    let (limit, counted) = before.kept().unwrap();
    assert_eq!((limit, counted), (LIMIT, at(1_000)));
    for (ms, phase) in [(2_000, Phase::Open), (8_500, Phase::Ending), (10_000, Phase::Shut)] {
        assert_eq!(Fence::again(limit, counted, at(ms)).phase(), phase, "{ms}");
    }
}

#[test]
fn times_of_a_record_that_are_none_leave_time_to_end() {
    let mut fence = Fence::new();
    fence.knows(Times { ttl: Duration::ZERO, election: Duration::ZERO });
    assert_eq!(fence.limit, LIMIT_MIN);
    fence.knows(Times { ttl: Duration::MAX, election: Duration::MAX });
    assert_eq!(fence.limit, Duration::MAX);
}

/// One step of a history: what befalls the machine, its link and its lease.
#[derive(Debug, Clone, Copy)]
enum Happens {
    /// A renewal is sent; it reaches the store after so long, or never, and so does the answer.
    Renews { there_ms: Option<u64>, back_ms: Option<u64> },
    /// Time passes, and the clocks are looked at each quarter of a second.
    Passes(u64),
    /// The program is stopped for so long: the kernel's clock goes on.
    Stopped(u64),
    /// The processors are stopped for so long: the battery's clock alone goes on.
    Frozen(u64),
    /// The agent dies, and its successor is there before anybody would look again.
    Dies(u64),
}

fn happens() -> impl Strategy<Value = Happens> {
    let delay = || prop::option::weighted(0.85, 0..1_500_u64);
    prop_oneof![
        12 => (delay(), delay()).prop_map(|(there_ms, back_ms)| Happens::Renews { there_ms, back_ms }),
        10 => (0..2_000_u64).prop_map(Happens::Passes),
        1 => (0..30_000_u64).prop_map(Happens::Stopped),
        1 => (0..30_000_u64).prop_map(Happens::Frozen),
        2 => (0..LOOK_MS).prop_map(Happens::Dies),
    ]
}

/// The machine and the cluster, by the time that really passes.
struct Model {
    real_ms: u64,
    /// So long the kernel's clock stood still.
    still_ms: u64,
    fence: Fence,
    phase: Phase,
    number: u64,
    /// The cluster's lease of the machine ends then.
    lease_ends_ms: u64,
    /// A renewal has come after the end of the lease: etcd has confirmed it, and a read has found nothing (etcd#20590).
    confirmed: bool,
    /// Renewals on their way: when they are there, their numbers, and how long the answers take.
    going: Vec<(u64, u64, Option<u64>)>,
    /// Answers on their way: when, to which renewal, and whether a read has found the lease.
    coming: Vec<(u64, u64, bool)>,
}

const LOOK_MS: u64 = 250;

impl Model {
    fn new() -> Self {
        Self {
            real_ms: 1_000_000,
            still_ms: 0,
            fence: fence(),
            phase: Phase::Shut,
            number: 0,
            lease_ends_ms: 0,
            confirmed: true,
            going: Vec::new(),
            coming: Vec::new(),
        }
    }

    /// What both clocks show. The battery's shows whole seconds.
    fn now(&self) -> Stamp {
        let boot = Duration::from_millis(self.real_ms - self.still_ms);
        Stamp { boot, battery_s: Some(self.real_ms / 1_000) }
    }

    fn step(&mut self, event: Event) {
        self.phase = self.fence.step(event, self.now());
    }

    /// From when on the cluster may run it elsewhere.
    fn elsewhere_ms(&self) -> u64 {
        self.lease_ends_ms + ms(Times { ttl: TTL, election: ELECTION }.ended_after())
    }

    /// What has come to the store by now: a lease is renewed, or begun by a machine that has heard that it has ended.
    fn arrives(&mut self) {
        let real_ms = self.real_ms;
        let mut there: Vec<_> =
            self.going.extract_if(.., |(at_ms, _, _)| *at_ms <= real_ms).collect();
        there.sort_by_key(|(at_ms, _, _)| *at_ms);
        for (at_ms, number, back_ms) in there {
            let found = at_ms < self.lease_ends_ms || self.confirmed;
            self.confirmed = !found;
            if found {
                self.lease_ends_ms = self.lease_ends_ms.max(at_ms + ms(TTL));
            }
            if let Some(back_ms) = back_ms {
                self.coming.push((at_ms + back_ms, number, found));
            }
        }
    }

    /// A moment in which this machine's processors run: whatever may run here does not run elsewhere.
    fn look(&mut self) -> Result<(), TestCaseError> {
        self.arrives();
        let real_ms = self.real_ms;
        let due: Vec<_> = self.coming.extract_if(.., |(at_ms, _, _)| *at_ms <= real_ms).collect();
        for (_, number, found) in due {
            if found {
                self.step(Event::Counted(number));
            }
        }
        self.step(Event::Look);
        let may_run = self.phase != Phase::Shut;
        prop_assert!(!may_run || real_ms < self.elsewhere_ms(), "it runs twice at {real_ms}");
        Ok(())
    }

    fn pass(&mut self, ms: u64) -> Result<(), TestCaseError> {
        let until = self.real_ms + ms;
        while self.real_ms < until {
            self.real_ms = (self.real_ms + LOOK_MS).min(until);
            self.look()?;
        }
        Ok(())
    }

    fn renews(&mut self, there_ms: Option<u64>, back_ms: Option<u64>) {
        self.number += 1;
        self.step(Event::Sent(self.number));
        if let Some(there_ms) = there_ms {
            self.going.push((self.real_ms + there_ms, self.number, back_ms));
        }
    }

    fn happen(&mut self, what: Happens) -> Result<(), TestCaseError> {
        match what {
            Happens::Renews { there_ms, back_ms } => self.renews(there_ms, back_ms),
            Happens::Passes(ms) => self.pass(ms)?,
            // Nothing runs meanwhile; then it is looked before anything else.
            Happens::Stopped(ms) => {
                self.real_ms += ms;
                self.look()?;
            }
            Happens::Frozen(ms) => {
                self.real_ms += ms;
                self.still_ms += ms;
                self.look()?;
            }
            Happens::Dies(ms) => {
                self.coming.clear();
                let kept = self.fence.kept();
                let was = self.phase;
                // What runs goes on meanwhile: that is what the margin and a swift successor are for.
                self.real_ms += ms;
                self.fence = match kept {
                    Some((limit, counted)) => Fence::again(limit, counted, self.now()),
                    None => fence(),
                };
                self.phase = self.fence.phase();
                prop_assert!(was != Phase::Shut || self.phase == Phase::Shut, "it opens by itself");
                self.look()?;
            }
        }
        Ok(())
    }
}

fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    /// However renewals and answers are lost or late, the machine is paused in either way, and the agent dies: at no moment in which
    /// the machine runs has the cluster begun elsewhere what may run here.
    #[test]
    fn nothing_runs_twice(all in prop::collection::vec(happens(), 1..60)) {
        let mut model = Model::new();
        for what in all {
            model.happen(what)?;
        }
        // And it ends: a machine that hears nothing any more runs nothing of it after its limit.
        model.going.clear();
        model.coming.clear();
        model.pass(ms(LIMIT) + LOOK_MS)?;
        prop_assert_eq!(model.phase, Phase::Shut);
    }

    /// A machine whose renewals come before its lease has ended is left alone.
    #[test]
    fn a_machine_that_is_heard_stops_nothing(pauses in prop::collection::vec(0..5_000_u64, 1..40)) {
        let mut model = Model::new();
        model.renews(Some(0), Some(0));
        model.look()?;
        prop_assert_eq!(model.phase, Phase::Open);
        for ms in pauses {
            model.pass(ms)?;
            prop_assert_eq!(model.phase, Phase::Open);
            model.renews(Some(0), Some(0));
            model.look()?;
        }
    }
}
