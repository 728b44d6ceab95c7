use proptest::prelude::*;

use super::*;

const DAY_S: u64 = 24 * 60 * 60;
const NOW_S: u64 = 20_000 * DAY_S;

fn dates(made_s: u64) -> Dates {
    Dates::lasting(made_s, ferrite_pki::NODE_LIFE)
}

fn said(effects: &[Effect]) -> &str {
    let [Effect::Stand(Some(said)), Effect::Wait { .. }] = effects else { panic!("{effects:?}") };
    said
}

#[test]
fn each_address_is_asked_before_it_waits_and_then_longer_and_longer() {
    let mut joining = Joining::new(Way::Asks(2));
    assert_eq!(joining.step(Event::Begin(None), NOW_S, 0), [Effect::Ask(0)]);
    let mut now_s = NOW_S;
    for longest in [2, 4, 8, 16, 32, 60, 60, 60] {
        assert_eq!(joining.step(Event::Failed("A is off".to_owned()), now_s, 0), [Effect::Ask(1)]);
        let effects = joining.step(Event::Failed("B is off".to_owned()), now_s, 0);
        assert!(
            said(&effects).ends_with("does not belong to its cluster yet: A is off; B is off"),
            "{effects:?}"
        );
        assert_eq!(effects[1], Effect::Wait { until_s: now_s + longest });
        now_s += longest;
        assert_eq!(joining.step(Event::Time, now_s - 1, 0), [Effect::Wait { until_s: now_s }]);
        assert_eq!(joining.step(Event::Time, now_s, 0), [Effect::Ask(0)]);
    }
    let good = dates(now_s);
    let rests = [Effect::Stand(None), Effect::Wait { until_s: renew_at_s(&good) }];
    assert_eq!(joining.step(Event::Answered(good), now_s, 0), rests);
}

#[test]
fn a_refusal_ends_a_round() {
    let mut joining = Joining::new(Way::Asks(3));
    joining.step(Event::Begin(None), NOW_S, 0);
    let effects = joining.step(Event::Refused("the token has expired".to_owned()), NOW_S, 0);
    assert!(said(&effects).contains("the token has expired"));
    assert_eq!(joining.step(Event::Time, NOW_S + 60, 0), [Effect::Ask(0)]);
}

#[test]
fn a_certificate_is_renewed_when_two_thirds_are_over_and_also_when_it_has_ended() {
    for (age_days, renews) in
        [(0, false), (19, false), (20, true), (29, true), (31, true), (4_000, true)]
    {
        let old = dates(NOW_S - age_days * DAY_S);
        for (way, asks) in [(Way::Asks(1), Effect::Ask(0)), (Way::Issues, Effect::Issue)] {
            let effects = Joining::new(way).step(Event::Begin(Some(old)), NOW_S, 0);
            assert_eq!(effects.contains(&asks), renews, "{age_days} days: {effects:?}");
        }
    }
    // One that is here and good is said to be so while nobody answers.
    let mut joining = Joining::new(Way::Asks(1));
    joining.step(Event::Begin(Some(dates(NOW_S - 25 * DAY_S))), NOW_S, 0);
    let effects = joining.step(Event::Failed("A is off".to_owned()), NOW_S, 0);
    assert!(
        said(&effects).contains("could not be renewed") && said(&effects).contains("clock says")
    );
    let effects = joining.step(Event::Time, NOW_S + 40 * DAY_S, 0);
    assert_eq!(effects, [Effect::Ask(0)]);
    let effects = joining.step(Event::Failed("A is off".to_owned()), NOW_S + 40 * DAY_S, 0);
    assert!(said(&effects).contains("is not good"), "{effects:?}");
}

#[test]
fn a_node_that_knows_nobody_says_so() {
    let effects = Joining::new(Way::Asks(0)).step(Event::Begin(None), NOW_S, 0);
    assert!(said(&effects).contains("give it addresses"), "{effects:?}");
}

#[test]
fn clocks_that_differ_are_said_and_nobody_is_asked_in_a_circle() {
    let mut joining = Joining::new(Way::Asks(1));
    joining.step(Event::Begin(None), NOW_S, 0);
    for other in [dates(NOW_S - 4_000 * DAY_S), dates(NOW_S + 4_000 * DAY_S)] {
        let effects = joining.step(Event::Answered(other), NOW_S, 0);
        assert!(said(&effects).contains("Set the clock"), "{effects:?}");
        assert_eq!(effects[1], Effect::Wait { until_s: NOW_S + 60 });
    }
}

#[test]
fn a_clock_that_is_set_back_does_not_make_it_wait_for_years() {
    let mut joining = Joining::new(Way::Asks(1));
    joining.step(Event::Begin(None), NOW_S + 4_000 * DAY_S, 0);
    joining.step(Event::Failed("A is off".to_owned()), NOW_S + 4_000 * DAY_S, 0);
    assert_eq!(joining.step(Event::Time, NOW_S, 0), [Effect::Ask(0)]);
}

fn event() -> impl Strategy<Value = Event> {
    let made = (NOW_S - 100 * DAY_S..NOW_S + 100 * DAY_S).prop_map(dates);
    prop_oneof![
        made.clone().prop_map(Event::Answered),
        made.prop_map(|dates| Event::Begin(Some(dates))),
        Just(Event::Begin(None)),
        Just(Event::Failed("off".to_owned())),
        Just(Event::Refused("no".to_owned())),
        Just(Event::Time),
    ]
}

proptest! {
    /// Whatever happens in whatever order: there is always exactly one piece of work, it is within the list, no wait without
    /// a certificate is longer than a minute, and nobody is asked while the certificate is fresh.
    #[test]
    fn it_always_goes_on(
        addresses in 0..4_usize,
        issues in any::<bool>(),
        events in prop::collection::vec((event(), 0..3 * DAY_S, any::<u32>()), 1..60),
    ) {
        let way = if issues { Way::Issues } else { Way::Asks(addresses) };
        let mut joining = Joining::new(way);
        let mut now_s = NOW_S;
        let mut working = false;
        let mut here: Option<Dates> = None;
        for (event, later_s, chance) in events {
            now_s += later_s;
            // What would come from work that nobody does is left out.
            let of_work = matches!(event, Event::Answered(_) | Event::Failed(_) | Event::Refused(_));
            if of_work != working || (matches!(event, Event::Time) && working) {
                continue;
            }
            match &event {
                Event::Answered(dates) => here = Some(*dates),
                Event::Begin(dates) => here = *dates,
                Event::Failed(_) | Event::Refused(_) | Event::Time => {}
            }
            let fresh = here.is_some_and(|dates| dates.contain(now_s) && now_s < renew_at_s(&dates));
            let effects = joining.step(event, now_s, chance);
            let work: Vec<_> = effects.iter().filter(|effect| !matches!(effect, Effect::Stand(_))).collect();
            prop_assert_eq!(work.len(), 1, "{:?}", effects);
            working = !matches!(work[0], Effect::Wait { .. });
            match work[0] {
                Effect::Ask(address) => prop_assert!(*address < addresses && !issues && !fresh),
                Effect::Issue => prop_assert!(issues && !fresh),
                Effect::Wait { until_s } if fresh => prop_assert!(*until_s <= here.unwrap().until_s),
                Effect::Wait { until_s } => prop_assert!(*until_s <= now_s + 60, "{:?}", effects),
                Effect::Stand(_) => unreachable!(),
            }
        }
    }
}
