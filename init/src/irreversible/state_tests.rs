//! All evidence there can be, and all that can come of every step.

use super::*;

const RECREATE_ORDER: Order = Order { what: StateOrder::Recreate, by: Giver::Api };
const CHECK_ORDER: Order = Order { what: StateOrder::Check, by: Giver::CommandLine };

fn why() -> String {
    "why".to_owned()
}

fn ext4(backup: bool, flagged: bool, top: bool) -> Content {
    let backup = backup.then_some(Backup { block: 32768, block_bytes: 4096 });
    Content::Ext4(Ext4 { backup, flagged, top })
}

fn contents() -> Vec<Content> {
    let mut all = vec![
        Content::Zeros,
        Content::Foreign { name: "LUKS" },
        Content::Unknown,
        Content::NotAllSeen { seen_bytes: 1 << 30, of_bytes: 1 << 40 },
        Content::Unreadable { why: why() },
    ];
    for bits in 0..8 {
        all.push(ext4(bits & 1 != 0, bits & 2 != 0, bits & 4 != 0));
    }
    all
}

/// Evidence before the first step.
fn starts() -> Vec<Evidence> {
    let orders = [
        None,
        Some(RECREATE_ORDER),
        Some(Order { by: Giver::CommandLine, ..RECREATE_ORDER }),
        Some(CHECK_ORDER),
        Some(Order { by: Giver::Api, ..CHECK_ORDER }),
    ];
    let mut all = Vec::new();
    for order in orders {
        for damaged in [false, true] {
            for checks_before in [0, CHECKS_IN_A_ROW - 1, CHECKS_IN_A_ROW, 15] {
                for content in contents() {
                    let evidence = Evidence::new(content);
                    all.push(Evidence { order, damaged, checks_before, ..evidence });
                }
            }
        }
    }
    all
}

/// All that may be known after `act`.
fn outcomes(before: &Evidence, act: &Act) -> Vec<Evidence> {
    match act {
        Act::Recreate(_) => [Made::Done, Made::Failed { why: why() }]
            .map(|made| Evidence { made: Some(made), ..before.clone() })
            .into(),
        Act::Check { .. } => {
            let unreadable = Checked::Unreadable { why: why() };
            [Checked::Sound, Checked::ErrorsLeft, unreadable, Checked::Failed { why: why() }]
                .map(|checked| Evidence {
                    checked: Some(checked),
                    runs: before.runs + 1,
                    mounted: None,
                    ..before.clone()
                })
                .into()
        }
        Act::Mount => {
            let refused = Mounted::Refused { why: why() };
            [Mounted::Done, refused, Mounted::Impossible { why: why() }]
                .map(|mounted| Evidence { mounted: Some(mounted), ..before.clone() })
                .into()
        }
        Act::Use | Act::Rescue(_) => Vec::new(),
    }
}

/// What was known and what was done about it, from the first step to the last.
type Way = [(Evidence, Act)];

/// Every way from `start` to its end, as evidence and the act that follows from it.
fn ways(start: &Evidence, way: &mut Vec<(Evidence, Act)>, check: &dyn Fn(&Way)) {
    assert!(way.len() < 10, "it never ends: {way:?}");
    let act = next(start);
    let outcomes = outcomes(start, &act);
    way.push((start.clone(), act));
    if outcomes.is_empty() {
        check(way);
    }
    for outcome in &outcomes {
        ways(outcome, way, check);
    }
    way.pop();
}

fn all_ways(check: &dyn Fn(&Way)) {
    for start in starts() {
        ways(&start, &mut Vec::new(), check);
    }
}

#[test]
fn made_anew_only_over_zeros_or_by_order() {
    all_ways(&|way| {
        for (evidence, act) in way {
            if let Act::Recreate(cause) = act {
                let ordered = evidence.is_ordered(StateOrder::Recreate);
                assert!(ordered.is_some() || evidence.content == Content::Zeros, "{way:?}");
                assert_eq!(*cause, ordered.map_or(Cause::Zeros, Cause::Ordered), "{way:?}");
                assert_eq!(evidence.made, None, "once: {way:?}");
            }
        }
    });
}

#[test]
fn what_is_not_ext4_beyond_doubt_is_never_written_without_an_order() {
    all_ways(&|way| {
        for (evidence, act) in way {
            if evidence.is_ordered(StateOrder::Recreate).is_some() {
                continue;
            }
            let is_ext4 = matches!(evidence.content, Content::Ext4(_));
            if matches!(act, Act::Check { .. }) {
                assert!(is_ext4, "{way:?}");
            }
            if matches!(act, Act::Mount) {
                assert!(is_ext4 || evidence.content == Content::Zeros, "{way:?}");
            }
        }
    });
}

#[test]
fn a_repair_that_would_make_an_empty_top_is_left_to_a_person() {
    all_ways(&|way| {
        for (evidence, act) in way {
            if let (Content::Ext4(Ext4 { top: false, .. }), Act::Check { .. }) =
                (&evidence.content, act)
            {
                assert!(evidence.is_ordered(StateOrder::Check).is_some(), "{way:?}");
            }
        }
    });
}

#[test]
fn used_only_when_mounted_and_never_with_errors_left() {
    all_ways(&|way| {
        let (evidence, act) = way.last().unwrap();
        match act {
            Act::Use => {
                assert_eq!(evidence.mounted, Some(Mounted::Done), "{way:?}");
                assert!(matches!(evidence.checked, None | Some(Checked::Sound)), "{way:?}");
            }
            Act::Rescue(_) => {}
            other => panic!("ends with {other:?}: {way:?}"),
        }
    });
}

#[test]
fn what_is_marked_is_checked_before_it_is_mounted() {
    all_ways(&|way| {
        let first_mount = way.iter().find(|(_, act)| *act == Act::Mount);
        if let Some((evidence, _)) = first_mount
            && let Content::Ext4(ext4) = evidence.content
            && evidence.made.is_none()
            && (evidence.damaged || ext4.flagged || ext4.backup.is_some())
        {
            assert_eq!(evidence.checked, Some(Checked::Sound), "{way:?}");
        }
    });
}

#[test]
fn checks_are_bounded_in_a_boot_and_over_boots() {
    all_ways(&|way| {
        let checks = way.iter().filter(|(_, act)| matches!(act, Act::Check { .. })).count();
        assert!(checks <= usize::from(RUNS_MAX), "{way:?}");
        let (start, _) = &way[0];
        if start.checks_before >= CHECKS_IN_A_ROW && start.order.is_none() {
            assert_eq!(checks, 0, "{way:?}");
        }
    });
}

#[test]
fn a_sound_file_system_is_used_whatever_was_before() {
    for checks_before in [0, 15] {
        let evidence = Evidence { checks_before, ..Evidence::new(ext4(false, false, true)) };
        assert_eq!(next(&evidence), Act::Mount);
        let mounted = Evidence { mounted: Some(Mounted::Done), ..evidence };
        assert_eq!(next(&mounted), Act::Use);
    }
}

#[test]
fn every_problem_says_what_to_do() {
    all_ways(&|way| {
        if let Some((_, Act::Rescue(problem))) = way.last() {
            let text = problem.to_string();
            let helps = ["restart", "boot the", "machine state"];
            assert!(helps.iter().any(|help| text.contains(help)), "{text}");
        }
    });
}
