//! The tables, and the sets that a unit which comes or goes adds elements to.

use super::encode::{Family, Set, Table, Transaction};

pub(super) const INET: Table = Table { family: Family::Inet, name: "ferrite" };
pub(super) const BRIDGE: Table = Table { family: Family::Bridge, name: "ferrite" };

/// nft's numbers of types, six bits each where a key has several parts.
const TYPE_BITS: u32 = 6;
const TYPE_IPV4: u32 = 7;
const TYPE_IPV6: u32 = 8;
const TYPE_ETHER: u32 = 9;
const TYPE_PROTOCOL: u32 = 12;
const TYPE_PORT: u32 = 13;
const TYPE_NAME: u32 = 41;

const fn joined(types: &[u32]) -> u32 {
    let mut all = 0;
    let mut rest = types;
    while let [first, others @ ..] = rest {
        all = (all << TYPE_BITS) | *first;
        rest = others;
    }
    all
}

/// All sets, each in its table.
pub(super) const fn sets() -> [(Table, Set); 11] {
    let target4 = Some((joined(&[TYPE_IPV4, TYPE_PORT]), 8));
    let target6 = Some((joined(&[TYPE_IPV6, TYPE_PORT]), 20));
    let any = (joined(&[TYPE_PROTOCOL, TYPE_PORT]), 8);
    let bound4 = (joined(&[TYPE_IPV4, TYPE_PROTOCOL, TYPE_PORT]), 12);
    let bound6 = (joined(&[TYPE_IPV6, TYPE_PROTOCOL, TYPE_PORT]), 24);
    let macs = (joined(&[TYPE_NAME, TYPE_ETHER]), 24);
    let v4 = (joined(&[TYPE_NAME, TYPE_IPV4]), 20);
    let v6 = (joined(&[TYPE_NAME, TYPE_IPV6]), 32);
    [
        (INET, Set { name: "ports4", id: 1, key: any, data: target4 }),
        (INET, Set { name: "ports6", id: 2, key: any, data: target6 }),
        (INET, Set { name: "bound4", id: 3, key: bound4, data: target4 }),
        (INET, Set { name: "bound6", id: 4, key: bound6, data: target6 }),
        (BRIDGE, Set { name: "macs", id: 5, key: macs, data: None }),
        (BRIDGE, Set { name: "v4", id: 6, key: v4, data: None }),
        (BRIDGE, Set { name: "v6", id: 7, key: v6, data: None }),
        (INET, Set { name: "metadata4", id: 8, key: (TYPE_IPV4, 4), data: None }),
        (INET, Set { name: "metadata6", id: 9, key: (TYPE_IPV6, 16), data: None }),
        (INET, Set { name: "machines4", id: 10, key: (TYPE_IPV4, 4), data: None }),
        (INET, Set { name: "machines6", id: 11, key: (TYPE_IPV6, 16), data: None }),
    ]
}

/// Makes those of a table.
pub(super) fn make_sets(transaction: &mut Transaction, table: Table) {
    for (_, set) in sets().iter().filter(|(owner, _)| owner.family == table.family) {
        transaction.set(table, *set);
    }
}
