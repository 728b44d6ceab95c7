//! How programs are linked: what a node would read, hash and mend at each start without anybody seeing why it is slower.

use std::collections::HashMap;
use std::process::Command;

use ferrite_tests::programs::{program, succeed};

/// Programs that lie anywhere in memory, and are packed for it.
const PACKED: [&str; 3] = ["ferrite-agent", "ferrite-container", "ferrite-init"];
/// Room for the few addresses that cannot be packed.
const UNPACKED_BYTES_MAX: u64 = 4096;
/// What `agent/start-up.ld` names of the agent's code: less, and its names are out of date; more, and they say nothing.
const FIRST_BYTES: std::ops::Range<u64> = 3_000_000..5_500_000;
/// The agent's file; what is in it beside code is in memory too.
const AGENT_BYTES_MAX: u64 = 28_500_000;

fn sections(name: &str) -> HashMap<String, u64> {
    let text = succeed(Command::new("size").arg("-A").arg(program(name).unwrap())).unwrap();
    let section = |line: &str| {
        let mut words = line.split_whitespace();
        Some((words.next()?.to_owned(), words.next()?.parse().ok()?))
    };
    text.lines().filter_map(section).collect()
}

#[test]
fn addresses_that_are_mended_at_each_start_are_packed() {
    for name in PACKED {
        let found = sections(name);
        assert!(found[".rela.dyn"] <= UNPACKED_BYTES_MAX, "{name}: {found:?}");
        assert!(found[".relr.dyn"] > 0, "{name}: {found:?}");
    }
}

#[test]
fn what_the_agent_runs_first_lies_together() {
    let found = sections("ferrite-agent");
    let first = found.get(".text.start").copied().unwrap_or(0);
    assert!(
        FIRST_BYTES.contains(&first),
        "{first} bytes of the agent's code are named in agent/start-up.ld: run scripts/start-up-order"
    );
    assert!(found["Total"] <= AGENT_BYTES_MAX, "{found:?}");
}
