//! The system disk: finding it, its partition table, its partitions' nodes.

mod device;
pub mod identity;
mod mend;
pub mod origin;
pub mod search;

pub use device::{DiskError, OEM_PARTITION, STATE_PARTITION, SystemDisk};
