//! Files and folders on a disk that may lose power at any moment.

pub mod durable;
