//! Events that meet one another: starts on the way to rest, shims that say nothing, images that cannot be had yet.

use ferrite_schema::api::UnitState;

use super::tests::{
    BOOTED, HEALTH, POLICY, after, clean, dirty, launched, running, started, stop, unpulled,
};
use super::*;

const NEVER: Policy = Policy { restart: RestartPolicy::Never, ..POLICY };

fn later() -> Event {
    Event::PullFailed { reason: "no route".to_owned(), may_pass: true }
}

/// A start while the commands after a container run, or while one that is unwell is stopped, is no start for nothing:
/// whatever the restart policy would have made of the end.
#[test]
fn a_start_on_the_way_to_rest_begins_anew() {
    let cleaning = Policy { post_stop: 1, ..NEVER };
    for end in [clean(), dirty(), Event::Lost] {
        let mut machine = after(cleaning, [running(), vec![end]].concat());
        assert_eq!(machine.state(), UnitState::Stopping);
        assert!(!machine.is_asked_to_stop());
        assert_eq!(machine.step(Event::Start, BOOTED), []);
        assert_eq!(machine.step(clean(), BOOTED), [Effect::ClearTimer, Effect::Await]);
    }
    let checked = Policy { health: Some(HealthPolicy { retries: 1, ..HEALTH }), ..NEVER };
    let well = Event::Checked(Ok(()));
    let unwell = Event::Checked(Err("refused".to_owned()));
    let mut machine = after(checked, [running(), vec![well, unwell]].concat());
    assert_eq!(machine.state(), UnitState::Stopping);
    machine.step(Event::Start, BOOTED);
    assert_eq!(machine.step(dirty(), BOOTED), [Effect::ClearTimer, Effect::Await]);
    // The one who stops it last is heard.
    let mut machine = after(cleaning, [running(), vec![clean(), Event::Start, stop()]].concat());
    assert!(machine.is_asked_to_stop());
    assert_eq!(machine.step(clean(), BOOTED), [Effect::ClearTimer, Effect::Release]);
}

#[test]
fn a_oneshot_has_done_its_work_before_its_last_commands() {
    let policy = Policy { post_stop: 1, oneshot: true, ..NEVER };
    assert!(after(policy, [running(), vec![clean()]].concat()).has_done_its_work());
    assert!(!after(policy, [running(), vec![dirty()]].concat()).has_done_its_work());
    assert!(!after(policy, running()).has_done_its_work());
    let again = Policy { oneshot: false, ..policy };
    assert!(!after(again, [running(), vec![clean()]].concat()).has_done_its_work());
}

/// What a lost shim leaves is killed before anything else happens: its addresses are another's afterwards, and its
/// cgroup the next container's.
#[test]
fn what_a_lost_shim_leaves_is_killed_first() {
    let cleaning = Policy { post_stop: 1, ..NEVER };
    for (policy, events) in [
        (NEVER, running()),
        (POLICY, running()),
        (NEVER, launched()),
        (NEVER, [running(), vec![stop()]].concat()),
        (cleaning, running()),
        (cleaning, [running(), vec![clean()]].concat()),
    ] {
        let mut machine = after(policy, events.clone());
        let effects = machine.step(Event::Lost, BOOTED);
        assert_eq!(effects.first(), Some(&Effect::Kill), "{events:?}");
    }
    assert_eq!(after(POLICY, []).step(Event::Lost, BOOTED), []);
}

/// A shim that hangs while it makes or keeps a container is killed itself, and again until it says so.
#[test]
fn a_shim_that_says_nothing_is_killed_after_its_container() {
    let patience = |now| Effect::SetTimer(now + KILL_PATIENCE);
    let grace = BOOTED + POLICY.grace;
    let mut machine = after(POLICY, [running(), vec![stop()]].concat());
    assert_eq!(machine.step(Event::Deadline, grace), [Effect::Kill, patience(grace)]);
    for tries in 1..3 {
        let now = grace + KILL_PATIENCE * tries;
        assert_eq!(machine.step(Event::Deadline, now), [Effect::KillShim, patience(now)]);
    }
    machine.step(Event::Lost, grace);
    assert_eq!(machine.state(), UnitState::Loaded);
    // One that still builds was killed at once.
    let mut machine = after(POLICY, launched());
    assert_eq!(machine.step(stop(), BOOTED), [Effect::Kill, patience(BOOTED)]);
    assert_eq!(machine.step(Event::Deadline, grace), [Effect::KillShim, patience(grace)]);
    // So are commands after it.
    let policy = Policy { post_stop: 1, ..NEVER };
    let mut machine = after(policy, [running(), vec![clean()]].concat());
    assert_eq!(machine.step(Event::Deadline, grace), [Effect::Kill, patience(grace)]);
    assert_eq!(machine.step(Event::Deadline, grace), [Effect::KillShim, patience(grace)]);
}

/// What a command may take counts from when it runs, not from when its container is begun to be made.
#[test]
fn a_slow_start_takes_nothing_of_a_commands_time() {
    let policy = Policy { post_stop: 1, ..NEVER };
    let mut machine = after(policy, running());
    let begun = machine.step(clean(), BOOTED);
    let launch = Effect::Launch(RunKind::PostStop(0));
    assert_eq!(begun, [Effect::SetTimer(BOOTED + BEGIN_PATIENCE), launch]);
    let late = BOOTED + POLICY.grace * 2;
    assert!(late < BOOTED + BEGIN_PATIENCE);
    let its_own = Effect::SetTimer(late + POLICY.grace);
    assert_eq!(machine.step(started(), late), [its_own]);
    // A second agent hears it once more: that is no second start.
    assert_eq!(machine.step(started(), late + POLICY.grace / 2), []);
    let effects = machine.step(Event::Deadline, late + POLICY.grace);
    assert_eq!(effects.first(), Some(&Effect::Kill));
    // One that was killed while it was made gets no time for having been made.
    let mut machine = after(policy, [running(), vec![clean(), Event::Deadline]].concat());
    assert_eq!(machine.step(started(), BOOTED), []);
}

/// Somebody has mended the image's name: the old one's patience and delays are not the new one's.
#[test]
fn another_image_has_its_own_patience_and_delays() {
    let mut machine = after(NEVER, [Event::Start, Event::Met]);
    let mut now = BOOTED;
    while now < BOOTED + PULL_PATIENCE - BACKOFF_MAX {
        machine.step(later(), now);
        now = machine.until().unwrap();
        machine.step(Event::Deadline, now);
        machine.step(Event::Met, now);
    }
    machine.step(later(), now);
    machine.step(Event::OtherImage, now);
    assert_eq!(machine.step(Event::Met, now), [Effect::Pull]);
    assert_eq!(machine.step(later(), now), [Effect::SetTimer(now + BACKOFF_FIRST)]);
    machine.step(Event::Deadline, now);
    machine.step(Event::Met, now);
    machine.step(later(), now + PULL_PATIENCE - BACKOFF_MAX);
    assert_eq!(machine.state(), UnitState::BackingOff, "the old one's patience ended it");
}

/// Written down by a version that knew nothing of shims that hang.
#[test]
fn an_older_life_is_understood() {
    let machine = after(POLICY, [running(), vec![stop()]].concat());
    let text = serde_json::to_string(machine.life()).unwrap();
    let older = text.replace(r#""killed":false,"#, "").replace(r#""unpulled_since":null,"#, "");
    assert_ne!(older, text);
    assert_eq!(&serde_json::from_str::<Life>(&older).unwrap(), machine.life());
}

#[test]
fn an_image_that_cannot_be_had_yet_is_asked_for_again() {
    let oneshot = Policy { oneshot: true, ..NEVER };
    let mut machine = after(oneshot, [Event::Start, Event::Met]);
    let mut now = BOOTED;
    let mut tries = 0;
    loop {
        machine.step(later(), now);
        assert!(machine.tried());
        assert_eq!(machine.reason().as_deref(), Some("no route"));
        let Some(until) = machine.until() else { break };
        assert_eq!(machine.state(), UnitState::BackingOff);
        (now, tries) = (until, tries + 1);
        machine.step(Event::Deadline, now);
        machine.step(Event::Met, now);
        assert_eq!(machine.state(), UnitState::Pulling);
    }
    // Not for ever.
    assert_eq!(machine.state(), UnitState::Failed);
    let taken = now - BOOTED;
    assert!(taken >= PULL_PATIENCE && taken < PULL_PATIENCE + BACKOFF_MAX, "{taken:?}");
    assert!((10..30).contains(&tries), "{tries}");
    // A person's start has all the patience again, and one that comes has its own delays.
    machine.step(Event::Start, now);
    machine.step(Event::Met, now);
    machine.step(later(), now);
    assert_eq!(machine.state(), UnitState::BackingOff);
    for event in [Event::Deadline, Event::Met, Event::Pulled, started()] {
        machine.step(event, now);
    }
    assert_eq!((machine.state(), machine.restarts()), (UnitState::Running, 0));
    machine.step(clean(), now);
    assert_eq!(machine.state(), UnitState::Exited);
}

#[test]
fn an_image_that_cannot_be_had_at_all_is_the_restart_policys_to_judge() {
    let mut machine = after(NEVER, [Event::Start, Event::Met]);
    machine.step(unpulled(), BOOTED);
    assert_eq!(machine.state(), UnitState::Failed);
    // One that is always to run is asked for for ever.
    let mut machine = after(POLICY, [Event::Start, Event::Met]);
    let mut now = BOOTED;
    while now < BOOTED + 2 * PULL_PATIENCE {
        machine.step(later(), now);
        now = machine.until().unwrap();
        machine.step(Event::Deadline, now);
        machine.step(Event::Met, now);
    }
    assert_eq!(machine.state(), UnitState::Pulling);
}

/// A timer's run that finds no image is tried again, and then waits for its next time.
#[test]
fn a_timer_goes_on_after_its_patience() {
    let policy = Policy { timer: true, ..NEVER };
    let mut machine = after(policy, [Event::Start, Event::Deadline, Event::Met]);
    machine.step(later(), BOOTED);
    assert_eq!(machine.state(), UnitState::BackingOff);
    machine.step(Event::Deadline, BOOTED);
    machine.step(Event::Met, BOOTED);
    machine.step(later(), BOOTED + PULL_PATIENCE);
    assert_eq!(machine.state(), UnitState::Scheduled);
    for event in [Event::Deadline, Event::Met] {
        machine.step(event, BOOTED + PULL_PATIENCE);
    }
    machine.step(later(), BOOTED + 2 * PULL_PATIENCE);
    assert_eq!(machine.state(), UnitState::BackingOff);
}
