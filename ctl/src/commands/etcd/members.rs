//! `ferrite etcd members`.

use ferrite_schema::api::{EtcdMember, EtcdMembersChange, EtcdMembersPlan};

use crate::failure::Failure;
use crate::machine::short;
use crate::output::columns;
use crate::session::Session;

pub(super) fn run(target: Option<&str>, session: &mut Session<'_>) -> Result<(), Failure> {
    let client = session.client()?;
    // The command line takes no other numbers.
    if let Some(target) = target.and_then(|digits| digits.parse().ok()) {
        let change = EtcdMembersChange { target };
        let plan = session.wait_for(async { Ok(client.change_etcd_members(change).await?) })?;
        return session.show(&plan, planned);
    }
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

/// What happens now, and how to see it.
fn planned(plan: &EtcdMembersPlan) -> String {
    let target = usize::from(plan.target);
    let voters = plan.members.iter().filter(|member| !member.learner).count();
    let eligible = usize::try_from(plan.eligible).unwrap_or(usize::MAX);
    // An even number tolerates no more than the odd one below it, so that nobody makes one.
    let reach = target.min(eligible.saturating_sub(usize::from(eligible.is_multiple_of(2))));
    let machines = |count: usize| match count {
        1 => "1 machine".to_owned(),
        count => format!("{count} machines"),
    };
    let mut said =
        vec![format!("{} should run etcd; {voters} of them vote now.", machines(target))];
    if voters > target {
        said.push(
            "One after the other is taken away: cordoned ones first, the one that leads last, and none while another one is \
             not well. What it had is set aside there."
                .to_owned(),
        );
    } else if voters < reach {
        said.push(
            "One after the other is added: it learns all, and then it votes. None is added while another one is not well."
                .to_owned(),
        );
    }
    if eligible < target {
        said.push(format!(
            "Only {} that may run etcd {} here: there will be no more than the odd number that can be made of them until others join.",
            machines(eligible),
            if eligible == 1 { "is" } else { "are" },
        ));
    }
    if target == 1 {
        said.push("When that one machine is lost, so is the cluster's state.".to_owned());
    }
    if voters > target || voters < reach {
        said.push("`ferrite etcd members` shows how far it is.".to_owned());
    }
    format!("{}\n\n{}", said.join("\n"), table(&plan.members))
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
    fn what_happens_is_said_with_what_it_costs_and_how_to_watch_it() {
        let voter = |number: u8| EtcdMember {
            member: number.to_string(),
            machine: Some(number.to_string().repeat(32)),
            machine_name: Some(format!("dev-{number}")),
            urls: Vec::new(),
            started: true,
            learner: false,
        };
        let plan = |target: u8, voters: u8, eligible: u32| EtcdMembersPlan {
            target,
            eligible,
            members: (0..voters).map(voter).collect(),
        };
        for (plan, words, never) in [
            (
                plan(1, 3, 3),
                &["1 machine should", "3 of them", "taken away", "so is the"][..],
                &["added"][..],
            ),
            (plan(3, 1, 3), &["3 machines", "is added", "`ferrite etcd members`"], &["Only"]),
            // One of them more would be an even number: nothing is waited for.
            (
                plan(5, 3, 4),
                &["Only 4 machines that may run etcd are here"],
                &["taken away", "is added", "`ferrite"],
            ),
            (plan(7, 3, 5), &["Only 5 machines", "is added", "`ferrite etcd members`"], &[]),
            (plan(3, 1, 0), &["Only 0 machines"], &["is added", "`ferrite"]),
            (plan(3, 3, 3), &["3 machines should run etcd; 3 of them vote now."], &["`ferrite"]),
        ] {
            let said = planned(&plan);
            assert!(words.iter().all(|words| said.contains(words)), "{said}");
            assert!(!never.iter().any(|never| said.contains(never)), "{said}");
        }
    }

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
