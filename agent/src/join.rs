//! Who belongs to the cluster: how a member lets machines in (`service`, `decide`), and how a node asks to be let in and
//! stays so (`step`, `work`). A node without `[cluster]` has none of it.

mod ask;
pub mod decide;
pub mod hardware;
pub mod kept;
pub mod knowledge;
pub mod service;
pub mod step;
pub mod work;

#[cfg(test)]
mod corpus;
#[cfg(test)]
#[path = "join/tests.rs"]
mod tests;
