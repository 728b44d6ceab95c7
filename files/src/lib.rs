//! Files and folders on a disk that may lose power at any moment, and that others fill with what they like.

pub mod ballast;
pub mod durable;
pub mod holes;
pub mod own;
pub mod quarantine;
pub mod removal;
pub mod reserve;
pub mod small;
pub mod walk;
