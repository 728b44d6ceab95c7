//! Where etcd's peers are. Pure.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ferrite_cluster::protocol::Member;
use ferrite_schema::cluster::MachineId;

/// An address for each machine: where it has just shown its certificate (`proven`), before what the cluster's records say of
/// members. Among those, the one that was good `before` stays: each change is new connections.
pub(super) fn places(
    members: &[Member],
    before: &BTreeMap<MachineId, IpAddr>,
    mut proven: BTreeMap<MachineId, IpAddr>,
) -> BTreeMap<MachineId, IpAddr> {
    for member in members {
        let said = &member.addresses;
        let stays = before.get(&member.machine).filter(|one| said.is_empty() || said.contains(one));
        if let Some(address) = stays.or(said.first()) {
            proven.entry(member.machine.clone()).or_insert(*address);
        }
    }
    proven
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(digit: &str) -> MachineId {
        digit.repeat(32).parse().unwrap()
    }

    fn of(all: &[(&str, &str)]) -> BTreeMap<MachineId, IpAddr> {
        all.iter().map(|(machine, address)| (id(machine), address.parse().unwrap())).collect()
    }

    fn members(all: &[(&str, &[&str])]) -> Vec<Member> {
        let member = |(machine, addresses): &(&str, &[&str])| Member {
            machine: id(machine),
            addresses: addresses.iter().map(|address| address.parse().unwrap()).collect(),
            learner: false,
        };
        all.iter().map(member).collect()
    }

    #[test]
    fn a_peer_is_where_its_certificate_was_seen_whatever_the_records_say() {
        let members =
            members(&[("a", &["10.0.0.1", "10.1.0.1"]), ("b", &["10.0.0.2"]), ("c", &[])]);
        let of_records = of(&[("a", "10.0.0.1"), ("b", "10.0.0.2")]);
        assert_eq!(places(&members, &of(&[]), of(&[])), of_records);
        let moved = of(&[("a", "192.168.0.1"), ("c", "192.168.0.3"), ("d", "192.168.0.4")]);
        let mut expected = moved.clone();
        expected.extend(of(&[("b", "10.0.0.2")]));
        assert_eq!(places(&members, &of_records, moved), expected);
    }

    #[test]
    fn an_address_that_was_good_stays_while_the_records_have_it() {
        let members =
            members(&[("a", &["10.0.0.1", "10.1.0.1"]), ("b", &["10.0.0.2"]), ("c", &[])]);
        let before = of(&[("a", "10.1.0.1"), ("b", "192.168.0.2"), ("c", "10.0.0.3")]);
        let expected = of(&[("a", "10.1.0.1"), ("b", "10.0.0.2"), ("c", "10.0.0.3")]);
        assert_eq!(places(&members, &before, of(&[])), expected);
    }
}
