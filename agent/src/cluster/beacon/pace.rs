//! When a node calls: a pure function of what it knows, hears, and of the time.
//!
//! | it | calls |
//! |---|---|
//! | is linked, and a member that serves or none | nothing |
//! | has no link, or is a member that hears no quorum | that it looks for the others: each second, after a while ever more seldom |
//! | serves, and hears somebody who looks | once, after a moment, at most once a second: all who look hear that |
//!
//! A new machine that looks makes those that look be quick again: they may be what it looks for. Where many look at once, those
//! that cannot become members leave it to the others, since one answer is for all.

use std::time::Duration;

/// How often a node calls at first, and how many times.
const QUICK: Duration = Duration::from_secs(1);
const QUICK_COUNT: u32 = 20;
/// Then each pause is twice the one before, up to this.
const SLOWEST: Duration = Duration::from_secs(30);
/// Two calls have at least this between them.
const APART: Duration = Duration::from_millis(500);
/// Answers have so much between them, and come this much later at most, so that not all come at once.
const ANSWERS_APART: Duration = Duration::from_secs(1);
const ANSWER_WITHIN: Duration = Duration::from_millis(200);
/// So many others that look are enough.
const CROWD: u32 = 4;

/// How the node is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Situation {
    /// It looks for the others.
    pub(super) seeks: bool,
    /// Its etcd answers.
    pub(super) serves: bool,
    /// It may run etcd.
    pub(super) eligible: bool,
}

/// What happens. Times are since any beginning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Event {
    /// This is how the node is now.
    Is(Situation),
    /// Another machine looks for its cluster, which was not heard of before where it is `new`.
    Seeks { new: bool },
    /// It may be time.
    Time,
}

/// When it calls next.
#[derive(Debug, Default)]
pub(super) struct Pace {
    is: Situation,
    /// Calls since it looks.
    called: u32,
    /// When it is to call, and to answer.
    call_at: Option<Duration>,
    answer_at: Option<Duration>,
    /// When it last sent anything.
    sent_at: Option<Duration>,
    /// Others that it heard look since it last called.
    others: u32,
}

impl Pace {
    /// Whether it calls now. `chance` is any number, another one each time.
    pub(super) fn step(&mut self, event: Event, now: Duration, chance: u32) -> bool {
        match event {
            Event::Is(is) => {
                self.turn(is, now, chance);
                false
            }
            Event::Seeks { new } => {
                self.others = self.others.saturating_add(1);
                if self.is.serves {
                    let apart = self.sent_at.map_or(now, |sent| now.max(sent + ANSWERS_APART));
                    self.answer_at.get_or_insert(apart + part(ANSWER_WITHIN, chance));
                }
                if new && self.call_at.is_some() {
                    self.called = 0;
                    let soon = self.apart(now + part(ANSWER_WITHIN, chance));
                    self.call_at = self.call_at.map(|at| at.min(soon));
                }
                false
            }
            Event::Time => self.due(now, chance),
        }
    }

    /// When it may be time.
    pub(super) fn deadline(&self) -> Option<Duration> {
        [self.call_at, self.answer_at].into_iter().flatten().min()
    }

    fn turn(&mut self, is: Situation, now: Duration, chance: u32) {
        if is.seeks && !self.is.seeks {
            self.called = 0;
            self.call_at = Some(self.apart(now + part(ANSWER_WITHIN, chance)));
        }
        if !is.seeks {
            self.call_at = None;
        }
        if !is.serves {
            self.answer_at = None;
        }
        self.is = is;
    }

    fn due(&mut self, now: Duration, chance: u32) -> bool {
        let is_due = |at: &Option<Duration>| at.is_some_and(|at| at <= now);
        let (answers, calls) = (is_due(&self.answer_at), is_due(&self.call_at));
        if answers {
            self.answer_at = None;
        }
        let mut leaves_it = false;
        if calls {
            leaves_it = !self.is.eligible && self.others >= CROWD;
            self.others = 0;
            let doubled = self.called.saturating_sub(QUICK_COUNT).min(16);
            let pause = QUICK.saturating_mul(1 << doubled).min(SLOWEST);
            self.called = self.called.saturating_add(1);
            // Between three quarters and five: nodes that began together do not go on so.
            self.call_at = Some(now + pause * 3 / 4 + part(pause / 2, chance));
        }
        let sends = answers || calls && !leaves_it;
        if sends {
            self.sent_at = Some(now);
        }
        sends
    }

    fn apart(&self, at: Duration) -> Duration {
        self.sent_at.map_or(at, |sent| at.max(sent + APART))
    }
}

/// A part of this time, by chance.
fn part(whole: Duration, chance: u32) -> Duration {
    whole.mul_f64(f64::from(chance) / (f64::from(u32::MAX) + 1.0))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SEEKS: Situation = Situation { seeks: true, serves: false, eligible: true };
    const SERVES: Situation = Situation { seeks: false, serves: true, eligible: true };
    const MIDDLE: u32 = 1 << 31;

    fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// Calls until `end`, with nothing heard.
    fn calls(pace: &mut Pace, end: Duration) -> Vec<Duration> {
        let mut all = Vec::new();
        while let Some(at) = pace.deadline().filter(|at| *at <= end) {
            if pace.step(Event::Time, at, MIDDLE) {
                all.push(at);
            }
        }
        all
    }

    #[test]
    fn who_looks_calls_each_second_then_more_seldom_and_stops_when_it_has_found() {
        let mut pace = Pace::default();
        assert_eq!(pace.deadline(), None, "a settled node says nothing");
        pace.step(Event::Is(SEEKS), s(0), MIDDLE);
        assert_eq!(calls(&mut pace, s(20)).len(), 20);
        let later = calls(&mut pace, s(600));
        assert!((15..25).contains(&later.len()), "{later:?}");
        let last: Vec<_> = later.windows(2).map(|two| two[1] - two[0]).collect();
        assert!(last.is_sorted() && last.last() == Some(&SLOWEST), "{last:?}");
        pace.step(Event::Is(Situation { seeks: false, ..SEEKS }), s(601), MIDDLE);
        assert_eq!(pace.deadline(), None);
    }

    #[test]
    fn a_new_machine_makes_who_looks_quick_again_and_one_that_is_known_does_not() {
        let mut pace = Pace::default();
        pace.step(Event::Is(SEEKS), s(0), MIDDLE);
        calls(&mut pace, s(600));
        let slow = pace.deadline().unwrap();
        pace.step(Event::Seeks { new: false }, s(601), MIDDLE);
        assert_eq!(pace.deadline(), Some(slow));
        pace.step(Event::Seeks { new: true }, s(601), MIDDLE);
        assert!(pace.deadline().unwrap() < s(602));
        assert!(calls(&mut pace, s(611)).len() > 8);
    }

    #[test]
    fn who_serves_answers_all_that_look_with_one_call_a_second() {
        let mut pace = Pace::default();
        pace.step(Event::Is(SERVES), s(0), MIDDLE);
        assert_eq!(pace.deadline(), None);
        let mut answers = Vec::new();
        for millisecond in 0..5000 {
            let now = Duration::from_millis(millisecond);
            pace.step(Event::Seeks { new: true }, now, MIDDLE);
            if pace.step(Event::Time, now, MIDDLE) {
                answers.push(now);
            }
        }
        assert!((4..=5).contains(&answers.len()), "{answers:?}");
        assert!(answers[0] <= ANSWER_WITHIN, "{answers:?}");
        // It serves no more before it was time.
        pace.step(Event::Seeks { new: true }, s(10), MIDDLE);
        pace.step(Event::Is(Situation { serves: false, ..SERVES }), s(10), MIDDLE);
        assert_eq!(pace.deadline(), None);
    }

    #[test]
    fn in_a_crowd_those_that_are_nobodys_aim_leave_the_call_to_others() {
        for (eligible, expected) in [(false, 0), (true, 10)] {
            let mut pace = Pace::default();
            pace.step(Event::Is(Situation { eligible, ..SEEKS }), s(0), 0);
            let mut called = 0;
            while let Some(at) = pace.deadline().filter(|at| *at <= s(10)) {
                for _ in 0..CROWD {
                    pace.step(Event::Seeks { new: false }, at, 0);
                }
                called += usize::from(pace.step(Event::Time, at, MIDDLE));
            }
            assert!(called.abs_diff(expected) <= 1, "{called}");
        }
    }

    proptest! {
        /// Whatever is heard, and however often the node finds its cluster and loses it.
        #[test]
        fn nobody_ever_calls_more_than_some_times_a_second(
            events in prop::collection::vec((0..6_u8, 0..200_u64, any::<u32>()), 1..400),
        ) {
            let (mut pace, mut now) = (Pace::default(), s(0));
            let mut sent = Vec::new();
            for (event, later, chance) in events {
                now += Duration::from_millis(later);
                let event = match event {
                    0 => Event::Is(SEEKS),
                    1 => Event::Is(SERVES),
                    2 => Event::Is(Situation::default()),
                    3 => Event::Seeks { new: true },
                    4 => Event::Seeks { new: false },
                    _ => Event::Time,
                };
                if pace.step(event, now, chance) {
                    sent.push(now);
                }
                prop_assert!(pace.deadline().is_none() || pace.is.seeks || pace.is.serves);
            }
            prop_assert!(sent.windows(2).all(|two| two[1] - two[0] >= APART), "{sent:?}");
        }
    }
}
