//! Which network a machine has: a number, given once and never taken back while its record is there.

use std::collections::BTreeMap;

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

/// The number of a machine in the cluster's network, by all entries below `net/`. What cannot be understood there is somebody's. Of those that are free it
/// passes over `skip`: machines that join at the same moment would all want the first.
///
/// # Errors
/// Never in practice: the record can be written.
pub fn number(
    machine: &MachineId,
    nets: &[Entry],
    network: ClusterIpv4,
    skip: usize,
) -> Result<Number, Refused> {
    let mut taken = BTreeMap::new();
    for entry in nets {
        let Ok(Key::Net(number)) = Key::parse(&entry.key) else { continue };
        taken.insert(number, owner(number, entry));
    }
    let own = taken.iter().find(|(_, owner)| owner.as_ref() == Some(machine));
    if let Some((number, _)) = own {
        return Ok(Number::Has(*number));
    }
    let mut all = network.numbers().filter(|number| !taken.contains_key(number));
    let first = all.next();
    let later = skip.checked_sub(1).and_then(|skip| all.nth(skip));
    let Some(number) = later.or(first) else { return Ok(Number::None) };
    let key = Key::Net(number);
    let value = encode(&key, &Net { machine: machine.clone(), rest: Rest::new() })?;
    let bytes = key.bytes();
    let put = Operation::Put { key: bytes.clone(), value, lease: None };
    Ok(Number::Free(number, Compare::absent(bytes), put))
}

/// Whose a number is, if that can be understood.
pub(crate) fn owner(number: u16, entry: &Entry) -> Option<MachineId> {
    crate::records::decode::<Net>(&Key::Net(number), &entry.value).ok().map(|net| net.machine)
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
