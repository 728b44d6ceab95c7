//! `ferrite etcd recover`: each machine of the context is asked for itself, since there is no quorum to ask.

use std::io::{BufRead, IsTerminal};
use std::time::{Duration, Instant};

use ferrite_schema::api::EtcdRecovery;
use futures_util::future::join_all;
use serde::Serialize;

use crate::client::{Client, each_address};
use crate::context::Context;
use crate::etcd::{EtcdProblem, Plan, Said, plan_text, weigh};
use crate::failure::{Failure, chain};
use crate::output::Format;
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
    session.say(&plan_text(&plan))?;
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
    session.wait_for(async {
        if !plan.under_way {
            let order = EtcdRecovery { machine: plan.machine.clone(), revision: plan.revision };
            client.recover_etcd(&order).await?;
        }
        Ok(())
    })?;
    let epoch = session.wait_for(finished(client, &plan, within))?;
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

/// Waits until the machine leads itself, in its new epoch.
async fn finished(client: &Client, plan: &Plan, within: Duration) -> Result<u64, Failure> {
    let until = Instant::now() + within;
    loop {
        // Its agent answers all the time; what it does not say now it says in a moment.
        if let Ok(remains) = client.etcd_remains().await {
            let led = remains.status.is_some_and(|status| status.leader.is_some());
            if let (true, false, Some(epoch)) = (led, remains.recovering, remains.epoch) {
                return Ok(epoch);
            }
        }
        if Instant::now() > until {
            let machine = plan.machine_name.clone();
            return Err(EtcdProblem::NotAlone { machine, within }.into());
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

fn done(recovered: &Recovered) -> String {
    let name = &recovered.plan.machine_name;
    format!(
        "\n{name} leads etcd alone, in epoch {}. Machines that may run etcd become members one by one: `ferrite etcd members` shows how \
         far that is.\nLook at `ferrite machine list` and `ferrite unit list`; what you changed last may be missing.",
        recovered.epoch
    )
}
