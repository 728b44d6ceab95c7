use super::super::message::{ask, parse};
use super::*;

const DOMAIN: &str = "ferrite.local";

const WEB: (Ipv4Addr, Ipv6Addr) =
    (Ipv4Addr::new(10, 120, 3, 4), Ipv6Addr::new(0xfd00, 1, 2, 0, 0, 0, 0, 0x304));

fn names() -> Names {
    let network = (Ipv4Addr::new(10, 120, 0, 0), 16);
    let ipv6 = Some(Ipv6Addr::new(0xfd00, 1, 2, 0, 0, 0, 0, 0));
    let mut names = Names::new(DOMAIN.to_owned(), network, ipv6);
    names.insert("Web", WEB.0, Some(WEB.1));
    names.insert("job@1", Ipv4Addr::new(10, 120, 0, 9), None);
    names
}

fn check(name: &str, kind: u16, expected: Answer) {
    let query = parse(&ask(1, name, kind)).unwrap();
    assert_eq!(names().answer(&query), expected, "{name} {kind}");
}

fn own(records: &[Record]) -> Answer {
    reply(Code::Fine, records)
}

fn reply(code: Code, records: &[Record]) -> Answer {
    let (answers, domain) = (records.to_vec(), Some(DOMAIN.to_owned()));
    Answer::Own(Reply { code, answers, additional: vec![], domain })
}

#[test]
fn units_are_found_by_name() {
    for name in ["web", "WEB.ferrite.local"] {
        check(name, A, own(&[Record::Ipv4(WEB.0)]));
        check(name, AAAA, own(&[Record::Ipv6(WEB.1)]));
        check(name, 16, own(&[]));
    }
    check("job@1", A, own(&[Record::Ipv4(Ipv4Addr::new(10, 120, 0, 9))]));
    check("job-1.ferrite.local", AAAA, own(&[]));
    let none = reply(Code::NoSuchName, &[]);
    check("db.ferrite.local", A, none);
    check("ferrite.local", A, own(&[]));
    check("db", A, Answer::AskOthers);
    check("web.example.org", A, Answer::AskOthers);
    check("web.notferrite.local", A, Answer::AskOthers);
}

#[test]
fn a_unit_does_not_stand_for_the_world() {
    let mut names = names();
    for name in ["github.com", "localhost", "1.0.0.127.in-addr.arpa"] {
        names.insert(name, WEB.0, None);
        let alone = parse(&ask(1, name, A)).unwrap();
        assert_eq!(names.answer(&alone), Answer::AskOthers, "{name}");
        // As a program asks next whose search list is ours.
        let searched = parse(&ask(1, &format!("{name}.ferrite.local"), A)).unwrap();
        let none = reply(Code::NoSuchName, &[]);
        assert_eq!(names.answer(&searched), none, "{name}");
    }
    for name in ["github-com", "github-com.ferrite.local"] {
        let query = parse(&ask(1, name, A)).unwrap();
        assert_eq!(names.answer(&query), own(&[Record::Ipv4(WEB.0)]), "{name}");
    }
    let address = parse(&ask(1, "9.0.120.10.in-addr.arpa", PTR)).unwrap();
    names.remove("job@1");
    names.remove("github.com");
    names.insert("github.com", Ipv4Addr::new(10, 120, 0, 9), None);
    let name = Record::Name("github-com.ferrite.local".to_owned());
    assert_eq!(names.answer(&address), own(&[name]));
}

#[test]
fn units_are_found_by_address() {
    let web = own(&[Record::Name("web.ferrite.local".to_owned())]);
    check("4.3.120.10.in-addr.arpa", PTR, web.clone());
    check("4.0.3.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.2.0.0.0.1.0.0.0.0.0.d.f.ip6.arpa", PTR, web);
    check("5.3.120.10.in-addr.arpa", PTR, reply(Code::NoSuchName, &[]));
    check("4.3.121.10.in-addr.arpa", PTR, Answer::AskOthers);
    check("120.10.in-addr.arpa", PTR, Answer::AskOthers);
    check("x.3.120.10.in-addr.arpa", PTR, Answer::AskOthers);
}

#[test]
fn a_name_of_its_own_wins_over_a_made_one() {
    let mut names = names();
    names.insert("job-1", WEB.0, None);
    let query = parse(&ask(1, "job-1", A)).unwrap();
    assert_eq!(names.answer(&query), own(&[Record::Ipv4(WEB.0)]));
    names.remove("job-1");
    // Free again, it is what is made of the other's.
    let job = own(&[Record::Ipv4(Ipv4Addr::new(10, 120, 0, 9))]);
    assert_eq!(names.answer(&query), job);
    names.remove("job@1");
    assert_eq!(names.answer(&query), Answer::AskOthers);
    assert_eq!(names.units.len(), 1);
}

fn addresses(names: &Names, label: &str) -> Vec<u8> {
    let query = parse(&ask(1, label, A)).unwrap();
    let Answer::Own(Reply { answers, .. }) = names.answer(&query) else { return Vec::new() };
    let last = |record: &Record| match record {
        Record::Ipv4(address) => address.octets()[3],
        other => panic!("{other:?}"),
    };
    let mut found: Vec<u8> = answers.iter().map(last).collect();
    found.sort_unstable();
    found
}

#[test]
fn units_that_share_a_label_are_found_together() {
    for units in [["A", "a"], ["a", "A"]] {
        let mut names = names();
        for (last, unit) in (1..).zip(units) {
            names.insert(unit, Ipv4Addr::new(10, 120, 0, last), None);
        }
        assert_eq!(addresses(&names, "a"), [1, 2]);
        assert_eq!(addresses(&names, "A.ferrite.local"), [1, 2]);
        // The first one again, as after a restart, with another address.
        names.insert(units[0], Ipv4Addr::new(10, 120, 0, 3), None);
        assert_eq!(addresses(&names, "a"), [2, 3]);
        names.remove(units[0]);
        assert_eq!(addresses(&names, "a"), [2]);
        names.remove(units[1]);
        assert_eq!(addresses(&names, "a"), [0_u8; 0]);
    }
    for units in [["x.y", "x@y"], ["x@y", "x.y"]] {
        let mut names = names();
        for (last, unit) in (1..).zip(units) {
            names.insert(unit, Ipv4Addr::new(10, 120, 0, last), None);
        }
        assert_eq!(addresses(&names, "x-y"), [1, 2]);
        names.insert("x-y", Ipv4Addr::new(10, 120, 0, 3), None);
        assert_eq!(addresses(&names, "x-y"), [3]);
        names.remove("x-y");
        names.remove(units[1]);
        assert_eq!(addresses(&names, "x-y"), [1]);
    }
}

#[test]
fn a_name_that_is_too_long_for_dns_is_no_answer() {
    let mut names = names();
    names.insert(&"l".repeat(64), Ipv4Addr::new(10, 120, 0, 7), None);
    let query = parse(&ask(1, "7.0.120.10.in-addr.arpa", PTR)).unwrap();
    assert_eq!(names.answer(&query), own(&[]));
}
