//! `ferrite etcd members`.

use ferrite_schema::api::EtcdMember;

use crate::failure::Failure;
use crate::machine::short;
use crate::output::columns;
use crate::session::Session;

pub(super) fn run(session: &mut Session<'_>) -> Result<(), Failure> {
    let client = session.client()?;
    let members = session.wait_for(async { Ok(client.etcd_members().await?) })?;
    session.show(&members, |members| table(members))
}

/// What it is among the members.
pub(super) const fn role(started: bool, learner: bool) -> &'static str {
    match (started, learner) {
        (false, _) => "not started",
        (true, true) => "learner",
        (true, false) => "voter",
    }
}

fn table(members: &[EtcdMember]) -> String {
    let row = |member: &EtcdMember| {
        let none = || "-".to_owned();
        [
            member.machine_name.clone().unwrap_or_else(none),
            member.machine.as_deref().map_or_else(none, short),
            member.member.clone(),
            role(member.started, member.learner).to_owned(),
            member.urls.join(" "),
        ]
    };
    let rows: Vec<[String; 5]> = members.iter().map(row).collect();
    columns(["MACHINE", "ID", "MEMBER", "ROLE", "PEER ADDRESS"], &rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_listed_with_machines_and_addresses() {
        let member = EtcdMember {
            member: "8e9e05c52164694d".to_owned(),
            machine: Some("a".repeat(32)),
            machine_name: Some("dev-1".to_owned()),
            urls: vec!["https://aaaa.node.dev:2380".to_owned()],
            started: true,
            learner: false,
        };
        let learns = EtcdMember { member: "2".to_owned(), learner: true, ..member.clone() };
        let foreign = EtcdMember {
            member: "3".to_owned(),
            machine: None,
            machine_name: None,
            urls: vec!["http://a:1".to_owned(), "http://b:2".to_owned()],
            started: false,
            learner: true,
        };
        assert_eq!(
            table(&[member, learns, foreign]),
            "MACHINE  ID        MEMBER            ROLE         PEER ADDRESS\n\
             dev-1    aaaaaaaa  8e9e05c52164694d  voter        https://aaaa.node.dev:2380\n\
             dev-1    aaaaaaaa  2                 learner      https://aaaa.node.dev:2380\n\
             -        -         3                 not started  http://a:1 http://b:2"
        );
    }
}
