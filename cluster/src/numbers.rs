//! Which network a machine has: a number, given once and never taken back while the machine is known.

use std::collections::{BTreeMap, BTreeSet};

use ferrite_schema::cluster_network::ClusterIpv4;

use crate::keys::Key;
use crate::names::MachineId;
use crate::records::{Net, Refused, Rest, encode};
use crate::store::{Compare, Entry, Operation};

/// A machine's number, and what makes it so, where it has none yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Number {
    /// It has one.
    Has(u16),
    /// It may have this one, if these hold and are done in one transaction with its joining.
    Free(u16, Compare, Operation),
    /// All are given.
    None,
}

/// The number of a machine in the cluster's network, by all entries below `net/`. What cannot be understood there is somebody's.
/// Of those that are free it passes over `skip`: machines that join at the same moment would all want the first. Those of
/// machines that were forgotten come last.
///
/// # Errors
/// Never in practice: the record can be written.
pub fn number(
    machine: &MachineId,
    nets: &[Entry],
    network: ClusterIpv4,
    skip: usize,
) -> Result<Number, Refused> {
    let (mut taken, mut forgotten) = (BTreeSet::new(), BTreeMap::new());
    for entry in nets {
        let Ok(Key::Net(number)) = Key::parse(&entry.key) else { continue };
        match read(number, entry) {
            Some(net) if net.forgotten => drop(forgotten.insert(number, entry.mod_revision)),
            Some(net) if net.machine == *machine => return Ok(Number::Has(number)),
            Some(_) | None => drop(taken.insert(number)),
        }
    }
    let fresh = |number: &u16| !taken.contains(number) && !forgotten.contains_key(number);
    let again = network.numbers().filter(|number| forgotten.contains_key(number));
    let mut all = network.numbers().filter(fresh).chain(again);
    let first = all.next();
    let later = skip.checked_sub(1).and_then(|skip| all.nth(skip));
    let Some(number) = later.or(first) else { return Ok(Number::None) };
    let key = Key::Net(number);
    let net = Net { machine: machine.clone(), forgotten: false, rest: Rest::new() };
    let value = encode(&key, &net)?;
    let bytes = key.bytes();
    let put = Operation::Put { key: bytes.clone(), value, lease: None };
    let compare = match forgotten.get(&number) {
        Some(revision) => Compare::mod_revision(bytes, *revision),
        None => Compare::absent(bytes),
    };
    Ok(Number::Free(number, compare, put))
}

/// What a number's record says, if that can be understood.
pub(crate) fn read(number: u16, entry: &Entry) -> Option<Net> {
    crate::records::decode::<Net>(&Key::Net(number), &entry.value).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Revision;

    fn machine(number: usize) -> MachineId {
        format!("{number:032x}").parse().unwrap()
    }

    fn entry(number: u16, value: &[u8]) -> Entry {
        Entry {
            key: Key::Net(number).bytes(),
            value: value.to_vec(),
            create_revision: Revision(1),
            mod_revision: Revision(1),
            version: 1,
            lease: None,
        }
    }

    fn network(text: &str) -> ClusterIpv4 {
        text.parse().unwrap()
    }

    #[test]
    fn a_number_is_given_once_and_what_is_not_understood_is_somebodys() {
        let (usual, few) = (ClusterIpv4::USUAL, network("10.64.0.0/22"));
        let mut nets = vec![entry(1, b"what is this")];
        for (index, expected) in [(7, 2), (8, 3)] {
            let Number::Free(number, compare, Operation::Put { key, value, lease: None }) =
                number(&machine(index), &nets, usual, 0).unwrap()
            else {
                panic!("none")
            };
            assert_eq!((number, &compare.key), (expected, &key));
            nets.push(entry(number, &value));
            assert_eq!(
                super::number(&machine(index), &nets, usual, 0).unwrap(),
                Number::Has(expected)
            );
        }
        assert_eq!(number(&machine(9), &nets, few, 0).unwrap(), Number::None);
        let skipped = number(&machine(9), &nets, usual, 2).unwrap();
        assert!(matches!(skipped, Number::Free(6, ..)), "{skipped:?}");
        let last = number(&machine(9), &nets[..2], few, 7).unwrap();
        assert!(matches!(last, Number::Free(3, ..)), "{last:?}");
    }

    #[test]
    fn the_network_of_lone_nodes_is_given_to_nobody() {
        let nets: Vec<Entry> = (1..2048).map(|number| entry(number, b"{}")).collect();
        let next = |text: &str| match number(&machine(1), &nets, network(text), 0).unwrap() {
            Number::Free(number, ..) => number,
            other => panic!("{other:?}"),
        };
        assert_eq!(next("10.112.0.0/12"), 2304);
        assert_eq!(next("172.16.0.0/12"), 2048);
        let all: Vec<Entry> = (1..30_720).map(|number| entry(number, b"{}")).collect();
        let beyond = number(&machine(1), &all, network("10.0.0.0/8"), 0).unwrap();
        assert!(matches!(beyond, Number::Free(30_976, ..)), "{beyond:?}");
    }

    #[test]
    fn the_number_of_a_machine_that_was_forgotten_is_given_last_and_not_back() {
        let of = |index, forgotten| {
            let net = Net { machine: machine(index), forgotten, rest: Rest::new() };
            serde_json::to_vec(&net).unwrap()
        };
        let network = network("10.64.0.0/22");
        let mut nets = vec![entry(1, &of(1, true)), entry(2, &of(2, false))];
        for who in [1, 3] {
            let free = number(&machine(who), &nets, network, 0).unwrap();
            assert!(matches!(free, Number::Free(3, ..)), "{free:?}");
        }
        nets.push(entry(3, &of(3, false)));
        let Number::Free(1, compare, _) = number(&machine(4), &nets, network, 0).unwrap() else {
            panic!("it is left")
        };
        assert_eq!(compare, Compare::mod_revision(Key::Net(1).bytes(), nets[0].mod_revision));
    }

    #[test]
    fn as_many_machines_fit_as_the_network_has_room_for() {
        for text in ["192.168.4.0/22", "172.20.0.0/20", "10.120.0.0/15"] {
            let (network, mut nets) = (network(text), Vec::new());
            for index in 0.. {
                match number(&machine(index), &nets, network, index % 3).unwrap() {
                    Number::Free(number, _, Operation::Put { value, .. }) => {
                        nets.push(entry(number, &value));
                    }
                    Number::None => break,
                    other => panic!("{other:?}"),
                }
            }
            assert_eq!(nets.len(), network.room(), "{text}");
        }
    }
}
