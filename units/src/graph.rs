//! What units wait for: pure questions about who depends on whom.

use std::collections::BTreeMap;
use std::time::Duration;

use ferrite_schema::api::UnitState;
use ferrite_schema::unit::Unit;

/// Another unit, as those see it that depend on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Other {
    /// It should run.
    pub wanted: bool,
    /// It runs and is well, or has done its work.
    pub ready: bool,
    /// What it is doing.
    pub state: UnitState,
    /// Number of the run of its program, while that runs.
    pub run: Option<u64>,
}

impl Other {
    /// It will not become ready by itself.
    fn is_gone(self) -> bool {
        let rests = match self.state {
            UnitState::Loaded | UnitState::Exited | UnitState::Failed => true,
            UnitState::Stopping => !self.wanted,
            UnitState::Waiting
            | UnitState::Pulling
            | UnitState::Starting
            | UnitState::Running
            | UnitState::BackingOff
            | UnitState::Scheduled => false,
        };
        rests && !self.ready
    }
}

/// Why a unit must wait, where it must.
#[must_use]
pub fn blocked(unit: &Unit, look: impl Fn(&str) -> Option<Other>) -> Option<String> {
    let required = unit.requires.iter().find_map(|name| match look(name) {
        None => Some(format!("waiting for {name} (which is not on this node)")),
        Some(other) if !other.ready => Some(waiting(name, other)),
        Some(_) => None,
    });
    required.or_else(|| unjoinable(unit, None, &look)).or_else(|| {
        unit.after.iter().find_map(|name| {
            let other = look(name)?;
            let counts = other.wanted && !other.ready && !other.is_gone();
            counts.then(|| waiting(name, other))
        })
    })
}

fn waiting(name: &str, other: Other) -> String {
    let what = match other.state {
        UnitState::Running => "running, but not ready yet",
        UnitState::Loaded => "not asked to run",
        UnitState::Exited => "done, and no oneshot unit",
        other => other.word(),
    };
    format!("waiting for {name} (which is {what})")
}

/// Why a unit has no network to share, where it is another's. Whether that one is well is not asked: it may be well only with this
/// one. `joined` is the run whose network it has already.
fn unjoinable(
    unit: &Unit,
    joined: Option<u64>,
    look: impl Fn(&str) -> Option<Other>,
) -> Option<String> {
    let name = unit.network.unit()?;
    let what = match look(name) {
        None => "not on this node",
        Some(Other { run: Some(run), .. }) if joined.is_none_or(|joined| joined == run) => {
            return None;
        }
        Some(Other { run: Some(_), .. }) => "another run by now",
        Some(Other { state: UnitState::Loaded, .. }) => "not asked to run",
        Some(other) => other.state.word(),
    };
    Some(format!("waiting for {name}, whose network it shares (which is {what})"))
}

/// Why a unit that runs must stop and wait, where it must: what it requires is gone for good, or the run is over whose network it
/// has, which is that of `joined`.
#[must_use]
pub fn bereft(
    unit: &Unit,
    joined: Option<u64>,
    look: impl Fn(&str) -> Option<Other>,
) -> Option<String> {
    let required = unit.requires.iter().find_map(|name| match look(name) {
        None => Some(format!("it requires {name}, which is not on this node")),
        Some(other) if other.is_gone() => Some(waiting(name, other)),
        Some(_) => None,
    });
    required.or_else(|| unjoinable(unit, joined, look))
}

/// Who waits for whom, by name.
pub type Edges<'a> = BTreeMap<&'a str, Vec<&'a str>>;

/// The edges of a unit.
pub fn edges(unit: &Unit) -> Vec<&str> {
    let others = unit.requires.iter().chain(&unit.after).map(String::as_str);
    others.chain(unit.network.unit()).collect()
}

/// A circle through `start`: the names in it, `start` first and last.
#[must_use]
pub fn cycle(edges: &Edges<'_>, start: &str) -> Option<Vec<String>> {
    let mut seen = Vec::new();
    let mut path = vec![start.to_owned()];
    search(edges, start, start, &mut seen, &mut path).then_some(path)
}

/// Which of the units that are not at rest may be asked to stop: those that no other one of them depends on. `edges` are
/// theirs. Where there are only circles, all of them: nothing is to wait for ever.
#[must_use]
pub fn first_to_stop<'a>(edges: &Edges<'a>) -> Vec<&'a str> {
    let is_needed = |name: &str| {
        let others = edges.iter().filter(|(other, _)| **other != name);
        others.flat_map(|(_, needed)| needed).any(|needed| *needed == name)
    };
    let free: Vec<&str> = edges.keys().copied().filter(|name| !is_needed(name)).collect();
    if free.is_empty() { edges.keys().copied().collect() } else { free }
}

/// How long it takes until all units of `edges` have stopped, each after those that depend on it, where each takes what
/// `grace` says: the longest chain.
#[must_use]
pub fn longest_stop(edges: &Edges<'_>, grace: impl Fn(&str) -> Duration) -> Duration {
    let mut left = edges.clone();
    let mut begins: BTreeMap<&str, Duration> = BTreeMap::new();
    let mut longest = Duration::ZERO;
    while !left.is_empty() {
        for name in first_to_stop(&left) {
            let begin = begins.get(name).copied().unwrap_or_default();
            let end = begin.saturating_add(grace(name));
            longest = longest.max(end);
            for needed in left.remove(name).unwrap_or_default() {
                let begin = begins.entry(needed).or_default();
                *begin = end.max(*begin);
            }
        }
    }
    longest
}

fn search<'a>(
    edges: &Edges<'a>,
    from: &str,
    target: &str,
    seen: &mut Vec<&'a str>,
    path: &mut Vec<String>,
) -> bool {
    for next in edges.get(from).into_iter().flatten() {
        path.push((*next).to_owned());
        if *next == target {
            return true;
        }
        if !seen.contains(next) {
            seen.push(next);
            if search(edges, next, target, seen, path) {
                return true;
            }
        }
        path.pop();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unit(more: &str) -> Unit {
        ferrite_schema::unit::parse(&format!("name = \"web\"\nimage = \"i\"\n{more}")).unwrap()
    }

    fn other(state: UnitState, wanted: bool, ready: bool) -> Option<Other> {
        let run = (state == UnitState::Running).then_some(1);
        Some(Other { wanted, ready, state, run })
    }

    #[test]
    fn requires_waits_for_readiness_whatever_is_wanted() {
        let web = unit("requires = [\"db\"]");
        let blocked = |other| blocked(&web, |_| other);
        assert_eq!(blocked(other(UnitState::Running, true, true)), None);
        for (seen, words) in [
            (None, "waiting for db (which is not on this node)"),
            (other(UnitState::Loaded, false, false), "waiting for db (which is not asked to run)"),
            (other(UnitState::Failed, true, false), "waiting for db (which is failed)"),
            (
                other(UnitState::Running, true, false),
                "waiting for db (which is running, but not ready yet)",
            ),
        ] {
            assert_eq!(blocked(seen).as_deref(), Some(words));
        }
    }

    #[test]
    fn after_waits_only_for_what_is_on_its_way() {
        let web = unit("after = [\"db\"]");
        for (seen, waits) in [
            (None, false),
            (other(UnitState::Loaded, false, false), false),
            (other(UnitState::Failed, true, false), false),
            (other(UnitState::Pulling, true, false), true),
            (other(UnitState::BackingOff, true, false), true),
            (other(UnitState::Running, true, true), false),
        ] {
            assert_eq!(blocked(&web, |_| seen).is_some(), waits, "{seen:?}");
        }
    }

    #[test]
    fn a_requirement_is_gone_when_it_will_not_come_back_by_itself() {
        let web = unit("requires = [\"db\"]");
        for (seen, gone) in [
            (None, true),
            (other(UnitState::Loaded, false, false), true),
            (other(UnitState::Stopping, false, false), true),
            (other(UnitState::Stopping, true, false), false),
            (other(UnitState::Failed, true, false), true),
            (other(UnitState::BackingOff, true, false), false),
            (other(UnitState::Exited, true, true), false),
            (other(UnitState::Running, true, false), false),
        ] {
            assert_eq!(bereft(&web, None, |_| seen).is_some(), gone, "{seen:?}");
        }
    }

    #[test]
    fn a_shared_network_is_that_of_one_run() {
        let web = unit("network = \"unit:db\"");
        let about =
            |what: &str| format!("waiting for db, whose network it shares (which is {what})");
        for (seen, what) in [
            (None, Some("not on this node")),
            (other(UnitState::Loaded, false, false), Some("not asked to run")),
            (other(UnitState::Starting, true, false), Some("starting")),
            // Its health may hang on the one that shares its network.
            (other(UnitState::Running, true, false), None),
            (other(UnitState::Running, true, true), None),
            (other(UnitState::Stopping, true, false), Some("stopping")),
            (other(UnitState::BackingOff, true, false), Some("backing off")),
            (other(UnitState::Exited, true, true), Some("exited")),
        ] {
            assert_eq!(blocked(&web, |_| seen), what.map(about), "{seen:?}");
            // Merely restarted is gone, too: its network goes with it.
            assert_eq!(bereft(&web, Some(1), |_| seen), what.map(about), "{seen:?}");
        }
        let running = other(UnitState::Running, true, true);
        assert_eq!(bereft(&web, Some(7), |_| running), Some(about("another run by now")));
        assert_eq!(bereft(&web, None, |_| running), None);
        // What else it waits for is waited for all the same.
        let both = unit("network = \"unit:db\"\nrequires = [\"db\"]");
        assert!(blocked(&both, |_| other(UnitState::Running, true, false)).is_some());
        assert_eq!(edges(&both), ["db", "db"]);
        assert_eq!(edges(&web), ["db"]);
    }

    #[test]
    fn circles_are_found_with_everyone_in_them() {
        let edges: Edges<'_> = BTreeMap::from([
            ("a", vec!["b", "x"]),
            ("b", vec!["c"]),
            ("c", vec!["x", "a"]),
            ("x", vec!["y"]),
            ("y", vec!["x"]),
        ]);
        assert_eq!(cycle(&edges, "a").unwrap().join(" → "), "a → b → c → a");
        assert_eq!(cycle(&edges, "x").unwrap().join(" → "), "x → y → x");
        assert_eq!(cycle(&BTreeMap::from([("a", vec!["b"]), ("b", vec![])]), "a"), None);
    }

    #[test]
    fn dependents_stop_before_what_they_depend_on() {
        let all: Edges<'_> = BTreeMap::from([
            ("db", vec![]),
            ("cache", vec!["absent"]),
            ("app", vec!["db", "cache"]),
            ("web", vec!["app", "db"]),
            ("alone", vec![]),
        ]);
        let mut left = all.clone();
        let mut order = Vec::new();
        while !left.is_empty() {
            let wave = first_to_stop(&left);
            left.retain(|name, _| !wave.contains(name));
            order.push(wave);
        }
        assert_eq!(order, [vec!["alone", "web"], vec!["app"], vec!["cache", "db"]]);
        let seconds = |name: &str| match name {
            "db" => 120,
            "alone" => 50,
            _ => 10,
        };
        let grace = |name: &str| Duration::from_secs(seconds(name));
        assert_eq!(longest_stop(&all, grace), Duration::from_secs(10 + 10 + 120));
        assert_eq!(longest_stop(&BTreeMap::new(), grace), Duration::ZERO);
    }

    #[test]
    fn a_circle_stops_all_the_same() {
        let circle: Edges<'_> = BTreeMap::from([("a", vec!["b"]), ("b", vec!["a"])]);
        assert_eq!(first_to_stop(&circle), ["a", "b"]);
        let alone: Edges<'_> = BTreeMap::from([("a", vec!["a"])]);
        assert_eq!(first_to_stop(&alone), ["a"]);
        let second = |_: &str| Duration::from_secs(1);
        assert!(longest_stop(&circle, second) <= Duration::from_secs(2));
    }
}
