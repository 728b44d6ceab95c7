//! `ferrite machine reset`: a machine is made anew. What is lost is said first.

use ferrite_schema::api::MachineContent;
use ferrite_schema::node_config::JoinAddress;

use crate::client::{Client, Down};
use crate::cluster::problem::ClusterError;
use crate::context::Context;
use crate::failure::Failure;
use crate::machine;
use crate::session::Session;

/// Names of one kind that are said; there may be hundreds.
const NAMES_MAX: usize = 8;

pub(super) fn run(
    (of, at): (Option<&str>, Option<&JoinAddress>),
    yes: bool,
    session: &mut Session<'_>,
) -> Result<(), Failure> {
    let client = match (of, at) {
        (_, Some(at)) => Client::new(&reached(session.context()?, at))?,
        (Some(of), None) => named(of, session)?,
        (None, None) => session.client_of_one()?,
    };
    let content = session.wait_for(async { Ok(client.machine_content().await?) })?;
    let hostname = content.hostname.clone();
    if let Some(why) = content.refusal {
        return Err(ClusterError::NotReset { hostname, why }.into());
    }
    if !yes {
        return Err(Failure::Unconfirmed { hostname, lost: lost(&content).join("; ") });
    }
    session.wait_for(async { Ok(client.down(Down::Reset).await?) })?;
    session.say(&format!(
        "machine {hostname} ({}) restarts and makes STATE anew, EMPTY: it comes as another machine. Where a cluster knows it, `ferrite machine forget` has that forget it",
        machine::short(&content.id)
    ))
}

/// The context, for the machine that is reached there whatever its name is.
fn reached(context: Context, at: &JoinAddress) -> Context {
    let host = if at.host.contains(':') { format!("[{}]", at.host) } else { at.host.clone() };
    Context { endpoint: format!("https://{host}:{}", at.port), further: Vec::new(), ..context }
}

fn named(of: &str, session: &Session<'_>) -> Result<Client, Failure> {
    let context = session.context()?;
    if context.cluster.is_none() {
        return Err(Failure::NoCluster { context: context.name });
    }
    let client = Client::new(&context)?;
    let machines = session.wait_for(async { Ok(client.machines().await?) })?;
    machine::client(&client, machine::chosen(&machines, of)?)
}

/// What is on STATE, for people.
fn lost(content: &MachineContent) -> Vec<String> {
    let names = |what: &str, all: &[String]| {
        let more = all.len().saturating_sub(NAMES_MAX);
        let shown: Vec<&str> = all.iter().take(NAMES_MAX).map(String::as_str).collect();
        let more = if more == 0 { String::new() } else { format!(" and {more} more") };
        (!all.is_empty()).then(|| format!("{what} {}{more}", shown.join(", ")))
    };
    let id = machine::short(&content.id);
    let mut lost = vec![match &content.cluster {
        Some(cluster) => format!("that it is machine {id}, of cluster {cluster}, and its keys"),
        None => format!("that it is machine {id}"),
    }];
    lost.extend(names("volumes with all that is in them:", &content.volumes));
    lost.extend(names("units and their logs:", &content.units));
    lost.push(match content.images {
        0 => "all else on STATE".to_owned(),
        images => format!("{images} images, and all else on STATE"),
    });
    lost
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content() -> MachineContent {
        MachineContent {
            id: "a".repeat(32),
            hostname: "dev-4".to_owned(),
            cluster: None,
            member: false,
            units: Vec::new(),
            volumes: Vec::new(),
            images: 0,
            refusal: None,
        }
    }

    #[test]
    fn what_is_lost_is_said_by_name() {
        assert_eq!(lost(&content()), ["that it is machine aaaaaaaa", "all else on STATE"]);
        let full = MachineContent {
            cluster: Some("prod (cccc)".to_owned()),
            units: vec!["web".to_owned()],
            volumes: (1..=10).map(|number| format!("v{number}")).collect(),
            images: 2,
            ..content()
        };
        assert_eq!(
            lost(&full),
            [
                "that it is machine aaaaaaaa, of cluster prod (cccc), and its keys",
                "volumes with all that is in them: v1, v2, v3, v4, v5, v6, v7, v8 and 2 more",
                "units and their logs: web",
                "2 images, and all else on STATE",
            ]
        );
    }

    #[test]
    fn a_machine_that_the_cluster_does_not_have_is_reached_where_it_is() {
        let context = Context {
            name: "dev".to_owned(),
            endpoint: "https://10.0.0.1:7443".to_owned(),
            further: vec!["https://10.0.0.2:7443".to_owned()],
            ca: String::new(),
            certificate: String::new(),
            key: String::new(),
            cluster: None,
        };
        for (host, port, expected) in
            [("10.0.0.7", 7443, "https://10.0.0.7:7443"), ("fd00::7", 1, "https://[fd00::7]:1")]
        {
            let at = JoinAddress { host: host.to_owned(), port };
            let reached = reached(context.clone(), &at);
            assert_eq!((&*reached.endpoint, reached.further.len()), (expected, 0));
        }
    }
}
