//! Whole exchanges, and whatever order things may come in.

use proptest::prelude::*;

use super::super::message::tests::{MAC, answer};
use super::*;

const SERVER: [u8; 4] = [10, 9, 0, 1];
const OTHER: [u8; 4] = [10, 9, 0, 2];
const OURS: [u8; 4] = [10, 9, 0, 5];

/// A machine with its time.
struct Play {
    machine: Machine,
    now: Instant,
    random: u32,
}

impl Play {
    fn new() -> Self {
        let now = Instant::now();
        Self { machine: Machine::new(MAC, None, now), now, random: 100 }
    }

    fn step(&mut self, event: Event) -> Vec<Effect> {
        self.random += 10;
        self.machine.step(event, self.now, self.random)
    }

    /// Lets time pass until the machine wants something.
    fn wait(&mut self) -> Vec<Effect> {
        self.now = self.machine.deadline().unwrap();
        self.step(Event::Deadline)
    }

    fn hear(&mut self, kind: u8, server: [u8; 4], yours: [u8; 4], seconds: u32) -> Vec<Effect> {
        let [a, b, c, d] = server;
        let time = seconds.to_be_bytes();
        let options = [&[54, 4, a, b, c, d, 51, 4][..], &time].concat();
        let bytes = answer(kind, self.machine.xid, yours, &options);
        let answer = Answer::decode(&bytes).unwrap();
        self.step(Event::Heard(Box::new(answer), server.into()))
    }

    /// Gets a lease of 160 seconds.
    fn bind(&mut self) {
        self.step(Event::Begin(None));
        self.hear(2, SERVER, OURS, 160);
        applied(&self.hear(5, SERVER, OURS, 160), OURS);
    }
}

fn asked(effects: &[Effect]) -> &Question {
    match effects {
        [Effect::Broadcast(question)] => question,
        other => panic!("{other:?}"),
    }
}

fn applied(effects: &[Effect], address: [u8; 4]) {
    let [Effect::Apply(lease, _)] = effects else { panic!("{effects:?}") };
    assert_eq!(lease.settings.address, Ipv4Addr::from(address));
}

fn dropped(effects: &[Effect]) -> &Question {
    let [Effect::Drop(lease), Effect::Broadcast(question)] = effects else { panic!("{effects:?}") };
    assert_eq!(lease.settings.address, Ipv4Addr::from(OURS));
    assert_eq!(question.ask, Ask::Discover);
    question
}

#[test]
fn an_address_is_got_renewed_rebound_and_given_up() {
    let mut play = Play::new();
    assert_eq!(asked(&play.step(Event::Begin(None))).ask, Ask::Discover);
    let request = play.hear(2, SERVER, OURS, 160);
    let request = asked(&request);
    assert_eq!((request.requested, request.server), (Some(OURS.into()), Some(SERVER.into())));
    applied(&play.hear(5, SERVER, OURS, 160), OURS);
    let began = play.now;
    let renewal = play.wait();
    assert_eq!(play.now - began, Duration::from_secs(80));
    let [Effect::Unicast(question, server)] = &renewal[..] else { panic!("{renewal:?}") };
    assert_eq!((*server, question.ours), (SERVER.into(), Some(OURS.into())));
    assert_eq!((question.server, question.requested), (None, None), "RFC 2131 §4.3.2");
    // Nobody answers: again, then everybody is asked, then it is over.
    let mut kinds = Vec::new();
    loop {
        let effects = play.wait();
        match &effects[..] {
            [Effect::Unicast(..)] => kinds.push('u'),
            [Effect::Broadcast(question)] => {
                assert_eq!((question.ours, question.server), (Some(OURS.into()), None));
                assert!(play.machine.trouble().unwrap().contains("does not renew"));
                kinds.push('b');
            }
            _ => {
                dropped(&effects);
                break;
            }
        }
    }
    let kinds: String = kinds.into_iter().collect();
    assert!(kinds.contains("ub") && !kinds.contains("bu") && kinds.len() < 20, "{kinds}");
    assert_eq!(play.now - began, Duration::from_secs(160), "not a second longer");
    assert!(play.machine.trouble().unwrap().contains("has ended"));
    play.hear(2, OTHER, OURS, 160);
    applied(&play.hear(5, OTHER, OURS, 160), OURS);
    assert_eq!(play.machine.trouble(), None);
}

#[test]
fn any_server_may_take_over_when_ours_is_gone() {
    let mut play = Play::new();
    play.bind();
    while !matches!(play.wait()[..], [Effect::Broadcast(_)]) {}
    applied(&play.hear(5, OTHER, OURS, 160), OURS);
}

#[test]
fn a_refusal_starts_anew_and_is_no_storm() {
    let mut play = Play::new();
    play.bind();
    play.wait();
    assert!(play.hear(6, OTHER, [0; 4], 0).is_empty(), "not its lease");
    dropped(&play.hear(6, SERVER, [0; 4], 0));
    // A server that offers and refuses for ever.
    let (mut questions, began) = (0, play.now);
    while play.now - began < Duration::from_secs(600) {
        play.hear(2, SERVER, OURS, 160);
        play.hear(6, SERVER, [0; 4], 0);
        questions += play.wait().len();
    }
    assert!(questions < 40, "{questions}");
    assert!(play.machine.trouble().unwrap().contains("10.9.0.1 refuses"));
    // Another one that keeps its word wins, even if it is later.
    while play.wait().is_empty() {}
    play.hear(2, SERVER, OURS, 160);
    let request = play.hear(2, OTHER, OURS, 160);
    assert_eq!(asked(&request).server, Some(OTHER.into()));
}

#[test]
fn a_server_that_offers_and_falls_silent_is_left_for_another() {
    let mut play = Play::new();
    play.step(Event::Begin(None));
    play.hear(2, SERVER, OURS, 160);
    while asked(&play.wait()).ask == Ask::Request {}
    assert!(play.hear(2, SERVER, OURS, 160).is_empty(), "it is not believed at once");
    assert_eq!(asked(&play.hear(2, OTHER, OURS, 160)).server, Some(OTHER.into()));
    // But where there is no other, it gets another chance.
    let mut play = Play::new();
    play.step(Event::Begin(None));
    play.hear(2, SERVER, OURS, 160);
    while asked(&play.wait()).ask == Ask::Request {}
    play.hear(2, SERVER, OURS, 160);
    assert_eq!(asked(&play.wait()).server, Some(SERVER.into()));
    applied(&play.hear(5, SERVER, OURS, 160), OURS);
}

#[test]
fn a_cable_that_comes_back_is_asked_about() {
    let mut play = Play::new();
    play.bind();
    let question = play.step(Event::CarrierBack);
    let question = asked(&question);
    assert_eq!(
        (question.requested, question.ours, question.server),
        (Some(OURS.into()), None, None)
    );
    dropped(&play.hear(6, OTHER, [0; 4], 0));
    // Nobody says anything: the address is kept for its time.
    let mut play = Play::new();
    play.bind();
    let began = play.now;
    play.step(Event::CarrierBack);
    let mut effects = Vec::new();
    while play.now - began < Duration::from_secs(80) {
        effects.extend(play.wait());
    }
    assert!(!effects.iter().any(|effect| matches!(effect, Effect::Drop(_))), "{effects:?}");
    // The kernel drops routes of a link that is set down: they are set again.
    let left = effects.iter().find_map(|effect| match effect {
        Effect::Apply(lease, left) => Some((lease.settings.address, left.unwrap())),
        Effect::Drop(_) | Effect::Broadcast(_) | Effect::Unicast(..) => None,
    });
    let (address, left) = left.unwrap();
    assert_eq!(address, Ipv4Addr::from(OURS));
    assert!(left < Duration::from_secs(160) && left > Duration::from_secs(100), "{left:?}");
    // In another network there is another address.
    let mut play = Play::new();
    play.bind();
    play.step(Event::CarrierBack);
    let effects = play.hear(5, OTHER, [10, 8, 0, 7], 160);
    assert!(matches!(effects[..], [Effect::Drop(_), Effect::Apply(..)]), "{effects:?}");
}

#[test]
fn an_agents_successor_asks_for_the_same_address() {
    let mut play = Play::new();
    let question = play.step(Event::Begin(Some(OURS.into())));
    assert_eq!(asked(&question).requested, Some(OURS.into()));
    applied(&play.hear(5, SERVER, OURS, 160), OURS);
    let mut play = Play::new();
    play.step(Event::Begin(Some(OURS.into())));
    while asked(&play.wait()).ask == Ask::Request {}
}

#[test]
fn duplicates_and_strangers_change_nothing() {
    let mut play = Play::new();
    play.step(Event::Begin(None));
    play.hear(2, SERVER, OURS, 160);
    assert!(play.hear(2, OTHER, OURS, 160).is_empty(), "one offer is enough");
    applied(&play.hear(5, SERVER, OURS, 160), OURS);
    assert!(play.hear(5, SERVER, OURS, 0).len() < 2);
    let strange = answer(2, play.machine.xid.wrapping_add(1), OURS, &[]);
    let strange = Answer::decode(&strange).unwrap();
    assert!(play.step(Event::Heard(Box::new(strange), SERVER.into())).is_empty());
    // For ever is for ever.
    play.bind_for_ever();
    assert_eq!(play.machine.deadline(), None);
}

impl Play {
    fn bind_for_ever(&mut self) {
        self.machine = Machine::new(MAC, None, self.now);
        self.step(Event::Begin(None));
        self.hear(2, SERVER, OURS, u32::MAX);
        let effects = self.hear(5, SERVER, OURS, u32::MAX);
        assert!(matches!(effects[..], [Effect::Apply(_, None)]), "{effects:?}");
    }
}

#[derive(Debug, Clone)]
enum Act {
    Hear(u8, bool, u32),
    Wait,
    Later(u64),
    Carrier,
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        (prop_oneof![Just(2), Just(5), Just(6)], any::<bool>(), prop_oneof![Just(0), 1..5000_u32])
            .prop_map(|(kind, other, seconds)| Act::Hear(kind, other, seconds)),
        Just(Act::Wait),
        (0..100_u64).prop_map(Act::Later),
        Just(Act::Carrier),
    ];
    proptest::collection::vec(act, 1..80)
}

proptest! {
    /// It never falls silent, never keeps an address longer than it may, and tells about each that it has.
    #[test]
    fn nothing_makes_it_give_up_or_hold_on(acts in acts()) {
        let mut play = Play::new();
        let mut effects = play.step(Event::Begin(None));
        let (mut address, mut end) = (None, None);
        for act in acts {
            for effect in effects {
                match effect {
                    Effect::Apply(lease, valid) => {
                        address = Some(lease.settings.address);
                        end = valid.map(|valid| play.now + valid);
                    }
                    Effect::Drop(lease) => {
                        prop_assert_eq!(address, Some(lease.settings.address));
                        (address, end) = (None, None);
                    }
                    Effect::Unicast(question, _) => prop_assert_eq!(question.ours, address),
                    Effect::Broadcast(_) => {}
                }
            }
            let deadline = play.machine.deadline().expect("there is always something to wait for");
            prop_assert!(deadline <= play.now + Duration::from_secs(5000));
            effects = match act {
                Act::Hear(kind, other, seconds) => {
                    play.hear(kind, if other { OTHER } else { SERVER }, OURS, seconds)
                }
                Act::Wait => play.wait(),
                Act::Later(seconds) => {
                    play.now += Duration::from_secs(seconds);
                    play.step(Event::Deadline)
                }
                Act::Carrier => play.step(Event::CarrierBack),
            };
            if let (Some(end), true) = (end, effects.is_empty()) {
                prop_assert!(play.now < end || play.machine.deadline() <= Some(play.now + Duration::from_secs(70)));
            }
        }
    }
}
