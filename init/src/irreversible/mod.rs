//! What can never be taken back, decided as pure functions over evidence: one file per decision.
//!
//! Everything else of PID 1 gathers evidence, asks here, and does what it is told. "Could not" is never "is gone".

pub mod state;
