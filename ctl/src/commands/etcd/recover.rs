//! `ferrite etcd recover`: each machine of the context is asked for itself, since there is no quorum to ask.

use std::io::{BufRead, IsTerminal};
use std::time::{Duration, Instant};

use ferrite_schema::api::EtcdRecovery;
use futures_util::future::join_all;
use serde::Serialize;

use crate::client::{Client, each_address};
use crate::context::Context;
use crate::etcd::{EtcdProblem, Fate, Plan, Said, reached, weigh};
use crate::failure::{Failure, chain};
use crate::machine::short;
use crate::output::{Format, columns};
use crate::session::Session;

/// How often the machine is asked how far it is.
const LOOK_EVERY: Duration = Duration::from_secs(1);

#[derive(Debug, Serialize)]
struct Recovered {
    #[serde(flatten)]
    plan: Plan,
    epoch: u64,
}

pub(super) fn run(
    context: &Context,
    yes: bool,
    within: Duration,
    session: &mut Session<'_>,
) -> Result<(), Failure> {
    let all = each_address(context)?;
    let said = session.wait_for(async { Ok(ask(&all).await) })?;
    let answers: Vec<Said> = said.iter().map(|(_, said)| said.clone()).collect();
    let plan = weigh(&answers).map_err(EtcdProblem::from)?;
    session.say(&text(&plan))?;
    if !yes && !plan.under_way && !agrees(&plan, session)? {
        let machine = plan.machine_name;
        return Err(EtcdProblem::Unconfirmed { machine }.into());
    }
    let of = said
        .iter()
        .find(|(_, said)| said.as_ref().is_ok_and(|remains| remains.machine == plan.machine));
    let Some((client, _)) = of else {
        return Err(EtcdProblem::NotAlone { machine: plan.machine_name, within }.into());
    };
    // One that is under way is told again, which changes nothing of it.
    let order = EtcdRecovery { machine: plan.machine.clone(), revision: plan.revision };
    let ordered = session.wait_for(async { Ok(client.recover_etcd(&order).await?.epoch) })?;
    let epoch = session.wait_for(finished(client, &plan, (ordered, within)))?;
    session.show(&Recovered { plan, epoch }, done)
}

/// Asks every address; several may be one machine's.
async fn ask(all: &[(String, Client)]) -> Vec<(&Client, Said)> {
    let answers = join_all(all.iter().map(|(address, client)| one(address, client))).await;
    let mut said: Vec<(&Client, Said)> = Vec::new();
    for ((_, client), answer) in all.iter().zip(answers) {
        let is_known = |(_, known): &(&Client, Said)| match (known, &answer) {
            (Ok(known), Ok(new)) => known.machine == new.machine,
            _ => false,
        };
        if !said.iter().any(is_known) {
            said.push((client, answer));
        }
    }
    said
}

async fn one(address: &str, client: &Client) -> Said {
    client.etcd_remains().await.map_err(|error| (address.to_owned(), chain(&error)))
}

/// Asks the person, where there is one.
fn agrees(plan: &Plan, session: &mut Session<'_>) -> Result<bool, Failure> {
    let stdin = std::io::stdin();
    if session.globals.output != Format::Table || !stdin.is_terminal() {
        return Ok(false);
    }
    session.say(&format!("\nGive the others up? Write {} to do it:", plan.machine_name))?;
    let mut line = String::new();
    let read = stdin.lock().read_line(&mut line);
    read.map_err(|source| Failure::Read { path: "/dev/stdin".into(), source })?;
    Ok(line.trim() == plan.machine_name)
}

/// Waits until the machine answers for the cluster in the epoch that was ordered, or a later one.
async fn finished(
    client: &Client,
    plan: &Plan,
    (ordered, within): (u64, Duration),
) -> Result<u64, Failure> {
    let until = Instant::now() + within;
    loop {
        // Its agent answers all the time; what it does not say now it says in a moment.
        if let Ok(remains) = client.etcd_remains().await
            && let Some(epoch) = reached(&remains, ordered).map_err(EtcdProblem::from)?
        {
            return Ok(epoch);
        }
        if Instant::now() > until {
            let machine = plan.machine_name.clone();
            return Err(EtcdProblem::NotAlone { machine, within }.into());
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// The plan for whoever has to agree to it.
fn text(plan: &Plan) -> String {
    let name = &plan.machine_name;
    if plan.under_way {
        return format!("{name} is about to go on alone: it was ordered before.");
    }
    let none = || "-".to_owned();
    let row = |fate: &Fate| {
        let becomes = match (fate.used, fate.revision) {
            (true, _) => "its data is used",
            (false, Some(_)) => "given up; sets its data aside, and learns anew",
            (false, None) => "GIVEN UP; what it alone knows is lost",
        };
        [
            fate.machine_name.clone(),
            fate.machine.as_deref().map_or_else(none, short),
            fate.revision.map_or_else(none, |revision| revision.to_string()),
            becomes.to_owned(),
        ]
    };
    let rows: Vec<[String; 4]> = plan.members.iter().map(row).collect();
    let table = columns(["MEMBER", "ID", "REVISION", "WHAT BECOMES OF IT"], &rows);
    let silent: String = plan.silent.iter().map(|line| format!("not asked: {line}\n")).collect();
    let revision = plan.revision;
    format!(
        "{table}\n{silent}\n\
         {name} goes on alone with what it knows at revision {revision}. May be lost: what was acknowledged after that, or in the last\n\
         moment before the others were gone.\n\
         If one of the others can still be started with its disk, start it and do not do this: with a quorum nothing is lost.\n\
         Once it is done they must come back empty or not at all; one that comes back with its old data sets that aside as soon as\n\
         it hears of {name}.\n\
         A copy of {name}'s data is set aside there first. Units go on running."
    )
}

fn done(recovered: &Recovered) -> String {
    let name = &recovered.plan.machine_name;
    format!(
        "\n{name} leads etcd alone, in epoch {}. Machines that may run etcd become members one by one: `ferrite etcd members` shows how \
         far that is.\nLook at `ferrite machine list` and `ferrite unit list`; what you changed last may be missing.",
        recovered.epoch
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_becomes_of_each_member_is_said_with_what_may_be_lost() {
        let fate = |number: u8, revision: Option<i64>| Fate {
            machine_name: format!("dev-{number}"),
            machine: Some(number.to_string().repeat(32)),
            revision,
            used: number == 2,
        };
        let mut plan = Plan {
            machine: "2".repeat(32),
            machine_name: "dev-2".to_owned(),
            revision: 231,
            under_way: false,
            members: vec![fate(1, None), fate(2, Some(231)), fate(3, Some(9))],
            silent: vec!["https://10.0.0.1:7443: connection refused".to_owned()],
        };
        let said = text(&plan);
        let ends = ["GIVEN UP; what it alone knows is lost", "its data is used", "learns anew"];
        for (line, end) in said.lines().skip(1).zip(ends) {
            assert!(line.ends_with(end), "{said}");
        }
        for words in
            ["not asked: https://10.0.0.1", "revision 231", "May be lost", "copy of dev-2's"]
        {
            assert!(said.contains(words), "{said}");
        }
        plan.under_way = true;
        assert!(text(&plan).contains("ordered before"));
    }
}
