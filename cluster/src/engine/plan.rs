//! What is to be moved.

use std::collections::BTreeSet;

use super::facts::{Event, Needs, Presence, UnitFacts};
use super::fits::{fits, holds};
use super::world::{Machine, Owner, World};
use crate::names::{MachineId, UnitName};
use crate::records::{Assigned, Cause, Rest};

/// An instance goes from one machine to another; from nowhere where it is placed, to nowhere where it is taken away. Where
/// both are the same, its version or its target changes there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Move {
    /// The instance.
    pub instance: UnitName,
    /// Where it was.
    pub from: Option<MachineId>,
    /// Where it is to be.
    pub to: Option<MachineId>,
    /// Why.
    pub cause: Cause,
}

/// Takes in what happened and decides what follows. The world is then as if all moves were done; the moves are in an order
/// in which they can be. Asked again without news, it moves nothing.
pub fn plan(world: &mut World, events: &[Event]) -> Vec<Move> {
    for event in events {
        world.apply(event);
    }
    let mut moves = Vec::new();
    settle_duplicates(world, &mut moves);
    let changed = std::mem::take(&mut world.unchecked);
    for instance in &changed {
        look_at(world, instance, &mut moves);
    }
    // Of two that cannot be together the one goes that changed; where that one must stay, the other.
    let stayed = changed.iter().filter_map(|instance| world.machine_of(instance));
    let ids: BTreeSet<MachineId> = stayed.cloned().collect();
    for instance in ids.iter().flat_map(|id| world.instances_on(id)).collect::<Vec<_>>() {
        if !changed.contains(&instance) {
            look_at(world, &instance, &mut moves);
        }
    }
    for instance in std::mem::take(&mut world.unsettled) {
        if !settle(world, &instance, &mut moves) {
            world.unsettled.insert(instance);
        }
    }
    moves
}

/// Of an instance on two machines the one stays that is on a machine that is there; of two such, on the first by ID.
fn settle_duplicates(world: &mut World, moves: &mut Vec<Move>) {
    for (instance, machine, assigned) in std::mem::take(&mut world.duplicates) {
        let rank = |id: &MachineId| {
            let presence = world.machine(id).map(|machine| machine.presence);
            let rank = match presence {
                Some(Presence::Alive) => 0,
                Some(Presence::Suspect) => 1,
                Some(Presence::Lost | Presence::Ended) | None => 2,
            };
            (rank, id.clone())
        };
        let (stays, goes) = match world.machine_of(&instance).cloned() {
            None => {
                world.put(&instance, &machine, assigned);
                continue;
            }
            Some(other) if rank(&other) <= rank(&machine) => (other, machine),
            Some(other) => {
                world.put(&instance, &machine, assigned);
                (machine, other)
            }
        };
        moves.push(Move { instance, from: Some(goes), to: Some(stays), cause: Cause::Duplicate });
    }
}

/// An instance that has a machine: it may stay, change there, or must go.
fn look_at(world: &mut World, instance: &UnitName, moves: &mut Vec<Move>) {
    let Some(placed) = world.placed(instance).cloned() else { return };
    let facts = match world.owner(instance) {
        Owner::Held(_) => return,
        Owner::Unwanted(_) | Owner::Nobody => {
            world.remove(instance);
            moves.push(Move {
                instance: instance.clone(),
                from: Some(placed.machine),
                to: None,
                cause: Cause::Unwanted,
            });
            return;
        }
        Owner::Wanted(_, facts) => facts.clone(),
    };
    let Some(machine) = world.machine(&placed.machine) else { return };
    // For a moment nobody knows what a silent machine does; then it is back, or lost.
    // And what must not run twice may run there still, for a while after that.
    let runs_there = facts.is_single() && machine.presence == Presence::Lost;
    let silent = machine.presence == Presence::Suspect || runs_there;
    let movable = !facts.needs.bound && !silent;
    let broken = movable && holds(instance, &facts.needs, machine).is_err();
    if broken {
        world.remove(instance);
        let to = choose(world, instance, &facts.needs);
        if let Some(to) = &to {
            let assigned = assigned(&facts, Cause::ConstraintBroken, Some(placed.assigned));
            world.put(instance, to, assigned);
        } else {
            world.unsettled.insert(instance.clone());
        }
        let from = Some(placed.machine);
        moves.push(Move { instance: instance.clone(), from, to, cause: Cause::ConstraintBroken });
        return;
    }
    if machine.presence.is_lost() && !facts.needs.bound {
        world.unsettled.insert(instance.clone());
    }
    if (&placed.assigned.spec, placed.assigned.target) != (&facts.spec, facts.target) {
        let cause = placed.assigned.cause.clone();
        let changed = assigned(&facts, cause, Some(placed.assigned));
        world.put(instance, &placed.machine, changed);
        moves.push(Move {
            instance: instance.clone(),
            from: Some(placed.machine.clone()),
            to: Some(placed.machine),
            cause: Cause::Changed,
        });
    }
}

/// An instance that may want a machine, or another one. `false` where it goes on wanting.
fn settle(world: &mut World, instance: &UnitName, moves: &mut Vec<Move>) -> bool {
    let Owner::Wanted(_, facts) = world.owner(instance) else { return true };
    let facts = facts.clone();
    let placed = world.placed(instance).cloned();
    if let Some(placed) = &placed {
        let presence = world.machine(&placed.machine).map(|machine| machine.presence);
        if facts.needs.bound || !presence.is_some_and(Presence::is_lost) {
            return true;
        }
        if facts.is_single() && presence == Some(Presence::Lost) {
            return false;
        }
    }
    let Some(to) = choose(world, instance, &facts.needs) else { return false };
    let cause = if placed.is_some() { Cause::MachineLost } else { Cause::Wanted };
    let (from, before) = placed.map(|placed| (placed.machine, placed.assigned)).unzip();
    world.put(instance, &to, assigned(&facts, cause.clone(), before));
    moves.push(Move { instance: instance.clone(), from, to: Some(to), cause });
    true
}

/// What the store will have of an instance. What newer versions wrote of it stays.
fn assigned(facts: &UnitFacts, cause: Cause, before: Option<Assigned>) -> Assigned {
    let (fired_s, rest) =
        before.map_or((None, Rest::new()), |before| (before.fired_s, before.rest));
    Assigned { spec: facts.spec.clone(), target: facts.target, cause, fired_s, rest }
}

/// The machine where an instance is best: with the fewest of its own unit, then with the fewest at all, then the first by ID.
fn choose(world: &World, instance: &UnitName, needs: &Needs) -> Option<MachineId> {
    let fitting = world.machines().filter(|(_, machine)| fits(instance, needs, machine).is_ok());
    let load = |machine: &Machine| (machine.of_the_unit_of(instance), machine.instances.len());
    fitting.min_by_key(|(_, machine)| load(machine)).map(|(id, _)| id.clone())
}
