//! What happened on the node lately: a bounded ring for those who look back, a broadcast for those who watch.
//!
//! Times are made strictly increasing, so that a time is also a place in the sequence: who asks for everything
//! since the last event that it saw misses none and sees none twice.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use ferrite_schema::api::{Event, EventKind};
use tokio::sync::broadcast;

/// Events that are kept; older ones are forgotten.
const KEPT_MAX: usize = 2048;
/// Events that a slow watcher may lag behind; it then reads the ring again.
const BEHIND_MAX: usize = 256;
/// Longest message: an event is a line.
const MESSAGE_MAX_CHARS: usize = 1000;

/// A handle on the node's events; clones are the same events.
#[derive(Debug, Clone)]
pub struct Events {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    ring: Mutex<VecDeque<Event>>,
    sender: broadcast::Sender<u64>,
}

/// Someone who watches.
#[derive(Debug)]
pub struct Subscription {
    events: Events,
    /// Time of the last event that was handed out.
    seen_us: u64,
    wakes: broadcast::Receiver<u64>,
    ready: VecDeque<Event>,
}

impl Default for Events {
    fn default() -> Self {
        let (sender, _) = broadcast::channel(BEHIND_MAX);
        Self { inner: Arc::new(Inner { ring: Mutex::new(VecDeque::new()), sender }) }
    }
}

impl Events {
    /// Makes an event known. `unit` is `None` for what concerns the node.
    pub fn publish(&self, unit: Option<&str>, kind: EventKind, message: impl Into<String>) {
        let message: String = message.into().chars().take(MESSAGE_MAX_CHARS).collect();
        let time_us = {
            let mut ring = self.inner.ring.lock().unwrap_or_else(PoisonError::into_inner);
            let after = ring.back().map_or(0, |last| last.time_us + 1);
            let time_us = now_us().max(after);
            if ring.len() >= KEPT_MAX {
                ring.pop_front();
            }
            ring.push_back(Event { time_us, unit: unit.map(str::to_owned), kind, message });
            time_us
        };
        // Nobody watches: then nobody is to be woken.
        drop(self.inner.sender.send(time_us));
    }

    /// The events after `since_us` that are still known, oldest first.
    #[must_use]
    pub fn since(&self, since_us: u64) -> Vec<Event> {
        let ring = self.inner.ring.lock().unwrap_or_else(PoisonError::into_inner);
        let first = ring.partition_point(|event| event.time_us <= since_us);
        ring.range(first..).cloned().collect()
    }

    /// The events that follow from now on.
    #[must_use]
    pub fn subscribe(&self) -> Subscription {
        let last_us = {
            let ring = self.inner.ring.lock().unwrap_or_else(PoisonError::into_inner);
            ring.back().map_or(0, |last| last.time_us)
        };
        self.subscribe_since(last_us)
    }

    /// The events after `since_us`, and then all that follow.
    #[must_use]
    pub fn subscribe_since(&self, since_us: u64) -> Subscription {
        // In this order what is published in between is in both, and the time sorts it out.
        let wakes = self.inner.sender.subscribe();
        Subscription { events: self.clone(), seen_us: since_us, wakes, ready: VecDeque::new() }
    }
}

impl Subscription {
    /// The next event, as soon as there is one; `None` when the node's events have ended.
    pub async fn next(&mut self) -> Option<Event> {
        loop {
            if self.ready.is_empty() {
                self.ready.extend(self.events.since(self.seen_us));
            }
            if let Some(event) = self.ready.pop_front() {
                self.seen_us = event.time_us;
                return Some(event);
            }
            // One that lagged behind reads the ring like everyone else.
            if let Err(broadcast::error::RecvError::Closed) = self.wakes.recv().await {
                return None;
            }
        }
    }
}

/// Now, microseconds since the epoch.
#[must_use]
pub fn now_us() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbered(events: &Events, numbers: std::ops::Range<u32>) {
        for number in numbers {
            events.publish(Some("hello"), EventKind::State, number.to_string());
        }
    }

    #[test]
    fn the_ring_keeps_the_newest_and_times_are_places() {
        let events = Events::default();
        numbered(&events, 0..3000);
        let kept = events.since(0);
        assert_eq!(kept.len(), KEPT_MAX);
        assert_eq!(kept.last().unwrap().message, "2999");
        assert!(kept.windows(2).all(|pair| pair[0].time_us < pair[1].time_us));
        let middle = &kept[100];
        let after = events.since(middle.time_us);
        assert_eq!(after.first(), kept.get(101));
    }

    #[test]
    fn a_watcher_sees_what_was_and_what_comes_once_each() {
        let events = Events::default();
        numbered(&events, 0..5);
        let mut watcher = events.subscribe_since(0);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            for expected in 0..3 {
                assert_eq!(watcher.next().await.unwrap().message, expected.to_string());
            }
            // More than the broadcast holds: it lags, and still loses none.
            numbered(&events, 5..1000);
            for expected in 3..1000 {
                assert_eq!(watcher.next().await.unwrap().message, expected.to_string());
            }
        });
    }

    #[test]
    fn a_message_is_bounded() {
        let events = Events::default();
        events.publish(None, EventKind::Node, "x".repeat(5000));
        assert_eq!(events.since(0)[0].message.len(), MESSAGE_MAX_CHARS);
    }
}
