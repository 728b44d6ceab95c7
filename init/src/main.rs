//! PID 1 of Ferrite; see the library.

fn main() {}
