//! The processor's time-stamp counter.

/// Reads the time-stamp counter: ticks since reset, at a constant rate on every processor of the
/// last decade.
#[must_use]
pub fn read() -> u64 {
    // SAFETY: RDTSC has no operands and touches no memory; CR4.TSD, which would make it trap, is only
    // set for a process that asks for it with PR_SET_TSC, and we never do.
    unsafe { core::arch::x86_64::_rdtsc() }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_counter_moves_on() {
        let first = super::read();
        let later = (0..1_000_000).map(|_| super::read()).find(|counter| *counter > first);
        assert!(later.is_some());
    }
}
