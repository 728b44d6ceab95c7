//! Which time a node goes by, and which it remembers.
//!
//! A hardware clock may say anything: its battery is empty, somebody typed the wrong year, a hypervisor passes on its own
//! mistake. What a node did with such a time cannot be taken back (a certificate's end, a timer's last time, the time
//! remembered), so three things bound it:
//!
//! - the **floor**, the image's date: no clock can rightly be before it;
//! - the **ceiling**, [`IMAGE_LIFE_S`] after it: nobody runs an image that long;
//! - the **time remembered**, which only helps a clock that is wrong: it stands in for one that is out of these
//!   bounds, and raises one that is within them by [`BEHIND_MAX_S`] at most. A clock that is believable is a better
//!   witness than what an earlier boot believed.
//!
//! The time remembered grows by [`AHEAD_MAX_S`] and the time that the machine ran, per boot: it is a floor, so that too
//! early costs little, while too late would outlive the boot with the wrong clock.

/// How long after its date an image may be run: longer than any kernel gets corrections or any machine lives, and
/// early enough that a clock with a wrong year is mostly beyond it.
pub const IMAGE_LIFE_S: u64 = 15 * YEAR_S;
/// A believable clock is raised to the time remembered by no more than this: a clock in local time and one that
/// drifted while the machine was off differ by less, a year that was typed wrong by more.
pub const BEHIND_MAX_S: u64 = DAY_S;
/// What one boot may add to the time remembered, beside the time that it ran.
pub const AHEAD_MAX_S: u64 = 30 * DAY_S;

const DAY_S: u64 = 24 * 60 * 60;
const YEAR_S: u64 = 365 * DAY_S + DAY_S / 4;

const _: () = assert!(BEHIND_MAX_S < AHEAD_MAX_S && AHEAD_MAX_S < IMAGE_LIFE_S);

/// All that is known about the time when a node boots, in seconds since the epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Evidence {
    /// Date of the running image.
    pub image_s: u64,
    /// What the machine's clock says.
    pub clock_s: u64,
    /// What an earlier boot remembered, where there was one.
    pub remembered_s: Option<u64>,
}

/// What is wrong with the evidence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Doubt {
    /// The clock is before the image's date.
    BeforeImage,
    /// The clock is later than this image can be run.
    BeyondLife,
    /// The clock is a little behind what an earlier boot knew.
    Behind,
    /// The time remembered is so far ahead of a believable clock that an earlier boot must have been wrong.
    MemoryAhead,
}

/// What follows from the evidence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdict {
    /// The time to go by; that of the clock where nothing speaks against it.
    pub now_s: u64,
    /// What a person should know.
    pub doubt: Option<Doubt>,
}

/// Last moment at which an image of this date may be run.
#[must_use]
pub const fn ceiling_s(image_s: u64) -> u64 {
    image_s.saturating_add(IMAGE_LIFE_S)
}

/// The time to go by.
#[must_use]
pub fn judge(evidence: Evidence) -> Verdict {
    let Evidence { image_s, clock_s, .. } = evidence;
    let remembered_s = evidence.remembered_s.filter(|time_s| is_possible(image_s, *time_s));
    let verdict = |now_s, doubt| Verdict { now_s, doubt };
    if clock_s < image_s {
        return verdict(remembered_s.unwrap_or(image_s), Some(Doubt::BeforeImage));
    }
    if clock_s > ceiling_s(image_s) {
        return verdict(remembered_s.unwrap_or(image_s), Some(Doubt::BeyondLife));
    }
    match remembered_s {
        Some(remembered_s) if remembered_s.saturating_sub(clock_s) > BEHIND_MAX_S => {
            verdict(clock_s, Some(Doubt::MemoryAhead))
        }
        Some(remembered_s) if remembered_s > clock_s => verdict(remembered_s, Some(Doubt::Behind)),
        Some(_) | None => verdict(clock_s, None),
    }
}

/// The time to remember once `now_s` was judged, where it may be remembered at all. `allowance_s` is what may be added
/// to an earlier memory: [`AHEAD_MAX_S`] at a boot, later what the machine has run.
#[must_use]
pub fn to_remember(
    image_s: u64,
    remembered_s: Option<u64>,
    now_s: u64,
    allowance_s: u64,
) -> Option<u64> {
    if !is_possible(image_s, now_s) {
        return None;
    }
    Some(match remembered_s.filter(|time_s| is_possible(image_s, *time_s)) {
        Some(remembered_s) => now_s.min(remembered_s.saturating_add(allowance_s)),
        None => now_s,
    })
}

const fn is_possible(image_s: u64, time_s: u64) -> bool {
    image_s <= time_s && time_s <= ceiling_s(image_s)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const IMAGE: u64 = 1_754_697_600;
    const TRUTH: u64 = IMAGE + YEAR_S;
    /// 2031 is believable, 2099 is not.
    const Y2031: u64 = 1_924_992_000;
    const Y2099: u64 = 4_070_908_800;

    fn verdict(clock_s: u64, remembered_s: Option<u64>) -> Verdict {
        judge(Evidence { image_s: IMAGE, clock_s, remembered_s })
    }

    /// A boot with this clock after which the machine is switched off again: the time that it went by, and what it
    /// remembers.
    fn boot(remembered_s: Option<u64>, clock_s: u64, ran_s: u64) -> (u64, Option<u64>) {
        let now_s = verdict(clock_s, remembered_s).now_s;
        let memory = to_remember(IMAGE, remembered_s, now_s, AHEAD_MAX_S).or(remembered_s);
        (now_s, to_remember(IMAGE, memory, now_s + ran_s, ran_s).or(memory))
    }

    #[test]
    fn each_kind_of_evidence() {
        let check = |clock_s, remembered_s, now_s, doubt| {
            assert_eq!(verdict(clock_s, remembered_s), Verdict { now_s, doubt });
        };
        check(TRUTH, None, TRUTH, None);
        check(TRUTH, Some(TRUTH - 5), TRUTH, None);
        check(TRUTH, Some(TRUTH + 5), TRUTH + 5, Some(Doubt::Behind));
        check(TRUTH, Some(Y2031), TRUTH, Some(Doubt::MemoryAhead));
        check(TRUTH, Some(Y2099), TRUTH, None);
        for wrong in [0, IMAGE - 1] {
            check(wrong, None, IMAGE, Some(Doubt::BeforeImage));
            check(wrong, Some(TRUTH), TRUTH, Some(Doubt::BeforeImage));
            check(wrong, Some(Y2099), IMAGE, Some(Doubt::BeforeImage));
        }
        for wrong in [Y2099, u64::MAX, ceiling_s(IMAGE) + 1] {
            check(wrong, None, IMAGE, Some(Doubt::BeyondLife));
            check(wrong, Some(TRUTH), TRUTH, Some(Doubt::BeyondLife));
            check(wrong, Some(0), IMAGE, Some(Doubt::BeyondLife));
        }
    }

    #[test]
    fn a_clock_in_2099_leaves_no_trace() {
        let (_, memory) = boot(Some(TRUTH), Y2099, 3600);
        assert_eq!(memory, Some(TRUTH + 3600));
        assert_eq!(boot(memory, TRUTH + 7200, 0).0, TRUTH + 7200);
        let (_, memory) = boot(None, Y2099, 3600);
        assert_eq!(boot(memory, TRUTH, 0).0, TRUTH);
    }

    #[test]
    fn a_clock_in_2031_costs_a_month_at_most_even_where_the_clock_then_fails() {
        let (now_s, memory) = boot(Some(TRUTH), Y2031, 0);
        assert_eq!(now_s, Y2031);
        assert_eq!(boot(memory, 0, 0).0, TRUTH + AHEAD_MAX_S);
        assert_eq!(boot(memory, TRUTH, 0), (TRUTH, Some(TRUTH)));
    }

    #[test]
    fn without_a_clock_time_goes_on_from_where_it_was() {
        let (_, memory) = boot(Some(TRUTH), 0, 500);
        assert_eq!(memory, Some(TRUTH + 500));
        assert_eq!(boot(memory, 0, 0).0, TRUTH + 500);
    }

    /// Moments around everything that is compared, and any other.
    fn moment() -> impl Strategy<Value = u64> {
        let edges: Vec<u64> = [IMAGE, TRUTH, Y2031, Y2099, ceiling_s(IMAGE), TRUTH + BEHIND_MAX_S]
            .iter()
            .flat_map(|edge| [edge - 1, *edge, edge + 1])
            .chain([0, u64::MAX])
            .collect();
        prop_oneof![proptest::sample::select(edges), any::<u64>()]
    }

    proptest! {
        /// Over all evidence: the time is always a possible one, memory never makes it earlier, and moves a believable
        /// clock by a day at most.
        #[test]
        fn the_model_holds(clock_s in moment(), remembered_s in proptest::option::of(moment())) {
            let now_s = verdict(clock_s, remembered_s).now_s;
            prop_assert!(is_possible(IMAGE, now_s));
            if is_possible(IMAGE, clock_s) {
                prop_assert!(clock_s <= now_s && now_s <= clock_s + BEHIND_MAX_S);
            }
            let memory = to_remember(IMAGE, remembered_s, now_s, AHEAD_MAX_S);
            prop_assert!(memory.is_some_and(|memory| is_possible(IMAGE, memory) && memory <= now_s));
        }

        /// Whatever the clock said in how many boots, the first one with the right clock has the right time, but for a
        /// day, and so has every one after it.
        #[test]
        fn no_lie_outlives_a_right_clock(
            lies in proptest::collection::vec((moment(), 0..YEAR_S), 0..12),
        ) {
            let mut memory = None;
            for (clock_s, ran_s) in lies {
                memory = boot(memory, clock_s, ran_s).1;
            }
            for passed_s in [0, DAY_S, YEAR_S] {
                let (now_s, next) = boot(memory, TRUTH + passed_s, 0);
                prop_assert!((TRUTH + passed_s..=TRUTH + passed_s + BEHIND_MAX_S).contains(&now_s));
                memory = next;
            }
        }

        /// What is remembered grows by a month and the time that the machine ran, whatever the clock says.
        #[test]
        fn memory_grows_boundedly(clock_s in moment(), ran_s in 0..YEAR_S) {
            let (_, memory) = boot(Some(TRUTH), clock_s, ran_s);
            prop_assert!(memory.is_some_and(|memory| memory <= TRUTH + AHEAD_MAX_S + ran_s));
        }
    }
}
