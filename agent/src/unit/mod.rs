//! Units: what should run here, what does, and the steps between.

pub mod exec;
pub mod ids;
pub mod launch;
pub mod machine;
pub mod rights;
pub mod shims;
pub mod store;
pub mod supervisor;
