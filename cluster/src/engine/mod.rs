//! Which instance of which unit has which machine: pure decisions with their causes, no clock and no I/O.
//!
//! [`plan`] hears what happened and answers with moves; [`why`] explains where an instance is, or why it is nowhere, by the same
//! predicates ([`fits`]), so that the way of decisions formats nothing. What runs is moved only for a cause.
//!
//! How a machine is found among many is nobody's business outside: this first form looks at each.

mod facts;
mod fits;
mod plan;
mod why;
mod world;

pub use facts::{Event, MachineFacts, Needs, News, Presence, UnitFacts};
pub use fits::{INSTANCES_MAX, Unfit};
pub use plan::{Move, plan};
pub use why::{Why, why};
pub use world::World;

#[cfg(test)]
mod property_tests;
#[cfg(test)]
mod tests;
