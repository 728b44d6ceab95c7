//! Everything that a new cluster begins with: its ID, its root and issuers, its token, what each node is told, and who
//! may speak to it first. Made here in memory; `founding::folder` writes it.

pub mod folder;

use std::time::Duration;

use ferrite_pki::{
    Dates, Identity, Issuer, MakeCertificate, UseIssuer, draw, make_root, user_leaf,
};
use ferrite_schema::cluster::{ClusterId, ClusterName, NotOne, Role};
use ferrite_schema::node_config::{
    Certificate, ClusterConfig, ClusterNetworkConfig, EXPECT_MAX, IssuerConfig, JoinAddress,
    MARKER, MemberConfig, PrivateKey, Root, Token, UnfitNetwork,
};
use serde::Serialize;

use crate::context::{Context, ContextCluster};

/// Most nodes whose configurations are made at once.
pub const NODES_MAX: u8 = 100;
/// Nodes that may become members where nobody said how many: three agree, two more may be lost and replaced.
const MEMBERS_USUAL: u8 = 5;
/// Bytes of an ID and of a token's secret.
const ID_BYTES: usize = 16;
pub(crate) const TOKEN_BYTES: usize = 32;
/// How long the operator's certificate is good. Nobody but the root's holder can make another one.
const OPERATOR_LIFE: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);
/// Levels below the root: issuers.
const LEVELS: u8 = 1;
/// Whom the first certificate is for.
const OPERATOR: &str = "operator";

/// What is to be made.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The cluster's name.
    pub name: ClusterName,
    /// Its nodes.
    pub nodes: Vec<PlannedNode>,
    /// Where those are reached that may become members.
    pub join: Vec<JoinAddress>,
    /// What its network is to be.
    pub network: ClusterNetworkConfig,
    /// Now, in seconds since the epoch.
    pub now_s: u64,
}

/// One node of it.
#[derive(Debug, Clone)]
pub struct PlannedNode {
    /// Its name for people.
    pub hostname: String,
    /// It may become a member: it gets the issuers' keys.
    pub member: bool,
}

/// What was made.
#[derive(Debug, Clone)]
pub struct Founded {
    /// The cluster's name.
    pub name: ClusterName,
    /// Its ID.
    pub id: ClusterId,
    /// Its root. The key is the operator's alone.
    pub root: Identity,
    /// The operator's certificate, an admin's.
    pub operator: Identity,
    /// What each node is told.
    pub nodes: Vec<FoundedNode>,
}

/// One node of it.
#[derive(Debug, Clone)]
pub struct FoundedNode {
    /// Its name for people.
    pub hostname: String,
    /// Its part of the cloud-config.
    pub cluster: ClusterConfig,
}

/// Why nothing was made.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum FoundCluster {
    #[error("make a cluster of {nodes} nodes: 1 to {NODES_MAX} can be made at once")]
    Nodes { nodes: usize },
    #[error(
        "make {members} of {nodes} nodes members: one at least, at most {EXPECT_MAX}, and not more than there are"
    )]
    Members { members: usize, nodes: usize },
    #[error("choose the cluster's network")]
    Network(#[from] UnfitNetwork),
    #[error(transparent)]
    Make(#[from] MakeCertificate),
    #[error(transparent)]
    Issuer(#[from] UseIssuer),
    #[error(transparent)]
    Draw(#[from] ferrite_pki::DrawSecret),
    #[error("use what was made")]
    Check(#[from] NotOne),
}

/// Nodes `NAME-1` to `NAME-N`, of which the first `members` may become members.
///
/// # Errors
/// Such numbers make no cluster.
pub fn numbered(
    name: &ClusterName,
    nodes: u8,
    members: Option<u8>,
) -> Result<Vec<PlannedNode>, FoundCluster> {
    if !(1..=NODES_MAX).contains(&nodes) {
        return Err(FoundCluster::Nodes { nodes: nodes.into() });
    }
    let members = members.unwrap_or(nodes.min(MEMBERS_USUAL));
    let node =
        |number| PlannedNode { hostname: format!("{name}-{number}"), member: number <= members };
    let planned: Vec<_> = (1..=nodes).map(node).collect();
    check(&planned, members.into()).map(|()| planned)
}

fn check(nodes: &[PlannedNode], members: usize) -> Result<(), FoundCluster> {
    if !(1..=usize::from(NODES_MAX)).contains(&nodes.len()) {
        return Err(FoundCluster::Nodes { nodes: nodes.len() });
    }
    if !(1..=usize::from(EXPECT_MAX)).contains(&members) || members > nodes.len() {
        return Err(FoundCluster::Members { members, nodes: nodes.len() });
    }
    Ok(())
}

/// Makes a cluster's beginning.
///
/// # Errors
/// The plan is of no use, or the system's random numbers fail.
pub fn found(plan: &Plan) -> Result<Founded, FoundCluster> {
    let members = plan.nodes.iter().filter(|node| node.member).count();
    check(&plan.nodes, members)?;
    plan.network.check(plan.nodes.len(), plan.join.iter().map(|join| join.host.as_str()))?;
    let id = ClusterId::try_from(draw(ID_BYTES)?)?;
    let name = &plan.name;
    // Nobody could renew them unseen, so they have no end; who has the root's key can replace them.
    let without_end = Dates::since(plan.now_s);
    let root = make_root(&format!("ferrite {name} root"), LEVELS, without_end)?;
    let above = Issuer::root(&root)?;
    let nodes = above.make_issuer(&format!("ferrite {name} nodes"), without_end)?;
    let peers = above.make_issuer(&format!("ferrite {name} etcd peers"), without_end)?;
    let dates = Dates::lasting(plan.now_s, OPERATOR_LIFE);
    let operator = Issuer::below(&nodes, &root.certificate)?.issue(&user_leaf(
        &id,
        OPERATOR,
        Role::Admin,
        dates,
    ))?;
    let expect = u8::try_from(members).unwrap_or(EXPECT_MAX);
    let member =
        MemberConfig { expect, node_issuer: config(&nodes)?, peer_issuer: config(&peers)? };
    let of_all = ClusterConfig {
        id: id.clone(),
        name: name.clone(),
        root: Root::Certificate(root.certificate.clone()),
        token: Some(Token::try_from(draw(TOKEN_BYTES)?)?),
        join: plan.join.clone(),
        member: None,
        network: plan.network,
    };
    let node = |node: &PlannedNode| FoundedNode {
        hostname: node.hostname.clone(),
        cluster: ClusterConfig { member: node.member.then(|| member.clone()), ..of_all.clone() },
    };
    let nodes = plan.nodes.iter().map(node).collect();
    Ok(Founded { name: name.clone(), id, root, operator, nodes })
}

fn config(issuer: &Identity) -> Result<IssuerConfig, NotOne> {
    Ok(IssuerConfig {
        certificate: Certificate::try_from(issuer.certificate.clone())?,
        key: PrivateKey::try_from(issuer.key.clone())?,
    })
}

impl FoundedNode {
    /// A cloud-config with nothing else in it.
    ///
    /// # Errors
    /// It cannot be written as TOML.
    pub fn document(&self) -> Result<String, toml::ser::Error> {
        #[derive(Serialize)]
        struct Document<'node> {
            hostname: &'node str,
            cluster: &'node ClusterConfig,
        }
        let document = Document { hostname: &self.hostname, cluster: &self.cluster };
        Ok(format!("{MARKER}\n{}", toml::to_string_pretty(&document)?))
    }
}

impl Founded {
    /// How the operator speaks to the cluster, by way of the node at `endpoint` (`https://HOST:PORT`).
    #[must_use]
    pub fn context(&self, endpoint: String) -> Context {
        Context {
            name: self.name.to_string(),
            endpoint,
            further: Vec::new(),
            ca: self.root.certificate.clone(),
            certificate: self.operator.certificate.clone(),
            key: self.operator.key.clone(),
            cluster: Some(ContextCluster { id: self.id.clone(), name: self.name.clone() }),
        }
    }
}

#[cfg(test)]
#[path = "founding/tests.rs"]
mod tests;
