use ferrite_schema::api::UnitState;
use proptest::prelude::*;

use super::*;
use crate::names::SpecHash;
use crate::records::{Condition, InstanceState, Rest, Transport};

fn id(number: usize) -> MachineId {
    format!("{number:032x}").parse().unwrap()
}

/// What machine `number` reports: instances, and whether each is ready.
fn reports(number: usize, instances: &[(&str, bool)]) -> Event {
    let instances = instances.iter().map(|(name, ready)| {
        let report = InstanceState {
            spec: SpecHash::of(b""),
            state: Condition::Known(UnitState::Running),
            ready: *ready,
            addresses: vec![[10, 112, u8::try_from(number).unwrap(), 2].into()],
            ports: vec![ServicePort { port: 80, protocol: Transport::Tcp }],
            exit: None,
            done: false,
            rest: Rest::new(),
        };
        (name.parse().unwrap(), report)
    });
    Event::State(id(number), Some(State { instances: instances.collect(), rest: Rest::new() }))
}

fn is(number: usize, presence: Presence) -> Event {
    Event::Presence(id(number), presence)
}

/// `web: web@1>1 web@2>2, db:`
fn shown(catalogue: &Catalogue) -> String {
    let services = catalogue.services.iter().map(|(name, service)| {
        let each = service.iter().map(|(instance, endpoint)| {
            format!(" {instance}>{}", endpoint.machine.as_str().trim_start_matches('0'))
        });
        format!("{name}:{}", each.collect::<String>())
    });
    services.collect::<Vec<_>>().join(", ")
}

#[test]
fn what_is_ready_on_a_machine_that_is_there_answers() {
    let mut view = View::default();
    let delta = view.step(&[reports(1, &[("web@1", true), ("db", false)]), is(1, Presence::Alive)]);
    assert_eq!(delta.changed.len(), 2);
    assert_eq!(shown(view.catalogue()), "db:, web: web@1>1");
    view.step(&[is(2, Presence::Alive), reports(2, &[("web@2", true), ("db", true)])]);
    assert_eq!(shown(view.catalogue()), "db: db>2, web: web@1>1 web@2>2");
    let endpoint = &view.catalogue().services["web"][&"web@2".parse().unwrap()];
    assert_eq!(endpoint.addresses, [IpAddr::from([10, 112, 2, 2])]);
    assert_eq!(endpoint.ports, [ServicePort { port: 80, protocol: Transport::Tcp }]);
    // Not ready any more: out, and the delta has this service alone.
    let delta = view.step(&[reports(2, &[("web@2", false), ("db", true)])]);
    assert_eq!(delta.changed.keys().collect::<Vec<_>>(), ["web"]);
    assert_eq!(view.step(&[reports(2, &[("web@2", false), ("db", true)])]), Delta::default());
    // Known, without anybody; and at last unknown.
    view.step(&[reports(1, &[("web@1", false)])]);
    assert_eq!(shown(view.catalogue()), "db: db>2, web:");
    view.step(&[reports(1, &[]), Event::State(id(2), None)]);
    assert_eq!(shown(view.catalogue()), "");
}

#[test]
fn a_silent_machine_is_out_at_once_unless_the_brake_holds() {
    let mut view = View::default();
    for number in 1..=3 {
        view.step(&[
            reports(number, &[(&format!("web@{number}"), true)]),
            is(number, Presence::Alive),
        ]);
    }
    view.step(&[is(1, Presence::Suspect)]);
    assert_eq!(shown(view.catalogue()), "web: web@2>2 web@3>3");
    view.step(&[is(1, Presence::Alive), Event::Brake(true), is(1, Presence::Suspect)]);
    view.step(&[is(2, Presence::Suspect), is(3, Presence::Suspect)]);
    assert_eq!(shown(view.catalogue()), "web: web@1>1 web@2>2 web@3>3");
    view.step(&[is(3, Presence::Alive), is(2, Presence::Lost)]);
    assert_eq!(shown(view.catalogue()), "web: web@1>1 web@3>3");
    view.step(&[Event::Brake(false)]);
    assert_eq!(shown(view.catalogue()), "web: web@3>3");
}

fn event() -> impl Strategy<Value = Event> {
    let names = prop::sample::select(vec!["web@1", "web@2", "web", "db", "cache"]);
    let presence = prop_oneof![
        3 => Just(Presence::Alive), 1 => Just(Presence::Suspect), 1 => Just(Presence::Lost),
        1 => Just(Presence::Ended)
    ];
    prop_oneof![
        4 => (1..4_usize, prop::collection::btree_map(names, any::<bool>(), 0..4)).prop_map(
            |(number, instances)| reports(number, &instances.into_iter().collect::<Vec<_>>())
        ),
        1 => (1..4_usize).prop_map(|number| Event::State(id(number), None)),
        4 => (1..4_usize, presence).prop_map(|(number, presence)| is(number, presence)),
        1 => any::<bool>().prop_map(Event::Brake),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// Who only hears of changes, one by one or several as one, has the same catalogue as who computes it; and without a brake
    /// it is what its definition says.
    #[test]
    fn deltas_lead_to_the_same_catalogue(
        all in prop::collection::vec(prop::collection::vec(event(), 1..4), 0..20)
    ) {
        let (mut view, mut follower, mut merged) = (View::default(), Catalogue::default(), Delta::default());
        for events in &all {
            let delta = view.step(events);
            prop_assert_eq!(delta.is_empty(), follower == *view.catalogue());
            follower.apply(delta.clone());
            merged.merge(delta);
            prop_assert_eq!(&follower, view.catalogue());
        }
        let mut at_once = Catalogue::default();
        at_once.apply(merged);
        prop_assert_eq!(&at_once, view.catalogue());

        let braked = all.iter().flatten().any(|event| matches!(event, Event::Brake(true)));
        if !braked {
            let (mut states, mut there) = (BTreeMap::new(), BTreeSet::new());
            for event in all.iter().flatten() {
                match event {
                    Event::State(id, Some(state)) => drop(states.insert(id.clone(), state.clone())),
                    Event::State(id, None) => drop(states.remove(id)),
                    Event::Presence(id, Presence::Alive) => drop(there.insert(id.clone())),
                    Event::Presence(
                        id,
                        Presence::Suspect | Presence::Lost | Presence::Ended,
                    ) => drop(there.remove(id)),
                    Event::Brake(_) => {}
                }
            }
            let mut expected: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
            for (id, state) in &states {
                for (name, report) in &state.instances {
                    let service = expected.entry(name.service().to_owned()).or_default();
                    if report.ready && there.contains(id) {
                        service.insert(name.to_string());
                    }
                }
            }
            let found = view.catalogue().services.iter().map(|(name, service)| {
                (name.clone(), service.keys().map(ToString::to_string).collect())
            });
            prop_assert_eq!(found.collect::<BTreeMap<_, BTreeSet<_>>>(), expected);
        }
    }
}
