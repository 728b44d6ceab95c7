#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "the table says what changes, and nothing else does"
)]

use super::*;

const NOW: Duration = Duration::from_secs(1_000);
const MODE: ShutdownMode = ShutdownMode::Reboot;

/// Effects without texts.
fn step(shutdown: &mut Shutdown, event: Event, now: Duration) -> Vec<Effect> {
    let mut effects = shutdown.step(event, now);
    effects.retain(|effect| !matches!(effect, Effect::Log(..)));
    effects
}

fn request() -> Event {
    Event::Request { mode: MODE, reason: "test".to_owned() }
}

const fn stopping(left: u32, within_s: u64) -> Event {
    Event::Stopping { left, within: Duration::from_secs(within_s) }
}

const LATER: Duration = Duration::from_secs(1_001);
const LESS: Event = Event::Unwritten { bytes: 4 << 20 };
const AS_MUCH: Event = Event::Unwritten { bytes: (5 << 20) - 1 };
const FINISHED: Event = Event::Finished { problem: None };

const fn services(deadline: Duration, left: Option<u32>) -> State {
    State::Services { mode: MODE, deadline, left }
}

const fn terminating(deadline: Duration) -> State {
    State::Terminating { mode: MODE, deadline }
}

const fn killing_units(deadline: Duration) -> State {
    State::KillingUnits { mode: MODE, deadline }
}

const fn killing(deadline: Duration) -> State {
    State::Killing { mode: MODE, deadline }
}

const fn finishing(deadline: Duration, unwritten: Option<u64>, counting: bool) -> State {
    State::Finishing { mode: MODE, deadline, unwritten, counting }
}

const STATES: [State; 16] = [
    State::Up,
    services(LATER, None),
    services(NOW, None),
    services(LATER, Some(3)),
    services(NOW, Some(3)),
    terminating(LATER),
    terminating(NOW),
    killing_units(LATER),
    killing_units(NOW),
    killing(LATER),
    killing(NOW),
    finishing(LATER, None, false),
    finishing(NOW, None, false),
    finishing(LATER, None, true),
    finishing(NOW, Some(5 << 20), true),
    State::Down,
];

/// Where an event changes something; everywhere else it must change nothing.
fn change(state: State, event: &Event) -> Option<(State, Vec<Effect>)> {
    let next = NOW + FINISH_STEP;
    let down = || (State::Down, vec![Effect::Power(MODE)]);
    let finish = || (finishing(next, None, false), vec![Effect::Finish]);
    let terminate = || (terminating(NOW + PROCESSES_GRACE), vec![Effect::TerminateAll]);
    let is_due = |deadline: Duration| deadline == NOW && *event == Event::Tick;
    Some(match state {
        State::Up if *event == request() => {
            (services(NOW + SERVICES_GRACE, None), vec![Effect::StopServices])
        }
        State::Services { .. } if *event == stopping(2, 130) => {
            (services(NOW + Duration::from_secs(130) + SERVICES_MARGIN, Some(2)), Vec::new())
        }
        State::Services { .. } if *event == Event::ServicesStopped => terminate(),
        State::Services { deadline, .. } if is_due(deadline) => {
            (terminate().0, vec![Effect::KillServices, Effect::TerminateAll])
        }
        State::Terminating { deadline, .. } if is_due(deadline) => {
            (killing_units(NOW + KILL_DEADLINE), vec![Effect::KillUnits])
        }
        State::KillingUnits { deadline, .. } if is_due(deadline) => {
            (killing(NOW + KILL_DEADLINE), vec![Effect::KillAll])
        }
        State::Killing { deadline, .. } if is_due(deadline) => finish(),
        State::Terminating { .. } | State::KillingUnits { .. } | State::Killing { .. }
            if *event == Event::NoProcessLeft =>
        {
            finish()
        }
        State::Finishing { .. } if *event == FINISHED => down(),
        State::Finishing { deadline, counting: true, .. } if is_due(deadline) => down(),
        State::Finishing { deadline, .. } if is_due(deadline) => {
            (finishing(next, None, true), vec![Effect::CountUnwritten])
        }
        State::Finishing { counting: true, unwritten, .. } => match event {
            Event::Unwritten { bytes } if unwritten.is_some() && *bytes > 4 << 20 => down(),
            Event::Unwritten { bytes } => (finishing(next, Some(*bytes), false), Vec::new()),
            _ => return None,
        },
        _ => return None,
    })
}

#[test]
fn every_event_in_every_state() {
    let events = [
        request(),
        stopping(2, 130),
        Event::ServicesStopped,
        Event::NoProcessLeft,
        LESS,
        AS_MUCH,
        FINISHED,
        Event::Tick,
    ];
    for state in STATES {
        for event in &events {
            let expected = change(state, event).unwrap_or((state, Vec::new()));
            let mut shutdown = Shutdown { state };
            let effects = step(&mut shutdown, event.clone(), NOW);
            assert_eq!((shutdown.state, effects), expected, "{state:?} {event:?}");
        }
    }
}

#[test]
fn a_grace_of_120_s_is_given_and_only_progress_prolongs_it() {
    let mut shutdown = Shutdown::up();
    step(&mut shutdown, request(), NOW);
    step(&mut shutdown, stopping(2, 130), NOW);
    let first = shutdown.deadline().unwrap();
    assert!(first >= NOW + Duration::from_secs(130), "{first:?}");
    // The same again, or more of them, is no progress.
    let later = NOW + Duration::from_secs(100);
    step(&mut shutdown, stopping(2, 130), later);
    step(&mut shutdown, stopping(3, 130), later);
    assert_eq!(shutdown.deadline(), Some(first));
    step(&mut shutdown, stopping(1, 130), later);
    assert!(shutdown.deadline().unwrap() >= later + Duration::from_secs(130));
    // The agent ends too early: what it promised holds for what it has left behind.
    step(&mut shutdown, Event::ServicesStopped, later);
    assert!(shutdown.deadline().unwrap() >= later + Duration::from_secs(130));
}

#[test]
fn whatever_the_agent_says_a_day_is_the_most() {
    let mut shutdown = Shutdown::up();
    step(&mut shutdown, request(), NOW);
    step(&mut shutdown, stopping(u32::MAX, u64::MAX), NOW);
    assert_eq!(shutdown.deadline(), Some(NOW + SERVICES_MAX + SERVICES_MARGIN));
}

#[test]
fn a_disk_gets_time_as_long_as_it_writes() {
    let mut shutdown = Shutdown::up();
    shutdown.finish(MODE, NOW);
    for mib in (0..200_u64).rev().step_by(10) {
        let due = shutdown.deadline().unwrap();
        assert_eq!(step(&mut shutdown, Event::Tick, due), [Effect::CountUnwritten]);
        assert_eq!(step(&mut shutdown, Event::Unwritten { bytes: mib << 20 }, due), []);
    }
    let due = shutdown.deadline().unwrap();
    step(&mut shutdown, Event::Tick, due);
    let last = step(&mut shutdown, Event::Unwritten { bytes: 9 << 20 }, due);
    assert_eq!(last, [Effect::Power(MODE)]);
}

#[test]
fn it_ends_in_bounded_time_when_nothing_answers() {
    let mut shutdown = Shutdown::up();
    let mut effects = step(&mut shutdown, request(), NOW);
    let mut now = NOW;
    while let Some(deadline) = shutdown.deadline() {
        now = deadline;
        effects.extend(step(&mut shutdown, Event::Tick, now));
    }
    assert!(now - NOW <= LONGEST, "{:?}", now - NOW);
    assert_eq!(
        effects,
        [
            Effect::StopServices,
            Effect::KillServices,
            Effect::TerminateAll,
            Effect::KillUnits,
            Effect::KillAll,
            Effect::Finish,
            Effect::CountUnwritten,
            Effect::Power(MODE)
        ]
    );
}

#[test]
fn an_unclean_end_is_said_and_goes_on() {
    let mut shutdown = Shutdown::up();
    shutdown.finish(MODE, NOW);
    let effects = shutdown.step(Event::Finished { problem: Some("/var is busy".to_owned()) }, NOW);
    assert!(effects.contains(&Effect::Log(Level::Error, "/var is busy".to_owned())));
    assert!(effects.contains(&Effect::Power(MODE)));
}
