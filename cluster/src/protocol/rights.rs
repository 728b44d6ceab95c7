//! What a node may write through its relay.

use crate::keys::Key;
use crate::names::MachineId;

/// A node wanted to write what is not its own.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("machine {machine} must not write {key}: a node writes its own machine, alive and state")]
pub struct NotYours {
    /// The node, as its certificate says.
    pub machine: MachineId,
    /// The key.
    pub key: Key,
}

/// The node that has this certificate may write the key: of `machines`, `alive` and `state` its own.
///
/// # Errors
/// It may not.
pub fn may_write(machine: &MachineId, key: &Key) -> Result<(), NotYours> {
    let own = match key {
        Key::Machine(id) | Key::Alive(id) | Key::State(id) => id == machine,
        Key::Cluster
        | Key::Leader
        | Key::Unit(_)
        | Key::Spec(_)
        | Key::Assign(_)
        | Key::Net(_)
        | Key::Token(_)
        | Key::Admission(_)
        | Key::Revoked(_)
        | Key::Access(_)
        | Key::Forgotten(_) => false,
    };
    if own { Ok(()) } else { Err(NotYours { machine: machine.clone(), key: key.clone() }) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::SpecHash;

    #[test]
    fn a_node_writes_its_own_records_and_no_others() {
        let own: MachineId = "0123456789abcdef0123456789abcdef".parse().unwrap();
        let other: MachineId = "fedcba9876543210fedcba9876543210".parse().unwrap();
        let of = |id: &MachineId| {
            [Key::Machine(id.clone()), Key::Alive(id.clone()), Key::State(id.clone())]
        };
        for key in of(&own) {
            assert_eq!(may_write(&own, &key), Ok(()));
        }
        let nobodys = [
            Key::Assign(own.clone()),
            Key::Cluster,
            Key::Leader,
            Key::Unit("web".parse().unwrap()),
            Key::Spec(SpecHash::of(b"")),
            Key::Net(1),
        ];
        for key in of(&other).into_iter().chain(nobodys) {
            let said = may_write(&own, &key).unwrap_err().to_string();
            assert!(said.contains(&format!("machine {own} must not write {key}")), "{said}");
        }
    }
}
