//! Cables: frames in pieces, peers that end or lie, and those that come again.

use std::io::Write;

use ferrite_vm::switch::Switch;
use ferrite_vm::switch::capture::CAPTURE;
use ferrite_vm::switch::client::Client;
use ferrite_vm::switch::topology::Network;

use super::wire::{BROADCAST, Plug, mac};

fn network() -> Network {
    Network::of(&["one", "two", "three"], 1)
}

#[test]
fn frames_pass_between_cables_however_they_are_cut() {
    let folder = tempfile::tempdir().unwrap();
    let _switch = Switch::start(network(), folder.path()).unwrap();
    let [mut one, mut two] = ["one", "two"].map(|name| Plug::new(folder.path(), name));
    one.say(BROADCAST, 1, "to all");
    assert_eq!(two.hear(), "to all");
    // Byte by byte, and two at once.
    let frame = [&mac(2)[..], &mac(1), &[0x88, 0xb5], b"slowly"].concat();
    let bytes = [&20_u32.to_be_bytes()[..], &frame].concat();
    for byte in &bytes {
        one.0.write_all(&[*byte]).unwrap();
    }
    one.0.write_all(&[&bytes[..], &bytes].concat()).unwrap();
    assert_eq!([(); 3].map(|()| two.hear()), ["slowly"; 3]);
    two.say(mac(1), 2, "back");
    assert_eq!(one.hear(), "back");
}

#[test]
fn a_peer_that_lies_about_lengths_is_unplugged_and_the_others_are_not() {
    let folder = tempfile::tempdir().unwrap();
    let _switch = Switch::start(network(), folder.path()).unwrap();
    let [mut one, mut two] = ["one", "two"].map(|name| Plug::new(folder.path(), name));
    for length in [0_u32, (68 << 10) + 1, u32::MAX] {
        let mut liar = Plug::new(folder.path(), "three");
        liar.say(BROADCAST, 3, "hello");
        assert_eq!([one.hear(), two.hear()], ["hello"; 2]);
        liar.0.write_all(&length.to_be_bytes()).unwrap();
        assert!(liar.is_closed(), "{length}");
    }
    // One that ends within a frame leaves nothing of it to who comes next.
    let mut half = Plug::new(folder.path(), "three");
    half.0.write_all(&[0, 0, 0, 100, 1, 2, 3]).unwrap();
    drop(half);
    let mut whole = Plug::new(folder.path(), "three");
    whole.say(BROADCAST, 3, "whole");
    assert_eq!([one.hear(), two.hear()], ["whole"; 2]);
    one.say(mac(2), 1, "still here");
    assert_eq!(two.hear(), "still here");
}

#[test]
fn who_connects_anew_has_the_cable() {
    let folder = tempfile::tempdir().unwrap();
    let _switch = Switch::start(network(), folder.path()).unwrap();
    let [mut one, mut old] = ["one", "two"].map(|name| Plug::new(folder.path(), name));
    old.say(BROADCAST, 2, "I was there");
    assert_eq!(one.hear(), "I was there");
    // Half a frame of the old one, which has come when the status has, is not the new one's beginning.
    old.0.write_all(&[0, 0, 0, 100, 1, 2, 3]).unwrap();
    Client::connect(folder.path()).unwrap().status().unwrap();
    let mut new = Plug::new(folder.path(), "two");
    assert!(old.is_closed());
    new.say(BROADCAST, 2, "I am");
    assert_eq!(one.hear(), "I am");
    one.say(mac(2), 1, "welcome");
    assert_eq!(new.hear(), "welcome");
}

#[test]
fn a_switch_that_is_started_again_takes_the_cables_of_the_one_before() {
    let folder = tempfile::tempdir().unwrap();
    for _ in 0..2 {
        // Killed ones leave their sockets, so those of the first must be in nobody's way.
        let switch = Switch::start(network(), folder.path()).unwrap();
        let [mut one, mut two] = ["one", "two"].map(|name| Plug::new(folder.path(), name));
        one.say(BROADCAST, 1, "hello");
        assert_eq!(two.hear(), "hello");
        drop(switch);
        assert!(one.is_closed() && two.is_closed());
    }
    let capture = std::fs::read(folder.path().join(CAPTURE)).unwrap();
    assert!(capture.windows(5).any(|bytes| bytes == b"hello"));
}

#[test]
fn a_machine_that_takes_nothing_loses_frames_and_holds_nobody_up() {
    let folder = tempfile::tempdir().unwrap();
    let _switch = Switch::start(network(), folder.path()).unwrap();
    let [mut one, mut two] = ["one", "two"].map(|name| Plug::new(folder.path(), name));
    let mut paused = Plug::new(folder.path(), "three");
    paused.say(BROADCAST, 3, "I pause");
    assert_eq!(one.hear(), "I pause");
    let long = "x".repeat(60_000);
    for _ in 0..100 {
        one.say(mac(3), 1, &long);
    }
    one.say(BROADCAST, 1, "done");
    assert_eq!([two.hear(), two.hear()], ["I pause", "done"]);
    let status = Client::connect(folder.path()).unwrap().status().unwrap();
    let overrun: Vec<u64> = status.machines.iter().map(|machine| machine.overrun).collect();
    assert_eq!(overrun[..2], [0, 0]);
    // A mebibyte waits, and what the kernel takes in; the rest of six is lost.
    assert!((50..90).contains(&overrun[2]), "{overrun:?}");
    assert_eq!(paused.hear(), long, "what was kept is whole");
}

#[test]
fn a_folder_with_a_long_name_does() {
    let folder = tempfile::tempdir().unwrap();
    let deep = folder.path().join("n".repeat(120));
    std::fs::create_dir(&deep).unwrap();
    let _switch = Switch::start(network(), &deep).unwrap();
    let status = Client::connect(&deep).unwrap().status().unwrap();
    assert_eq!(status.machines.len(), 3);
}
