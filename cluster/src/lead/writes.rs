//! What a leader decided, as transactions: pure.

use std::collections::{BTreeMap, BTreeSet};

use super::intake::{Intake, Stored};
use crate::engine::{Move, World};
use crate::keys::Key;
use crate::leadership::Fence;
use crate::names::{MachineId, UnitName};
use crate::records::{Assignment, Refused, encode};
use crate::store::{Compare, OPERATIONS_MAX, Operation, Revision, Transaction};

/// Most machines of a transaction: each is compared, and so is the fence.
pub(super) const MACHINES_MAX: usize = OPERATIONS_MAX - 1;
/// Most bytes of a transaction's records.
pub(super) const BATCH_MAX_BYTES: usize = 1 << 20;

/// Machines whose assignments are written together, with what will be there.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Batch {
    pub(super) transaction: Transaction,
    pub(super) contents: Vec<(MachineId, Assignment)>,
}

impl Batch {
    /// What the store has once this was carried out at `revision`.
    pub(super) fn written(self, revision: Revision) -> impl Iterator<Item = (MachineId, Stored)> {
        self.contents.into_iter().map(move |(id, assignment)| (id, Stored { revision, assignment }))
    }
}

/// What must be written for these moves, step by step. Where one transaction holds all there is one step; where not, the
/// first one only takes away what goes elsewhere, so that no moment of the store has an instance on two machines.
pub(super) fn steps(
    intake: &Intake,
    world: &World,
    moves: &[Move],
) -> Result<Vec<BTreeMap<MachineId, Assignment>>, Refused> {
    let ids: BTreeSet<&MachineId> =
        moves.iter().flat_map(|made| made.from.iter().chain(&made.to)).collect();
    let last: BTreeMap<MachineId, Assignment> = ids
        .into_iter()
        .map(|id| {
            let rest = intake.stored(id).assignment.rest;
            (id.clone(), Assignment { instances: world.assignment(id), rest })
        })
        .collect();
    if one_holds(&last)? {
        return Ok(vec![last]);
    }
    let mut gone: BTreeMap<&MachineId, BTreeSet<&UnitName>> = BTreeMap::new();
    for Move { instance, from, to, .. } in moves {
        if let (Some(from), Some(to)) = (from, to)
            && from != to
        {
            gone.entry(from).or_default().insert(instance);
        }
    }
    let first = gone.into_iter().map(|(id, instances)| {
        let mut assignment = intake.stored(id).assignment;
        assignment.instances.retain(|instance, _| !instances.contains(instance));
        (id.clone(), assignment)
    });
    let first: BTreeMap<MachineId, Assignment> = first.collect();
    Ok([first, last].into_iter().filter(|step| !step.is_empty()).collect())
}

fn one_holds(contents: &BTreeMap<MachineId, Assignment>) -> Result<bool, Refused> {
    let mut size_bytes = 0_usize;
    for (id, assignment) in contents {
        size_bytes = size_bytes.saturating_add(encode(&Key::Assign(id.clone()), assignment)?.len());
    }
    Ok(contents.len() <= MACHINES_MAX && size_bytes <= BATCH_MAX_BYTES)
}

/// The next transaction of a step, taken out of it: as much as one may hold. A record alone is always within the bounds.
pub(super) fn next_batch(
    step: &mut BTreeMap<MachineId, Assignment>,
    intake: &Intake,
    fence: Fence,
) -> Result<Option<Batch>, Refused> {
    let mut batch = Batch {
        transaction: Transaction { compares: vec![fence.compare()], operations: Vec::new() },
        contents: Vec::new(),
    };
    let mut size_bytes = 0_usize;
    while let Some((id, assignment)) = step.first_key_value() {
        let key = Key::Assign(id.clone());
        let value = encode(&key, assignment)?;
        size_bytes = size_bytes.saturating_add(value.len());
        let full = batch.contents.len() >= MACHINES_MAX || size_bytes > BATCH_MAX_BYTES;
        if full && !batch.contents.is_empty() {
            break;
        }
        let key = key.bytes();
        let known = intake.stored(id).revision;
        batch.transaction.compares.push(Compare::mod_revision(key.clone(), known));
        batch.transaction.operations.push(Operation::Put { key, value, lease: None });
        batch.contents.extend(step.pop_first());
    }
    Ok((!batch.contents.is_empty()).then_some(batch))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{Event, MachineFacts, Needs, News, Presence, UnitFacts, plan};
    use crate::names::SpecHash;
    use crate::records::Target;

    fn machine(number: usize) -> MachineId {
        format!("{number:032x}").parse().unwrap()
    }

    /// So many machines with so many instances of `web`, on each as many; then one machine more, and half of them lost.
    fn decided(machines: usize, replicas: u32) -> (World, Intake, Vec<Move>, Vec<Move>) {
        let facts = MachineFacts {
            labels: BTreeMap::new(),
            level: 1,
            cordoned: false,
            cpus_milli: 0,
            memory_bytes: 0,
        };
        let mut events: Vec<Event> = (0..machines)
            .flat_map(|number| {
                [
                    Event::Machine(machine(number), News::Is(facts.clone())),
                    Event::Presence(machine(number), Presence::Alive),
                ]
            })
            .collect();
        let web = UnitFacts {
            target: Target::Launched,
            spec: SpecHash::of(b""),
            replicas: Some(replicas),
            needs: Needs::default(),
        };
        events.push(Event::Unit("web".parse().unwrap(), News::Is(web)));
        let (mut world, mut intake) = (World::new(), Intake::default());
        let first = plan(&mut world, &events);
        for number in 0..machines {
            let assignment = Assignment {
                instances: world.assignment(&machine(number)),
                ..Assignment::default()
            };
            intake.wrote(&machine(number), Stored { revision: Revision(7), assignment });
        }
        let lost = (0..machines / 2).map(|number| Event::Presence(machine(number), Presence::Lost));
        let second = plan(&mut world, &lost.collect::<Vec<_>>());
        (world, intake, first, second)
    }

    #[test]
    fn what_one_transaction_holds_is_one() {
        let (world, intake, _, moves) = decided(10, 20);
        let mut steps = steps(&intake, &world, &moves).unwrap();
        assert_eq!(steps.len(), 1);
        let batch = next_batch(&mut steps[0], &intake, Fence(Revision(3))).unwrap().unwrap();
        assert_eq!(batch.contents.len(), 10);
        assert_eq!(batch.transaction.compares[0], Fence(Revision(3)).compare());
        let key = Key::Assign(machine(0)).bytes();
        assert_eq!(batch.transaction.compares[1], Compare::mod_revision(key, Revision(7)));
        assert_eq!(next_batch(&mut steps[0], &intake, Fence(Revision(3))).unwrap(), None);
    }

    #[test]
    fn no_moment_has_an_instance_on_two_machines_and_no_transaction_is_too_big() {
        for (machines, replicas) in [(300, 600), (100, 12_000)] {
            let (world, mut intake, _, moves) = decided(machines, replicas);
            assert!(!moves.is_empty());
            let steps = steps(&intake, &world, &moves).unwrap();
            assert_eq!(steps.len(), 2, "{machines} machines");
            let mut transactions = 0;
            for mut step in steps {
                while let Some(batch) = next_batch(&mut step, &intake, Fence(Revision(3))).unwrap()
                {
                    let Transaction { compares, operations } = &batch.transaction;
                    assert!(compares.len() <= OPERATIONS_MAX && operations.len() < OPERATIONS_MAX);
                    let sizes = operations.iter().map(|operation| match operation {
                        Operation::Put { value, .. } => value.len(),
                        Operation::Delete { .. } => 0,
                    });
                    assert!(sizes.sum::<usize>() <= BATCH_MAX_BYTES);
                    transactions += 1;
                    for (id, stored) in batch.written(Revision(8)) {
                        intake.wrote(&id, stored);
                    }
                    let mut seen = BTreeSet::new();
                    for number in 0..machines {
                        for instance in
                            intake.stored(&machine(number)).assignment.instances.into_keys()
                        {
                            assert!(seen.insert(instance.clone()), "{instance} is on two machines");
                        }
                    }
                }
            }
            assert!(transactions > 2, "{transactions}");
            for number in 0..machines {
                let stored = intake.stored(&machine(number)).assignment.instances;
                assert_eq!(stored, world.assignment(&machine(number)));
            }
        }
    }
}
