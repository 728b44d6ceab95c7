//! Records which step of the boot ran when, from reset to ready.
//!
//! Times are microseconds of `CLOCK_BOOTTIME`, which starts with the kernel. What was before it is
//! computed from the processor's time-stamp counter, which starts at reset and goes on across kexec.

use ferrite_schema::timeline::{Phase, Span, Timeline};
use rustix::time::ClockId;
use serde::{Deserialize, Serialize};

/// Spans kept. Clients may add their own; a client that never stops must not fill our memory.
/// All of them with the longest texts fit into one packet of the control socket, or nearly so.
const SPANS_MAX: usize = 256;
/// Longest name or detail that a client may give, in bytes.
const TEXT_MAX_BYTES: usize = 200;
/// Shortest time over which the counter's frequency can be taken to 0.1 %: reading both clocks takes
/// about 1 µs.
const BASE_MIN_US: i64 = 1_000;

/// Both clocks at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instant {
    /// Time-stamp counter.
    pub tsc: u64,
    /// `CLOCK_BOOTTIME` in microseconds.
    pub boottime_us: i64,
}

/// Reads both clocks.
#[must_use]
pub fn now() -> Instant {
    let time = rustix::time::clock_gettime(ClockId::Boottime);
    Instant {
        tsc: ferrite_sys::tsc::read(),
        boottime_us: time.tv_sec.saturating_mul(1_000_000).saturating_add(time.tv_nsec / 1_000),
    }
}

/// The timeline while it grows. It is handed from the initramfs to the root file system's PID 1 as
/// part of the boot state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recorder {
    first: Instant,
    kexec_tsc: Option<u64>,
    ready: Option<Instant>,
    spans: Vec<Span>,
}

impl Recorder {
    /// Starts recording. `first` was read by PID 1's first instructions; `kexec_tsc` is the counter
    /// when an earlier kernel jumped into this one.
    #[must_use]
    pub const fn start(first: Instant, kexec_tsc: Option<u64>) -> Self {
        Self { first, kexec_tsc, ready: None, spans: Vec::new() }
    }

    /// Runs a step and records it, whatever comes of it.
    ///
    /// # Errors
    /// The step's own.
    pub fn step<T, E>(
        &mut self,
        phase: Phase,
        name: &str,
        run: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, E> {
        let start = now();
        let result = run();
        self.end(phase, name, start);
        result
    }

    /// Records a step that began at `start` and ends now; for steps that need the recorder themselves.
    pub fn end(&mut self, phase: Phase, name: &str, start: Instant) {
        self.add(Span {
            phase,
            name: name.to_owned(),
            start_us: start.boottime_us,
            end_us: now().boottime_us,
            detail: None,
        });
    }

    /// Says more about the step recorded last.
    pub fn note(&mut self, detail: String) {
        if let Some(span) = self.spans.last_mut() {
            span.detail = Some(detail);
        }
    }

    /// Adds a step, perhaps a client's. `false` when the timeline is full or the step is impossible.
    pub fn add(&mut self, mut span: Span) -> bool {
        if self.spans.len() >= SPANS_MAX || span.end_us < span.start_us {
            return false;
        }
        cut(&mut span.name);
        if let Some(detail) = &mut span.detail {
            cut(detail);
        }
        self.spans.push(span);
        true
    }

    /// Sets the moment when the node was ready. Only the first call counts.
    pub fn ready(&mut self, at: Instant) {
        self.ready.get_or_insert(at);
    }

    /// The timeline up to now, in the order of the steps' starts.
    #[must_use]
    pub fn timeline(&self, now: Instant) -> Timeline {
        let mut spans = before_init(self.first, self.kexec_tsc, now);
        spans.extend(self.spans.iter().cloned());
        spans.sort_by_key(|span| (span.start_us, std::cmp::Reverse(span.end_us)));
        Timeline {
            spans,
            ready_us: self.ready.map(|ready| ready.boottime_us),
            init_tsc: Some(self.first.tsc),
            ready_tsc: self.ready.map(|ready| ready.tsc),
        }
    }
}

/// What happened before PID 1's first instruction, computed from three moments.
fn before_init(first: Instant, kexec_tsc: Option<u64>, now: Instant) -> Vec<Span> {
    let span = |phase, name: &str, start_us, end_us| Span {
        phase,
        name: name.to_owned(),
        start_us,
        end_us,
        detail: None,
    };
    let mut spans = vec![span(Phase::Kernel, "kernel", 0, first.boottime_us)];
    let Some(reset_us) = at_counter(0, first, now).filter(|reset_us| *reset_us < 0) else {
        return spans;
    };
    let jump_us = kexec_tsc
        .and_then(|counter| at_counter(counter, first, now))
        .filter(|jump_us| (reset_us..=0).contains(jump_us));
    match jump_us {
        Some(jump_us) => {
            spans.push(span(Phase::Firmware, "firmware and first kernel", reset_us, jump_us));
            spans.push(span(Phase::Firmware, "kexec", jump_us, 0));
        }
        None => spans.push(span(Phase::Firmware, "firmware and loader", reset_us, 0)),
    }
    spans
}

/// When the counter stood at `counter`, in microseconds of the kernel's clock.
fn at_counter(counter: u64, first: Instant, now: Instant) -> Option<i64> {
    let base_us = now.boottime_us.checked_sub(first.boottime_us)?;
    let base_ticks = i128::from(now.tsc.checked_sub(first.tsc)?);
    if base_us < BASE_MIN_US || base_ticks == 0 {
        return None;
    }
    let ticks = i128::from(counter) - i128::from(first.tsc);
    let from_first_us = ticks.checked_mul(i128::from(base_us))? / base_ticks;
    first.boottime_us.checked_add(i64::try_from(from_first_us).ok()?)
}

fn cut(text: &mut String) {
    while text.len() > TEXT_MAX_BYTES {
        text.pop();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(tsc: u64, boottime_us: i64) -> Instant {
        Instant { tsc, boottime_us }
    }

    fn span(name: &str, start_us: i64, end_us: i64) -> Span {
        Span { phase: Phase::Agent, name: name.to_owned(), start_us, end_us, detail: None }
    }

    fn outline(timeline: &Timeline) -> Vec<(&str, i64, i64)> {
        timeline.spans.iter().map(|span| (span.name.as_str(), span.start_us, span.end_us)).collect()
    }

    #[test]
    fn firmware_time_comes_from_the_counter() {
        // 2 ticks per µs: the counter ran 5 s before PID 1, the kernel's clock only 2 s.
        let recorder = Recorder::start(at(10_000_000, 2_000_000), None);
        let timeline = recorder.timeline(at(20_000_000, 7_000_000));
        assert_eq!(
            outline(&timeline),
            [("firmware and loader", -3_000_000, 0), ("kernel", 0, 2_000_000)]
        );
        assert_eq!(timeline.init_tsc, Some(10_000_000));
    }

    #[test]
    fn an_earlier_kernel_is_told_apart() {
        let recorder = Recorder::start(at(10_000_000, 2_000_000), Some(5_000_000));
        let timeline = recorder.timeline(at(20_000_000, 7_000_000));
        assert_eq!(
            outline(&timeline),
            [
                ("firmware and first kernel", -3_000_000, -500_000),
                ("kexec", -500_000, 0),
                ("kernel", 0, 2_000_000),
            ]
        );
    }

    #[test]
    fn a_counter_that_cannot_be_true_is_left_out() {
        let kernel_only = [("kernel", 0, 2_000_000)];
        // Reset after the kernel's start: a hypervisor that hides the real counter.
        let reset_late = Recorder::start(at(1_000_000, 2_000_000), None);
        assert_eq!(outline(&reset_late.timeline(at(11_000_000, 7_000_000))), kernel_only);
        // A counter that stands still or runs back.
        let still = Recorder::start(at(10_000_000, 2_000_000), None);
        assert_eq!(outline(&still.timeline(at(10_000_000, 7_000_000))), kernel_only);
        assert_eq!(outline(&still.timeline(at(9_000_000, 7_000_000))), kernel_only);
        // A kexec moment after the kernel's start.
        let kexec_late = Recorder::start(at(10_000_000, 2_000_000), Some(9_999_999));
        assert_eq!(
            outline(&kexec_late.timeline(at(20_000_000, 7_000_000))),
            [("firmware and loader", -3_000_000, 0), ("kernel", 0, 2_000_000)]
        );
    }

    #[test]
    fn steps_come_out_in_the_order_of_their_starts() {
        let mut recorder = Recorder::start(at(0, 0), None);
        assert!(recorder.add(span("inner", 30, 40)));
        assert!(recorder.add(span("outer", 30, 90)));
        assert!(recorder.add(span("early", 10, 20)));
        assert_eq!(
            outline(&recorder.timeline(at(0, 0))),
            [("kernel", 0, 0), ("early", 10, 20), ("outer", 30, 90), ("inner", 30, 40)]
        );
    }

    #[test]
    fn clients_cannot_fill_memory_or_run_backwards() {
        let mut recorder = Recorder::start(at(0, 0), None);
        assert!(!recorder.add(span("backwards", 2, 1)));
        let results: Vec<bool> =
            (0..=SPANS_MAX).map(|_| recorder.add(span(&"x".repeat(10_000), 0, 1))).collect();
        assert_eq!(results.iter().filter(|added| **added).count(), SPANS_MAX);
        assert_eq!(recorder.spans.first().map(|span| span.name.len()), Some(TEXT_MAX_BYTES));
    }

    #[test]
    fn only_the_first_ready_counts() {
        let mut recorder = Recorder::start(at(0, 0), None);
        recorder.ready(at(50, 5));
        recorder.ready(at(90, 9));
        let timeline = recorder.timeline(at(100, 10));
        assert_eq!((timeline.ready_us, timeline.ready_tsc), (Some(5), Some(50)));
    }

    #[test]
    fn the_recorder_survives_the_hand_over() {
        let mut recorder = Recorder::start(at(7, 3), Some(1));
        recorder.add(span("verify", 3, 4));
        let text = serde_json::to_string(&recorder).unwrap();
        assert_eq!(serde_json::from_str::<Recorder>(&text).unwrap(), recorder);
    }
}
