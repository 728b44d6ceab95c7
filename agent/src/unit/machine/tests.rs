use super::*;

const POLICY: Policy = Policy { restart: RestartPolicy::Always, grace: Duration::from_secs(10) };

fn clean() -> Event {
    Event::Ended { exit: Exit::Status { code: 0 } }
}

fn dirty() -> Event {
    Event::Ended { exit: Exit::Status { code: 3 } }
}

fn fail() -> Event {
    Event::StartFailed { reason: "no image".to_owned() }
}

/// A unit in every state, reached as it is in life.
fn in_state(state: UnitState, restart: RestartPolicy, now: Instant) -> Machine {
    let mut machine = Machine::new(Policy { restart, ..POLICY });
    let path: Vec<Event> = match state {
        UnitState::Loaded => vec![],
        UnitState::Starting => vec![Event::Start],
        UnitState::Running => vec![Event::Start, Event::Started { pid: 7 }],
        UnitState::Stopping => vec![Event::Start, Event::Started { pid: 7 }, Event::Stop],
        UnitState::BackingOff => {
            machine.policy.restart = RestartPolicy::Always;
            vec![Event::Start, fail()]
        }
        UnitState::Exited => {
            machine.policy.restart = RestartPolicy::Never;
            vec![Event::Start, clean()]
        }
        UnitState::Failed => {
            machine.policy.restart = RestartPolicy::Never;
            vec![Event::Start, fail()]
        }
    };
    for event in path {
        machine.step(event, now);
    }
    machine.policy.restart = restart;
    assert_eq!(machine.state(), state);
    machine
}

/// `(state, event)` → `(state, effects)`, every cell, for a unit that is always started again.
#[test]
fn every_cell_of_the_table() {
    use UnitState::{BackingOff, Exited, Failed, Loaded, Running, Starting, Stopping};
    let now = Instant::now();
    let grace = || Effect::SetTimer(now + POLICY.grace);
    let first = || Effect::SetTimer(now + BACKOFF_FIRST);
    let second = || Effect::SetTimer(now + BACKOFF_FIRST * 2);
    let launch = || vec![Effect::Launch];
    let started = || Event::Started { pid: 8 };
    let none: fn() -> Vec<Effect> = Vec::new;
    let table: Vec<(UnitState, Event, UnitState, Vec<Effect>)> = vec![
        (Loaded, Event::Start, Starting, launch()),
        (Loaded, Event::Stop, Loaded, none()),
        (Loaded, started(), Loaded, none()),
        (Loaded, fail(), Loaded, none()),
        (Loaded, dirty(), Loaded, none()),
        (Loaded, Event::Lost, Loaded, none()),
        (Loaded, Event::Deadline, Loaded, none()),
        (Starting, Event::Start, Starting, none()),
        (Starting, Event::Stop, Stopping, vec![Effect::Kill, grace()]),
        (Starting, started(), Running, none()),
        (Starting, fail(), BackingOff, vec![first()]),
        (Starting, dirty(), BackingOff, vec![first()]),
        (Starting, Event::Lost, BackingOff, vec![first()]),
        (Starting, Event::Deadline, Starting, none()),
        (Running, Event::Start, Running, none()),
        (Running, Event::Stop, Stopping, vec![Effect::Signal, grace()]),
        (Running, started(), Running, none()),
        (Running, fail(), BackingOff, vec![first()]),
        (Running, dirty(), BackingOff, vec![first()]),
        (Running, Event::Lost, BackingOff, vec![first()]),
        (Running, Event::Deadline, Running, none()),
        (Stopping, Event::Start, Stopping, none()),
        (Stopping, Event::Stop, Stopping, none()),
        (Stopping, started(), Stopping, vec![Effect::Kill]),
        (Stopping, fail(), Loaded, vec![Effect::ClearTimer]),
        (Stopping, dirty(), Loaded, vec![Effect::ClearTimer]),
        (Stopping, Event::Lost, Loaded, vec![Effect::ClearTimer]),
        (Stopping, Event::Deadline, Stopping, vec![Effect::Kill]),
        (BackingOff, Event::Start, Starting, vec![Effect::ClearTimer, Effect::Launch]),
        (BackingOff, Event::Stop, Loaded, vec![Effect::ClearTimer]),
        (BackingOff, started(), BackingOff, none()),
        (BackingOff, fail(), BackingOff, none()),
        (BackingOff, dirty(), BackingOff, none()),
        (BackingOff, Event::Lost, BackingOff, none()),
        (BackingOff, Event::Deadline, Starting, launch()),
        (Exited, Event::Start, Starting, launch()),
        (Exited, Event::Stop, Loaded, none()),
        (Exited, started(), Exited, none()),
        (Exited, fail(), Exited, none()),
        (Exited, dirty(), Exited, none()),
        (Exited, Event::Lost, Exited, none()),
        (Exited, Event::Deadline, Exited, none()),
        (Failed, Event::Start, Starting, launch()),
        (Failed, Event::Stop, Loaded, none()),
        (Failed, started(), Failed, none()),
        (Failed, fail(), Failed, none()),
        (Failed, dirty(), Failed, none()),
        (Failed, Event::Lost, Failed, none()),
        (Failed, Event::Deadline, Failed, none()),
    ];
    assert_eq!(table.len(), 7 * 7);
    for (from, event, to, effects) in table {
        let mut machine = in_state(from, RestartPolicy::Always, now);
        let done = machine.step(event.clone(), now);
        assert_eq!((machine.state(), done), (to, effects), "{from:?} on {event:?}");
    }
    // The second failure in a row waits twice as long.
    let mut machine = in_state(BackingOff, RestartPolicy::Always, now);
    machine.step(Event::Deadline, now);
    assert_eq!(machine.step(fail(), now), [second()]);
}

#[test]
fn the_policy_decides_what_follows_an_end() {
    use UnitState::{BackingOff, Exited, Failed};
    let now = Instant::now();
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
        let mut machine = in_state(UnitState::Running, restart, now);
        machine.step(event.clone(), now);
        assert_eq!(machine.state(), state, "{restart:?} {event:?}");
        assert!(machine.reason().is_some());
    }
}

#[test]
fn delays_double_up_to_the_longest_and_start_again_after_a_stable_run() {
    let mut now = Instant::now();
    let mut machine = in_state(UnitState::Starting, RestartPolicy::Always, now);
    let mut delays = Vec::new();
    for _ in 0..12 {
        let effects = machine.step(fail(), now);
        let [Effect::SetTimer(until)] = effects[..] else { panic!("{effects:?}") };
        delays.push(until - now);
        now = until;
        machine.step(Event::Deadline, now);
    }
    assert_eq!(delays[0], BACKOFF_FIRST);
    assert!(delays.windows(2).all(|pair| pair[1] == (pair[0] * 2).min(BACKOFF_MAX)));
    assert_eq!(delays[11], BACKOFF_MAX);
    assert_eq!(machine.restarts(), 12);
    machine.step(Event::Started { pid: 1 }, now);
    let end = now + STABLE_AFTER;
    assert_eq!(machine.step(dirty(), end), [Effect::SetTimer(end + BACKOFF_FIRST)]);
}

#[test]
fn start_during_stop_starts_again_after_the_end() {
    let now = Instant::now();
    let mut machine = in_state(UnitState::Stopping, RestartPolicy::Never, now);
    machine.step(Event::Start, now);
    assert_eq!(machine.step(dirty(), now), [Effect::ClearTimer, Effect::Launch]);
    let mut machine = in_state(UnitState::Stopping, RestartPolicy::Never, now);
    machine.step(Event::Start, now);
    machine.step(Event::Stop, now);
    assert_eq!(machine.step(dirty(), now), [Effect::ClearTimer]);
}

proptest::proptest! {
    /// Whatever happens, a stop and an end lead to rest, and at most one container is launched per end.
    #[test]
    fn any_history_can_be_stopped(choices in proptest::collection::vec(0_u8..7, 0..60)) {
        let mut now = Instant::now();
        let mut machine = Machine::new(POLICY);
        let mut alive = 0_i32;
        for choice in choices {
            now += Duration::from_secs(1);
            let event = match choice {
                0 => Event::Start,
                1 => Event::Stop,
                2 if alive > 0 => Event::Started { pid: 9 },
                3 if alive > 0 => fail(),
                4 if alive > 0 => dirty(),
                5 if alive > 0 => Event::Lost,
                _ => Event::Deadline,
            };
            if matches!(event, Event::StartFailed { .. } | Event::Ended { .. } | Event::Lost) {
                alive -= 1;
            }
            for effect in machine.step(event, now) {
                if effect == Effect::Launch {
                    alive += 1;
                }
            }
            proptest::prop_assert!((0..=1).contains(&alive));
        }
        machine.step(Event::Stop, now);
        if alive > 0 {
            machine.step(Event::Lost, now);
        }
        proptest::prop_assert!(machine.at_rest());
    }
}
