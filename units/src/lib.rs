//! Units: what should run here, what does, and the steps between.

pub mod assigned;
pub mod clock;
pub mod events;
pub mod exec;
pub mod far_ids;
pub mod graph;
pub mod handle;
pub mod health;
pub mod ids;
mod image_notes;
mod joining;
pub mod launch;
pub mod machine;
pub mod proof;
pub mod readiness;
pub mod record;
pub mod rights;
mod secrets;
pub mod shims;
mod starting;
pub mod store;
pub mod supervisor;
pub mod system;
pub mod volumes;
