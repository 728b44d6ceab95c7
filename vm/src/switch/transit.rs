//! Frames on their way: kept until they are due, in the order in which they are.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use super::links::Delivery;

/// Frames on their way at most; beyond, new ones are lost. Seven machines that send 1 Gbit/s of long frames over links
/// of 100 ms have this many.
const FRAMES_MAX: usize = 1 << 16;

/// The frames.
#[derive(Debug, Default)]
pub(crate) struct Transit {
    waiting: BinaryHeap<Reverse<Waiting>>,
    /// How many came so far, so that frames due at one moment keep their order.
    count: u64,
}

#[derive(Debug)]
struct Waiting {
    due: (Duration, u64),
    delivery: Delivery,
}

impl PartialEq for Waiting {
    fn eq(&self, other: &Self) -> bool {
        self.due == other.due
    }
}

impl Eq for Waiting {}

impl PartialOrd for Waiting {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Waiting {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.due.cmp(&other.due)
    }
}

impl Transit {
    /// Takes frames on.
    pub(crate) fn extend(&mut self, deliveries: Vec<Delivery>) {
        for delivery in deliveries {
            if self.waiting.len() >= FRAMES_MAX {
                return;
            }
            let due = (delivery.at, self.count);
            self.count += 1;
            self.waiting.push(Reverse(Waiting { due, delivery }));
        }
    }

    /// The next one that is due.
    pub(crate) fn pop_due(&mut self, now: Duration) -> Option<Delivery> {
        if self.next()? > now {
            return None;
        }
        self.waiting.pop().map(|Reverse(waiting)| waiting.delivery)
    }

    /// When the next one is due.
    #[must_use]
    pub(crate) fn next(&self) -> Option<Duration> {
        self.waiting.peek().map(|Reverse(waiting)| waiting.due.0)
    }
}

#[cfg(test)]
mod tests {
    use super::super::port::Port;
    use super::*;

    fn delivery(ms: u64, byte: u8) -> Delivery {
        Delivery { at: Duration::from_millis(ms), to: Port(1), frame: [byte][..].into() }
    }

    #[test]
    fn frames_come_when_they_are_due_and_equal_ones_in_their_order() {
        let mut transit = Transit::default();
        transit.extend(vec![delivery(5, 1), delivery(3, 2), delivery(5, 3), delivery(3, 4)]);
        let now = Duration::from_millis(4);
        let due = |transit: &mut Transit, now| transit.pop_due(now).map(|one| one.frame[0]);
        assert_eq!(due(&mut transit, Duration::from_millis(2)), None);
        assert_eq!(transit.next(), Some(Duration::from_millis(3)));
        assert_eq!([(); 3].map(|()| due(&mut transit, now)), [Some(2), Some(4), None]);
        let now = Duration::from_millis(9);
        assert_eq!([(); 3].map(|()| due(&mut transit, now)), [Some(1), Some(3), None]);
        assert_eq!(transit.next(), None);
        // A heap keeps no order of equals by itself, which shows where they are many.
        transit.extend((0..100).map(|byte| delivery(5, byte)).collect());
        let order: Vec<u8> = std::iter::from_fn(|| due(&mut transit, now)).collect();
        assert_eq!(order, (0..100).collect::<Vec<u8>>());
    }

    #[test]
    fn there_is_an_end_to_what_is_kept() {
        let mut transit = Transit::default();
        for _ in 0..FRAMES_MAX + 10 {
            transit.extend(vec![delivery(5, 1)]);
        }
        assert_eq!(transit.waiting.len(), FRAMES_MAX);
    }
}
