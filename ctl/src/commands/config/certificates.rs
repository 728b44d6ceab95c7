//! Whether the certificates and keys of `[cluster]` are any, and belong together.

use ferrite_pki::{Identity, Issuer, certificates};
use ferrite_schema::chain;
use ferrite_schema::document::Problem;
use ferrite_schema::node_config::{self, ClusterConfig, IssuerConfig, Root};

/// Checks a cloud-config, and what its texts hold.
pub(super) fn check(text: &str) -> Result<(), Problem> {
    let config = node_config::parse(text)?;
    let wrong = config.cluster.as_ref().and_then(wrong);
    match wrong {
        None => Ok(()),
        Some((key, message)) => {
            let section = text.find("[cluster").unwrap_or(0);
            let at = text
                .get(section..)
                .and_then(|rest| rest.find(key))
                .map_or(section, |at| section + at);
            Err(Problem::at(text, at, message))
        }
    }
}

/// The key that is wrong, and what is.
fn wrong(cluster: &ClusterConfig) -> Option<(&'static str, String)> {
    let Root::Certificate(root) = &cluster.root else { return None };
    if let Err(error) = certificates(root) {
        return Some(("root", format!("[cluster] root: {}", chain(&error))));
    }
    let member = cluster.member.as_ref()?;
    [("node_issuer", &member.node_issuer), ("peer_issuer", &member.peer_issuer)]
        .into_iter()
        .find_map(|(key, issuer)| {
            let problem = of_root(issuer, root)?;
            Some((key, format!("[cluster] {key}: {problem}")))
        })
}

fn of_root(issuer: &IssuerConfig, root: &str) -> Option<String> {
    let (certificate, key) = (issuer.certificate.as_str(), issuer.key.reveal());
    let identity = Identity { certificate: certificate.to_owned(), key: key.to_owned() };
    if let Err(error) = Issuer::below(&identity, root) {
        return Some(chain(&error));
    }
    match ferrite_pki::is_signed_by(certificate, root) {
        Ok(true) => None,
        Ok(false) => Some(
            "the root has not signed it: give both as `ferrite config new` wrote them".to_owned(),
        ),
        Err(error) => Some(chain(&error)),
    }
}

#[cfg(test)]
mod tests {
    use ferrite_schema::cluster::ClusterName;

    use super::*;
    use crate::founding::{FoundedNode, Plan, found, numbered};

    fn node() -> FoundedNode {
        let name: ClusterName = "dev".parse().unwrap();
        let nodes = numbered(&name, 1, None).unwrap();
        let network = ferrite_schema::node_config::ClusterNetworkConfig::default();
        let plan = Plan { name, nodes, join: Vec::new(), network, now_s: 1_795_000_000 };
        found(&plan).unwrap().nodes.remove(0)
    }

    #[test]
    fn what_does_not_belong_together_is_named_where_it_stands() {
        let (node, other) = (node(), node());
        check(&node.document().unwrap()).unwrap();
        let says = |change: &dyn Fn(&mut FoundedNode), line: &str, expected: &str| {
            let mut changed = node.clone();
            change(&mut changed);
            let text = changed.document().unwrap();
            let problem = check(&text).unwrap_err();
            assert!(problem.message.contains(expected), "{problem}");
            let found = text.lines().nth(problem.line - 1).unwrap();
            assert!(found.contains(line), "{problem}: {found}");
        };
        let theirs = || other.cluster.member.clone().unwrap();
        let root = |node: &mut FoundedNode| node.cluster.root = other.cluster.root.clone();
        says(&root, "node_issuer", "the root has not signed it");
        let issuer = |node: &mut FoundedNode| {
            node.cluster.member.as_mut().unwrap().peer_issuer = theirs().peer_issuer
        };
        says(&issuer, "peer_issuer", "the root has not signed it");
        let key = |node: &mut FoundedNode| {
            node.cluster.member.as_mut().unwrap().node_issuer.key = theirs().node_issuer.key
        };
        says(&key, "node_issuer", "not that of its certificate");
        let none = |node: &mut FoundedNode| {
            let text = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
            node.cluster.member.as_mut().unwrap().node_issuer.certificate =
                text.to_owned().try_into().unwrap();
        };
        says(&none, "node_issuer", "its bytes are no certificate");
    }
}
