//! Tests of the bridge and its links: properties over random traffic and random faults.

use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::time::Duration;

use proptest::prelude::*;

use super::bridge::Bridge;
use super::faults::{Faults, PerMillion};
use super::links::{Delivery, HELD_BACK, Links};
use super::port::{Frame, Port};

const PORTS: u16 = 5;
const BROADCAST: [u8; 6] = [0xff; 6];

fn mac(port: u16) -> [u8; 6] {
    [0x52, 0x54, 0, 0, 0, u8::try_from(port).unwrap()]
}

fn frame(to: [u8; 6], from: [u8; 6], text: &[u8]) -> Frame {
    [&to[..], &from, &[0x88, 0xb5], text].concat().into()
}

fn bridge(seed: u64) -> Bridge {
    Bridge::new(PORTS, Links::new(seed))
}

/// Every port has said something.
fn learned(seed: u64) -> Bridge {
    let mut bridge = bridge(seed);
    for port in 0..PORTS {
        bridge.step(Duration::ZERO, Port(port), &frame(BROADCAST, mac(port), b"here"));
    }
    bridge
}

fn ports(deliveries: &[Delivery]) -> Vec<u16> {
    deliveries.iter().map(|delivery| delivery.to.0).collect()
}

fn at(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

#[test]
fn what_is_unknown_goes_everywhere_and_what_is_known_to_its_port() {
    let mut bridge = bridge(0);
    let to_two = frame(mac(2), mac(1), b"x");
    assert_eq!(ports(&bridge.step(at(0), Port(1), &to_two)), [0, 2, 3, 4]);
    assert_eq!(ports(&bridge.step(at(1), Port(2), &frame(mac(1), mac(2), b"y"))), [1]);
    assert_eq!(ports(&bridge.step(at(2), Port(1), &to_two)), [2]);
    assert_eq!(ports(&bridge.step(at(3), Port(1), &frame(BROADCAST, mac(1), b""))), [0, 2, 3, 4]);
    assert_eq!(
        ports(&bridge.step(at(4), Port(2), &to_two)),
        [0_u16; 0],
        "it is where it came from"
    );
    // A machine that moved is found again at once, and one that was silent for long is looked for.
    bridge.step(at(5), Port(3), &frame(BROADCAST, mac(2), b""));
    assert_eq!(ports(&bridge.step(at(6), Port(1), &to_two)), [3]);
    assert_eq!(ports(&bridge.step(at(400_000), Port(1), &to_two)), [0, 2, 3, 4]);
}

#[test]
fn what_is_for_a_group_goes_everywhere_whoever_is_known() {
    let mut bridge = learned(0);
    // 239.255.70.82 and ff12::4652:5254, as they are mapped (RFC 1112 section 6.4, RFC 2464 section 7).
    for group in [[0x01, 0, 0x5e, 0x7f, 70, 82], [0x33, 0x33, 0x46, 0x52, 0x52, 0x54]] {
        for _ in 0..2 {
            let deliveries = bridge.step(at(1), Port(1), &frame(group, mac(1), b"beacon"));
            assert_eq!(ports(&deliveries), [0, 2, 3, 4], "{group:x?}");
        }
    }
}

#[test]
fn what_is_no_frame_of_a_station_goes_nowhere() {
    let mut bridge = bridge(0);
    let pause = [0x01, 0x80, 0xc2, 0, 0, 1];
    for bad in [
        Frame::from(&[][..]),
        frame(mac(2), mac(1), b"")[..13].into(),
        frame(mac(2), BROADCAST, b"from a group"),
        frame(pause, mac(1), b"for the bridge itself"),
    ] {
        assert_eq!(bridge.step(at(0), Port(1), &bad), []);
    }
    assert_eq!(ports(&bridge.step(at(0), Port(1), &frame(mac(2), mac(1), b""))).len(), 4);
}

#[test]
fn a_station_that_invents_addresses_takes_no_more_memory_and_the_others_still_talk() {
    let mut bridge = learned(0);
    for number in 0..10_000_u32 {
        let [_, b, c, d] = number.to_be_bytes();
        bridge.step(at(1), Port(1), &frame(mac(2), [2, 1, 1, b, c, d], b""));
    }
    assert_eq!(ports(&bridge.step(at(2), Port(3), &frame(mac(2), mac(3), b""))), [2]);
    let [.., b, c, d] = 9_999_u32.to_be_bytes();
    let to_late = frame([2, 1, 1, b, c, d], mac(3), b"");
    assert_eq!(ports(&bridge.step(at(2), Port(3), &to_late)).len(), 4, "it was not learned");
}

#[test]
fn a_cut_has_a_direction() {
    let mut bridge = learned(0);
    let cut = Faults { cut: true, ..Faults::default() };
    bridge.links().set(Port(1), Port(2), cut);
    assert_eq!(bridge.step(at(1), Port(1), &frame(mac(2), mac(1), b"")), []);
    assert_eq!(ports(&bridge.step(at(1), Port(2), &frame(mac(1), mac(2), b""))), [1]);
    assert_eq!(ports(&bridge.step(at(1), Port(1), &frame(BROADCAST, mac(1), b""))), [0, 3, 4]);
    bridge.links().heal(None);
    assert_eq!(ports(&bridge.step(at(1), Port(1), &frame(mac(2), mac(1), b""))), [2]);
}

#[test]
fn a_partition_parts_groups_and_healing_returns_to_what_was_declared() {
    let mut bridge = learned(0);
    let slow = Faults { delay_ms: 5, ..Faults::default() };
    bridge.links().declare(Port(1), Port(3), slow);
    let group = |ports: &[u16]| ports.iter().copied().map(Port).collect::<BTreeSet<_>>();
    bridge.links().partition(&[group(&[1, 2]), group(&[3]), group(&[4])]);
    let heard = |bridge: &mut Bridge, from: u16| {
        ports(&bridge.step(at(1), Port(from), &frame(BROADCAST, mac(from), b"")))
    };
    assert_eq!(heard(&mut bridge, 1), [0, 2]);
    assert_eq!(heard(&mut bridge, 3), [0]);
    assert_eq!(heard(&mut bridge, 0), [1, 2, 3, 4], "the gateway is in no group");
    bridge.links().heal(Some(Port(3)));
    assert_eq!(heard(&mut bridge, 1), [0, 2, 3]);
    assert_eq!(heard(&mut bridge, 4), [0, 3]);
    bridge.links().heal(None);
    assert_eq!(heard(&mut bridge, 4), [0, 1, 2, 3]);
    assert_eq!(bridge.links().faults(Port(1), Port(3)), slow);
}

#[test]
fn a_rate_spaces_frames_and_what_waits_too_long_is_lost() {
    let mut bridge = learned(0);
    // 1000 bytes at 80 kbit/s take a tenth of a second.
    let rate_kbit = NonZeroU32::new(80);
    bridge.links().set(Port(1), Port(2), Faults { rate_kbit, ..Faults::default() });
    let thousand = frame(mac(2), mac(1), &[0; 986]);
    let times: Vec<Duration> = (0..20)
        .flat_map(|_| bridge.step(at(1000), Port(1), &thousand))
        .map(|delivery| delivery.at)
        .collect();
    let expected: Vec<Duration> = (1..=11).map(|n| at(1000 + 100 * n)).collect();
    assert_eq!(times, expected);
    assert_eq!(bridge.step(at(2100), Port(1), &thousand)[0].at, at(2200), "the queue has emptied");
}

#[test]
fn a_corrupt_frame_differs_in_one_bit() {
    let mut bridge = learned(3);
    let corrupt = PerMillion::percent(100);
    bridge.links().set(Port(1), Port(2), Faults { corrupt, ..Faults::default() });
    let sent = frame(mac(2), mac(1), &[0x55; 100]);
    for _ in 0..100 {
        let [received] = &bridge.step(at(1), Port(1), &sent)[..] else { panic!("one delivery") };
        let bits: u32 =
            sent.iter().zip(&received.frame[..]).map(|(a, b)| (a ^ b).count_ones()).sum();
        assert_eq!((bits, received.frame.len()), (1, sent.len()));
    }
}

#[test]
fn a_frame_that_is_held_back_is_overtaken() {
    let mut bridge = learned(9);
    let reorder = PerMillion::percent(30);
    bridge.links().set(Port(1), Port(2), Faults { reorder, delay_ms: 3, ..Faults::default() });
    let mut delays: Vec<Duration> = (0..1000)
        .map(|_| bridge.step(at(50), Port(1), &frame(mac(2), mac(1), b""))[0].at - at(50))
        .collect();
    assert!(!delays.is_sorted(), "none was overtaken");
    let late = delays.iter().filter(|delay| **delay == at(3) + HELD_BACK).count();
    assert!((200..400).contains(&late), "{late} of 1000");
    delays.sort_unstable();
    delays.dedup();
    assert_eq!(delays, [at(3), at(3) + HELD_BACK]);
}

fn any_faults() -> impl Strategy<Value = Faults> {
    let share = || (0..=100_u8).prop_map(PerMillion::percent);
    let shares = (share(), share(), share(), share());
    (any::<bool>(), 0..50_u32, shares, proptest::option::of(1..100_000_u32)).prop_map(
        |(cut, delay_ms, (loss, reorder, duplicate, corrupt), rate)| Faults {
            cut,
            delay_ms,
            loss,
            reorder,
            duplicate,
            corrupt,
            rate_kbit: rate.and_then(NonZeroU32::new),
        },
    )
}

/// Frames: when, from which port, to which (the last is everybody), how long.
fn any_traffic() -> impl Strategy<Value = Vec<(u64, u16, u16, usize)>> {
    proptest::collection::vec((0..20_u64, 0..PORTS, 0..=PORTS, 0..1500_usize), 0..60)
}

fn any_links() -> impl Strategy<Value = Vec<(u16, u16, Faults)>> {
    proptest::collection::vec((0..PORTS, 0..PORTS, any_faults()), 0..12)
}

/// Everything that comes out, per frame that went in.
fn run(
    seed: u64,
    links: &[(u16, u16, Faults)],
    traffic: &[(u64, u16, u16, usize)],
) -> Vec<Vec<Delivery>> {
    let mut bridge = learned(seed);
    for (from, to, faults) in links {
        bridge.links().set(Port(*from), Port(*to), *faults);
    }
    let mut now = Duration::ZERO;
    let mut out = Vec::new();
    for (number, (later, from, to, length)) in traffic.iter().enumerate() {
        now += at(*later);
        let to = if *to == PORTS { BROADCAST } else { mac(*to) };
        let mut text = vec![0; *length + 8];
        text[..8].copy_from_slice(&(number as u64).to_be_bytes());
        out.push(bridge.step(now, Port(*from), &frame(to, mac(*from), &text)));
    }
    out
}

proptest! {
    #[test]
    fn the_same_seed_gives_the_same_deliveries(seed: u64, links in any_links(), traffic in any_traffic()) {
        prop_assert_eq!(run(seed, &links, &traffic), run(seed, &links, &traffic));
    }

    #[test]
    fn frames_come_out_as_the_faults_allow(seed: u64, links in any_links(), traffic in any_traffic()) {
        let out = run(seed, &links, &traffic);
        let mut now = Duration::ZERO;
        for ((later, from, to, length), deliveries) in traffic.iter().zip(&out) {
            now += at(*later);
            for port in 0..PORTS {
                let there: Vec<_> = deliveries.iter().filter(|one| one.to == Port(port)).collect();
                let meant = port != *from && (*to == PORTS || *to == port);
                let set = links.iter().rev().find(|link| (link.0, link.1) == (*from, port));
                let faults = set.map(|link| link.2).unwrap_or_default();
                let surely_lost = faults.cut || faults.loss == PerMillion::percent(100);
                let most = match (meant && !surely_lost, faults.duplicate) {
                    (false, _) => 0,
                    (true, share) if share == PerMillion::default() => 1,
                    (true, _) => 2,
                };
                prop_assert!(there.len() <= most, "{} of at most {}", there.len(), most);
                let surely_kept = faults.loss == PerMillion::default() && faults.rate_kbit.is_none();
                prop_assert!(!(meant && !faults.cut && surely_kept && there.is_empty()));
                for delivery in there {
                    prop_assert!(delivery.at >= now + at(faults.delay_ms.into()));
                    prop_assert_eq!(delivery.frame.len(), length + 14 + 8);
                    let quick = faults.rate_kbit.is_none();
                    prop_assert!(!quick || delivery.at <= now + at(faults.delay_ms.into()) + HELD_BACK);
                }
            }
        }
    }

    #[test]
    fn what_one_link_does_changes_nothing_on_another(
        seed: u64, faults in any_faults(), other in any_faults(), traffic in any_traffic()
    ) {
        let on_link = |out: Vec<Vec<Delivery>>| {
            let of_one = traffic.iter().zip(out).filter(|((_, from, ..), _)| *from == 1);
            of_one.map(|(_, mut out)| { out.retain(|one| one.to == Port(2)); out }).collect::<Vec<_>>()
        };
        let alone = on_link(run(seed, &[(1, 2, faults)], &traffic));
        let beside = on_link(run(seed, &[(1, 2, faults), (2, 1, other), (1, 3, other)], &traffic));
        prop_assert_eq!(alone, beside);
    }

    #[test]
    fn no_bytes_upset_it(frames in proptest::collection::vec(
        (0..PORTS, proptest::collection::vec(any::<u8>(), 0..64)), 0..50)
    ) {
        let mut bridge = bridge(1);
        for (port, bytes) in frames {
            let deliveries = bridge.step(at(0), Port(port), &bytes.into());
            prop_assert!(deliveries.len() < usize::from(PORTS));
        }
    }
}
