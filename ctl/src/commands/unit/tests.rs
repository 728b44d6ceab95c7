use super::super::unit_document::{as_toml, is_file};
use super::wait::is_decided;
use super::{is_as_far, list_table, reached, status, trouble};
use crate::cli::Until;
use ferrite_schema::api::{Exit, NodeStats, Stats, UnitState, UnitStats, UnitStatus};
use ferrite_schema::unit;

const STATES: [UnitState; 10] = [
    UnitState::Loaded,
    UnitState::Starting,
    UnitState::Running,
    UnitState::Stopping,
    UnitState::Exited,
    UnitState::Failed,
    UnitState::BackingOff,
    UnitState::Waiting,
    UnitState::Pulling,
    UnitState::Scheduled,
];

fn unit_in(state: UnitState) -> UnitStatus {
    UnitStatus {
        name: "hello".to_owned(),
        image: "busybox".to_owned(),
        state,
        reason: Some("exit status 3".to_owned()),
        pid: None,
        restarts: 2,
        last_exit: Some(Exit::Status { code: 3 }),
        since_s: 1_000_000_000,
        ..UnitStatus::default()
    }
}

#[test]
fn what_ends_each_wait() {
    let ends = |until| STATES.map(|state| reached(state, until));
    assert_eq!(ends(Until::Accepted), [true; 10]);
    assert_eq!(
        ends(Until::Running),
        [false, false, true, false, true, true, true, false, false, true]
    );
    assert_eq!(
        ends(Until::Ended),
        [false, false, false, false, true, true, false, false, false, false]
    );
}

/// Somebody else asks for the opposite while it is waited for.
#[test]
fn what_was_overtaken_is_not_waited_for() {
    let seen = |state, wanted| UnitStatus { wanted, ..unit_in(state) };
    for state in STATES {
        assert!(is_decided(&seen(state, true)), "{state:?}: it was started again");
        for until in [Until::Running, Until::Ended] {
            let far = reached(state, until);
            assert_eq!(is_as_far(&seen(state, true), until), far, "{state:?}");
            let rests = matches!(state, UnitState::Loaded | UnitState::Exited | UnitState::Failed);
            assert_eq!(is_as_far(&seen(state, false), until), far || rests, "{state:?}");
            assert_eq!(is_decided(&seen(state, false)), rests, "{state:?}");
        }
    }
}

#[test]
fn only_failed_and_restarting_units_are_trouble() {
    let found = STATES.map(|state| trouble(&unit_in(state)));
    let expected = [
        Some("does not run: exit status 3".to_owned()),
        None,
        None,
        None,
        None,
        Some("failed: exit status 3".to_owned()),
        Some("does not run, and is started again after a delay: exit status 3".to_owned()),
        None,
        None,
        None,
    ];
    assert_eq!(found, expected);
}

#[test]
fn a_file_is_told_from_a_name() {
    for (what, expected) in
        [("hello.toml", true), ("./hello", true), ("-", true), ("hello", false), ("hel.lo", false)]
    {
        assert_eq!(is_file(what), expected, "{what:?}");
    }
}

#[test]
fn tables() {
    assert_eq!(
        status::table(&status::Shown::new(&unit_in(UnitState::Failed), None)),
        "unit      hello\nimage     busybox\nstate     failed\nreason    exit status 3\n\
         last end  exit status 3\nrestarts  2\nsince     2001-09-09T01:46:40Z"
    );
    let used = Stats {
        time_us: 0,
        node: NodeStats::default(),
        units: vec![UnitStats {
            unit: "hello".to_owned(),
            memory_bytes: Some(1 << 20),
            inodes: Some(7),
            inodes_max: Some(64),
            ..UnitStats::default()
        }],
    };
    let running = UnitStatus { reason: None, last_exit: None, ..unit_in(UnitState::Running) };
    assert_eq!(
        status::table(&status::Shown::new(&running, Some(&used))),
        "unit      hello\nimage     busybox\nstate     running\nrestarts  2\n\
         since     2001-09-09T01:46:40Z\nmemory    1.00 MiB\nfiles     7 of 64"
    );
    assert_eq!(
        list_table(&[unit_in(UnitState::Failed)], 1_000_000_075),
        "UNIT   STATE   HEALTH  FOR     RESTARTS  IMAGE    PORTS\n\
         hello  failed          1m 15s  2         busybox"
    );
    assert!(list_table(&[], 0).starts_with("no units"));
}

#[test]
fn a_shown_unit_can_be_submitted_again() {
    let text = "name = \"hello\"\nimage = \"busybox\"\ncommand = [\"sh\"]\n[env]\nA = \"1\"\n";
    let unit = unit::parse(text).unwrap();
    assert_eq!(unit::parse(&as_toml(&unit)).unwrap(), unit);
}
