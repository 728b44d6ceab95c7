//! All evidence that there can be, against what must hold whatever the code looks like.

use ferrite_schema::node_config::Secret;

use super::super::knowledge::{Issued, MachineRecord, TokenRecord};
use super::*;

const NOW_S: u64 = 1_000_000;

/// One case, in the words that the invariants are said in.
#[derive(Debug, Clone)]
struct Case {
    our_cluster: bool,
    token: Option<TokenRecord>,
    token_shown: bool,
    machine_known: bool,
    same_key: bool,
    same_hardware: bool,
    alive: bool,
    same_boot: bool,
    revoked: bool,
    certificate_expired: bool,
}

fn tokens() -> Vec<Option<TokenRecord>> {
    let mut all = vec![None];
    for uses_left in [None, Some(0), Some(1), Some(7)] {
        for until_s in [None, Some(NOW_S - 1), Some(NOW_S), Some(NOW_S + 1)] {
            all.push(Some(TokenRecord { uses_left, until_s }));
        }
    }
    all
}

fn all() -> Vec<Case> {
    let mut all = Vec::new();
    for bits in 0..512_u32 {
        let bit = |number: u32| bits >> number & 1 == 1;
        for token in tokens() {
            all.push(Case {
                our_cluster: bit(0),
                token_shown: token.is_some() || bit(1),
                token,
                machine_known: bit(2),
                same_key: bit(3),
                same_hardware: bit(4),
                alive: bit(5),
                same_boot: bit(6),
                revoked: bit(7),
                certificate_expired: bit(8),
            });
        }
    }
    all
}

fn id(digit: char) -> String {
    digit.to_string().repeat(32)
}

fn request(case: &Case) -> JoinRequest {
    let cluster = id(if case.our_cluster { 'a' } else { 'b' });
    JoinRequest {
        cluster: cluster.parse().unwrap(),
        machine: id('1').parse().unwrap(),
        token: case.token_shown.then(|| Secret("t".repeat(64))),
        csr: String::new(),
        hardware: "these parts".to_owned(),
        boot: "this boot".to_owned(),
    }
}

fn known(case: &Case) -> Known {
    let until_s = if case.certificate_expired { NOW_S - 1 } else { NOW_S + 1 };
    let pick = |same: bool, ours: &str| if same { ours.to_owned() } else { format!("not {ours}") };
    let record = MachineRecord {
        key: pick(case.same_key, "this key"),
        hardware: pick(case.same_hardware, "these parts"),
        issued: ["00", "01"].map(|serial| Issued { serial: serial.to_owned(), until_s }).to_vec(),
    };
    let mut revoked = vec!["99".to_owned()];
    revoked.extend(case.revoked.then(|| "01".to_owned()));
    Known {
        token: case.token.clone(),
        machine: case.machine_known.then_some(record),
        alive: case.alive.then(|| pick(case.same_boot, "this boot")),
        forgotten: false,
        revoked,
        revision: 1,
    }
}

fn decided(case: &Case) -> Decision {
    let ours: ClusterId = id('a').parse().unwrap();
    decide(&ours, &request(case), "this key", &known(case), NOW_S)
}

fn lets_one_more_in(token: &TokenRecord) -> bool {
    token.uses_left != Some(0) && token.until_s.is_none_or(|until_s| until_s >= NOW_S)
}

#[test]
fn a_machine_that_was_forgotten_is_let_in_by_nothing() {
    for case in all().into_iter().filter(|case| case.our_cluster) {
        let known = Known { forgotten: true, ..known(&case) };
        let ours: ClusterId = id('a').parse().unwrap();
        let decision = decide(&ours, &request(&case), "this key", &known, NOW_S);
        assert_eq!(decision, Decision::Refuse(RefusalReason::Revoked), "{case:?}");
    }
}

#[test]
fn nobody_is_let_in_without_a_reason() {
    for case in all() {
        match decided(&case) {
            Decision::Issue => {
                assert!(case.our_cluster && !case.machine_known, "{case:?}");
                assert!(case.token.as_ref().is_some_and(lets_one_more_in), "{case:?}");
                assert!(!case.alive || case.same_boot, "{case:?}");
            }
            Decision::Renew => {
                assert!(case.our_cluster && case.machine_known && case.same_key, "{case:?}");
                assert!(!case.revoked, "{case:?}");
                assert!(!case.alive || (case.same_boot && case.same_hardware), "{case:?}");
            }
            Decision::Refuse(_) => {}
        }
    }
}

#[test]
fn nobody_is_refused_without_the_reason_that_is_said() {
    for case in all() {
        let Decision::Refuse(reason) = decided(&case) else { continue };
        let holds = match reason {
            RefusalReason::OtherCluster => !case.our_cluster,
            RefusalReason::WrongToken => !case.machine_known && case.token.is_none(),
            RefusalReason::TokenUsedUp => {
                !case.machine_known && case.token.as_ref().unwrap().uses_left == Some(0)
            }
            RefusalReason::TokenExpired => {
                let until_s = case.token.as_ref().unwrap().until_s;
                !case.machine_known && until_s.is_some_and(|until_s| until_s < NOW_S)
            }
            RefusalReason::Clone => case.alive && !(case.same_boot && case.same_hardware),
            RefusalReason::OtherKey => case.machine_known && !case.same_key,
            RefusalReason::Revoked => case.machine_known && case.revoked,
            RefusalReason::BadRequest | RefusalReason::Unavailable | RefusalReason::Unknown => {
                false
            }
        };
        assert!(holds, "{reason:?} for {case:?}");
    }
}

#[test]
fn a_known_machine_renews_whatever_became_of_its_token_and_its_certificate() {
    for case in all() {
        let good = case.our_cluster && case.machine_known && case.same_key && !case.revoked;
        if good && !case.alive {
            assert_eq!(decided(&case), Decision::Renew, "{case:?}");
        }
        // Asking twice is asking once: the second time the machine is known with this key.
        if decided(&case) == Decision::Issue {
            let again = Case {
                machine_known: true,
                same_key: true,
                same_hardware: true,
                revoked: false,
                token: case.token.clone().map(|token| TokenRecord { uses_left: Some(0), ..token }),
                ..case
            };
            assert_eq!(decided(&again), Decision::Renew, "{again:?}");
        }
    }
}

#[test]
fn every_reason_is_given_at_some_time_and_says_what_to_do() {
    let mut seen = std::collections::BTreeSet::new();
    for case in all() {
        if let Decision::Refuse(reason) = decided(&case) {
            seen.insert(reason);
            let said = sentence(reason, &request(&case), "dev");
            let tells =
                ["make ", "Make ", "give ", "correct "].iter().any(|word| said.contains(word));
            assert!(tells && said.contains(&id('1')), "{said}");
            assert!(!said.contains(&"t".repeat(64)), "the token is said: {said}");
        }
    }
    assert_eq!(seen.len(), 7, "{seen:?}");
}
