//! In which order a node tries the addresses at which a relay may be. Pure.
//!
//! What was not tried yet comes before what was, and that in the order in which it failed: a relay that
//! just died comes last. Among equals, chance decides, differently on each node: those that a dead relay leaves spread over
//! the others.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;

/// So many machines that are no members are asked each time: any of them may have become one.
const OTHERS_MAX: usize = 16;

/// Where a relay may be, each as `HOST:PORT`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Known {
    /// Who runs etcd, as it was heard last.
    pub(super) members: Vec<String>,
    /// What was heard on the links.
    pub(super) hints: Vec<SocketAddr>,
    /// What the configuration names.
    pub(super) join: Vec<String>,
    /// All other machines of the cluster.
    pub(super) others: Vec<String>,
}

impl Known {
    /// Where somebody may be who knows how the cluster is: all but the machines that were no members.
    pub(super) fn likely(&self) -> Vec<String> {
        let hints = self.hints.iter().map(ToString::to_string);
        let all = self.members.iter().cloned().chain(hints).chain(self.join.iter().cloned());
        let mut all: Vec<String> = all.collect();
        all.sort();
        all.dedup();
        all
    }
}

/// What a node remembers of its attempts.
#[derive(Debug, Default)]
pub(super) struct Candidates {
    /// The number of the attempt that failed last, by address.
    failed: BTreeMap<String, u64>,
    attempts: u64,
}

impl Candidates {
    /// Nobody is a relay there, or one that would still be of use when this node looks again.
    pub(super) fn failed(&mut self, address: &str) {
        self.attempts += 1;
        self.failed.insert(address.to_owned(), self.attempts);
    }

    /// All addresses, in the order in which they are tried. `chance` gives each a number of this node's own.
    pub(super) fn order(
        &mut self,
        known: &Known,
        chance: impl Fn(&str) -> u64,
    ) -> VecDeque<String> {
        let likely = known.likely();
        let failed = |address: &String| self.failed.get(address).copied().unwrap_or(0);
        let hint = |address: &String| known.hints.iter().any(|hint| hint.to_string() == *address);
        let joins = |address: &String| known.join.contains(address);
        let mut first = likely.clone();
        // A name of the configuration may lead to any machine: what is known better comes first.
        first.sort_by_cached_key(|address| {
            let unsure = joins(address) && !hint(address) && !known.members.contains(address);
            (failed(address), unsure, chance(address))
        });
        let mut others = known.others.clone();
        others.retain(|address| !likely.contains(address));
        others.sort_by_cached_key(|address| (failed(address), chance(address)));
        others.dedup();
        others.truncate(OTHERS_MAX);
        self.failed.retain(|address, _| likely.contains(address) || known.others.contains(address));
        first.into_iter().chain(others).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::hash::{BuildHasher, RandomState};

    use super::*;

    fn known(members: &[&str], join: &[&str], others: &[&str]) -> Known {
        let all = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Known { members: all(members), hints: Vec::new(), join: all(join), others: all(others) }
    }

    fn in_turn(address: &str) -> u64 {
        address.bytes().fold(0, |all, byte| all << 8 | u64::from(byte))
    }

    #[test]
    fn a_relay_that_died_comes_last_and_those_that_failed_in_turn() {
        let mut candidates = Candidates::default();
        let known = known(&["a", "b", "c"], &["a", "j"], &[]);
        assert_eq!(candidates.order(&known, in_turn), ["a", "b", "c", "j"]);
        candidates.failed("a");
        assert_eq!(candidates.order(&known, in_turn), ["b", "c", "j", "a"]);
        for dead in ["b", "c", "j", "a"] {
            candidates.failed(dead);
        }
        assert_eq!(candidates.order(&known, in_turn), ["b", "c", "j", "a"]);
        candidates.failed("b");
        assert_eq!(candidates.order(&known, in_turn), ["c", "j", "a", "b"]);
    }

    #[test]
    fn hints_come_with_the_members_and_other_machines_after_all_a_few_at_a_time_each_in_its_turn() {
        let mut candidates = Candidates::default();
        let others: Vec<String> = (0..40).map(|number| format!("w{number:02}")).collect();
        let others: Vec<&str> = others.iter().map(String::as_str).chain(["a"]).collect();
        let mut known = known(&["a"], &[], &others);
        let hint = "10.0.0.9:7443".parse().unwrap();
        known.hints.push(hint);
        let mut seen = std::collections::BTreeSet::new();
        for pass in 0..3 {
            let order = candidates.order(&known, in_turn);
            assert_eq!(order.len(), 2 + OTHERS_MAX, "{order:?}");
            let both: Vec<&String> = order.iter().take(2).collect();
            assert!(both.contains(&&"a".to_owned()) && both.contains(&&hint.to_string()), "{pass}");
            for address in order {
                candidates.failed(&address);
                seen.insert(address);
            }
        }
        assert_eq!(seen.len(), 42, "nobody is left out");
        // What is gone is not remembered for ever.
        candidates.order(&Known::default(), in_turn);
        assert!(candidates.failed.is_empty());
    }

    #[test]
    fn nodes_that_lose_their_relay_spread_over_the_others() {
        let known = known(&["a:1", "b:1", "c:1", "d:1"], &[], &[]);
        let mut first: BTreeMap<String, usize> = BTreeMap::new();
        for _ in 0..400 {
            let mut candidates = Candidates::default();
            candidates.failed("a:1");
            let own = RandomState::new();
            let order = candidates.order(&known, |address| own.hash_one(address));
            *first.entry(order[0].clone()).or_default() += 1;
        }
        assert_eq!(first.len(), 3, "{first:?}");
        assert!(first.values().all(|count| *count > 80), "{first:?}");
    }
}
