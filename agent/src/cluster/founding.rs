//! Who begins a cluster: a pure function of what every node says of itself. Two that begin are two clusters for good, so that
//! whatever is not known is waited for.

use std::collections::{BTreeMap, BTreeSet};

use ferrite_cluster::protocol::Standing;
use ferrite_schema::cluster::MachineId;

/// What follows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// This node begins the cluster.
    Begin,
    /// There is one, or another node begins it: this node joins.
    Join,
    /// For now neither; the words say what is missing.
    Wait(String),
}

/// Judges. `expect` nodes that may become members must have answered, this one among them, and none may ever have seen a
/// cluster; then the lowest ID begins. `silent` are the addresses that did not answer, each with the reason.
pub(super) fn judge(
    own: &Standing,
    expect: u8,
    heard: &BTreeMap<MachineId, Standing>,
    silent: &BTreeMap<String, String>,
) -> Verdict {
    let others = || heard.values().filter(|other| other.machine != own.machine);
    if own.knows || !own.eligible || others().any(|other| other.member || other.knows) {
        return Verdict::Join;
    }
    let candidates: BTreeSet<&MachineId> = others()
        .filter(|other| other.eligible)
        .map(|other| &other.machine)
        .chain([&own.machine])
        .collect();
    let expect = usize::from(expect);
    if candidates.len() < expect {
        let reasons: Vec<String> =
            silent.iter().map(|(address, why)| format!("{address}: {why}")).collect();
        let mut said = format!(
            "the cluster is not begun before {expect} nodes that may become members have found one another ([cluster] expect), and {} are here",
            candidates.len()
        );
        if !reasons.is_empty() {
            said = format!("{said}; {}", reasons.join("; "));
        }
        return Verdict::Wait(said);
    }
    match candidates.first() {
        Some(first) if **first == own.machine => Verdict::Begin,
        Some(first) => Verdict::Wait(format!("machine {first} begins the cluster")),
        None => Verdict::Wait("nobody is here".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn standing(number: u8) -> Standing {
        Standing {
            machine: format!("{number:032x}").parse().unwrap(),
            boot_id: None,
            eligible: true,
            member: false,
            serves: false,
            answers: false,
            epoch: None,
            knows: false,
        }
    }

    fn heard(all: &[Standing]) -> BTreeMap<MachineId, Standing> {
        all.iter().map(|one| (one.machine.clone(), one.clone())).collect()
    }

    #[test]
    fn the_lowest_of_all_that_are_expected_begins() {
        let all = [standing(1), standing(2), standing(3)];
        let silent = BTreeMap::new();
        assert_eq!(judge(&all[0], 3, &heard(&all), &silent), Verdict::Begin);
        let Verdict::Wait(why) = judge(&all[1], 3, &heard(&all), &silent) else { panic!() };
        assert!(why.contains("machine 00000000000000000000000000000001 begins"), "{why}");
        let silent = [("10.0.0.3:7443".to_owned(), "no route".to_owned())].into();
        let Verdict::Wait(why) = judge(&all[0], 3, &heard(&all[..2]), &silent) else { panic!() };
        assert!(why.contains("2 are here; 10.0.0.3:7443: no route"), "{why}");
    }

    #[test]
    fn where_anybody_has_seen_a_cluster_nobody_begins_another() {
        let mut all = [standing(1), standing(2), standing(3)];
        all[2].knows = true;
        assert_eq!(judge(&all[0], 3, &heard(&all), &BTreeMap::new()), Verdict::Join);
        all[2] = Standing { member: true, ..standing(3) };
        assert_eq!(judge(&all[0], 3, &heard(&all), &BTreeMap::new()), Verdict::Join);
        let own = Standing { knows: true, ..standing(1) };
        assert_eq!(judge(&own, 1, &BTreeMap::new(), &BTreeMap::new()), Verdict::Join);
        let worker = Standing { eligible: false, ..standing(1) };
        assert_eq!(judge(&worker, 1, &heard(&all[..2]), &BTreeMap::new()), Verdict::Join);
    }

    proptest! {
        /// Whoever hears whom: where all are expected, never two begin.
        #[test]
        fn never_two_begin(hears in prop::collection::vec(0..32_u8, 5), count in 1..6_usize) {
            let all: Vec<Standing> = (0..5).take(count).map(standing).collect();
            let begins = (0..count).filter(|number| {
                let known = (0..count).filter(|other| hears[*number] >> other & 1 == 1);
                let known: Vec<Standing> = known.map(|other| all[other].clone()).collect();
                let expect = u8::try_from(count).unwrap();
                judge(&all[*number], expect, &heard(&known), &BTreeMap::new()) == Verdict::Begin
            });
            prop_assert!(begins.count() <= 1);
        }
    }
}
