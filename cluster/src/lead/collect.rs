//! Versions that nothing runs and nothing is to run any more: they are forgotten, so that the store does not fill up with what
//! was changed long ago.

use std::collections::{BTreeMap, BTreeSet};

use crate::keys::Key;
use crate::leadership::Fence;
use crate::names::SpecHash;
use crate::records::{Assignment, State, Unit, decode};
use crate::store::{Compare, Listing, Operation, Revision, Transaction};

/// Versions that one transaction forgets.
const BATCH: usize = 100;

/// What was of no use when it was looked at last. Only what is twice is forgotten: between two looks, whatever is on its way
/// has come.
#[derive(Debug, Default)]
pub struct Collector {
    useless: BTreeSet<SpecHash>,
}

impl Collector {
    /// Looks at everything; answers with what forgets what was of no use before, too. Each comparison is of the version as it
    /// was seen: who submits one writes it, and keeps it by that.
    ///
    /// Where a record cannot be understood nobody knows what it needs, and nothing is forgotten.
    pub fn look(&mut self, listing: &Listing, fence: Fence) -> Vec<Transaction> {
        let Some(useless) = useless(listing) else {
            self.useless.clear();
            return Vec::new();
        };
        let due: Vec<(&SpecHash, &Revision)> =
            useless.iter().filter(|(hash, _)| self.useless.contains(*hash)).collect();
        let transactions = due.chunks(BATCH).map(|batch| {
            let keys =
                batch.iter().map(|(hash, seen)| (Key::Spec((*hash).clone()).bytes(), **seen));
            let (compares, operations): (Vec<Compare>, Vec<Operation>) = keys
                .map(|(key, seen)| {
                    (Compare::mod_revision(key.clone(), seen), Operation::Delete { key })
                })
                .unzip();
            let compares = [fence.compare()].into_iter().chain(compares).collect();
            Transaction { compares, operations }
        });
        let transactions = transactions.collect();
        self.useless = useless.into_keys().collect();
        transactions
    }
}

/// Versions that nothing refers to, with the revision of each.
fn useless(listing: &Listing) -> Option<BTreeMap<SpecHash, Revision>> {
    let (mut specs, mut used) = (BTreeMap::new(), BTreeSet::new());
    for entry in &listing.entries {
        match Key::parse(&entry.key) {
            Ok(Key::Spec(hash)) => drop(specs.insert(hash, entry.mod_revision)),
            Ok(key @ Key::Unit(_)) => {
                let unit: Unit = decode(&key, &entry.value).ok()?;
                used.insert(unit.spec);
                used.extend(unit.stable);
            }
            Ok(key @ Key::Assign(_)) => {
                let assignment: Assignment = decode(&key, &entry.value).ok()?;
                used.extend(assignment.instances.into_values().map(|assigned| assigned.spec));
            }
            Ok(key @ Key::State(_)) => {
                let state: State = decode(&key, &entry.value).ok()?;
                used.extend(state.instances.into_values().map(|instance| instance.spec));
            }
            // Keys of newer versions may refer to anything.
            Err(_) => return None,
            Ok(_) => {}
        }
    }
    specs.retain(|hash, _| !used.contains(hash));
    Some(specs)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Entry;

    const FENCE: Fence = Fence(Revision(3));

    fn hash(text: &str) -> SpecHash {
        SpecHash::of(text.as_bytes())
    }

    fn entry(key: &Key, value: &serde_json::Value, revision: i64) -> Entry {
        let revision = Revision(revision);
        Entry {
            key: key.bytes(),
            value: value.to_string().into_bytes(),
            create_revision: revision,
            mod_revision: revision,
            version: 1,
            lease: None,
        }
    }

    fn spec(text: &str, revision: i64) -> Entry {
        entry(&Key::Spec(hash(text)), &serde_json::json!({}), revision)
    }

    fn unit(name: &str, text: &str) -> Entry {
        let record = serde_json::json!({"target": "launched", "spec": hash(text)});
        entry(&Key::Unit(name.parse().unwrap()), &record, 5)
    }

    fn assignment(text: &str) -> Entry {
        let assigned =
            serde_json::json!({"spec": hash(text), "target": "launched", "cause": "wanted"});
        let record = serde_json::json!({"instances": {"web@1": assigned}});
        entry(&Key::Assign("a".repeat(32).parse().unwrap()), &record, 5)
    }

    fn listing(entries: Vec<Entry>) -> Listing {
        Listing { revision: Revision(9), entries }
    }

    fn forgotten(transactions: &[Transaction]) -> Vec<Vec<u8>> {
        let operations = transactions.iter().flat_map(|transaction| &transaction.operations);
        operations
            .map(|operation| match operation {
                Operation::Delete { key } => key.clone(),
                Operation::Put { .. } => panic!("{operation:?}"),
            })
            .collect()
    }

    #[test]
    fn what_nothing_needs_twice_is_forgotten_and_nothing_else() {
        let all = listing(vec![
            spec("old", 1),
            spec("runs", 2),
            spec("wanted", 3),
            unit("web", "wanted"),
            assignment("runs"),
        ]);
        let mut collector = Collector::default();
        assert_eq!(collector.look(&all, FENCE), []);
        let transactions = collector.look(&all, FENCE);
        assert_eq!(forgotten(&transactions), [Key::Spec(hash("old")).bytes()]);
        let old = Compare::mod_revision(Key::Spec(hash("old")).bytes(), Revision(1));
        assert_eq!(transactions[0].compares, [FENCE.compare(), old]);
        // One that was of use in between begins anew.
        let used = listing(vec![spec("old", 1), unit("web", "old")]);
        let mut collector = Collector::default();
        for (listing, count) in [(&all, 0), (&used, 0), (&all, 0), (&all, 1)] {
            assert_eq!(collector.look(listing, FENCE).len(), count);
        }
    }

    #[test]
    fn while_anything_cannot_be_understood_nothing_is_forgotten() {
        let strange = [
            entry(&Key::Unit("x".parse().unwrap()), &serde_json::json!([]), 5),
            entry(&Key::Assign("b".repeat(32).parse().unwrap()), &serde_json::json!(7), 5),
            entry(&Key::State("b".repeat(32).parse().unwrap()), &serde_json::json!(7), 5),
            Entry { key: b"/ferrite/1/later/x".to_vec(), ..spec("x", 5) },
        ];
        for strange in strange {
            let all = listing(vec![spec("old", 1), strange]);
            let mut collector = Collector::default();
            for _ in 0..3 {
                assert_eq!(collector.look(&all, FENCE), []);
            }
        }
    }

    #[test]
    fn many_are_forgotten_in_several_transactions() {
        let all = listing((0..250).map(|number| spec(&number.to_string(), number)).collect());
        let mut collector = Collector::default();
        collector.look(&all, FENCE);
        let sizes: Vec<usize> =
            collector.look(&all, FENCE).iter().map(|one| one.operations.len()).collect();
        assert_eq!(sizes, [100, 100, 50]);
    }
}
