//! Whether the units are where they should be for the node to count as ready, as a pure function of what is seen of
//! each.

use ferrite_schema::api::UnitState;

/// What is seen of a unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// It should run.
    pub wanted: bool,
    /// What it does.
    pub state: UnitState,
    /// A run of it was tried in this boot.
    pub tried: bool,
    /// A program of its ran in this boot.
    pub ran: bool,
    /// A program of its ran before this boot.
    pub ran_before: bool,
}

/// What the units say about the node.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Settled {
    /// Every unit that should run was tried: it ran, it could not, its image is on its way, it waits for another, or for
    /// its time. One that ends again and again says nothing about the OS.
    pub tried: bool,
    /// A unit's container has run in this boot: the OS can do its work.
    pub ran: bool,
    /// Units were tried that have run on this node before, and none of them ran: the OS may be to blame.
    pub suspect: bool,
}

/// Judges all units.
pub fn settled(units: impl Iterator<Item = Seen>) -> Settled {
    let start = Settled { tried: true, ran: false, suspect: false };
    let all = units.fold(start, |all, unit| {
        let waits =
            matches!(unit.state, UnitState::Waiting | UnitState::Pulling | UnitState::Scheduled);
        Settled {
            tried: all.tried && (!unit.wanted || unit.tried || waits),
            ran: all.ran || unit.ran,
            suspect: all.suspect || (unit.wanted && unit.ran_before && unit.tried),
        }
    });
    Settled { suspect: all.suspect && !all.ran, ..all }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDLE: Seen = Seen {
        wanted: true,
        state: UnitState::Failed,
        tried: false,
        ran: false,
        ran_before: false,
    };

    fn check(units: &[Seen], tried: bool, ran: bool, suspect: bool) {
        assert_eq!(settled(units.iter().copied()), Settled { tried, ran, suspect }, "{units:?}");
    }

    #[test]
    fn timers_that_are_not_due_keep_no_node_from_being_ready() {
        let timer = Seen { state: UnitState::Scheduled, ran_before: true, ..IDLE };
        check(&[timer, timer], true, false, false);
        check(&[], true, false, false);
    }

    #[test]
    fn what_is_on_its_way_is_waited_for_and_what_was_not_begun_is_not_settled() {
        check(&[Seen { state: UnitState::Starting, ..IDLE }], false, false, false);
        check(&[Seen { state: UnitState::Loaded, wanted: false, ..IDLE }], true, false, false);
        for state in [UnitState::Waiting, UnitState::Pulling] {
            check(&[Seen { state, ..IDLE }], true, false, false);
        }
    }

    #[test]
    fn units_that_ran_before_and_do_not_now_are_suspicious_until_one_runs() {
        let fails = Seen { tried: true, ran_before: true, ..IDLE };
        check(&[fails], true, false, true);
        check(&[fails, Seen { tried: true, ..IDLE }], true, false, true);
        check(&[fails, Seen { tried: true, ran: true, ..IDLE }], true, true, false);
        check(&[Seen { ran_before: false, ..fails }], true, false, false);
    }
}
