use super::*;

fn member(number: u8, learner: bool) -> EtcdMember {
    EtcdMember {
        member: format!("{number:x}"),
        machine: Some(format!("{number:x}").repeat(32)),
        machine_name: Some(format!("dev-{number}")),
        urls: vec![format!("https://{number}.node.dev:2380")],
        started: true,
        learner,
    }
}

fn status(number: u8, leader: Option<&str>, raft_term: u64) -> EtcdStatus {
    EtcdStatus {
        machine: format!("{number:x}").repeat(32),
        machine_name: format!("dev-{number}"),
        member: format!("{number:x}"),
        leader: leader.map(str::to_owned),
        learner: false,
        version: "3.5.16".to_owned(),
        revision: 1234,
        raft_term,
        raft_index: 5678,
        raft_applied: 5678,
        db_bytes: 20 << 10,
        db_used_bytes: 16 << 10,
        problems: Vec::new(),
    }
}

fn asked(number: u8, said: Said) -> (String, Option<EtcdMember>, Said) {
    (format!("dev-{number}"), Some(member(number, false)), said)
}

#[test]
fn each_member_has_a_line_also_where_it_was_not_reached() {
    let full = EtcdStatus {
        problems: vec!["alarm NOSPACE of member 2".to_owned()],
        ..status(2, Some("1"), 3)
    };
    let learns = (
        "dev-4".to_owned(),
        Some(member(4, true)),
        Ok(EtcdStatus { learner: true, ..status(4, Some("1"), 3) }),
    );
    let all = lines(vec![
        asked(1, Ok(status(1, Some("1"), 3))),
        asked(2, Ok(full)),
        asked(3, Err("connection refused".to_owned())),
        learns,
    ]);
    assert_eq!(
        table(&all),
        "MACHINE  ID        ROLE           REVISION  RAFT INDEX  DB SIZE    PROBLEMS\n\
         dev-1    11111111  voter, leader  1234      5678        20.00 KiB  -\n\
         dev-2    22222222  voter          1234      5678        20.00 KiB  alarm NOSPACE of member 2\n\
         dev-3    33333333  voter          -         -           -          not asked: connection refused\n\
         dev-4    44444444  learner        1234      5678        20.00 KiB  -"
    );
}

#[test]
fn who_leads_is_said_by_those_who_saw_the_latest_election() {
    // The old leader was cut off and does not know; the new one was not reached.
    let all = lines(vec![
        asked(1, Ok(status(1, Some("1"), 3))),
        asked(2, Ok(status(2, Some("3"), 4))),
        asked(3, Err("silent".to_owned())),
    ]);
    let leads: Vec<bool> = all.iter().map(|line| line.leader).collect();
    assert_eq!(leads, [false, false, true]);
    // Where nobody knows one, nobody is it.
    let all = lines(vec![asked(1, Ok(status(1, None, 9))), asked(2, Ok(status(2, Some("2"), 3)))]);
    let leads: Vec<bool> = all.iter().map(|line| line.leader).collect();
    assert_eq!(leads, [false, true]);
    let all = lines(vec![("https://10.0.0.1:7443".to_owned(), None, Err("no".to_owned()))]);
    assert!(!all[0].leader);
}

#[test]
fn without_a_quorum_each_says_what_it_knows_itself() {
    let alone =
        EtcdStatus { problems: vec!["etcdserver: no leader".to_owned()], ..status(1, None, 3) };
    let all = lines(vec![
        ("dev-1".to_owned(), None, Ok(alone)),
        ("https://10.0.0.2:7443".to_owned(), None, Err("connection refused".to_owned())),
    ]);
    assert_eq!(
        table(&all),
        "MACHINE                ID        ROLE   REVISION  RAFT INDEX  DB SIZE    PROBLEMS\n\
         dev-1                  11111111  voter  1234      5678        20.00 KiB  etcdserver: no leader\n\
         https://10.0.0.2:7443  -         ?      -         -           -          not asked: connection refused"
    );
}

#[test]
fn one_that_was_removed_and_does_not_know_it_is_seen() {
    let all =
        lines(vec![asked(1, Ok(EtcdStatus { member: "9".to_owned(), ..status(1, None, 1) }))]);
    let table = table(&all);
    assert!(table.contains("it takes itself for member 9, the others for 1"), "{table}");
}
