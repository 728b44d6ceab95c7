use super::*;

const BOTH: Usable = Usable { a: true, b: true };

fn every_state() -> impl Iterator<Item = SlotAttributes> + Clone {
    (0..=FIELD_MAX).flat_map(|priority| {
        (0..=FIELD_MAX).flat_map(move |tries| {
            [false, true].map(|successful| SlotAttributes { priority, tries, successful })
        })
    })
}

fn every_pair() -> impl Iterator<Item = Slots> {
    every_state().flat_map(|a| every_state().map(move |b| Slots { a, b }))
}

/// States that differ in anything that a decision looks at.
fn some_pairs() -> impl Iterator<Item = Slots> {
    let few = || {
        [0, 1, 2, 14, 15].into_iter().flat_map(|priority| {
            [0, 1, 3, 11, 12, 13, 14, 15].into_iter().flat_map(move |tries| {
                [false, true].map(|successful| SlotAttributes { priority, tries, successful })
            })
        })
    };
    few().flat_map(move |a| few().map(move |b| Slots { a, b }))
}

fn every_usable() -> [Usable; 4] {
    [(true, true), (true, false), (false, true), (false, false)].map(|(a, b)| Usable { a, b })
}

/// Nothing that was there is lost for good: no priority, no success.
fn assert_nothing_lost(before: Slots, after: Slots, what: &str) {
    for slot in Slot::ALL {
        let (before, after) = (before.get(slot), after.get(slot));
        assert_eq!(before.priority > 0, after.priority > 0, "{what}: {before:?} → {after:?}");
        assert!(after.successful || !before.successful, "{what}: {before:?} → {after:?}");
    }
}

/// Nothing was counted against a slot; that it had failed too often before may have cost it its place.
fn is_unharmed(before: SlotAttributes, after: SlotAttributes) -> bool {
    let had_failed = starts::failed(before) == STARTS_MAX && starts::is_spent(after);
    before.successful == after.successful && (before.tries == after.tries || had_failed)
}

/// A slot that the running kernel refused to start is as it was. Only who has failed too often before, and whose turn it was to
/// lose his place for it, loses it.
fn assert_refusal_costs_nothing(before: Slots, start: Start) {
    let after = start.unpaid.or(start.write).unwrap_or(before);
    assert!(is_unharmed(before.get(start.slot), after.get(start.slot)), "{before:?} → {after:?}");
    match start.demoted {
        None => assert_eq!(after, before),
        Some(demoted) => {
            assert_nothing_lost(before, after, "refused");
            assert!(starts::is_spent(after.get(demoted)), "{before:?} → {after:?}");
        }
    }
}

#[test]
fn whatever_the_evidence_nothing_is_lost_and_what_is_not_trusted_is_not_touched() {
    let mut cells = 0;
    for before in every_pair() {
        for usable in every_usable() {
            cells += 1;
            let Some(start) = start(before, usable) else {
                let left = |slot| usable.get(slot) && before.get(slot).priority > 0;
                assert!(!left(Slot::A) && !left(Slot::B), "{before:?} {usable:?} is stranded");
                continue;
            };
            assert!(usable.get(start.slot) && before.get(start.slot).priority > 0);
            let after = start.write.unwrap_or(before);
            assert_nothing_lost(before, after, "start");
            assert_refusal_costs_nothing(before, start);
            for slot in Slot::ALL {
                if !usable.get(slot) {
                    assert_eq!(after.get(slot), before.get(slot), "{before:?} {usable:?}");
                }
            }
            if start.reason == Reason::Trial {
                assert_eq!(after.get(start.slot).tries + 1, before.get(start.slot).tries);
            }
            if let Some(demoted) = start.demoted {
                assert_eq!(demoted, start.slot.other());
                assert_eq!(starts::failed(before.get(demoted)), STARTS_MAX);
                // Where both have used up their chances, they take turns.
                let turns = starts::is_spent(after.get(start.slot));
                assert!(turns || after.get(demoted).priority < after.get(start.slot).priority);
            }
        }
        for slot in Slot::ALL {
            for yes in [true, false] {
                if let Some(after) = failed_to_start(before, slot, yes) {
                    assert_nothing_lost(before, after, "failed to start");
                    assert_eq!(after.get(slot.other()), before.get(slot.other()));
                }
                for (what, remedy) in [
                    ("damaged", damaged(before, slot, yes)),
                    ("late", not_ready(before, slot, yes)),
                ] {
                    let Remedy::Restart(write) = remedy else { continue };
                    assert!(yes, "{what}: left for a slot that is not trusted");
                    assert!(starts::is_bootable(before.get(slot.other())), "{what} {before:?}");
                    assert_nothing_lost(before, write.unwrap_or(before), what);
                }
                if let Remedy::Restart(write) = damaged(before, slot, yes) {
                    let next = start(write.unwrap_or(before), BOTH).map(|start| start.slot);
                    assert_eq!(next, Some(slot.other()), "{before:?}");
                }
            }
        }
    }
    assert_eq!(cells, 512 * 512 * 4);
}

/// Boots `slots` until the slot that `works` becomes ready, at most `boots` times; how many it took.
fn boots_until_ready(mut slots: Slots, works: Slot, boots: usize) -> Option<usize> {
    (1..=boots).find(|_| {
        let Some(start) = start(slots, BOTH) else { return false };
        slots = start.write.unwrap_or(slots);
        if start.slot == works {
            slots = ready(slots, works).unwrap_or(slots);
        }
        start.slot == works
    })
}

#[test]
fn a_slot_that_works_is_reached_however_the_other_one_fails() {
    // Fifteen tries, or a proven slot's three starts.
    let most = usize::from(FIELD_MAX) + 1;
    for slots in some_pairs() {
        for works in Slot::ALL {
            let (state, other) = (slots.get(works), slots.get(works.other()));
            // A last resort waits until the other is one as well, which a proven slot never is.
            let reachable = starts::is_bootable(state)
                || state.priority > 0 && !(other.priority > 0 && other.successful);
            if reachable {
                let boots = boots_until_ready(slots, works, most + 1);
                assert!(boots.is_some(), "{slots:?}: slot {works} is never started");
            }
        }
    }
}

#[test]
fn a_proven_slot_has_three_starts_and_then_the_other_ones_turn_comes() {
    let good = |priority| SlotAttributes { priority, tries: 0, successful: true };
    let mut slots = Slots { a: good(2), b: good(1) };
    let mut started = Vec::new();
    for _ in 0..10 {
        let start = start(slots, BOTH).unwrap();
        started.push(start.slot);
        slots = start.write.unwrap_or(slots);
    }
    let (a, b) = (Slot::A, Slot::B);
    assert_eq!(started, [a, a, a, b, b, b, a, b, a, b]);
    let after = ready(slots, Slot::A).unwrap();
    assert_eq!(start(after, BOTH).map(|start| start.slot), Some(Slot::A));
}

#[test]
fn a_proven_slot_alone_starts_for_ever_and_nothing_is_written() {
    for other in every_state().filter(|other| !starts::is_bootable(*other)) {
        let a = SlotAttributes { priority: 1, tries: 0, successful: true };
        let start = start(Slots { a, b: other }, BOTH).unwrap();
        assert_eq!((start.slot, start.write), (Slot::A, None), "{other:?}");
    }
}

#[test]
fn restarts_for_want_of_readiness_come_to_an_end() {
    for mut slots in some_pairs() {
        let mut restarts = 0;
        while let Some(start) = start(slots, BOTH) {
            slots = start.write.unwrap_or(slots);
            match not_ready(slots, start.slot, true) {
                Remedy::Restart(write) => slots = write.unwrap_or(slots),
                Remedy::RunOn => break,
            }
            restarts += 1;
            assert!(restarts <= 40, "{slots:?}");
        }
    }
}

/// Boots in a machine whose kernel refuses to load the kernel of `refused`; the slot that is entered instead.
fn boot_where_one_is_refused(slots: &mut Slots, refused: Slot) -> Option<Slot> {
    let mut usable = BOTH;
    loop {
        let start = start(*slots, usable)?;
        *slots = start.write.unwrap_or(*slots);
        if start.slot != refused {
            return Some(start.slot);
        }
        *slots = start.unpaid.unwrap_or(*slots);
        usable = usable.without(refused);
    }
}

#[test]
fn a_slot_that_is_refused_at_every_boot_is_as_good_as_before_and_keeps_nobody_from_running() {
    for before in some_pairs() {
        for refused in Slot::ALL {
            let (mut slots, other) = (before, refused.other());
            for boot in 0..20 {
                let entered = boot_where_one_is_refused(&mut slots, refused);
                assert_eq!(
                    entered,
                    (before.get(other).priority > 0).then_some(other),
                    "{before:?}"
                );
                let (was, is) = (before.get(refused), slots.get(refused));
                assert!(is_unharmed(was, is), "boot {boot}: {before:?} → {slots:?}");
                if entered.is_none() {
                    break;
                }
                // Neither of these may restart for a slot that is refused again: it would go on for ever.
                assert_eq!(not_ready(slots, other, false), Remedy::RunOn);
                assert_eq!(damaged(slots, other, false), Remedy::RunOn);
                if boot % 2 == 1 {
                    slots = ready(slots, other).unwrap_or(slots);
                }
            }
        }
    }
}

#[test]
fn two_damaged_slots_do_not_send_the_machine_to_and_fro() {
    for mut slots in some_pairs() {
        let mut restarts = 0;
        while let Some(start) = start(slots, BOTH) {
            slots = start.write.unwrap_or(slots);
            let Remedy::Restart(write) = damaged(slots, start.slot, true) else { break };
            slots = write.unwrap_or(slots);
            restarts += 1;
            assert!(restarts <= 2, "{slots:?}");
        }
    }
}

#[test]
fn ready_clears_what_was_counted_and_goes_before_a_spent_slot() {
    for before in every_pair() {
        for running in Slot::ALL {
            let after = ready(before, running).unwrap_or(before);
            let state = after.get(running);
            assert!(state.successful && state.priority > 0 && state.tries == 0);
            assert_eq!(ready(after, running), None, "twice is once: {before:?}");
            let other = before.get(running.other());
            assert_eq!(after.get(running.other()).tries, other.tries);
            assert_eq!(after.get(running.other()).successful, other.successful);
            if starts::is_spent(other) {
                assert_eq!(start(after, BOTH).map(|start| start.slot), Some(running), "{before:?}");
            }
        }
    }
}
