//! Whatever happens in whatever order: what must always hold of plans, looked at by other code than the engine's.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use proptest::sample::Index;

use super::tests::{machine, name};
use super::*;
use crate::names::{MachineId, SpecHash, UnitName};
use crate::records::{Cause, Target, Transport};

const MACHINES: usize = 5;
const UNITS: [&str; 5] = ["a", "db", "web", "web@2", "tmpl@"];

#[derive(Debug, Clone)]
enum Step {
    Facts(Event),
    /// The store has an instance on a second machine.
    Duplicate(usize, Index),
}

fn news<T: Clone + std::fmt::Debug>(
    known: impl Strategy<Value = T>,
) -> impl Strategy<Value = News<T>> {
    prop_oneof![8 => known.prop_map(News::Is), 1 => Just(News::Gone), 1 => Just(News::Unreadable)]
}

fn machine_facts() -> impl Strategy<Value = MachineFacts> {
    (0..3_usize, 0..3_u32, prop::bool::weighted(0.1), 0..5_u64, 0..6_u64).prop_map(
        |(zone, level, cordoned, cpus, memory)| {
            let zone = ["a", "b"].get(zone).map(|zone| ("zone".to_owned(), (*zone).to_owned()));
            MachineFacts {
                labels: zone.into_iter().collect(),
                level,
                cordoned,
                cpus_milli: cpus * 1000,
                memory_bytes: memory,
            }
        },
    )
}

fn needs() -> impl Strategy<Value = Needs> {
    let zones = prop::collection::vec(prop::sample::select(vec!["a", "b"]), 0..2);
    let ports = prop::collection::btree_set(80..82_u16, 0..2);
    (0..2_u32, zones, 0..3_u64, 0..3_u64, ports, prop::bool::weighted(0.4)).prop_map(
        |(level, zones, cpus, memory_bytes, ports, bound)| {
            let labels = (!zones.is_empty())
                .then(|| ("zone".to_owned(), zones.into_iter().map(str::to_owned).collect()));
            Needs {
                level,
                labels: labels.into_iter().collect(),
                cpus_milli: cpus * 700,
                memory_bytes,
                ports: ports.into_iter().map(|port| (port, Transport::Tcp)).collect(),
                bound,
            }
        },
    )
}

fn unit_facts() -> impl Strategy<Value = UnitFacts> {
    let target = prop_oneof![
        4 => Just(Target::Launched), 1 => Just(Target::Loaded), 1 => Just(Target::Inactive)
    ];
    (target, 0..3_u8, prop::option::of(0..4_u32), needs()).prop_map(
        |(target, version, replicas, needs)| UnitFacts {
            target,
            spec: SpecHash::of(&[version]),
            replicas,
            needs,
        },
    )
}

fn step() -> impl Strategy<Value = Step> {
    let presence = prop_oneof![
        3 => Just(Presence::Alive), 1 => Just(Presence::Suspect), 1 => Just(Presence::Lost),
        1 => Just(Presence::Ended)
    ];
    let unit = prop::sample::select(UNITS.to_vec()).prop_map(name);
    let fact = prop_oneof![
        3 => (0..MACHINES, news(machine_facts())).prop_map(|(of, news)| Event::Machine(machine(of), news)),
        5 => (0..MACHINES, presence).prop_map(|(of, presence)| Event::Presence(machine(of), presence)),
        5 => (unit, news(unit_facts())).prop_map(|(of, news)| Event::Unit(of, news)),
    ];
    prop_oneof![
        12 => fact.prop_map(Step::Facts),
        1 => (0..MACHINES, any::<Index>()).prop_map(|(of, which)| Step::Duplicate(of, which)),
    ]
}

/// The same world, seen by simpler code.
#[derive(Default)]
struct Model {
    machines: BTreeMap<MachineId, News<MachineFacts>>,
    presences: BTreeMap<MachineId, Presence>,
    units: BTreeMap<UnitName, News<UnitFacts>>,
    /// What the store has on each machine.
    stored: BTreeMap<MachineId, BTreeSet<UnitName>>,
}

impl Model {
    fn hear(&mut self, event: &Event) {
        match event.clone() {
            Event::Machine(id, news) => drop(self.machines.insert(id, news)),
            Event::Presence(id, presence) => drop(self.presences.insert(id, presence)),
            Event::Unit(unit, News::Gone) => drop(self.units.remove(&unit)),
            Event::Unit(unit, news) => drop(self.units.insert(unit, news)),
            Event::Assigned(id, instances) => {
                self.stored.insert(id, instances.into_keys().collect());
            }
        }
    }

    /// Every instance that is wanted, with its unit's facts; `None` for those that must stay as they are.
    fn wishes(&self) -> BTreeMap<UnitName, Option<UnitFacts>> {
        let mut wishes = BTreeMap::new();
        for (unit, news) in &self.units {
            let facts = match news {
                News::Is(facts) if facts.target != Target::Inactive => Some(facts.clone()),
                News::Is(_) | News::Gone => continue,
                News::Unreadable => None,
            };
            // Of a unit that cannot be read any replica may be.
            let count = facts.as_ref().map_or(Some(9), |facts| facts.replicas);
            let mut names: Vec<UnitName> =
                (1..=count.unwrap_or(0)).filter_map(|number| unit.replica(number)).collect();
            names.retain(|replica| !self.units.contains_key(replica));
            if count.is_none() || facts.is_none() {
                names.push(unit.clone());
            }
            wishes.extend(names.into_iter().map(|name| (name, facts.clone())));
        }
        wishes.retain(|name, _| !name.as_str().ends_with('@'));
        wishes
    }

    fn facts(&self, id: &MachineId) -> Option<&MachineFacts> {
        match self.machines.get(id) {
            Some(News::Is(facts)) => Some(facts),
            Some(News::Gone | News::Unreadable) | None => None,
        }
    }

    fn presence(&self, id: &MachineId) -> Presence {
        self.presences.get(id).copied().unwrap_or(Presence::Suspect)
    }

    /// What the others on the machine need, where that is known.
    fn others(&self, id: &MachineId, instance: &UnitName) -> Vec<Needs> {
        let wishes = self.wishes();
        let there = self.stored.get(id).into_iter().flatten().filter(|other| *other != instance);
        there.filter_map(|other| Some(wishes.get(other)?.as_ref()?.needs.clone())).collect()
    }

    fn may_stay(&self, id: &MachineId, instance: &UnitName, needs: &Needs) -> bool {
        self.facts(id).is_none_or(|facts| {
            let has = |(key, values): (&String, &Vec<String>)| {
                values.iter().any(|value| facts.labels.get(key) == Some(value))
            };
            let others = self.others(id, instance);
            facts.level >= needs.level
                && needs.labels.iter().all(has)
                && others.iter().all(|other| other.ports.is_disjoint(&needs.ports))
        })
    }

    fn may_come(&self, id: &MachineId, instance: &UnitName, needs: &Needs) -> bool {
        let Some(facts) = self.facts(id) else { return false };
        let others = self.others(id, instance);
        let cpus: u64 = others.iter().map(|other| other.cpus_milli).sum();
        let memory: u64 = others.iter().map(|other| other.memory_bytes).sum();
        self.presence(id) == Presence::Alive
            && !facts.cordoned
            && self.may_stay(id, instance, needs)
            && (needs.cpus_milli == 0 || cpus + needs.cpus_milli <= facts.cpus_milli)
            && (needs.memory_bytes == 0 || memory + needs.memory_bytes <= facts.memory_bytes)
    }

    /// Carries moves out, and looks at the cause of each.
    fn carry_out(&mut self, moves: &[Move]) {
        let wishes = self.wishes();
        for Move { instance, from, to, cause } in moves {
            let wish = wishes.get(instance);
            let there =
                |id: &MachineId| self.stored.get(id).is_some_and(|set| set.contains(instance));
            assert!(from.as_ref().is_none_or(there), "{instance} was not on {from:?}");
            let facts = wish.and_then(Option::as_ref);
            match cause {
                Cause::Wanted => assert!(from.is_none() && facts.is_some(), "{instance}"),
                Cause::Unwanted => assert!(to.is_none() && wish.is_none(), "{instance} is wanted"),
                Cause::MachineLost => {
                    assert!(!facts.unwrap().needs.bound, "{instance} has a volume");
                    let presence = self.presence(from.as_ref().unwrap());
                    let several = facts.unwrap().replicas.is_some();
                    assert!(
                        presence == Presence::Ended || (presence == Presence::Lost && several),
                        "{instance} may run twice"
                    );
                    assert!(to.is_some());
                }
                Cause::ConstraintBroken => {
                    let needs = &facts.unwrap().needs;
                    let from = from.as_ref().unwrap();
                    assert!(!self.may_stay(from, instance, needs) && !needs.bound, "{instance}");
                    assert_ne!(self.presence(from), Presence::Suspect);
                    let several = facts.unwrap().replicas.is_some();
                    assert!(several || self.presence(from) != Presence::Lost, "{instance}");
                }
                Cause::Changed => assert!(from == to && facts.is_some(), "{instance}"),
                Cause::Duplicate => assert!(to.as_ref().is_some_and(there), "{instance}"),
                Cause::Other(_) => panic!("{cause:?}"),
            }
            let stays = from == to || *cause == Cause::Duplicate;
            if let Some(from) = from.as_ref().filter(|_| from != to) {
                self.stored.get_mut(from).unwrap().remove(instance);
            }
            if let Some(to) = to.as_ref().filter(|_| !stays) {
                assert!(
                    self.may_come(to, instance, &facts.unwrap().needs),
                    "{instance} must not come to {to}"
                );
                self.stored.entry(to.clone()).or_default().insert(instance.clone());
            }
        }
    }

    /// What holds when nothing is to be done.
    fn look(&self, world: &World) {
        let wishes = self.wishes();
        let mut seen = BTreeSet::new();
        for (id, instances) in &self.stored {
            let assigned = world.assignment(id);
            assert_eq!(&assigned.keys().cloned().collect::<BTreeSet<_>>(), instances, "{id}");
            for instance in instances {
                assert!(seen.insert(instance), "{instance} is on two machines");
                let Some(Some(facts)) = wishes.get(instance) else {
                    assert!(wishes.contains_key(instance), "nobody wants {instance}");
                    continue;
                };
                let stays = self.may_stay(id, instance, &facts.needs);
                let presence = self.presence(id);
                let waits = facts.replicas.is_none() && presence == Presence::Lost;
                let excused = facts.needs.bound || presence == Presence::Suspect || waits;
                assert!(stays || excused, "{instance} must not be on {id}");
                assert_eq!(
                    (&assigned[instance].spec, assigned[instance].target),
                    (&facts.spec, facts.target)
                );
                let lost = matches!(presence, Presence::Lost | Presence::Ended);
                if lost && !waits && !facts.needs.bound {
                    self.fits_nowhere(instance, &facts.needs);
                }
            }
        }
        for (instance, facts) in &wishes {
            let Some(facts) = facts.as_ref().filter(|_| !seen.contains(instance)) else { continue };
            self.fits_nowhere(instance, &facts.needs);
            assert!(matches!(why(world, instance), Why::Nowhere { lost: None, .. }), "{instance}");
        }
    }

    fn fits_nowhere(&self, instance: &UnitName, needs: &Needs) {
        for id in self.machines.keys() {
            assert!(!self.may_come(id, instance, needs), "{instance} could be on {id}");
        }
    }

    /// A leader's world that begins with what is stored.
    fn rebuilt(&self, world: &World) -> World {
        let facts = |(id, news): (&MachineId, &News<MachineFacts>)| {
            Event::Machine(id.clone(), news.clone())
        };
        let mut events: Vec<Event> = self.machines.iter().map(facts).collect();
        let stored = |id: &MachineId| Event::Assigned(id.clone(), world.assignment(id));
        events.extend(self.stored.keys().map(stored));
        events
            .extend(self.units.iter().map(|(unit, news)| Event::Unit(unit.clone(), news.clone())));
        let presence =
            |(id, presence): (&MachineId, &Presence)| Event::Presence(id.clone(), *presence);
        events.extend(self.presences.iter().map(presence));
        let mut rebuilt = World::new();
        assert_eq!(plan(&mut rebuilt, &events), [], "a new leader moves something");
        rebuilt
    }
}

fn run(batches: Vec<Vec<Step>>) {
    let (mut world, mut model) = (World::new(), Model::default());
    for batch in batches {
        let mut events = Vec::new();
        for step in batch {
            match step {
                Step::Facts(event) => events.push(event),
                // Placements are those of the last plan, so that no other event of this batch comes before.
                Step::Duplicate(of, which) => {
                    let placed: Vec<UnitName> =
                        world.placements().map(|(name, _)| name.clone()).collect();
                    if !events.is_empty() || placed.is_empty() {
                        continue;
                    }
                    let instance = which.get(&placed);
                    let on = world.machine_of(instance).unwrap().clone();
                    let copy = world.assignment(&on)[instance].clone();
                    let mut assigned = world.assignment(&machine(of));
                    assigned.insert(instance.clone(), copy);
                    events.push(Event::Assigned(machine(of), assigned));
                }
            }
        }
        events.iter().for_each(|event| model.hear(event));
        let moves = plan(&mut world, &events);
        model.carry_out(&moves);
        model.look(&world);
        assert_eq!(plan(&mut world, &[]), [], "asked again, it moves something");
        let rebuilt = model.rebuilt(&world);
        for (id, instances) in &model.stored {
            assert_eq!(rebuilt.assignment(id), world.assignment(id));
            for instance in instances {
                assert_eq!(why(&rebuilt, instance), why(&world, instance));
            }
        }
        let both = world.placements().eq(rebuilt.placements());
        assert!(both, "what went on and what began anew differ");
    }
}

/// `FERRITE_LONG` makes it look for longer.
fn cases() -> u32 {
    if std::env::var_os("FERRITE_LONG").is_some() { 200_000 } else { 4_000 }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases()))]

    #[test]
    fn plans_are_right_whatever_happens(
        batches in prop::collection::vec(prop::collection::vec(step(), 1..6), 1..20)
    ) {
        run(batches);
    }
}
