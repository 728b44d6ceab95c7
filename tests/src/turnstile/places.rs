//! Who is inside and who waits: without clock, lock or thread.

use std::collections::{BTreeSet, VecDeque};

/// A place in the line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Ticket(u64);

/// The places of a turnstile, and the line before it.
#[derive(Debug)]
pub(super) struct Places<Holder> {
    /// Places that there are.
    all: usize,
    /// Who is inside, with how many.
    inside: Vec<(Holder, usize)>,
    /// Who waits, in the order in which they came.
    line: VecDeque<(Ticket, Holder, usize)>,
    /// Whoever was let in and does not know yet.
    admitted: BTreeSet<Ticket>,
    next: u64,
}

impl<Holder: Copy + Eq> Places<Holder> {
    /// So many places, with nobody inside.
    pub(super) fn new(all: usize) -> Self {
        let (inside, line, admitted) = (Vec::new(), VecDeque::new(), BTreeSet::new());
        Self { all, inside, line, admitted, next: 0 }
    }

    /// Comes to the line and asks for `count` places.
    pub(super) fn ask(&mut self, holder: Holder, count: usize) -> Ticket {
        let ticket = Ticket(self.next);
        self.next += 1;
        self.line.push_back((ticket, holder, count));
        self.advance();
        ticket
    }

    /// Whether the one with this ticket is inside. It is told once: then the ticket is used up.
    pub(super) fn let_in(&mut self, ticket: Ticket) -> bool {
        self.admitted.remove(&ticket)
    }

    /// Gives places back.
    pub(super) fn leave(&mut self, holder: Holder, count: usize) {
        if let Some(index) = self.inside.iter().position(|one| *one == (holder, count)) {
            self.inside.swap_remove(index);
        }
        self.advance();
    }

    fn taken(&self) -> usize {
        self.inside.iter().map(|(_, count)| count).sum()
    }

    /// Lets in whoever may go.
    fn advance(&mut self) {
        // Whoever is inside already does not stand in line: it would wait for places that it holds itself.
        let is_inside = |holder| self.inside.iter().any(|(one, _)| *one == holder);
        let (further, line): (VecDeque<_>, VecDeque<_>) =
            self.line.drain(..).partition(|(_, holder, _)| is_inside(*holder));
        self.line = line;
        for (ticket, holder, count) in further {
            self.inside.push((holder, count));
            self.admitted.insert(ticket);
        }
        while let Some((ticket, holder, count)) = self.line.front().copied() {
            let taken = self.taken();
            if taken > 0 && taken + count > self.all {
                break;
            }
            self.line.pop_front();
            self.inside.push((holder, count));
            self.admitted.insert(ticket);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_machines_wait_for_an_empty_computer_of_two_and_nobody_passes_them() {
        let mut places = Places::new(2);
        let (one, three, late) = (places.ask('a', 1), places.ask('b', 3), places.ask('c', 1));
        assert!(places.let_in(one) && !places.let_in(three));
        assert!(!places.let_in(late), "there is room, and somebody came before");
        places.leave('a', 1);
        assert!(places.let_in(three) && !places.let_in(late));
        places.leave('b', 3);
        assert!(places.let_in(late));
    }

    #[test]
    fn who_is_inside_waits_for_nobody() {
        let mut places = Places::new(2);
        let (first, second) = (places.ask('a', 1), places.ask('b', 1));
        assert!(places.let_in(first) && places.let_in(second));
        let (waits, again, both) = (places.ask('c', 1), places.ask('a', 1), places.ask('b', 2));
        assert!(!places.let_in(waits) && places.let_in(again) && places.let_in(both));
        for (holder, count) in [('a', 1), ('a', 1), ('b', 1)] {
            places.leave(holder, count);
            assert!(!places.let_in(waits), "two are taken still");
        }
        places.leave('b', 2);
        assert!(places.let_in(waits));
    }

    /// A scenario: what it still asks for, one after the other; what it waits for; what it holds.
    #[derive(Debug, Default)]
    struct Scenario {
        asks: Vec<usize>,
        waits: Option<(Ticket, usize)>,
        holds: Vec<usize>,
    }

    impl Scenario {
        fn has_ended(&self) -> bool {
            self.asks.is_empty() && self.waits.is_none() && self.holds.is_empty()
        }

        fn can_move(&self, places: &Places<usize>) -> bool {
            self.waits.map_or(!self.has_ended(), |(ticket, _)| places.admitted.contains(&ticket))
        }

        fn step(&mut self, own: usize, places: &mut Places<usize>) {
            if let Some((ticket, count)) = self.waits.take() {
                assert!(places.let_in(ticket));
                self.holds.push(count);
            } else if let Some(count) = self.asks.pop() {
                self.waits = Some((places.ask(own, count), count));
            } else if let Some(count) = self.holds.pop() {
                places.leave(own, count);
            }
        }
    }

    /// A number below `bound`; the same seed tells the same story.
    fn draw(state: &mut u64, bound: usize) -> usize {
        *state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(*state >> 33).unwrap() % bound
    }

    /// Whatever they ask for and in which order they move: all end, who waits holds nothing and keeps the order, and more
    /// than there are is taken only by one alone, or by who was inside before.
    #[test]
    fn model_all_scenarios_end_and_nobody_passes() {
        for seed in 0..2000_u64 {
            let mut state = seed;
            let mut places = Places::new(1 + draw(&mut state, 4));
            let asks_once = seed % 2 == 0;
            let mut scenarios: Vec<Scenario> = Vec::new();
            for _ in 0..=draw(&mut state, 6) {
                let count = if asks_once { 1 } else { 1 + draw(&mut state, 3) };
                let asks = (0..count).map(|_| 1 + draw(&mut state, 5)).collect();
                scenarios.push(Scenario { asks, ..Scenario::default() });
            }
            while scenarios.iter().any(|one| !one.has_ended()) {
                let able = |one: &(usize, &Scenario)| one.1.can_move(&places);
                let able: Vec<usize> =
                    scenarios.iter().enumerate().filter(able).map(|(index, _)| index).collect();
                assert!(!able.is_empty(), "seed {seed}: all wait: {scenarios:?} {places:?}");
                let index = able[draw(&mut state, able.len())];
                scenarios[index].step(index, &mut places);
                assert!(places.line.iter().is_sorted_by_key(|(ticket, ..)| *ticket), "seed {seed}");
                let holds_nothing = |who: usize| places.inside.iter().all(|(one, _)| *one != who);
                assert!(places.line.iter().all(|(_, who, _)| holds_nothing(*who)), "seed {seed}");
                if asks_once {
                    let fits = places.taken() <= places.all || places.inside.len() == 1;
                    assert!(fits, "seed {seed}: {places:?}");
                }
            }
            assert_eq!((places.taken(), places.line.len()), (0, 0), "seed {seed}");
        }
    }
}
