//! What can never be taken back, decided by pure functions over evidence: everything else asks here.
//!
//! "Could not work" is never "is gone", and "not trusted here" is never "bad".

pub mod clock;
pub mod state;
