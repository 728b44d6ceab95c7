//! `ferrite config new --cluster`.

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use ferrite_schema::cluster::ClusterName;
use ferrite_schema::names::API_PORT;
use serde::Serialize;

use crate::cli::NewArguments;
use crate::context::Store;
use crate::failure::Failure;
use crate::founding::folder::{CONTEXT, ROOT_CERTIFICATE, ROOT_KEY, file_of};
use crate::founding::{Founded, Plan, folder, found, numbered};
use crate::session::Session;

/// What was made, for programs.
#[derive(Debug, Serialize)]
struct Made {
    cluster: String,
    id: String,
    folder: PathBuf,
    context: String,
    endpoint: String,
    nodes: Vec<MadeNode>,
}

#[derive(Debug, Serialize)]
struct MadeNode {
    hostname: String,
    may_become_member: bool,
    config: PathBuf,
}

pub(super) fn run(
    name: &ClusterName,
    arguments: &NewArguments,
    session: &mut Session<'_>,
) -> Result<(), Failure> {
    let store = Store::of_user()?;
    store.check_new(name.as_str())?;
    let nodes = numbered(name, arguments.nodes.unwrap_or(1), arguments.members)?;
    let now_s = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let (join, network) = (arguments.join.clone(), arguments.network.wanted());
    let plan = Plan { name: name.clone(), nodes, join, network, now_s };
    let founded = found(&plan)?;
    let endpoint = match plan.join.first() {
        Some(address) => format!("https://{address}"),
        None => format!("https://{name}-1:{API_PORT}"),
    };
    let context = founded.context(endpoint);
    let path = arguments.file.clone().unwrap_or_else(|| PathBuf::from(name.as_str()));
    folder::write(&path, &founded, &context)?;
    store.save_new(&context)?;
    store.make_current(&context.name)?;
    let made = made(&founded, &path, context.endpoint);
    session.show(&made, |made| text(made, plan.join.is_empty()))
}

fn made(founded: &Founded, folder: &Path, endpoint: String) -> Made {
    let nodes = founded.nodes.iter().map(|node| MadeNode {
        hostname: node.hostname.clone(),
        may_become_member: node.cluster.member.is_some(),
        config: folder.join(file_of(&node.hostname)),
    });
    Made {
        cluster: founded.name.to_string(),
        id: founded.id.to_string(),
        folder: folder.to_owned(),
        context: founded.name.to_string(),
        endpoint,
        nodes: nodes.collect(),
    }
}

fn text(made: &Made, knows_no_address: bool) -> String {
    let Made { cluster, id, endpoint, .. } = made;
    let path = |file: &str| made.folder.join(file).display().to_string();
    let mut lines = vec![
        format!("cluster {cluster} ({id}); every file is readable for you alone"),
        format!(
            "{}: the root's key. Whoever has it can be anybody. Keep it off line; no node needs it",
            path(ROOT_KEY)
        ),
        format!("{}: the root's certificate, no secret", path(ROOT_CERTIFICATE)),
        format!(
            "{}: your access as admin; also kept as context {cluster}, which is current now",
            path(CONTEXT)
        ),
    ];
    for node in &made.nodes {
        let what = match node.may_become_member {
            true => "may become a member, holds the issuers' keys",
            false => "joins with the token",
        };
        lines.push(format!("{}: for node {} alone ({what})", node.config.display(), node.hostname));
    }
    lines.push("keep the cloud-configs until the nodes run, then delete them: they hold keys and the token".to_owned());
    lines.push(format!("the context speaks to {endpoint}; where that is not one of the nodes, change `endpoint` in its file"));
    if knows_no_address {
        lines.push("no node is told where the others are: add `join = [\"HOST:PORT\", …]` to [cluster] of each, or give --join".to_owned());
    }
    lines.join("\n")
}
