//! The date of whatever has none of its own, so that equal inputs give equal bytes.

/// Every time stamp that a tool writes beside the root's, seconds since the epoch: 2025-08-09, trixie's release.
pub const EPOCH_S: u64 = 1_754_697_600;
