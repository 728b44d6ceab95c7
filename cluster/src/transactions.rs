//! Transactions of everybody but the leader: a machine joins, a user submits a unit.

use crate::keys::Key;
use crate::names::{MachineId, SpecHash, UnitName};
use crate::records::{Alive, Machine, Record, Refused, Spec, State, Unit, decode, encode};
use crate::store::{Compare, Entry, LeaseId, Operation, Revision, Transaction};

/// What a machine says when it joins.
#[derive(Debug, Clone, PartialEq)]
pub struct Join {
    /// Who it is.
    pub machine: Machine,
    /// That it is there.
    pub alive: Alive,
    /// What it runs now. In the same transaction, so that nobody takes for running what ran before it was lost.
    pub state: State,
}

/// A machine joins, with a lease of its own. `known` is its record as it was read before: what others said of it stays.
/// `before` is what says that it is there already, if something did: the same boot of it goes on with another lease, without a
/// moment in which it is not there. The transaction fails where either was changed meanwhile.
///
/// # Errors
/// A record is none, or the one that is there cannot be understood.
pub fn join(
    id: &MachineId,
    join: Join,
    lease: LeaseId,
    known: Option<&Entry>,
    before: Option<&Entry>,
) -> Result<Transaction, Refused> {
    let Join { machine, alive, state } = join;
    let (machine_key, alive_key) = (Key::Machine(id.clone()), Key::Alive(id.clone()));
    let machine = match known {
        Some(entry) => machine.rejoining(decode(&machine_key, &entry.value)?),
        None => machine,
    };
    let revision = |entry: Option<&Entry>| entry.map_or(Revision::NONE, |entry| entry.mod_revision);
    Ok(Transaction {
        compares: vec![
            Compare::mod_revision(alive_key.bytes(), revision(before)),
            Compare::mod_revision(machine_key.bytes(), revision(known)),
        ],
        operations: vec![
            put(&machine_key, &machine, None)?,
            put(&Key::State(id.clone()), &state, None)?,
            put(&alive_key, &alive, Some(lease))?,
        ],
    })
}

/// A machine reports what it runs. The transaction fails where it has joined anew since `joined`, the revision of that: what an
/// older connection still says is old.
///
/// # Errors
/// The record is none.
pub fn report(id: &MachineId, state: &State, joined: Revision) -> Result<Transaction, Refused> {
    let operations = vec![put(&Key::State(id.clone()), state, None)?];
    let compares = vec![Compare::mod_revision(Key::Alive(id.clone()).bytes(), joined)];
    Ok(Transaction { compares, operations })
}

/// A user submits or changes a unit. `known` is the revision of its record as it was read before, [`Revision::NONE`] where
/// there was none; the transaction fails where it was changed meanwhile.
///
/// # Errors
/// A record is none.
pub fn submit(
    name: &UnitName,
    spec: &Spec,
    unit: impl FnOnce(SpecHash) -> Unit,
    known: Revision,
) -> Result<Transaction, Refused> {
    // A hash of nothing stands in until there is one; it is in no message, since only bounds and values are looked at.
    let value = encode(&Key::Spec(SpecHash::of(b"")), spec)?;
    let hash = SpecHash::of(&value);
    let unit_key = Key::Unit(name.clone());
    let unit = unit(hash.clone());
    Ok(Transaction {
        compares: vec![Compare::mod_revision(unit_key.bytes(), known)],
        operations: vec![
            Operation::Put { key: Key::Spec(hash).bytes(), value, lease: None },
            put(&unit_key, &unit, None)?,
        ],
    })
}

fn put<R: Record>(key: &Key, record: &R, lease: Option<LeaseId>) -> Result<Operation, Refused> {
    Ok(Operation::Put { key: key.bytes(), value: encode(key, record)?, lease })
}
