//! Thin safe wrappers for kernel calls and instructions that `rustix` and `nix` lack. The only crate
//! with `unsafe`: one operation per block, each with the reason why it is sound.
#![expect(unsafe_code, reason = "this crate exists to keep unsafe code in one place")]

pub mod tsc;
