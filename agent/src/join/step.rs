//! When a node asks for its certificate, whom, and when again: a machine without clock or I/O.
//!
//! ```text
//!            Begin              nothing, or old                    all asked, or refused
//!   (new) ─────────▶ certificate? ──────────▶ Asking(address 0…n) ─────────────▶ Waiting
//!                        │ fresh                   │ Answered                       │ Time
//!                        ▼                         ▼                                ▼
//!                     Resting ◀────────────────────┘◀──────────────────────── Asking(0…)
//!                        │ Time, two thirds are over
//!                        └────▶ Asking(0…)
//! ```
//!
//! It never ends: a certificate that has ended is asked for as one that was never there. Whoever runs it carries out the one
//! effect that is work ([`Effect::Issue`], [`Effect::Ask`], [`Effect::Wait`]) and comes back with its event.

use ferrite_pki::Dates;

/// Until the first try after all addresses have failed, and at most, in seconds. A cluster that comes up again has all its
/// nodes asking at once, so each waits a part of it that is its own.
const AGAIN_MIN_S: u64 = 2;
const AGAIN_MAX_S: u64 = 60;

/// What is decided before anything is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// The node has the issuer's keys: it asks nobody.
    Issues,
    /// It asks the members at so many addresses.
    Asks(usize),
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The agent has started; the certificate on STATE is good so long, where there is one.
    Begin(Option<Dates>),
    /// There is a certificate, and it is kept.
    Answered(Dates),
    /// This address gave none: why.
    Failed(String),
    /// The cluster gave none, whichever member is asked: why.
    Refused(String),
    /// A wait is over, or part of it.
    Time,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Make a certificate with the issuer's key.
    Issue,
    /// Ask the member at this place in the list of addresses.
    Ask(usize),
    /// Come back with [`Event::Time`] at this second, or before.
    Wait {
        /// Seconds since the epoch.
        until_s: u64,
    },
    /// Show this in the node's status, or nothing any more.
    Stand(Option<String>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    New,
    Asking { address: usize, whys: Vec<String> },
    Waiting { until_s: u64 },
    Resting { until_s: u64 },
}

/// The machine.
#[derive(Debug)]
pub struct Joining {
    way: Way,
    state: State,
    /// Of the certificate that is here.
    dates: Option<Dates>,
    /// Rounds in a row that brought nothing.
    rounds: u32,
}

/// From when on a certificate is renewed: when two thirds of its time are over.
#[must_use]
pub const fn renew_at_s(dates: &Dates) -> u64 {
    dates.from_s + dates.until_s.saturating_sub(dates.from_s) / 3 * 2
}

impl Joining {
    /// Nothing is known yet.
    #[must_use]
    pub const fn new(way: Way) -> Self {
        Self { way, state: State::New, dates: None, rounds: 0 }
    }

    /// Goes on. `now_s` is in seconds since the epoch; `chance` is any number, another one at each call.
    pub fn step(&mut self, event: Event, now_s: u64, chance: u32) -> Vec<Effect> {
        match event {
            Event::Begin(dates) => {
                self.dates = dates;
                self.look(now_s, chance)
            }
            Event::Answered(dates) => {
                self.dates = Some(dates);
                self.rounds = 0;
                self.answered(dates, now_s)
            }
            // The clock was set while somebody was asked, and what is here is good after all.
            Event::Failed(_) | Event::Refused(_) if self.is_fresh(now_s) => {
                self.look(now_s, chance)
            }
            Event::Failed(why) => self.failed(why, now_s, chance),
            Event::Refused(why) => self.wait(&[why], now_s, chance),
            Event::Time => match self.state {
                State::Waiting { until_s } | State::Resting { until_s } if now_s < until_s => {
                    // A clock that was set back may have left it far away.
                    self.look_again(until_s, now_s, chance)
                }
                State::Waiting { .. } | State::Resting { .. } | State::New => {
                    self.look(now_s, chance)
                }
                // Nobody waits: the event is of a wait that is over.
                State::Asking { .. } => Vec::new(),
            },
        }
    }

    fn look_again(&mut self, until_s: u64, now_s: u64, chance: u32) -> Vec<Effect> {
        let far = match self.state {
            State::Waiting { .. } => until_s > now_s + 2 * AGAIN_MAX_S,
            // One that was made in a wrong future is not good yet.
            State::Resting { .. } => !self.is_fresh(now_s),
            State::New | State::Asking { .. } => false,
        };
        if far { self.look(now_s, chance) } else { vec![Effect::Wait { until_s }] }
    }

    fn is_fresh(&self, now_s: u64) -> bool {
        self.dates.is_some_and(|dates| dates.contain(now_s) && now_s < renew_at_s(&dates))
    }

    /// Rests with a certificate that is fresh, asks for one otherwise.
    fn look(&mut self, now_s: u64, chance: u32) -> Vec<Effect> {
        match self.dates {
            Some(dates) if self.is_fresh(now_s) => {
                let until_s = renew_at_s(&dates);
                self.state = State::Resting { until_s };
                vec![Effect::Stand(None), Effect::Wait { until_s }]
            }
            Some(_) | None => match self.way {
                Way::Issues => {
                    self.state = State::Asking { address: 0, whys: Vec::new() };
                    vec![Effect::Issue]
                }
                Way::Asks(0) => {
                    let why = "[cluster] join names no member that could be asked: give it addresses (`HOST:PORT`)";
                    self.wait(&[why.to_owned()], now_s, chance)
                }
                Way::Asks(_) => {
                    self.state = State::Asking { address: 0, whys: Vec::new() };
                    vec![Effect::Ask(0)]
                }
            },
        }
    }

    fn answered(&mut self, dates: Dates, now_s: u64) -> Vec<Effect> {
        if self.is_fresh(now_s) {
            let until_s = renew_at_s(&dates);
            self.state = State::Resting { until_s };
            return vec![Effect::Stand(None), Effect::Wait { until_s }];
        }
        // Two clocks differ by more than a day. Asking again at once would bring the same.
        let until_s = now_s + AGAIN_MAX_S;
        self.state = State::Waiting { until_s };
        let said = format!(
            "the certificate that the cluster has given is not good at this node's time: {}. Set the clock of this machine, or of the member, right",
            dates.sentence(now_s)
        );
        vec![Effect::Stand(Some(said)), Effect::Wait { until_s }]
    }

    fn failed(&mut self, why: String, now_s: u64, chance: u32) -> Vec<Effect> {
        let State::Asking { address, whys } = &mut self.state else { return Vec::new() };
        whys.push(why);
        let next = *address + 1;
        match self.way {
            Way::Asks(addresses) if next < addresses => {
                *address = next;
                vec![Effect::Ask(next)]
            }
            Way::Asks(_) | Way::Issues => {
                let whys = std::mem::take(whys);
                self.wait(&whys, now_s, chance)
            }
        }
    }

    fn wait(&mut self, whys: &[String], now_s: u64, chance: u32) -> Vec<Effect> {
        let longest = AGAIN_MIN_S.saturating_mul(1 << self.rounds.min(8)).min(AGAIN_MAX_S);
        self.rounds = self.rounds.saturating_add(1);
        let until_s = now_s + longest - u64::from(chance) % (longest / 2 + 1);
        self.state = State::Waiting { until_s };
        let lacks = match self.dates {
            None => "this node does not belong to its cluster yet".to_owned(),
            Some(dates) if dates.contain(now_s) => {
                format!("this node's certificate could not be renewed ({})", dates.sentence(now_s))
            }
            Some(dates) => {
                format!("this node's certificate is not good ({})", dates.sentence(now_s))
            }
        };
        let said = format!("{lacks}: {}", whys.join("; "));
        vec![Effect::Stand(Some(said)), Effect::Wait { until_s }]
    }
}

#[cfg(test)]
#[path = "step_tests.rs"]
mod tests;
