//! `ferrite cluster token …`: what lets machines in that the cluster does not know yet. A token is drawn here and shown once;
//! the cluster gets its digest.

use std::time::Duration;

use ferrite_pki::{certificates, digest, draw, fingerprint};
use ferrite_schema::api::{ClusterMachine, JoinToken, NewJoinToken};
use ferrite_schema::names::API_PORT;
use ferrite_schema::node_config::{
    ClusterConfig, ClusterNetworkConfig, Fingerprint, JoinAddress, MARKER, Root, Token,
};
use ferrite_schema::utc;
use serde::Serialize;

use super::problem::ClusterError;
use crate::cli::TokenCommand;
use crate::client::Client;
use crate::context::{Context, ContextCluster};
use crate::failure::Failure;
use crate::founding::TOKEN_BYTES;
use crate::machine::short;
use crate::output::columns;
use crate::session::Session;

/// A token that was made, for programs.
#[derive(Debug, Serialize)]
struct Made {
    /// The token itself.
    token: String,
    /// How the cluster knows it.
    #[serde(flatten)]
    known: JoinToken,
    /// A cloud-config with it.
    config: String,
}

pub(super) fn run(command: &TokenCommand, session: &mut Session<'_>) -> Result<(), Failure> {
    let context = session.context()?;
    let Some(cluster) = &context.cluster else {
        return Err(Failure::NoCluster { context: context.name });
    };
    let client = Client::new(&context)?;
    match command {
        TokenCommand::New { uses, expires } => {
            let made = make(&client, (&context, cluster), (*uses, *expires), session)?;
            session.show(&made, |made| made.config.clone())
        }
        TokenCommand::List => {
            let all = session.wait_for(async { Ok(client.tokens().await?) })?;
            session.show(&all, |all| list(all))
        }
        TokenCommand::Revoke { id } => {
            let all = session.wait_for(async { Ok(client.tokens().await?) })?;
            let digest = chosen(&all, id)?;
            session.wait_for(async { Ok(client.revoke_token(digest).await?) })?;
            session.say(&format!("token {} lets nobody in any more", short(digest)))
        }
    }
}

fn make(
    client: &Client,
    (context, cluster): (&Context, &ContextCluster),
    (uses, expires): (u32, Duration),
    session: &Session<'_>,
) -> Result<Made, Failure> {
    let token = draw(TOKEN_BYTES).map_err(|error| own(&error))?;
    let machines = session.wait_for(async { Ok(client.machines().await?) })?;
    // Before it is made: nobody would have it where this fails.
    let belongs = belongs(&context.ca, cluster, &machines, &token).map_err(|why| own(&why))?;
    // What lasts less than a second lasts one.
    let new = NewJoinToken { uses, lasts_s: expires.as_secs().max(1) };
    let digest = digest(token.as_bytes());
    let known = session.wait_for(async { Ok(client.make_token(&digest, &new).await?) })?;
    let config = document(&belongs, &known).map_err(|error| own(&error))?;
    Ok(Made { token, known, config })
}

fn own(why: &dyn std::fmt::Display) -> ClusterError {
    ClusterError::MakeToken { why: why.to_string() }
}

/// What a machine is told that is to join and not to run etcd: no key of anybody's, and no more of the root than its
/// fingerprint.
fn belongs(
    root: &str,
    cluster: &ContextCluster,
    machines: &[ClusterMachine],
    token: &str,
) -> Result<ClusterConfig, String> {
    let root = certificates(root).map_err(|error| ferrite_schema::chain(&error))?;
    let root = root.first().ok_or("the context's `ca` is empty")?;
    let members = machines.iter().filter(|machine| machine.eligible);
    let join: Vec<JoinAddress> = members
        .flat_map(|machine| &machine.addresses)
        .map(|host| JoinAddress { host: host.clone(), port: API_PORT })
        .take(ferrite_schema::node_config::JOIN_MAX)
        .collect();
    if join.is_empty() {
        return Err("no machine of the cluster that lets others in has an address".to_owned());
    }
    Ok(ClusterConfig {
        id: cluster.id.clone(),
        name: cluster.name.clone(),
        root: Root::Fingerprint(Fingerprint(fingerprint(root))),
        token: Some(Token::try_from(token.to_owned()).map_err(|bad| bad.to_string())?),
        join,
        member: None,
        network: ClusterNetworkConfig::default(),
    })
}

fn document(belongs: &ClusterConfig, token: &JoinToken) -> Result<String, toml::ser::Error> {
    #[derive(Serialize)]
    struct Document<'config> {
        cluster: &'config ClusterConfig,
    }
    let text = toml::to_string_pretty(&Document { cluster: belongs })?;
    let machines = match token.uses_left {
        Some(1) => "one machine".to_owned(),
        Some(uses) => format!("{uses} machines"),
        None => "any number of machines".to_owned(),
    };
    let until = until(token);
    let id = short(&token.digest);
    Ok(format!("{MARKER}\n# Token {id} lets in {machines} until {until}.\n\n{text}"))
}

fn until(token: &JoinToken) -> String {
    token.until_s.map_or_else(|| "it is revoked".to_owned(), utc::text)
}

/// The digest that begins so.
fn chosen<'all>(all: &'all [JoinToken], id: &str) -> Result<&'all str, ClusterError> {
    let fits = |token: &&JoinToken| !id.is_empty() && token.digest.starts_with(id);
    let found: Vec<&JoinToken> = all.iter().filter(fits).collect();
    match found[..] {
        [one] => Ok(&one.digest),
        _ => Err(ClusterError::WhichToken { id: id.to_owned(), found: found.len() }),
    }
}

fn list(all: &[JoinToken]) -> String {
    if all.is_empty() {
        return "no tokens: no machine is let in that the cluster does not know".to_owned();
    }
    let row = |token: &JoinToken| {
        [
            short(&token.digest),
            token.uses_left.map_or_else(|| "any number".to_owned(), |uses| uses.to_string()),
            until(token),
            token.problem.clone().unwrap_or_else(|| "good".to_owned()),
        ]
    };
    let rows: Vec<[String; 4]> = all.iter().map(row).collect();
    columns(["TOKEN", "LETS IN", "UNTIL", "STATE"], &rows)
}

#[cfg(test)]
mod tests {
    use ferrite_schema::node_config;

    use super::*;

    fn token(digit: &str) -> JoinToken {
        JoinToken {
            digest: digit.repeat(64),
            uses_left: Some(2),
            until_s: Some(1_795_000_000),
            problem: None,
        }
    }

    #[test]
    fn a_machine_is_told_whom_to_believe_and_whom_to_ask_and_holds_no_key() {
        let root = ferrite_pki::make_root("root", 1, ferrite_pki::Dates::ALWAYS).unwrap();
        let cluster =
            ContextCluster { id: "c".repeat(32).parse().unwrap(), name: "dev".parse().unwrap() };
        let machine = |eligible: bool, address: &str| {
            let value = serde_json::json!({
                "id": "a".repeat(32), "name": "dev-1", "addresses": [address], "state": "lost", "cordoned": false,
                "leader": false, "eligible": eligible, "units": 0, "level": 1, "metadata": {}, "overrides": {},
                "cpus_milli": 1, "memory_bytes": 1,
            });
            serde_json::from_value::<ClusterMachine>(value).unwrap()
        };
        let secret = "5".repeat(64);
        let machines = [machine(true, "10.0.0.1"), machine(false, "10.0.0.2")];
        let config = belongs(&root.certificate, &cluster, &machines, &secret).unwrap();
        let text = document(&config, &token("f")).unwrap();
        assert!(
            text.contains("# Token ffffffff lets in 2 machines until 2026-11-18 11:06:40 UTC."),
            "{text}"
        );
        assert!(!text.contains("PRIVATE KEY") && !text.contains("BEGIN CERTIFICATE"), "{text}");
        let read = node_config::parse(&text).unwrap().cluster.unwrap();
        assert_eq!(read, config);
        assert_eq!(
            read.join.iter().map(ToString::to_string).collect::<Vec<_>>(),
            ["10.0.0.1:7443"]
        );
        let none = belongs(&root.certificate, &cluster, &machines[1..], &secret).unwrap_err();
        assert!(none.contains("no machine"), "{none}");
    }

    #[test]
    fn tokens_are_listed_and_chosen_by_how_they_begin() {
        let founding = JoinToken { uses_left: None, until_s: None, ..token("a") };
        let used = JoinToken {
            uses_left: Some(0),
            problem: Some("used up".to_owned()),
            digest: format!("ab{}", "0".repeat(62)),
            ..token("a")
        };
        let all = [founding, used];
        assert_eq!(
            list(&all),
            "TOKEN     LETS IN     UNTIL                    STATE\n\
             aaaaaaaa  any number  it is revoked            good\n\
             ab000000  0           2026-11-18 11:06:40 UTC  used up"
        );
        assert!(list(&[]).contains("no tokens"));
        assert_eq!(chosen(&all, "ab").unwrap(), all[1].digest);
        for (id, says) in [("a", "2 begin so"), ("c", "none begins so"), ("", "none begins so")] {
            let said = chosen(&all, id).unwrap_err().to_string();
            assert!(said.contains(says), "{said}");
        }
    }
}
