use super::*;
use crate::node_config::{NodeConfig, parse};

const PEM: &str = "'''\n-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n'''";
const KEY: &str = "'''\n-----BEGIN PRIVATE KEY-----\nAA==\n-----END PRIVATE KEY-----\n'''";

fn good() -> Vec<(&'static str, String)> {
    vec![
        ("id", format!("\"{}\"", "0f".repeat(16))),
        ("name", "\"dev\"".to_owned()),
        ("root", PEM.to_owned()),
        ("token", format!("\"{}\"", "a1".repeat(16))),
        ("join", "[\"10.0.0.1\", \"a.example:7000\", \"[fd00::1]:7443\"]".to_owned()),
    ]
}

fn member() -> Vec<(&'static str, String)> {
    let issuer = format!("{{ certificate = {PEM}, key = {KEY} }}");
    let more =
        [("expect", "3".to_owned()), ("node_issuer", issuer.clone()), ("peer_issuer", issuer)];
    good().into_iter().chain(more).collect()
}

fn text(keys: &[(&str, String)]) -> String {
    let lines: Vec<String> = keys.iter().map(|(key, value)| format!("{key} = {value}\n")).collect();
    format!("#cloud-config\nhostname = \"a\"\n\n[cluster]\n{}", lines.concat())
}

/// The document with one key said otherwise, or not at all.
fn with(mut keys: Vec<(&'static str, String)>, key: &'static str, value: Option<&str>) -> String {
    keys.retain(|(other, _)| *other != key);
    if let Some(value) = value {
        keys.insert(0, (key, value.to_owned()));
    }
    text(&keys)
}

fn check(text: &str, line: usize, expected: &str) {
    let problem = parse(text).unwrap_err();
    assert!(problem.message.contains(expected), "{problem}");
    assert_eq!(problem.line, line, "{problem}\n{text}");
}

#[test]
fn what_is_written_is_read_and_written_again() {
    for keys in [good(), member()] {
        let config = parse(&text(&keys)).unwrap();
        let again = format!("#cloud-config\n{}", toml::to_string(&config).unwrap());
        assert_eq!(parse(&again).unwrap(), config, "{again}");
    }
    let cluster = parse(&text(&member())).unwrap().cluster.unwrap();
    let addresses: Vec<String> = cluster.join.iter().map(ToString::to_string).collect();
    assert_eq!(addresses, ["10.0.0.1:7443", "a.example:7000", "[fd00::1]:7443"]);
    assert_eq!(cluster.join[2].host, "fd00::1");
    assert_eq!(cluster.member.unwrap().expect, 3);
    let print = format!("\"sha256:{}\"", "0a".repeat(32));
    let config = with(with_fingerprint(&print), "x", None);
    let read = parse(&config).unwrap().cluster.unwrap();
    assert_eq!(read.root, Root::Fingerprint(Fingerprint([10; 32])));
}

fn with_fingerprint(print: &str) -> Vec<(&'static str, String)> {
    let mut keys = good();
    keys.retain(|(key, _)| *key != "root");
    keys.push(("root_fingerprint", print.to_owned()));
    keys
}

#[test]
fn a_node_without_it_is_what_it_was() {
    let config = parse("#cloud-config\nhostname = \"a\"\n").unwrap();
    assert_eq!(config, NodeConfig { hostname: Some("a".to_owned()), ..NodeConfig::default() });
    let written = toml::to_string(&config).unwrap();
    assert!(!written.contains("cluster") && !written.contains("metadata"), "{written}");
}

#[test]
fn a_bad_value_is_named_where_it_stands() {
    for (key, value, expected) in [
        ("id", "\"0F\"", "is no cluster ID: it has 32 hexadecimal digits"),
        ("name", "\"My Cluster\"", "is no cluster name: use lower-case letters"),
        ("root", "\"AA==\"", "is no certificate: it is the text from -----BEGIN"),
        ("root", KEY, "is no certificate"),
        ("root_fingerprint", "\"0a0a\"", "is no fingerprint: it is `sha256:`"),
        ("token", "\"short\"", "is no token: it has 32 to 128 letters"),
        ("join", "[\"10.0.514\"]", "is no address: write `HOST:PORT`"),
        ("join", "[\"a:0\"]", "is no address"),
        ("join", "[\"fd00::1\"]", "is no address"),
        ("expect", "\"all\"", "invalid type"),
        ("jion", "[]", "did you mean `join`"),
    ] {
        check(&with(good(), key, Some(value)), 5, expected);
    }
    // Secrets are not repeated.
    let problem = parse(&with(good(), "token", Some("\"hunter2\""))).unwrap_err();
    assert!(!problem.to_string().contains("hunter2"), "{problem}");
    let issuer = format!("{{ certificate = {PEM}, key = \"hunter2\" }}");
    let problem = parse(&with(member(), "node_issuer", Some(&issuer))).unwrap_err();
    assert!(!problem.to_string().contains("hunter2"), "{problem}");
    assert!(!format!("{:?}", parse(&text(&member())).unwrap()).contains("a1a1"));
}

#[test]
fn keys_that_do_not_go_together_say_what_to_do() {
    check(&with(good(), "root", None), 4, "needs `root`");
    let print = format!("\"sha256:{}\"", "0a".repeat(32));
    check(&with(good(), "root_fingerprint", Some(&print)), 4, "leave one out");
    check(&with(good(), "token", None), 4, "has no `token`");
    check(&with(good(), "expect", Some("3")), 4, "`expect` and not `node_issuer`");
    for key in ["expect", "node_issuer", "peer_issuer"] {
        check(&with(member(), key, None), 4, "and not `");
    }
    for expect in ["0", "8"] {
        check(&with(member(), "expect", Some(expect)), 4, "1 to 7");
    }
    let many = format!("[{}]", "\"a\", ".repeat(65));
    check(&with(good(), "join", Some(&many)), 4, "65 addresses");
    // A member needs no token to begin a cluster.
    parse(&with(member(), "token", None)).unwrap();
}

#[test]
fn wishes_for_the_network_are_read_where_they_stand() {
    let wishes = "\n[cluster.network]\nipv4 = \"10.64.0.0/12\"\nipv6 = \"fd12:3456:789a::/48\"\ntransport = \"routes\"\n";
    let config = parse(&(text(&member()) + wishes)).unwrap();
    let again = format!("#cloud-config\n{}", toml::to_string(&config).unwrap());
    assert_eq!(parse(&again).unwrap(), config, "{again}");
    let network = config.cluster.unwrap().network;
    assert_eq!(network.ipv4.unwrap().parts(), ([10, 64, 0, 0].into(), 12));
    assert_eq!(network.transport.unwrap().word(), "routes");
    assert!(parse(&text(&good())).unwrap().cluster.unwrap().network.is_empty());

    let first = text(&good()).lines().count() + 1;
    let with = |line: &str| text(&good()) + "[cluster.network]\n" + line;
    for (line, expected) in [
        ("ipv4 = \"10.64.0.0/24\"", "take a /22 (3 machines)"),
        ("ipv4 = \"127.0.0.0/8\"", "not within 10.0.0.0/8"),
        ("ipv6 = \"fd00::/64\"", "network of length 48"),
        ("transport = \"vxlan\"", "\"wireguard\", or \"routes\""),
        ("mtu = 1400", "unknown field `mtu`"),
    ] {
        check(&with(line), first + 1, expected);
    }
    // What is wrong with several keys together.
    check(&with("ipv4 = \"10.0.0.0/12\""), 4, "at 10.0.0.1 (`join`), which is in 10.0.0.0/12");
    let few = text(&member()).replace("expect = 3", "expect = 5") + wishes;
    check(&few.replace("10.64.0.0/12", "10.64.0.0/22"), 4, "room for 3 machines, and 5");
    let written = with("ipv4 = \"10.64.0.0/12\"\nipv6 = \"fd00:1:2::/48\"\n");
    let beside = |own: &str| format!("{written}[network]\n{own}\n");
    check(&beside("ipv4 = \"10.70.0.0/16\""), 1, "overlap");
    check(&beside("ipv6 = \"fd00:1:2:3::/64\""), 1, "is in cluster.network.ipv6");
    parse(&beside("ipv4 = \"10.80.0.0/16\"")).unwrap();
    // Nodes have it until they have one of the cluster's, and the cluster gives it to none of them.
    parse(&with("ipv4 = \"10.112.0.0/12\"")).unwrap();
}

#[test]
fn labels_are_checked() {
    let parse = |line: &str| parse(&format!("#cloud-config\n[metadata]\n{line}\n"));
    assert_eq!(parse("zone = \"a\"").unwrap().metadata["zone"], "a");
    for (bad, expected) in [
        ("\"a b\" = \"1\"", "no name of letters"),
        ("\"\" = \"1\"", "no name of letters"),
        ("a = \"x\\u0000\"", "control characters"),
        ("a = 1", "line 3"),
    ] {
        let said = parse(bad).unwrap_err().to_string();
        assert!(said.contains(expected), "{said}");
    }
    let many: String = (0..65).map(|n| format!("l{n} = \"\"\n")).collect();
    assert!(parse(&many).unwrap_err().to_string().contains("65 labels"));
}
