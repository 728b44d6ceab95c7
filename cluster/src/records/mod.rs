//! What is stored: one type for each kind of key, as JSON.
//!
//! Nodes upgrade one at a time, so a newer version may have written a record. Fields that this version does not know are
//! kept in `rest`, at every level, and written again. What it cannot understand is refused with key, field and reason; it
//! is left as it is, and whoever reads it goes on without.

mod admission;
mod assignment;
mod cluster;
mod machine;
mod record;
mod spec;
mod state;
mod unit;

pub use admission::{Access, Admission, Forgotten, IssuedCertificate, Revocation, Token};
pub use assignment::{Assigned, Assignment, Cause};
pub use cluster::{Cluster, ClusterNetwork, Leader, Net, Networks, Timings};
pub use machine::{Alive, Capacity, Machine};
pub use record::{ADDRESSES_MAX, LEVEL, Record, Refused, Rest, Wrong, decode, encode};
pub use spec::{OnLoss, Placement, Spec};
pub use state::{Condition, InstanceState, PORTS_MAX, ServicePort, State, Transport};
pub use unit::{REPLICAS_MAX, Target, Unit};

#[cfg(test)]
mod tests;
