//! The life of a lease as a pure step function: no clock, no I/O, no randomness of its own.
//!
//! ```text
//!  Begin ──▶ Discovering ──Offer──▶ Requesting ──Acknowledgement──▶ Bound ──T1──▶ Renewing ──T2──▶ Rebinding
//!    │            ▲ ▲                   │                            ▲ │  ▲            │                 │
//!    │            │ └─ Refusal, silence ┘                            │ │  └─────────── Acknowledgement ──┤
//!    │            └────────── Refusal, end of the lease ─────────────┼─┼─────────────────────────────────┘
//!    └─(an address is there)─▶ Confirming ──Acknowledgement──────────┘ │
//!                                 ▲ └─silence: what is held is kept    │
//!                                 └──────────── CarrierBack ───────────┘
//! ```
//!
//! Servers send what is heard; `Deadline` comes when [`Machine::deadline`] has passed; `CarrierBack` when a cable
//! was put in again, perhaps into another network. No state is terminal: it goes on asking for ever.
//!
//! # Source
//! RFC 2131 §4.4

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use super::lease::Lease;
use super::message::{Answer, Ask, Kind, Question};
use crate::addresses::Mac;

/// Longest pause between two questions of a client without an address; the first is two seconds.
const PAUSE_MAX_S: u64 = 64;
/// Questions to a server that made an offer, before another one is looked for.
const REQUESTS_MAX: u32 = 4;
/// Questions whether an address is still good, before it is taken as such, or a new one is asked for.
const CONFIRMATIONS_MAX: u32 = 3;
/// Questions without an answer, after which a person is told.
const SILENCE_TOLD: u32 = 3;
/// Shortest pause between two questions while there is an address, as a part of the lease, and at most.
const RENEWAL_PART: u32 = 16;
const RENEWAL_PAUSE_MAX: Duration = Duration::from_secs(60);

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Event {
    /// The link is there, with an address perhaps that an earlier agent had got for it.
    Begin(Option<Ipv4Addr>),
    /// An answer came from this address.
    Heard(Box<Answer>, Ipv4Addr),
    /// The deadline has passed.
    Deadline,
    /// The link has its carrier again.
    CarrierBack,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Effect {
    /// Ask everybody on the link.
    Broadcast(Question),
    /// Ask this server, from the address that is ours.
    Unicast(Question, Ipv4Addr),
    /// Set the link to this, for as long as it counts from now on; for ever where no time is given.
    Apply(Box<Lease>, Option<Duration>),
    /// The address is not ours any more.
    Drop(Box<Lease>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Held {
    lease: Lease,
    since: Instant,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    /// Any server will do, but rather none that failed to keep its word: its offer is for the end of the wait.
    Discovering {
        tries: u32,
        spare: Option<Box<Lease>>,
    },
    Requesting {
        offer: Box<Lease>,
        tries: u32,
    },
    /// Is the address still good?
    Confirming {
        address: Ipv4Addr,
        held: Option<Box<Held>>,
        tries: u32,
    },
    /// There is an address. How far its time has run says what is asked for.
    Holding(Box<Held>),
}

/// The machine.
#[derive(Debug)]
pub(super) struct Machine {
    mac: Mac,
    host_name: Option<String>,
    state: State,
    deadline: Option<Instant>,
    /// Of the exchange that goes on.
    xid: u32,
    /// When it was begun, and when we began to be without an address.
    asked: Instant,
    began: Instant,
    /// A server that made an offer and did not keep it.
    shunned: Option<Ipv4Addr>,
    /// Refusals without a lease between them.
    refusals: u32,
    trouble: Option<String>,
    /// An answer is waited for.
    listens: bool,
}

impl Machine {
    pub(super) fn new(mac: Mac, host_name: Option<String>, now: Instant) -> Self {
        Self {
            mac,
            host_name,
            state: State::Discovering { tries: 0, spare: None },
            deadline: None,
            xid: 0,
            asked: now,
            began: now,
            shunned: None,
            refusals: 0,
            trouble: None,
            listens: true,
        }
    }

    /// When it wants to be told that time has passed.
    pub(super) const fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// Whether answers are waited for.
    pub(super) const fn listens(&self) -> bool {
        self.listens
    }

    /// What a person should know, as long as it is so.
    pub(super) fn trouble(&self) -> Option<&str> {
        self.trouble.as_deref()
    }

    /// Goes on. `random` is a new number each time.
    pub(super) fn step(&mut self, event: Event, now: Instant, random: u32) -> Vec<Effect> {
        match event {
            Event::Begin(None) => self.discover(now, random),
            Event::Begin(Some(address)) => self.confirm(address, None, now, random),
            Event::CarrierBack => match &self.state {
                State::Holding(held) | State::Confirming { held: Some(held), .. } => {
                    let held = held.clone();
                    self.confirm(held.lease.settings.address, Some(held), now, random)
                }
                State::Confirming { address, held: None, .. } => {
                    let address = *address;
                    self.confirm(address, None, now, random)
                }
                State::Discovering { .. } | State::Requesting { .. } => self.discover(now, random),
            },
            Event::Deadline => match self.deadline {
                Some(deadline) if deadline <= now => self.time_passed(now, random),
                Some(_) | None => Vec::new(),
            },
            Event::Heard(answer, source) => {
                if answer.xid == self.xid && answer.mac == self.mac {
                    self.heard(&answer, source, now, random)
                } else {
                    Vec::new()
                }
            }
        }
    }

    fn heard(
        &mut self,
        answer: &Answer,
        source: Ipv4Addr,
        now: Instant,
        random: u32,
    ) -> Vec<Effect> {
        let lease = Lease::of(answer, source);
        let by = |server: Ipv4Addr| {
            answer.addresses(super::message::option::SERVER).next().unwrap_or(source) == server
        };
        match (&mut self.state, answer.kind, lease) {
            (State::Discovering { spare, .. }, Kind::Offer, Some(offer)) => {
                if self.shunned == Some(offer.server) {
                    *spare = Some(Box::new(offer));
                    return Vec::new();
                }
                self.request(Box::new(offer), now, random)
            }
            (
                State::Requesting { .. } | State::Confirming { .. } | State::Holding(_),
                Kind::Acknowledgement,
                Some(lease),
            ) => self.hold(lease, now),
            (State::Requesting { offer, .. }, Kind::Refusal, _) if by(offer.server) => {
                let server = offer.server;
                self.shunned = Some(server);
                self.refused(server, answer, now, random)
            }
            (State::Confirming { held, .. }, Kind::Refusal, _) => {
                let dropped = held.take().map(|held| Effect::Drop(Box::new(held.lease)));
                let asked = self.refused(source, answer, now, random);
                dropped.into_iter().chain(asked).collect()
            }
            (State::Holding(held), Kind::Refusal, _)
                if by(held.lease.server) || is_rebinding(held, now) =>
            {
                let dropped = Effect::Drop(Box::new(held.lease.clone()));
                let asked = self.refused(source, answer, now, random);
                std::iter::once(dropped).chain(asked).collect()
            }
            _ => Vec::new(),
        }
    }

    fn time_passed(&mut self, now: Instant, random: u32) -> Vec<Effect> {
        match &mut self.state {
            State::Discovering { spare, tries } => match spare.take() {
                Some(offer) => self.request(offer, now, random),
                None => {
                    *tries += 1;
                    let tries = *tries;
                    self.ask_for_offers(tries, now, random)
                }
            },
            State::Requesting { offer, tries } => {
                *tries += 1;
                if *tries < REQUESTS_MAX {
                    let (offer, tries) = (offer.clone(), *tries);
                    return vec![self.ask_for(&offer, tries, now, random)];
                }
                let server = offer.server;
                self.shunned = Some(server);
                self.trouble = Some(format!(
                    "DHCP server {server} offers an address and does not give it; another is looked for"
                ));
                self.discover(now, random)
            }
            State::Confirming { address, held, tries } => {
                *tries += 1;
                if *tries < CONFIRMATIONS_MAX {
                    let (address, tries) = (*address, *tries);
                    return vec![self.ask_whether(address, tries, now, random)];
                }
                match held.take() {
                    Some(held) => {
                        // A link that was set down meanwhile has lost its routes.
                        let again = again(&held, now);
                        again.into_iter().chain(self.go_on(held, now, random)).collect()
                    }
                    None => self.discover(now, random),
                }
            }
            State::Holding(held) => {
                let held = held.clone();
                self.go_on(held, now, random)
            }
        }
    }

    fn discover(&mut self, now: Instant, random: u32) -> Vec<Effect> {
        self.began = now;
        self.xid = random;
        self.state = State::Discovering { tries: 0, spare: None };
        self.ask_for_offers(0, now, random)
    }

    fn ask_for_offers(&mut self, tries: u32, now: Instant, random: u32) -> Vec<Effect> {
        self.deadline = Some(now + pause(tries, random));
        if tries >= SILENCE_TOLD {
            let silence = "no DHCP server answers: the link gets no address".to_owned();
            self.trouble.get_or_insert(silence);
        }
        vec![Effect::Broadcast(self.question(Ask::Discover, now))]
    }

    /// Asks for a new address; at once the first time, then ever more slowly.
    fn refused(&mut self, by: Ipv4Addr, answer: &Answer, now: Instant, random: u32) -> Vec<Effect> {
        let words = answer.words();
        let because = if words.is_empty() { words } else { format!(": {words}") };
        self.trouble = Some(format!("DHCP server {by} refuses the address{because}"));
        self.refusals += 1;
        if self.refusals == 1 {
            return self.discover(now, random);
        }
        self.began = now;
        self.xid = random;
        self.state = State::Discovering { tries: 0, spare: None };
        self.deadline = Some(now + pause(self.refusals, random));
        Vec::new()
    }

    fn request(&mut self, offer: Box<Lease>, now: Instant, random: u32) -> Vec<Effect> {
        self.asked = now;
        let effect = self.ask_for(&offer, 0, now, random);
        self.state = State::Requesting { offer, tries: 0 };
        vec![effect]
    }

    fn ask_for(&mut self, offer: &Lease, tries: u32, now: Instant, random: u32) -> Effect {
        self.deadline = Some(now + pause(tries, random));
        Effect::Broadcast(Question {
            requested: Some(offer.settings.address),
            server: Some(offer.server),
            ..self.question(Ask::Request, now)
        })
    }

    fn confirm(
        &mut self,
        address: Ipv4Addr,
        held: Option<Box<Held>>,
        now: Instant,
        random: u32,
    ) -> Vec<Effect> {
        (self.began, self.asked, self.xid) = (now, now, random);
        self.state = State::Confirming { address, held, tries: 0 };
        vec![self.ask_whether(address, 0, now, random)]
    }

    fn ask_whether(&mut self, address: Ipv4Addr, tries: u32, now: Instant, random: u32) -> Effect {
        self.deadline = Some(now + pause(tries, random));
        let question = self.question(Ask::Request, now);
        Effect::Broadcast(Question { requested: Some(address), ..question })
    }

    fn hold(&mut self, lease: Lease, now: Instant) -> Vec<Effect> {
        (self.shunned, self.refusals, self.trouble) = (None, 0, None);
        self.listens = false;
        let since = self.asked;
        self.deadline = lease.times.map(|times| since + times.renew);
        let valid = lease.times.map(|times| (since + times.end).saturating_duration_since(now));
        let before = match std::mem::replace(
            &mut self.state,
            State::Holding(Box::new(Held { lease: lease.clone(), since })),
        ) {
            State::Holding(held) | State::Confirming { held: Some(held), .. } => Some(held.lease),
            _ => None,
        };
        // An answer to come is not mistaken for one to this question.
        self.xid = self.xid.wrapping_add(1);
        let other = before.filter(|old| old.settings.address != lease.settings.address);
        let dropped = other.map(|old| Effect::Drop(Box::new(old)));
        dropped.into_iter().chain([Effect::Apply(Box::new(lease), valid)]).collect()
    }

    /// Does with an address what its time asks for.
    fn go_on(&mut self, held: Box<Held>, now: Instant, random: u32) -> Vec<Effect> {
        let Some(times) = held.lease.times else {
            self.deadline = None;
            self.listens = false;
            self.state = State::Holding(held);
            return Vec::new();
        };
        let since = held.since;
        let (address, server) = (held.lease.settings.address, held.lease.server);
        if now >= since + times.end {
            let dropped = Effect::Drop(Box::new(held.lease));
            self.trouble = Some(format!(
                "the lease of {address} has ended, and no DHCP server renews it or gives another"
            ));
            return std::iter::once(dropped).chain(self.discover(now, random)).collect();
        }
        if now < since + times.renew {
            self.deadline = Some(since + times.renew);
            self.listens = false;
            self.state = State::Holding(held);
            return Vec::new();
        }
        let is_rebinding = is_rebinding(&held, now);
        let until = since + if is_rebinding { times.end } else { times.rebind };
        let least = (times.end / RENEWAL_PART).min(RENEWAL_PAUSE_MAX);
        let left = until.saturating_duration_since(now);
        self.deadline = Some(now + (left / 2).max(least).min(left));
        (self.asked, self.began, self.xid) = (now, since + times.renew, random);
        let question = Question { ours: Some(address), ..self.question(Ask::Request, now) };
        self.state = State::Holding(held);
        if is_rebinding {
            self.trouble = Some(format!(
                "DHCP server {server} does not renew the lease of {address}; without one it ends in {} s",
                left.as_secs()
            ));
            vec![Effect::Broadcast(question)]
        } else {
            vec![Effect::Unicast(question, server)]
        }
    }

    fn question(&mut self, ask: Ask, now: Instant) -> Question {
        self.listens = true;
        let seconds = now.saturating_duration_since(self.began).as_secs();
        Question {
            ask,
            xid: self.xid,
            seconds: u16::try_from(seconds).unwrap_or(u16::MAX),
            mac: self.mac,
            ours: None,
            requested: None,
            server: None,
            host_name: self.host_name.clone(),
        }
    }
}

/// What is held, for as long as it still counts.
fn again(held: &Held, now: Instant) -> Option<Effect> {
    let left = held.lease.times.map(|times| (held.since + times.end).checked_duration_since(now));
    match left {
        None => Some(Effect::Apply(Box::new(held.lease.clone()), None)),
        Some(left) => {
            let left = left.filter(|left| !left.is_zero())?;
            Some(Effect::Apply(Box::new(held.lease.clone()), Some(left)))
        }
    }
}

fn is_rebinding(held: &Held, now: Instant) -> bool {
    held.lease.times.is_some_and(|times| now >= held.since + times.rebind)
}

/// Twice as long each time, with up to a second more, so that machines that start together do not ask together.
fn pause(tries: u32, random: u32) -> Duration {
    let seconds = 2_u64.saturating_pow(tries.saturating_add(1)).min(PAUSE_MAX_S);
    Duration::from_secs(seconds) + Duration::from_millis(u64::from(random % 1000))
}

#[cfg(test)]
mod tests;
