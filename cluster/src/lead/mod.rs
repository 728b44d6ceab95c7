//! The leader's work: what the store tells goes into the engine, what the engine decides goes into the store, fenced.

mod clock;
mod collect;
mod intake;
mod leader;
mod look;
mod writes;

pub use clock::{Clock, Monotonic};
pub use collect::Collector;
pub use leader::{LeadEnd, Report, lead};
pub use look::{Looked, look};
