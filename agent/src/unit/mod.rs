//! Units: what should run here, what does, and the steps between.

pub mod exec;
pub mod launch;
pub mod machine;
pub mod shims;
pub mod store;
pub mod supervisor;
