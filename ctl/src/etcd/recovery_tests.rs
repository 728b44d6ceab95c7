use super::*;

fn id(number: u8) -> String {
    number.to_string().repeat(32)
}

fn member(number: u8) -> EtcdMember {
    EtcdMember {
        member: number.to_string(),
        machine: Some(id(number)),
        machine_name: Some(format!("dev-{number}")),
        urls: Vec::new(),
        started: true,
        learner: false,
    }
}

/// One of three, whose etcd is cut off.
fn left(number: u8, revision: i64) -> EtcdRemains {
    let status = EtcdStatus {
        machine: id(number),
        machine_name: format!("dev-{number}"),
        member: number.to_string(),
        leader: None,
        learner: false,
        version: "3.5.16".to_owned(),
        revision,
        raft_term: 2,
        raft_index: 9,
        raft_applied: 9,
        db_bytes: 1,
        db_used_bytes: 1,
        problems: Vec::new(),
    };
    EtcdRemains {
        machine: id(number),
        machine_name: format!("dev-{number}"),
        status: Some(status),
        problem: None,
        members: (1..=3).map(member).collect(),
        epoch: Some(1),
        recovering: false,
        serves: false,
    }
}

fn without_etcd(number: u8) -> EtcdRemains {
    let problem = Some("its data is gone".to_owned());
    EtcdRemains { status: None, problem, members: Vec::new(), epoch: None, ..left(number, 0) }
}

fn silent(number: u8) -> Said {
    Err((format!("https://10.0.0.{number}:7443"), "connection refused".to_owned()))
}

#[test]
fn one_of_three_goes_on_and_what_the_others_alone_know_is_named_as_lost() {
    let plan = weigh(&[silent(1), Ok(left(2, 231)), silent(3)]).unwrap();
    assert_eq!((plan.machine_name.as_str(), plan.revision, plan.under_way), ("dev-2", 231, false));
    let used: Vec<bool> = plan.members.iter().map(|fate| fate.used).collect();
    assert_eq!(used, [false, true, false]);
    assert_eq!(plan.silent[1], "https://10.0.0.3:7443: connection refused");
}

#[test]
fn the_one_that_knows_most_goes_on_and_others_learn_from_it() {
    let of_five = |number: u8, revision: i64| EtcdRemains {
        members: (1..=5).map(member).collect(),
        ..left(number, revision)
    };
    let plan = weigh(&[Ok(of_five(1, 7)), Ok(of_five(2, 9)), silent(3), silent(4)]).unwrap();
    assert_eq!((plan.machine_name.as_str(), plan.revision), ("dev-2", 9));
    assert_eq!(plan.members[0].revision, Some(7));
    let same = weigh(&[Ok(of_five(4, 9)), Ok(of_five(2, 9))]).unwrap();
    assert_eq!(same.machine_name, "dev-2", "asking again gives the same");
    // A machine that lives and has no data counts for nothing: the quorum is lost all the same.
    let plan = weigh(&[Ok(without_etcd(1)), Ok(left(2, 3)), Ok(without_etcd(3))]).unwrap();
    assert_eq!(plan.machine_name, "dev-2");
}

#[test]
fn nothing_is_given_up_while_a_quorum_is_there_or_could_be() {
    let mut led = left(1, 7);
    led.status.as_mut().unwrap().leader = Some("1".to_owned());
    let name = "dev-1".to_owned();
    assert_eq!(weigh(&[Ok(led), silent(2)]), Err(NotRecovered::Led { name }));
    let two = weigh(&[Ok(left(1, 7)), Ok(left(2, 7)), silent(3)]);
    let names = vec!["dev-1".to_owned(), "dev-2".to_owned()];
    assert_eq!(two, Err(NotRecovered::Enough { names, voters: 3 }));
}

#[test]
fn one_without_a_vote_or_of_an_earlier_epoch_is_not_gone_on_with() {
    let mut learner = left(3, 99);
    learner.members[2].learner = true;
    let Err(NotRecovered::Nothing { whys }) = weigh(&[Ok(learner.clone()), silent(1)]) else {
        panic!("it may have learned a part only")
    };
    assert!(whys[0].contains("had no vote") && whys[1].contains("refused"), "{whys:?}");
    let plan = weigh(&[
        Ok(learner),
        Ok(EtcdRemains { members: (1..=4).map(member).collect(), ..left(1, 5) }),
    ]);
    assert!(plan.is_ok_and(|plan| plan.machine_name == "dev-1"));
    let later = EtcdRemains { epoch: Some(2), ..left(1, 5) };
    let parted = weigh(&[Ok(left(2, 900)), Ok(later)]).unwrap_err();
    assert!(parted.to_string().contains("different epochs"), "{parted}");
}

#[test]
fn what_was_ordered_before_is_gone_on_with() {
    let ordered = EtcdRemains { recovering: true, ..without_etcd(2) };
    let plan = weigh(&[Ok(left(1, 9)), Ok(ordered)]).unwrap();
    assert!(plan.under_way && plan.machine_name == "dev-2");
}

#[test]
fn it_is_done_once_the_machine_serves_in_the_epoch_that_was_ordered() {
    let looks = |recovering: bool, serves: bool, epoch: Option<u64>| {
        reached(&EtcdRemains { recovering, serves, epoch, ..left(2, 7) }, 2)
    };
    for (recovering, serves, epoch, expected) in [
        (true, false, Some(1), None),
        (true, false, Some(2), None),
        // Its etcd does not answer for a moment.
        (false, false, None, None),
        (false, true, None, None),
        (false, false, Some(2), None),
        (false, true, Some(2), Some(2)),
        // Somebody recovered it once more.
        (false, true, Some(3), Some(3)),
    ] {
        let reached = looks(recovering, serves, epoch).unwrap();
        assert_eq!(reached, expected, "{recovering} {serves} {epoch:?}");
    }
    for serves in [false, true] {
        let name = "dev-2".to_owned();
        assert_eq!(looks(false, serves, Some(1)), Err(NotRecovered::Overtaken { name }));
    }
}
