//! Links from every port to every other, each direction on its own: what passes, and when.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use super::faults::{Faults, fate};
use super::port::{Frame, Port};

/// How much longer a reordered frame takes.
pub const HELD_BACK: Duration = Duration::from_millis(10);
/// How long frames may wait for a slow link before those behind are lost: a switch's buffer, as time.
const QUEUE_MAX: Duration = Duration::from_secs(1);

/// A frame on its way to a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// When it is there, since the switch's start.
    pub at: Duration,
    /// Where.
    pub to: Port,
    /// What.
    pub frame: Frame,
}

/// All links.
#[derive(Debug)]
pub struct Links {
    seed: u64,
    links: BTreeMap<(Port, Port), Link>,
}

#[derive(Debug, Default)]
struct Link {
    /// As the topology says; what healing returns to.
    declared: Faults,
    faults: Faults,
    /// Frames so far: the number of the next.
    frames: u64,
    /// Until when a link with a rate is busy with the frames before.
    busy_until: Duration,
}

impl Links {
    /// Perfect ones.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { seed, links: BTreeMap::new() }
    }

    /// Declares what the link `from` → `to` does from the start.
    pub fn declare(&mut self, from: Port, to: Port, faults: Faults) {
        let link = self.links.entry((from, to)).or_default();
        (link.declared, link.faults) = (faults, faults);
    }

    /// Changes what the link `from` → `to` does, until it is healed.
    pub fn set(&mut self, from: Port, to: Port, faults: Faults) {
        self.links.entry((from, to)).or_default().faults = faults;
    }

    /// What the link `from` → `to` does.
    #[must_use]
    pub fn faults(&self, from: Port, to: Port) -> Faults {
        self.links.get(&(from, to)).map(|link| link.faults).unwrap_or_default()
    }

    /// Cuts every link between ports of different groups, in both directions. Ports in no group keep theirs.
    pub fn partition(&mut self, groups: &[BTreeSet<Port>]) {
        for (index, here) in groups.iter().enumerate() {
            let elsewhere = groups.iter().enumerate().filter(|(other, _)| *other != index);
            for there in elsewhere.flat_map(|(_, group)| group) {
                for port in here.iter().filter(|port| *port != there) {
                    self.links.entry((*port, *there)).or_default().faults.cut = true;
                }
            }
        }
    }

    /// Makes the links to and from `port` what the topology declared; those of every port without it.
    pub fn heal(&mut self, port: Option<Port>) {
        for (ends, link) in &mut self.links {
            if port.is_none_or(|port| ends.0 == port || ends.1 == port) {
                link.faults = link.declared;
            }
        }
    }

    /// Sends `frame` over the link `from` → `to`: nothing, one delivery or two.
    pub fn carry(&mut self, now: Duration, from: Port, to: Port, frame: &Frame) -> Vec<Delivery> {
        let seed = self.seed;
        let link = self.links.entry((from, to)).or_default();
        let number = link.frames;
        link.frames += 1;
        let faults = link.faults;
        let fate = fate(seed, (from, to), number, &faults);
        if faults.cut || fate.lost {
            return Vec::new();
        }
        let Some(sent) = link.send(now, frame.len()) else { return Vec::new() };
        let held_back = if fate.held_back { HELD_BACK } else { Duration::ZERO };
        let at = sent + Duration::from_millis(faults.delay_ms.into()) + held_back;
        let frame = match fate.turned_bit {
            Some(bit) => with_bit_turned(frame, bit),
            None => Arc::clone(frame),
        };
        let delivery = Delivery { at, to, frame };
        if fate.twice { vec![delivery.clone(), delivery] } else { vec![delivery] }
    }
}

impl Link {
    /// When the last bit of a frame that comes now is sent; `None` where too many wait already.
    fn send(&mut self, now: Duration, bytes: usize) -> Option<Duration> {
        let Some(rate) = self.faults.rate_kbit else {
            self.busy_until = now;
            return Some(now);
        };
        let start = self.busy_until.max(now);
        if start - now > QUEUE_MAX {
            return None;
        }
        self.busy_until = start + on_the_wire(bytes, rate);
        Some(self.busy_until)
    }
}

/// How long a frame takes. A kilobit per second is a bit per millisecond.
fn on_the_wire(bytes: usize, rate_kbit: NonZeroU32) -> Duration {
    let bits = u64::try_from(bytes).unwrap_or(u64::MAX).saturating_mul(8);
    Duration::from_micros(bits.saturating_mul(1000) / u64::from(rate_kbit.get()))
}

fn with_bit_turned(frame: &Frame, draw: u32) -> Frame {
    let mut bytes = frame.to_vec();
    let bits = bytes.len().saturating_mul(8).max(1);
    let bit = usize::try_from(draw).unwrap_or(0) % bits;
    if let Some(byte) = bytes.get_mut(bit / 8) {
        *byte ^= 1 << (bit % 8);
    }
    bytes.into()
}
