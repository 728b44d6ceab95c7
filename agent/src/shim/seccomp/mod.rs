//! The filter of system calls: what a container may ask the kernel for, and how the kernel learns of it.

mod compile;
mod profile;
mod program;

pub(crate) use program::{Program, ProgramProblem, Workload};

pub(crate) use profile::profile;
