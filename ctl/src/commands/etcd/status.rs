//! `ferrite etcd status`: a line for each member, as its own etcd says it.

use ferrite_schema::api::{EtcdMember, EtcdStatus};
use futures_util::future::join_all;
use serde::Serialize;

use super::members::role;
use crate::client::{Client, each_address};
use crate::context::Context;
use crate::failure::{Failure, chain};
use crate::machine::{behind, short};
use crate::output::{bytes, columns};
use crate::session::Session;

/// What is known of a member, or of what is at an address where nobody can say who the members are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Line {
    /// The machine's name, or the address.
    name: String,
    /// As the members agree; absent where they do not.
    #[serde(skip_serializing_if = "Option::is_none")]
    member: Option<EtcdMember>,
    /// It leads, as far as those know that have answered.
    leader: bool,
    /// What its own etcd says.
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<EtcdStatus>,
    /// Why that is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
}

type Said = Result<EtcdStatus, String>;

pub(super) fn run(context: &Context, session: &mut Session<'_>) -> Result<(), Failure> {
    let Some(cluster) = session.cluster()? else {
        let client = session.client()?;
        let status = session.wait_for(async { Ok(client.etcd().await?) })?;
        return show(&lines(vec![(status.machine_name.clone(), None, Ok(status))]), session);
    };
    match session.wait_for(async { Ok(cluster.etcd_members().await) })? {
        Ok(members) => {
            let asked = session.wait_for(async { Ok(ask_members(&cluster, members).await) })?;
            show(&lines(asked), session)
        }
        // Nobody can say who the members are: what each says of itself is worth all the more.
        Err(error) if error.is_unserved() => {
            let all = each_address(context)?;
            let asked = session.wait_for(async { Ok(ask_addresses(all).await) })?;
            let lines = lines(asked);
            session.show(&lines, |lines| table(lines))?;
            Err(error.into())
        }
        Err(error) => Err(error.into()),
    }
}

/// Shows them; it is a failure where one of them is not known.
fn show(lines: &[Line], session: &mut Session<'_>) -> Result<(), Failure> {
    session.show(&lines, |lines| table(lines))?;
    let silent = lines.iter().filter(|line| line.status.is_none());
    let failed: Vec<String> = silent.map(|line| line.name.clone()).collect();
    if failed.is_empty() {
        return Ok(());
    }
    Err(Failure::SomeFailed { act: "ask how etcd is".to_owned(), failed })
}

/// Asks all members at once, each through whichever machine answers.
async fn ask_members(
    cluster: &Client,
    members: Vec<EtcdMember>,
) -> Vec<(String, Option<EtcdMember>, Said)> {
    let ask = |member: EtcdMember| async move {
        let name = member.machine_name.clone().or_else(|| member.machine.clone());
        let (Some(id), Some(name)) = (&member.machine, name) else {
            let why = "its address names no machine of the cluster: somebody else has added it";
            return (member.urls.join(" "), Some(member), Err(why.to_owned()));
        };
        let said = match behind(cluster, id, &name) {
            Ok(client) => client.etcd().await.map_err(|error| chain(&error)),
            Err(failure) => Err(chain(&failure)),
        };
        (name, Some(member), said)
    };
    join_all(members.into_iter().map(ask)).await
}

async fn ask_addresses(all: Vec<(String, Client)>) -> Vec<(String, Option<EtcdMember>, Said)> {
    let ask = |(address, client): (String, Client)| async move {
        match client.etcd().await {
            Ok(status) => (status.machine_name.clone(), None, Ok(status)),
            Err(error) => (address, None, Err(chain(&error))),
        }
    };
    let mut asked = Vec::new();
    for answer in join_all(all.into_iter().map(ask)).await {
        // Two addresses may be one machine's.
        let is_known = |(_, _, said): &(String, Option<EtcdMember>, Said)| match (said, &answer.2) {
            (Ok(known), Ok(new)) => known.machine == new.machine,
            _ => false,
        };
        if !asked.iter().any(is_known) {
            asked.push(answer);
        }
    }
    asked
}

fn lines(asked: Vec<(String, Option<EtcdMember>, Said)>) -> Vec<Line> {
    let leader = leader(asked.iter().filter_map(|(_, _, said)| said.as_ref().ok()));
    let line = |(name, member, said): (String, Option<EtcdMember>, Said)| {
        let (status, problem) = match said {
            Ok(status) => (Some(status), None),
            Err(why) => (None, Some(why)),
        };
        let number = match (&member, &status) {
            (Some(member), _) => Some(&member.member),
            (None, Some(status)) => Some(&status.member),
            (None, None) => None,
        };
        Line {
            leader: number.is_some() && number == leader.as_ref(),
            name,
            member,
            status,
            problem,
        }
    };
    asked.into_iter().map(line).collect()
}

/// Who leads: who is said to by those that have seen the latest election.
fn leader<'a>(all: impl Iterator<Item = &'a EtcdStatus>) -> Option<String> {
    all.filter(|status| status.leader.is_some())
        .max_by_key(|status| status.raft_term)
        .and_then(|status| status.leader.clone())
}

fn table(lines: &[Line]) -> String {
    let rows: Vec<[String; 7]> = lines.iter().map(row).collect();
    columns(["MACHINE", "ID", "ROLE", "REVISION", "RAFT INDEX", "DB SIZE", "PROBLEMS"], &rows)
}

fn row(line: &Line) -> [String; 7] {
    let none = || "-".to_owned();
    let (member, status) = (line.member.as_ref(), line.status.as_ref());
    let id = member
        .and_then(|member| member.machine.as_deref())
        .or_else(|| status.map(|status| status.machine.as_str()));
    let role = match (member, status) {
        (Some(member), _) => role(member.started, member.learner),
        (None, Some(status)) => role(true, status.learner),
        (None, None) => "?",
    };
    let of = |text: &dyn Fn(&EtcdStatus) -> String| status.map_or_else(none, text);
    [
        line.name.clone(),
        id.map_or_else(none, short),
        if line.leader { format!("{role}, leader") } else { role.to_owned() },
        of(&|status| status.revision.to_string()),
        of(&|status| status.raft_index.to_string()),
        of(&|status| bytes(status.db_bytes)),
        problems(line),
    ]
}

fn problems(line: &Line) -> String {
    let mut all: Vec<String> = line.problem.iter().map(|why| format!("not asked: {why}")).collect();
    if let Some(status) = &line.status {
        if let Some(member) = line.member.as_ref().filter(|known| known.member != status.member) {
            let (theirs, own) = (&member.member, &status.member);
            all.push(format!("it takes itself for member {own}, the others for {theirs}"));
        }
        all.extend(status.problems.iter().cloned());
    }
    if all.is_empty() { "-".to_owned() } else { all.join("; ") }
}

#[cfg(test)]
#[path = "status_tests.rs"]
mod tests;
