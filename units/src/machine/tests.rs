use ferrite_schema::api::UnitState;

use super::*;

pub(super) const POLICY: Policy = Policy {
    restart: RestartPolicy::Always,
    grace: Duration::from_secs(10),
    oneshot: false,
    timer: false,
    limit: None,
    pre_start: 0,
    post_stop: 0,
    health: None,
};
pub(super) const HEALTH: HealthPolicy = HealthPolicy {
    start_period: Duration::from_secs(20),
    interval: Duration::from_secs(10),
    retries: 3,
};

fn end(code: u8) -> Event {
    Event::Ended(End { exit: Exit::Status { code }, oom_killed: false })
}

pub(super) fn clean() -> Event {
    end(0)
}

pub(super) fn dirty() -> Event {
    end(3)
}

pub(super) fn fail() -> Event {
    Event::StartFailed { reason: "no such program".to_owned() }
}

pub(super) fn stop() -> Event {
    Event::Stop { reason: "stopped".to_owned() }
}

pub(super) fn hold() -> Event {
    Event::Hold { reason: "db is gone".to_owned() }
}

pub(super) fn started() -> Event {
    Event::Started { pid: 7 }
}

pub(super) fn unpulled() -> Event {
    Event::PullFailed { reason: "no image".to_owned(), may_pass: false }
}

pub(super) const BOOTED: Moment = Duration::from_secs(100);

pub(super) fn after(policy: Policy, events: impl IntoIterator<Item = Event>) -> Machine {
    let mut machine = Machine::new(policy);
    for event in events {
        machine.step(event, BOOTED);
    }
    machine
}

pub(super) fn launched() -> Vec<Event> {
    vec![Event::Start, Event::Met, Event::Pulled]
}

pub(super) fn running() -> Vec<Event> {
    [launched(), vec![started()]].concat()
}

/// A unit in every state, reached as it is in life.
fn in_state(state: UnitState) -> Machine {
    let never = Policy { restart: RestartPolicy::Never, ..POLICY };
    let mut machine = match state {
        UnitState::Loaded => after(POLICY, []),
        UnitState::Waiting => after(POLICY, [Event::Start]),
        UnitState::Pulling => after(POLICY, [Event::Start, Event::Met]),
        UnitState::Starting => after(POLICY, launched()),
        UnitState::Running => after(POLICY, running()),
        UnitState::Stopping => after(POLICY, [running(), vec![stop()]].concat()),
        UnitState::BackingOff => after(POLICY, [launched(), vec![fail()]].concat()),
        UnitState::Exited => after(never, [running(), vec![clean()]].concat()),
        UnitState::Failed => after(never, [launched(), vec![fail()]].concat()),
        UnitState::Scheduled => {
            after(Policy { timer: true, restart: RestartPolicy::Never, ..POLICY }, [Event::Start])
        }
    };
    machine.set_policy(POLICY);
    assert_eq!(machine.state(), state);
    machine
}

const STATES: [UnitState; 10] = [
    UnitState::Loaded,
    UnitState::Waiting,
    UnitState::Pulling,
    UnitState::Starting,
    UnitState::Running,
    UnitState::Stopping,
    UnitState::BackingOff,
    UnitState::Exited,
    UnitState::Failed,
    UnitState::Scheduled,
];

fn all_events() -> Vec<Event> {
    vec![
        Event::Start,
        stop(),
        Event::Met,
        hold(),
        Event::Pulled,
        unpulled(),
        started(),
        fail(),
        dirty(),
        Event::Lost,
        Event::Checked(Ok(())),
        Event::Checked(Err("no".to_owned())),
        Event::Unchecked { why: "no".to_owned() },
        Event::OtherImage,
        Event::Deadline,
    ]
}

/// Every cell of the table that does something; in all others nothing happens.
#[test]
fn every_cell_of_the_table() {
    use UnitState::{
        BackingOff, Exited, Failed, Loaded, Pulling, Running, Scheduled, Starting, Stopping,
        Waiting,
    };
    let grace = || Effect::SetTimer(BOOTED + POLICY.grace);
    let killed = || vec![Effect::Kill, Effect::SetTimer(BOOTED + KILL_PATIENCE)];
    let first = || vec![Effect::SetTimer(BOOTED + BACKOFF_FIRST)];
    let rest = || vec![Effect::ClearTimer, Effect::Release];
    let begin = || vec![Effect::Await];
    let table: Vec<(UnitState, Event, UnitState, Vec<Effect>)> = vec![
        (Loaded, Event::Start, Waiting, begin()),
        (Waiting, Event::Met, Pulling, vec![Effect::Pull]),
        (Waiting, stop(), Loaded, rest()),
        (Pulling, Event::Pulled, Starting, vec![Effect::Launch(RunKind::Main)]),
        (Pulling, unpulled(), BackingOff, first()),
        (Pulling, stop(), Loaded, vec![Effect::CancelPull, Effect::Release]),
        (Pulling, hold(), Waiting, vec![Effect::CancelPull, Effect::Await]),
        (Pulling, Event::OtherImage, Pulling, vec![Effect::CancelPull, Effect::Pull]),
        (Starting, stop(), Stopping, killed()),
        (Starting, hold(), Stopping, killed()),
        (Starting, started(), Running, vec![]),
        (Starting, fail(), BackingOff, first()),
        (Starting, dirty(), BackingOff, first()),
        (Starting, Event::Lost, BackingOff, [vec![Effect::Kill], first()].concat()),
        (Running, stop(), Stopping, vec![Effect::Signal, grace()]),
        (Running, hold(), Stopping, vec![Effect::Signal, grace()]),
        (Running, fail(), BackingOff, first()),
        (Running, dirty(), BackingOff, first()),
        (Running, Event::Lost, BackingOff, [vec![Effect::Kill], first()].concat()),
        (Stopping, fail(), Loaded, rest()),
        (Stopping, dirty(), Loaded, rest()),
        (Stopping, Event::Lost, Loaded, [vec![Effect::Kill], rest()].concat()),
        (Stopping, Event::Deadline, Stopping, killed()),
        (BackingOff, Event::Start, Waiting, vec![Effect::ClearTimer, Effect::Await]),
        (BackingOff, Event::OtherImage, Waiting, vec![Effect::ClearTimer, Effect::Await]),
        (BackingOff, stop(), Loaded, rest()),
        (BackingOff, Event::Deadline, Waiting, begin()),
        (Exited, Event::Start, Waiting, begin()),
        (Exited, stop(), Loaded, vec![]),
        (Failed, Event::Start, Waiting, begin()),
        (Failed, stop(), Loaded, vec![]),
        (Scheduled, Event::Start, Waiting, vec![Effect::ClearTimer, Effect::Fired, Effect::Await]),
        (Scheduled, stop(), Loaded, rest()),
        (
            Scheduled,
            Event::Deadline,
            Waiting,
            vec![Effect::ClearTimer, Effect::Fired, Effect::Await],
        ),
    ];
    for from in STATES {
        for event in &all_events() {
            let cell = table.iter().find(|(state, on, ..)| (state, on) == (&from, event));
            let (to, effects) =
                cell.map_or((from, Vec::new()), |(_, _, to, effects)| (*to, effects.clone()));
            let mut machine = in_state(from);
            let done = machine.step(event.clone(), BOOTED);
            assert_eq!((machine.state(), done), (to, effects), "{from:?} on {event:?}");
        }
    }
}

#[test]
fn a_stop_that_overtakes_the_start_kills_what_starts() {
    let mut machine = after(POLICY, [launched(), vec![stop()]].concat());
    assert_eq!(machine.step(started(), BOOTED), [Effect::Kill]);
    // A second agent hears again what the first had heard: that is no second start.
    assert_eq!(machine.step(started(), BOOTED), []);
}

#[test]
fn the_policy_decides_what_follows_an_end() {
    use UnitState::{BackingOff, Exited, Failed};
    for (restart, event, state) in [
        (RestartPolicy::Always, clean(), BackingOff),
        (RestartPolicy::Always, dirty(), BackingOff),
        (RestartPolicy::OnFailure, clean(), Exited),
        (RestartPolicy::OnFailure, dirty(), BackingOff),
        (RestartPolicy::OnFailure, Event::Lost, BackingOff),
        (RestartPolicy::Never, clean(), Exited),
        (RestartPolicy::Never, dirty(), Failed),
        (RestartPolicy::Never, Event::Lost, Failed),
    ] {
        let mut machine = after(Policy { restart, ..POLICY }, running());
        machine.step(event.clone(), BOOTED);
        assert_eq!(machine.state(), state, "{restart:?} {event:?}");
        assert!(machine.reason().is_some());
        assert!(machine.tried() && machine.ran());
    }
}

/// Restarts a unit that is backing off, up to its container's launch.
fn again(machine: &mut Machine, now: Moment) {
    for event in [Event::Deadline, Event::Met, Event::Pulled] {
        machine.step(event, now);
    }
    assert_eq!(machine.state(), UnitState::Starting);
}

#[test]
fn delays_double_up_to_the_longest_and_start_again_after_a_stable_run() {
    let mut now = BOOTED;
    let mut machine = after(POLICY, launched());
    let mut delays = Vec::new();
    for _ in 0..12 {
        let effects = machine.step(fail(), now);
        let [Effect::SetTimer(until)] = effects[..] else { panic!("{effects:?}") };
        assert_eq!(machine.until(), Some(until));
        delays.push(until - now);
        now = until;
        again(&mut machine, now);
    }
    assert_eq!(delays[0], BACKOFF_FIRST);
    assert!(delays.windows(2).all(|pair| pair[1] == (pair[0] * 2).min(BACKOFF_MAX)));
    assert_eq!(delays[11], BACKOFF_MAX);
    assert_eq!(machine.restarts(), 12);
    machine.step(started(), now);
    let end = now + STABLE_AFTER;
    assert_eq!(machine.step(dirty(), end), [Effect::SetTimer(end + BACKOFF_FIRST)]);
}

#[test]
fn the_start_limit_counts_within_its_span() {
    let limit = Some((3, Some(Duration::from_secs(60))));
    let mut machine = after(Policy { limit, ..POLICY }, running());
    let mut now = BOOTED;
    for _ in 0..2 {
        machine.step(dirty(), now);
        assert_eq!(machine.state(), UnitState::BackingOff);
        now += Duration::from_secs(1);
        again(&mut machine, now);
        machine.step(started(), now);
    }
    machine.step(dirty(), now);
    assert_eq!(machine.state(), UnitState::Failed);
    assert_eq!(
        machine.reason().unwrap(),
        "start limit reached: 3 starts within 60 s; the last end: it exited with status 3"
    );
    // A person starts the count anew, and old starts are forgotten.
    machine.step(Event::Start, now);
    machine.step(Event::Met, now);
    machine.step(Event::Pulled, now);
    machine.step(dirty(), now + Duration::from_secs(61));
    assert_eq!(machine.state(), UnitState::BackingOff);
}

#[test]
fn start_during_stop_starts_again_after_the_end() {
    let never = Policy { restart: RestartPolicy::Never, ..POLICY };
    let mut machine = after(never, [running(), vec![stop(), Event::Start]].concat());
    assert_eq!(machine.step(dirty(), BOOTED), [Effect::ClearTimer, Effect::Await]);
    let mut machine = after(never, [running(), vec![stop(), Event::Start, stop()]].concat());
    assert_eq!(machine.step(dirty(), BOOTED), [Effect::ClearTimer, Effect::Release]);
}

#[test]
fn commands_before_and_after_run_in_their_order() {
    let policy = Policy { pre_start: 2, post_stop: 1, restart: RestartPolicy::Never, ..POLICY };
    let mut machine = after(policy, [Event::Start, Event::Met]);
    let mut kinds = Vec::new();
    for event in
        [Event::Pulled, started(), clean(), started(), clean(), started(), clean(), clean()]
    {
        for effect in machine.step(event, BOOTED) {
            if let Effect::Launch(kind) = effect {
                kinds.push(kind);
            }
        }
    }
    let expected =
        [RunKind::PreStart(0), RunKind::PreStart(1), RunKind::Main, RunKind::PostStop(0)];
    assert_eq!(kinds, expected);
    assert_eq!(machine.state(), UnitState::Exited);
}

#[test]
fn a_pre_start_that_fails_is_named_and_the_unit_not_started() {
    let policy = Policy { pre_start: 1, restart: RestartPolicy::Never, ..POLICY };
    let machine = after(policy, [launched(), vec![started(), dirty()]].concat());
    assert_eq!(machine.state(), UnitState::Failed);
    assert_eq!(machine.reason().unwrap(), "pre_start command 1 failed: it exited with status 3");
}

#[test]
fn memory_that_ran_out_is_the_reason() {
    let never = Policy { restart: RestartPolicy::Never, ..POLICY };
    let killed = End { exit: Exit::Signal { signal: 9 }, oom_killed: true };
    let machine = after(never, [running(), vec![Event::Ended(killed)]].concat());
    assert!(machine.reason().unwrap().starts_with("OOM-killed"), "{:?}", machine.reason());
}

#[test]
fn a_unit_with_a_check_is_ready_when_it_is_well() {
    let policy = Policy { health: Some(HEALTH), ..POLICY };
    let mut machine = after(policy, launched());
    let second = Duration::from_secs(1);
    assert_eq!(machine.step(started(), BOOTED), [Effect::SetTimer(BOOTED + second)]);
    assert!(!machine.is_ready());
    assert_eq!(machine.step(Event::Deadline, BOOTED + second), [Effect::Check]);
    machine.step(Event::Checked(Err("refused".to_owned())), BOOTED + second);
    assert_eq!(machine.health(), Some(HealthState::Starting));
    let well = machine.step(Event::Checked(Ok(())), BOOTED + 2 * second);
    assert_eq!(well, [Effect::SetTimer(BOOTED + 2 * second + HEALTH.interval)]);
    assert_eq!(machine.health(), Some(HealthState::Healthy));
    assert!(machine.is_ready());
}

#[test]
fn failures_count_after_the_start_period_and_once_an_interval() {
    let policy = Policy { health: Some(HEALTH), ..POLICY };
    let mut machine = after(policy, running());
    let mut now = BOOTED;
    while machine.state() == UnitState::Running {
        now += Duration::from_secs(1);
        machine.step(Event::Checked(Err("refused".to_owned())), now);
    }
    // The period, and then each of three failures an interval apart.
    assert_eq!(now - BOOTED, HEALTH.start_period + HEALTH.interval * HEALTH.retries);
    assert_eq!(machine.health(), Some(HealthState::Unhealthy));
    machine.step(dirty(), now);
    assert_eq!(machine.state(), UnitState::BackingOff);
    assert!(machine.reason().unwrap().contains("health check failed 3 times"));
}

#[test]
fn what_the_node_could_not_look_at_is_no_failure() {
    let policy = Policy { health: Some(HEALTH), ..POLICY };
    let mut machine = after(policy, [running(), vec![Event::Checked(Ok(()))]].concat());
    let unchecked = || Event::Unchecked { why: "no more processes".to_owned() };
    for _ in 0..10 * HEALTH.retries {
        assert_eq!(machine.step(unchecked(), BOOTED), [Effect::SetTimer(BOOTED + HEALTH.interval)]);
    }
    assert_eq!((machine.failing(), machine.is_ready()), (None, true));
    // It breaks no row of failures either.
    for _ in 0..HEALTH.retries {
        machine.step(Event::Checked(Err("refused".to_owned())), BOOTED);
        machine.step(unchecked(), BOOTED);
    }
    assert_eq!(machine.state(), UnitState::Stopping);
}

#[test]
fn one_that_was_well_has_its_retries() {
    let policy = Policy { health: Some(HEALTH), ..POLICY };
    let mut machine = after(policy, [running(), vec![Event::Checked(Ok(()))]].concat());
    for _ in 0..2 {
        machine.step(Event::Checked(Err("refused".to_owned())), BOOTED);
        assert!(machine.failing().is_some());
    }
    machine.step(Event::Checked(Ok(())), BOOTED);
    assert_eq!((machine.failing(), machine.is_ready()), (None, true));
    for _ in 0..3 {
        machine.step(Event::Checked(Err("refused".to_owned())), BOOTED);
    }
    assert_eq!(machine.state(), UnitState::Stopping);
}

#[test]
fn a_timer_starts_it_again_and_again() {
    let policy = Policy { timer: true, restart: RestartPolicy::Never, ..POLICY };
    let mut machine = after(policy, [Event::Start]);
    for code in [0, 3] {
        assert_eq!(machine.state(), UnitState::Scheduled);
        for event in [Event::Deadline, Event::Met, Event::Pulled, started()] {
            machine.step(event, BOOTED);
        }
        assert_eq!(machine.state(), UnitState::Running);
        assert_eq!(machine.step(end(code), BOOTED), [Effect::Release, Effect::Schedule]);
    }
}

#[test]
fn what_is_held_waits_and_goes_on_when_it_can() {
    let mut machine = after(POLICY, [running(), vec![hold()]].concat());
    let effects = machine.step(dirty(), BOOTED);
    assert_eq!(effects, [Effect::ClearTimer, Effect::Release, Effect::Await]);
    assert_eq!(machine.state(), UnitState::Waiting);
    assert_eq!(machine.reason().as_deref(), Some("db is gone"));
    assert_eq!(machine.step(Event::Met, BOOTED), [Effect::Pull]);
}

#[test]
fn a_oneshot_is_ready_when_it_is_done() {
    let policy = Policy { oneshot: true, restart: RestartPolicy::Never, ..POLICY };
    let mut machine = after(policy, running());
    assert!(!machine.is_ready());
    machine.step(clean(), BOOTED);
    assert!(machine.is_ready());
}
