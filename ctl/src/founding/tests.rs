//! What was made, under the eyes of openssl, of the schema, and of both ends of a handshake.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use ferrite_pki::{certificates, digest, facts};
use ferrite_schema::cluster::MachineName;
use ferrite_schema::node_config;

use super::*;

const NOW_S: u64 = 1_795_000_000;
const DAY_S: u64 = 24 * 60 * 60;
const MACHINE: &str = "00112233445566778899aabbccddeeff";

fn founded(nodes: u8, members: Option<u8>) -> Founded {
    let name: ClusterName = "dev".parse().unwrap();
    let nodes = numbered(&name, nodes, members).unwrap();
    let join = vec![JoinAddress::try_from("10.0.0.1".to_owned()).unwrap()];
    let network = ClusterNetworkConfig::default();
    found(&Plan { name, nodes, join, network, now_s: NOW_S }).unwrap()
}

/// What openssl says.
fn openssl(arguments: &[&str], folder: &Path) -> Result<String, String> {
    let output = Command::new("openssl").args(arguments).current_dir(folder).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    let (out, err) = (text(output.stdout), text(output.stderr));
    if output.status.success() { Ok(out) } else { Err(out + &err) }
}

#[test]
fn each_node_gets_what_it_needs_and_no_more() {
    let founded = founded(4, Some(3));
    let mut tokens = Vec::new();
    for (index, node) in founded.nodes.iter().enumerate() {
        assert_eq!(node.hostname, format!("dev-{}", index + 1));
        let text = node.document().unwrap();
        let config = node_config::parse(&text).unwrap();
        assert_eq!(config.hostname.as_deref(), Some(node.hostname.as_str()));
        let cluster = config.cluster.unwrap();
        assert_eq!(cluster, node.cluster, "{text}");
        assert_eq!(cluster.member.as_ref().map(|member| member.expect), (index < 3).then_some(3));
        assert!(!text.contains(founded.root.key.trim()), "the root's key is the operator's");
        assert!(!text.contains(founded.operator.key.trim()));
        tokens.push(cluster.token.unwrap());
    }
    tokens.dedup();
    assert_eq!(tokens.len(), 1);
    assert_eq!(tokens[0].reveal().len(), 64);
    assert!(!founded.nodes[3].document().unwrap().contains("PRIVATE KEY"));
}

#[test]
fn each_node_is_told_what_the_network_is_to_be_where_it_can_be() {
    let name: ClusterName = "dev".parse().unwrap();
    let make = |nodes, join: &str, ipv4: &str| {
        let join = vec![JoinAddress::try_from(join.to_owned()).unwrap()];
        let transport = Some("routes".parse().unwrap());
        let network =
            ClusterNetworkConfig { ipv4: Some(ipv4.parse().unwrap()), ipv6: None, transport };
        let nodes = numbered(&name, nodes, Some(1)).unwrap();
        found(&Plan { name: name.clone(), nodes, join, network, now_s: NOW_S })
    };
    let founded = make(3, "192.168.7.1", "10.64.0.0/22").unwrap();
    for node in &founded.nodes {
        let cluster = node_config::parse(&node.document().unwrap()).unwrap().cluster.unwrap();
        assert_eq!(cluster.network, node.cluster.network);
        assert_eq!(cluster.network.ipv4.unwrap().to_string(), "10.64.0.0/22");
        assert_eq!(cluster.network.transport.unwrap().word(), "routes");
    }
    for (nodes, join, why) in [(4, "192.168.7.1", "room for 3"), (3, "10.64.1.1", "10.64.1.1")] {
        let error = make(nodes, join, "10.64.0.0/22").unwrap_err();
        let said = ferrite_schema::chain(&error);
        assert!(said.contains(why), "{said}");
    }
}

#[test]
fn no_two_clusters_have_anything_in_common() {
    let (one, other) = (founded(1, None), founded(1, None));
    assert_ne!(one.id, other.id);
    assert_ne!(one.root, other.root);
    assert_ne!(one.nodes[0].cluster.token, other.nodes[0].cluster.token);
    let serials = [&one, &other].map(|founded| {
        facts(&certificates(&founded.operator.certificate).unwrap()[0]).unwrap().serial
    });
    assert_ne!(serials[0], serials[1]);
}

#[test]
fn numbers_that_make_no_cluster_are_refused() {
    let name: ClusterName = "dev".parse().unwrap();
    for (nodes, members) in [(0, None), (101, None), (3, Some(4)), (3, Some(0)), (9, Some(8))] {
        assert!(numbered(&name, nodes, members).is_err(), "{nodes} {members:?}");
    }
    let members =
        |nodes| numbered(&name, nodes, None).unwrap().iter().filter(|node| node.member).count();
    assert_eq!([1, 2, 3, 5, 9].map(members), [1, 2, 3, 5, 5]);
}

/// What was made, as files that openssl reads: certificates under their names, keys as NAME.key.
fn laid_out() -> (tempfile::TempDir, Founded) {
    let folder = tempfile::tempdir().unwrap();
    let founded = founded(2, None);
    let member = founded.nodes[0].cluster.member.clone().unwrap();
    let issuer = |issuer: &IssuerConfig| {
        let (certificate, key) = (issuer.certificate.as_str(), issuer.key.reveal());
        let identity = Identity { certificate: certificate.to_owned(), key: key.to_owned() };
        Issuer::below(&identity, &founded.root.certificate).unwrap()
    };
    let machine = MachineName { machine: MACHINE.parse().unwrap(), cluster: founded.name.clone() };
    let node = ferrite_pki::node_leaf(&founded.id, &machine, NOW_S);
    let node = issuer(&member.node_issuer).issue(&node).unwrap();
    let peer = ferrite_pki::peer_leaf(&founded.id, &machine, NOW_S);
    let peer = issuer(&member.peer_issuer).issue(&peer).unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    write("root", &founded.root.certificate);
    write("nodes", member.node_issuer.certificate.as_str());
    write("peers", member.peer_issuer.certificate.as_str());
    for (name, identity) in [("node", &node), ("peer", &peer), ("operator", &founded.operator)] {
        write(name, &identity.certificate);
        write(&format!("{name}.key"), &identity.key);
    }
    (folder, founded)
}

#[test]
fn openssl_believes_what_was_made_in_its_time_and_for_its_purpose() {
    let (folder, _founded) = laid_out();
    let verify = |name: &str, between: &str, purpose: &str, at_s: u64| {
        let at_s = at_s.to_string();
        let first = ["verify", "-x509_strict", "-attime", &at_s, "-CAfile", "root", "-untrusted"];
        let rest = [between, "-purpose", purpose, name];
        openssl(&[&first[..], &rest].concat(), folder.path())
    };
    for (name, between, purpose) in [
        ("node", "nodes", "sslserver"),
        ("node", "nodes", "sslclient"),
        ("peer", "peers", "sslserver"),
        ("peer", "peers", "sslclient"),
        ("operator", "nodes", "sslclient"),
    ] {
        verify(name, between, purpose, NOW_S).unwrap();
        verify(name, between, purpose, NOW_S - DAY_S + 1).unwrap();
        assert!(verify(name, between, purpose, NOW_S - DAY_S - 1).is_err(), "{name} before");
        assert!(verify(name, between, purpose, NOW_S + 11 * 365 * DAY_S).is_err(), "{name} after");
    }
    verify("node", "nodes", "sslclient", NOW_S + 30 * DAY_S - 1).unwrap();
    assert!(verify("node", "nodes", "sslclient", NOW_S + 30 * DAY_S + 1).is_err());
    assert!(verify("operator", "nodes", "sslserver", NOW_S).is_err());
    assert!(verify("node", "peers", "sslserver", NOW_S).is_err());
}

#[test]
fn openssl_reads_what_was_meant() {
    let (folder, founded) = laid_out();
    let says = |arguments: &[&str]| openssl(arguments, folder.path()).unwrap();
    for name in ["node", "peer", "operator"] {
        let key = format!("{name}.key");
        let of_key = says(&["pkey", "-in", &key, "-pubout"]);
        assert_eq!(says(&["x509", "-in", name, "-noout", "-pubkey"]), of_key, "{name}");
    }
    let said = says(&["x509", "-in", "node", "-noout", "-text"]);
    let names = format!("DNS:{MACHINE}.node.dev, URI:ferrite://{}/node", founded.id);
    assert!(said.contains("CA:FALSE") && said.contains(&names), "{said}");
    assert!(!said.contains("IP Address"), "{said}");
    let said = says(&["x509", "-in", "nodes", "-noout", "-text"]);
    assert!(said.contains("CA:TRUE, pathlen:0"), "{said}");
    let said = says(&["x509", "-in", "operator", "-noout", "-text"]);
    assert!(said.contains(&format!("URI:ferrite://{}/admin", founded.id)), "{said}");
}

#[test]
fn a_folder_is_written_whole_and_over_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("dev");
    let founded = founded(2, Some(1));
    let context = founded.context("https://10.0.0.1:7443".to_owned());
    folder::write(&path, &founded, &context).unwrap();
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&path), 0o700);
    let mut names: Vec<String> = Vec::new();
    for entry in path.read_dir().unwrap() {
        let entry = entry.unwrap();
        assert_eq!(mode(&entry.path()), 0o600, "{entry:?}");
        names.push(entry.file_name().into_string().unwrap());
    }
    names.sort();
    assert_eq!(names, ["context.toml", "dev-1.toml", "dev-2.toml", "root.key", "root.pem"]);
    let before = digest(&std::fs::read(path.join("root.key")).unwrap());
    let error = folder::write(&path, &self::founded(1, None), &context).unwrap_err();
    assert!(error.to_string().contains("exists already"), "{error}");
    assert_eq!(digest(&std::fs::read(path.join("root.key")).unwrap()), before);
    let error = folder::write(&folder.path().join("no/dev"), &founded, &context).unwrap_err();
    assert!(matches!(error, folder::WriteFolder::Write { .. }), "{error}");
    assert_eq!(folder.path().read_dir().unwrap().count(), 1, "something is left beside it");
}
