//! What is decided in cases that people ask about.

use std::collections::BTreeMap;

use super::*;
use crate::names::{MachineId, SpecHash, UnitName};
use crate::records::{Cause, Target, Transport};

pub(super) fn machine(number: usize) -> MachineId {
    format!("{number:032x}").parse().unwrap()
}

pub(super) fn name(text: &str) -> UnitName {
    text.parse().unwrap()
}

pub(super) fn facts() -> MachineFacts {
    MachineFacts {
        labels: BTreeMap::new(),
        level: 1,
        cordoned: false,
        cpus_milli: 4000,
        memory_bytes: 4 << 30,
    }
}

fn unit(replicas: Option<u32>) -> UnitFacts {
    UnitFacts {
        target: Target::Launched,
        spec: SpecHash::of(b"1"),
        replicas,
        needs: Needs::default(),
    }
}

fn comes(number: usize) -> [Event; 2] {
    [
        Event::Machine(machine(number), News::Is(facts())),
        Event::Presence(machine(number), Presence::Alive),
    ]
}

fn is(text: &str, facts: &UnitFacts) -> Event {
    Event::Unit(name(text), News::Is(facts.clone()))
}

/// A world of machines 0 to `count`, with these units.
fn world(count: usize, units: &[(&str, UnitFacts)]) -> World {
    let mut world = World::new();
    let mut events: Vec<Event> = (0..count).flat_map(comes).collect();
    events.extend(units.iter().map(|(text, facts)| is(text, facts)));
    plan(&mut world, &events);
    world
}

/// `web@1>0 db>1`: each instance and the number of its machine.
fn shown(world: &World) -> String {
    let each = world.placements().map(|(instance, id)| {
        format!("{instance}>{}", id.as_str().trim_start_matches('0').parse::<u8>().unwrap_or(0))
    });
    each.collect::<Vec<_>>().join(" ")
}

fn causes(moves: &[Move]) -> Vec<(String, Cause)> {
    moves.iter().map(|made| (made.instance.to_string(), made.cause.clone())).collect()
}

#[test]
fn replicas_go_to_different_machines_and_the_first_by_id_wins_a_tie() {
    let world = world(3, &[("web", unit(Some(3))), ("db", unit(None))]);
    assert_eq!(shown(&world), "db>0 web@1>1 web@2>2 web@3>0");
    // Spread counts before load: machine 0 has fewest of all and one of web.
    let mut world = world;
    plan(&mut world, &[is("web", &unit(Some(5)))]);
    assert_eq!(shown(&world), "db>0 web@1>1 web@2>2 web@3>0 web@4>1 web@5>2");
}

#[test]
fn a_machine_that_comes_takes_nothing_away() {
    let mut world = world(1, &[("web", unit(Some(3)))]);
    assert_eq!(plan(&mut world, &comes(1)), []);
    let moves = plan(&mut world, &[is("new", &unit(None))]);
    assert_eq!(causes(&moves), [("new".to_owned(), Cause::Wanted)]);
    assert_eq!(shown(&world), "new>1 web@1>0 web@2>0 web@3>0");
}

#[test]
fn a_lost_machines_instances_go_elsewhere_and_a_suspects_stay() {
    let mut world = world(3, &[("web", unit(Some(3)))]);
    assert_eq!(plan(&mut world, &[Event::Presence(machine(1), Presence::Suspect)]), []);
    let moves = plan(&mut world, &[Event::Presence(machine(1), Presence::Lost)]);
    let moved = Move {
        instance: name("web@2"),
        from: Some(machine(1)),
        to: Some(machine(0)),
        cause: Cause::MachineLost,
    };
    assert_eq!(moves, [moved]);
    // Back again, it gets nothing back.
    assert_eq!(plan(&mut world, &[Event::Presence(machine(1), Presence::Alive)]), []);
}

#[test]
fn what_must_not_run_twice_waits_until_it_has_ended_on_its_lost_machine() {
    let mut world = world(3, &[("web", unit(None)), ("api", unit(Some(1)))]);
    let home = world.machine_of(&name("web")).unwrap().clone();
    let is = |presence| Event::Presence(home.clone(), presence);
    assert_eq!(plan(&mut world, &[is(Presence::Suspect)]), []);
    let moves = plan(&mut world, &[is(Presence::Lost)]);
    assert!(moves.iter().all(|one| one.instance != name("web")), "{moves:?}");
    assert!(why(&world, &name("web")).to_string().contains("must not run twice"));
    // Not even by another reason to go.
    assert_eq!(plan(&mut world, &[Event::Machine(home.clone(), News::Is(facts()))]), []);
    let mut back = world.clone();
    assert_eq!(plan(&mut back, &[is(Presence::Alive)]), []);
    assert_eq!(back.machine_of(&name("web")), Some(&home));
    let moves = plan(&mut world, &[is(Presence::Ended)]);
    assert_eq!(causes(&moves), [("web".to_owned(), Cause::MachineLost)]);
}

#[test]
fn what_fits_nowhere_keeps_its_lost_machine_and_has_it_again() {
    let mut world = world(1, &[("web", unit(None))]);
    assert_eq!(plan(&mut world, &[Event::Presence(machine(0), Presence::Lost)]), []);
    let said = why(&world, &name("web")).to_string();
    assert!(
        said.contains("is lost and no other may have it") && said.contains("it is lost"),
        "{said}"
    );
    assert_eq!(plan(&mut world, &[Event::Presence(machine(0), Presence::Alive)]), []);
    assert!(why(&world, &name("web")).to_string().starts_with("it is on 0"));
}

#[test]
fn a_unit_with_a_volume_waits_for_its_machine() {
    let needs = Needs { bound: true, ..Needs::default() };
    let db = UnitFacts { needs, ..unit(None) };
    let mut world = world(2, &[("db", db.clone())]);
    assert_eq!(plan(&mut world, &[Event::Presence(machine(0), Presence::Lost)]), []);
    let said = why(&world, &name("db")).to_string();
    assert!(said.starts_with("it waits for its volume, which is on 0"), "{said}");
    // Not even when the machine is forgotten: nothing starts empty.
    assert_eq!(plan(&mut world, &[Event::Machine(machine(0), News::Gone)]), []);
    // Until somebody says so; by then it has ended there.
    assert_eq!(plan(&mut world, &[Event::Presence(machine(0), Presence::Ended)]), []);
    let moves_on = UnitFacts { needs: Needs::default(), ..db };
    let moves = plan(&mut world, &[is("db", &moves_on)]);
    assert_eq!(causes(&moves), [("db".to_owned(), Cause::MachineLost)]);
}

#[test]
fn targets_and_versions_change_in_place() {
    let mut world = world(2, &[("web", unit(Some(2)))]);
    let other = UnitFacts { spec: SpecHash::of(b"2"), target: Target::Loaded, ..unit(Some(2)) };
    let moves = plan(&mut world, &[is("web", &other)]);
    assert!(moves.iter().all(|made| made.cause == Cause::Changed && made.from == made.to));
    assert_eq!(moves.len(), 2);
    let assigned = &world.assignment(&machine(0))[&name("web@1")];
    assert_eq!((assigned.spec.clone(), assigned.target), (SpecHash::of(b"2"), Target::Loaded));
    assert_eq!(assigned.cause, Cause::Wanted);
    let less = UnitFacts { replicas: Some(1), ..other.clone() };
    assert_eq!(
        causes(&plan(&mut world, &[is("web", &less)])),
        [("web@2".to_owned(), Cause::Unwanted)]
    );
    let none = UnitFacts { target: Target::Inactive, ..less };
    assert_eq!(
        causes(&plan(&mut world, &[is("web", &none)])),
        [("web@1".to_owned(), Cause::Unwanted)]
    );
    assert_eq!(why(&world, &name("web@1")), Why::Unwanted { unit: name("web") });
    plan(&mut world, &[Event::Unit(name("web"), News::Gone)]);
    assert_eq!(why(&world, &name("web@1")), Why::Unknown);
}

#[test]
fn every_reason_against_a_machine_is_said() {
    let needs = Needs {
        labels: [("disk".to_owned(), vec!["ssd".to_owned(), "nvme".to_owned()])].into(),
        memory_bytes: 1 << 30,
        cpus_milli: 1500,
        ports: [(80, Transport::Tcp)].into(),
        level: 1,
        bound: false,
    };
    let ssd = MachineFacts { labels: [("disk".to_owned(), "ssd".to_owned())].into(), ..facts() };
    let odd = [
        ssd.clone(),
        MachineFacts { labels: [("disk".to_owned(), "tape".to_owned())].into(), ..facts() },
        facts(),
        MachineFacts { level: 0, ..ssd.clone() },
        MachineFacts { memory_bytes: 512 << 20, ..ssd.clone() },
        MachineFacts { cpus_milli: 1000, ..ssd.clone() },
        MachineFacts { cordoned: true, ..ssd },
    ];
    let mut world = World::new();
    let mut events = vec![is("web", &UnitFacts { needs, ..unit(Some(2)) })];
    for (number, facts) in odd.into_iter().enumerate() {
        events.push(Event::Presence(machine(number), Presence::Alive));
        events.push(Event::Machine(machine(number), News::Is(facts)));
    }
    events.push(Event::Presence(machine(7), Presence::Suspect));
    plan(&mut world, &events);
    assert_eq!(shown(&world), "web@1>0");
    let said = why(&world, &name("web@2")).to_string();
    for what in [
        "no machine may have it: 00000000000000000000000000000000: web@1 has its TCP port 80; ",
        "1: its disk is tape; ",
        "2: it has no disk; ",
        "3: the unit needs level 1, and it understands 0: update it; ",
        "4: the unit needs 1024 MiB of memory, and 512 are left; ",
        "5: the unit needs 1.500 processors, and 1.000 are left; ",
        "6: it is cordoned; ",
        "7: its record is missing or cannot be understood",
    ] {
        assert!(said.contains(what), "{what}\n{said}");
    }
}

#[test]
fn what_a_machine_must_not_have_any_more_goes_and_what_it_has_too_little_for_stays() {
    let needs = Needs {
        labels: [("zone".to_owned(), vec!["a".to_owned()])].into(),
        memory_bytes: 1 << 30,
        ..Needs::default()
    };
    let in_a = MachineFacts { labels: [("zone".to_owned(), "a".to_owned())].into(), ..facts() };
    let mut world = World::new();
    let events = [
        Event::Machine(machine(0), News::Is(in_a.clone())),
        Event::Presence(machine(0), Presence::Alive),
        is("web", &UnitFacts { needs, ..unit(None) }),
    ];
    plan(&mut world, &events);
    let small = MachineFacts { memory_bytes: 1, cordoned: true, ..in_a };
    assert_eq!(plan(&mut world, &[Event::Machine(machine(0), News::Is(small))]), []);
    let moves = plan(&mut world, &[Event::Machine(machine(0), News::Is(facts()))]);
    assert_eq!(causes(&moves), [("web".to_owned(), Cause::ConstraintBroken)]);
    assert_eq!(moves[0].to, None);
}

#[test]
fn a_record_that_cannot_be_understood_leaves_all_as_it_is() {
    let mut world = world(2, &[("web", unit(Some(2)))]);
    let unreadable = [
        Event::Unit(name("web"), News::Unreadable),
        Event::Machine(machine(0), News::Unreadable),
        Event::Presence(machine(1), Presence::Lost),
    ];
    assert_eq!(plan(&mut world, &unreadable), []);
    let said = why(&world, &name("web@1")).to_string();
    assert!(said.contains("the record of web cannot be understood"), "{said}");
    assert_eq!(world.unreadable_units().collect::<Vec<_>>(), [&name("web")]);
    let moves = plan(&mut world, &[is("web", &unit(Some(2)))]);
    assert_eq!(moves, [], "the only other machine is unknown");
    plan(&mut world, &comes(0));
    assert_eq!(shown(&world), "web@1>0 web@2>0");
}

#[test]
fn a_unit_of_a_replicas_name_takes_its_place_and_gives_it_back() {
    let mut world = world(2, &[("web", unit(Some(2)))]);
    let own = UnitFacts { spec: SpecHash::of(b"own"), ..unit(None) };
    let moves = plan(&mut world, &[is("web@2", &own)]);
    assert_eq!(causes(&moves), [("web@2".to_owned(), Cause::Changed)]);
    let moves = plan(&mut world, &[Event::Unit(name("web@2"), News::Gone)]);
    assert_eq!(causes(&moves), [("web@2".to_owned(), Cause::Changed)]);
    assert_eq!(shown(&world), "web@1>0 web@2>1");
}

#[test]
fn of_an_instance_on_two_machines_the_one_that_is_there_stays() {
    let mut world = world(3, &[("web", unit(None))]);
    let copy = world.assignment(&machine(0));
    plan(&mut world, &[Event::Presence(machine(0), Presence::Suspect)]);
    let moves = plan(&mut world, &[Event::Assigned(machine(2), copy)]);
    let goes = Move {
        instance: name("web"),
        from: Some(machine(0)),
        to: Some(machine(2)),
        cause: Cause::Duplicate,
    };
    assert_eq!(moves, [goes]);
    assert_eq!(shown(&world), "web>2");
}

#[test]
fn of_two_that_cannot_be_together_the_one_goes_that_may() {
    let with = |bound, ports: &[u16]| UnitFacts {
        needs: Needs {
            bound,
            ports: ports.iter().map(|port| (*port, Transport::Tcp)).collect(),
            ..Needs::default()
        },
        ..unit(None)
    };
    for (db_bound, gone) in [(true, "web"), (false, "db")] {
        let mut world = world(1, &[("db", with(db_bound, &[])), ("web", with(false, &[80]))]);
        plan(&mut world, &comes(1));
        let moves = plan(&mut world, &[is("db", &with(db_bound, &[80]))]);
        assert_eq!(causes(&moves), [(gone.to_owned(), Cause::ConstraintBroken)]);
        assert_eq!(moves[0].to, Some(machine(1)));
    }
}

#[test]
fn a_machine_holds_no_more_than_its_record_can() {
    let most = u32::try_from(INSTANCES_MAX).unwrap();
    let world = world(1, &[("web", unit(Some(most + 1)))]);
    assert_eq!(world.placements().count(), INSTANCES_MAX);
    let said = why(&world, &name(&format!("web@{most}"))).to_string();
    let missing = (1..=most + 1).map(|number| name(&format!("web@{number}")));
    let nowhere =
        missing.map(|name| why(&world, &name)).find(|why| matches!(why, Why::Nowhere { .. }));
    assert!(
        nowhere.unwrap().to_string().contains("it has 1000 units, which is the most"),
        "{said}"
    );
}
