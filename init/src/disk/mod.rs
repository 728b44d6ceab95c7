//! The system disk: finding it, its partition table, its partitions' nodes.

mod device;
pub mod search;

pub use device::{DiskError, STATE_PARTITION, SystemDisk};
