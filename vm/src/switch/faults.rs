//! What a link does to frames, and the draws that decide it.
//!
//! Each frame's draws come from a place of their own in one ChaCha stream: seed, link and the frame's number on that
//! link say where. So the same seed gives the same fates, whatever else happens, and whatever was set for the frames
//! before: the frame that 10 % loss drops is dropped by 20 %, too.

use std::num::NonZeroU32;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use serde::{Deserialize, Serialize};

use super::port::Port;

/// What a link does to the frames of one direction. All zero: a perfect cable.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Faults {
    /// Nothing passes.
    pub cut: bool,
    /// Every frame comes this much later.
    pub delay_ms: u32,
    /// Share of frames that are lost.
    pub loss: PerMillion,
    /// Share of frames that are held back for [`super::links::HELD_BACK`] longer, so that those behind overtake them.
    pub reorder: PerMillion,
    /// Share of frames that arrive twice.
    pub duplicate: PerMillion,
    /// Share of frames of which one bit is turned over.
    pub corrupt: PerMillion,
    /// Kilobits that pass per second; `None` for as many as come.
    pub rate_kbit: Option<NonZeroU32>,
}

/// A share, in millionths: at most one million.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub struct PerMillion(u32);

/// A share of more than all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("read a share: {millionths} millionths are more than all")]
pub struct MoreThanAll {
    millionths: u32,
}

const ALL: u32 = 1_000_000;

impl PerMillion {
    /// That many of a hundred; more than a hundred are a hundred.
    #[must_use]
    pub const fn percent(percent: u8) -> Self {
        let percent = if percent > 100 { 100 } else { percent as u32 };
        Self(percent * (ALL / 100))
    }
}

impl TryFrom<u32> for PerMillion {
    type Error = MoreThanAll;

    fn try_from(millionths: u32) -> Result<Self, MoreThanAll> {
        if millionths <= ALL { Ok(Self(millionths)) } else { Err(MoreThanAll { millionths }) }
    }
}

impl From<PerMillion> for u32 {
    fn from(share: PerMillion) -> Self {
        share.0
    }
}

/// What happens to one frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Fate {
    pub(crate) lost: bool,
    pub(crate) held_back: bool,
    pub(crate) twice: bool,
    /// Which bit is turned over, as a number to be reduced to the frame's length.
    pub(crate) turned_bit: Option<u32>,
}

/// The fate of frame `number` on the link `from` → `to`.
pub(crate) fn fate(seed: u64, (from, to): (Port, Port), number: u64, faults: &Faults) -> Fate {
    let none = PerMillion::default();
    let shares = [faults.loss, faults.reorder, faults.duplicate, faults.corrupt];
    if shares == [none; 4] {
        return Fate::default();
    }
    let mut key = [0; 32];
    let parts =
        seed.to_le_bytes().into_iter().chain(from.0.to_le_bytes()).chain(to.0.to_le_bytes());
    for (byte, part) in key.iter_mut().zip(parts) {
        *byte = part;
    }
    let mut random = ChaCha8Rng::from_seed(key);
    random.set_stream(number);
    // In this order, and always all of them: a share decides over its own draw alone.
    let [lost, held_back, twice, turned] = shares.map(|share| hits(share, random.next_u32()));
    let bit = random.next_u32();
    Fate { lost, held_back, twice, turned_bit: turned.then_some(bit) }
}

/// `draw` is among the share, of all that a draw may be.
fn hits(share: PerMillion, draw: u32) -> bool {
    u64::from(draw) * u64::from(ALL) < u64::from(share.0) << 32
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINK: (Port, Port) = (Port(1), Port(2));

    #[test]
    fn shares_hold_at_both_ends() {
        assert!(!hits(PerMillion(0), 0));
        assert!(hits(PerMillion(ALL), u32::MAX));
        assert!(hits(PerMillion::percent(50), u32::MAX / 2));
        assert!(!hits(PerMillion::percent(50), u32::MAX / 2 + 1));
        assert!(serde_json::from_str::<PerMillion>("1000001").is_err());
    }

    #[test]
    fn a_tenth_is_about_a_tenth() {
        let faults = Faults { loss: PerMillion::percent(10), ..Faults::default() };
        let lost = (0..10_000).filter(|number| fate(7, LINK, *number, &faults).lost).count();
        assert!((900..1100).contains(&lost), "{lost} of 10000");
    }

    #[test]
    fn what_is_lost_to_little_loss_is_lost_to_more() {
        let with = |percent| Faults { loss: PerMillion::percent(percent), ..Faults::default() };
        for number in 0..2_000 {
            let few = fate(7, LINK, number, &with(10)).lost;
            assert!(!few || fate(7, LINK, number, &with(20)).lost, "frame {number}");
        }
    }

    #[test]
    fn seed_and_direction_and_number_each_matter() {
        let faults = Faults { loss: PerMillion::percent(50), ..Faults::default() };
        let fates = |seed, link, first: u64| {
            (first..first + 64).map(|n| fate(seed, link, n, &faults).lost).collect::<Vec<_>>()
        };
        let one = fates(7, LINK, 0);
        assert_eq!(one, fates(7, LINK, 0));
        assert_ne!(one, fates(8, LINK, 0));
        assert_ne!(one, fates(7, (LINK.1, LINK.0), 0));
        assert_ne!(one, fates(7, LINK, 64));
    }
}
